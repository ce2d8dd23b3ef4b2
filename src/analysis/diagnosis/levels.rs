//! What changes from one level of load, or one length of prompt, to the next.

use super::{Hit, Kind, Severity, client_ms, kinds, rose, strain};
use crate::analysis::text::figure;
use crate::analysis::{Group, RunData, series, words};
use crate::measure::{OVERLOAD, SloStatus, Verdict};
use crate::stats::regress;

/// Rates within this share of the greatest are all the same.
const FLAT: f64 = 0.05;
/// An open loop of which less is completed, of what is offered, falls behind.
const KEEPS_UP: f64 = 0.9;
/// A level beyond the knee has to be so many times its load.
const BEYOND: f64 = 1.25;
/// Requests in flight up to which none is in another's way.
const ALONE: f64 = 2.0;

/// Cells that differ in load alone, by rising load.
struct Ladder<'a> {
    /// Factor along it.
    path: &'static str,
    /// What tells it from the run's other ladders, in words; empty if there is one.
    with: String,
    levels: Vec<(f64, Group<'a>)>,
}

pub(super) fn look(run: &RunData) -> Vec<Hit> {
    let mut hits = Vec::new();
    for ladder in ladders(run) {
        let saturated = ladder.saturated();
        let knee = saturated.as_ref().map(|(_, knee)| *knee);
        if saturated.is_none() {
            hits.extend(ladder.ttft_load());
        }
        hits.extend(saturated.map(|(hit, _)| hit));
        hits.extend(ladder.tpot_load(knee));
        hits.extend(ladder.always("ttft", &kinds::TTFT_ALWAYS));
        hits.extend(ladder.always("tpot", &kinds::TPOT_ALWAYS));
    }
    hits
}

fn ladders(run: &RunData) -> Vec<Ladder<'_>> {
    let mut ladders = Vec::new();
    for path in ["load.qps", "load.users"] {
        for one in series(run, path) {
            // `users` beside `qps` is a cap, no load.
            let mine = |g: &Group<'_>| path == "load.qps" || g.number("load.qps").is_none();
            let levels: Vec<_> = one
                .groups
                .into_iter()
                .filter(|g| mine(g) && believable(g))
                .filter_map(|g| Some((g.number(path)?, g)))
                .collect();
            let with = if one.label.is_empty() { String::new() } else { format!("With {}: ", one.label) };
            if !levels.is_empty() {
                ladders.push(Ladder { path, with, levels });
            }
        }
    }
    ladders
}

fn believable(group: &Group<'_>) -> bool {
    let staged = group.cells.iter().any(|c| !c.cell.settings.stages.is_empty());
    group.verdict().is_some_and(|v| v != Verdict::Invalid) && !staged
}

fn value(group: &Group<'_>, metric: &str, stat: &str) -> Option<f64> {
    group.estimate(metric, stat).map(|e| e.mean)
}

fn delay(groups: &[&Group<'_>]) -> f64 {
    groups.iter().flat_map(|g| g.counted()).map(client_ms).fold(0.0, f64::max)
}

fn strained(group: &Group<'_>, metric: &str) -> bool {
    group.counted().any(|s| strain(s, metric) > SloStatus::Pass)
}

fn indices(groups: &[&Group<'_>]) -> Vec<u32> {
    groups.iter().flat_map(|g| g.cells.iter().map(|c| c.cell.index)).collect()
}

impl<'a> Ladder<'a> {
    fn at(&self, x: f64) -> String {
        words::level(self.path, x)
    }

    /// Levels that have both figures, with these.
    fn figures(&self, a: (&str, &str), b: (&str, &str)) -> Vec<(f64, f64, f64, &Group<'a>)> {
        let both = |(x, g): &'_ (f64, Group<'a>)| Some((*x, value(g, a.0, a.1)?, value(g, b.0, b.1)?));
        self.levels.iter().filter_map(|level| both(level).map(|(x, a, b)| (x, a, b, &level.1))).collect()
    }

    fn hit(
        &self,
        kind: &'static Kind,
        severity: Severity,
        weight: f64,
        evidence: &str,
        groups: &[&Group<'_>],
    ) -> Hit {
        Hit {
            kind,
            severity,
            weight,
            place: self.with.trim_start_matches("With ").trim_end_matches(": ").to_owned(),
            evidence: format!("{}{evidence}", self.with),
            cells: indices(groups),
        }
    }

    /// The last of `levels` (load, completed rate, latency) that gives more than the one before.
    /// With arrivals that don't wait for answers: the last that answers what is asked of it.
    fn knee(&self, levels: &[(f64, f64, f64, &Group<'a>)]) -> Option<usize> {
        if self.path == "load.qps" {
            let keeps_up = |(x, rate, _, g): &(f64, f64, f64, &Group<'a>)| {
                let overloaded = g.counted().any(|s| s.validity.reasons.iter().any(|r| r.signal == OVERLOAD));
                !overloaded && *rate >= KEEPS_UP * value(g, "offered_rps", "").unwrap_or(*x)
            };
            let first_behind = levels.iter().position(|level| !keeps_up(level));
            if first_behind != Some(0) {
                return first_behind.map(|i| i - 1);
            }
        }
        let most = levels.iter().map(|(_, rate, _, _)| *rate).reduce(f64::max)?;
        levels.iter().position(|(_, rate, _, _)| *rate >= most * (1.0 - FLAT))
    }

    /// From the knee on more load only waits. With the load at the knee.
    fn saturated(&self) -> Option<(Hit, f64)> {
        let streamed = self.levels.iter().any(|(_, g)| value(g, "ttft", "p50").is_some());
        let metric = if streamed { "ttft" } else { "e2e" };
        let levels = self.figures(("completed_rps", ""), (metric, "p50"));
        let knee = self.knee(&levels)?;
        let (x, rate, before, group) = levels[knee];
        let (x_last, rate_last, after, last) = *levels.last()?;
        if x_last < x * BEYOND || !rose(before, after, 1.5, delay(&[group, last])) {
            return None;
        }
        let name = words::metric_name(metric, "p50");
        let mut evidence = format!(
            "From {} to {} completed requests went from {} to {} a second, while {name} went from {} to {} ms",
            self.at(x),
            self.at(x_last),
            figure(rate),
            figure(rate_last),
            figure(before),
            figure(after)
        );
        let in_flight = |g| value(g, "in_flight_mean", "");
        if let Some((a, b)) = in_flight(group).zip(in_flight(last)) {
            evidence.push_str(&format!(" and requests in flight from {} to {}", figure(a), figure(b)));
        }
        evidence.push_str(": what is added waits.");
        let (x_idle, _, idle, _) = levels[0];
        if knee > 0 && idle * 3.0 <= after {
            evidence.push_str(&format!(
                " At {} {name} is {} ms, which points to the queue and not to the request itself.",
                self.at(x_idle),
                figure(idle)
            ));
        }
        let beyond: Vec<&Group<'_>> = levels[knee + 1..].iter().map(|(_, _, _, g)| *g).collect();
        Some((self.hit(&kinds::SATURATED, Severity::Warning, after / before, &evidence, &beyond), x))
    }

    fn ttft_load(&self) -> Option<Hit> {
        let levels = self.figures(("ttft", "p50"), ("ttft", "p95"));
        let (x, p50, p95, first) = *levels.first()?;
        let over = levels.iter().filter(|(_, _, _, g)| strained(g, "ttft"));
        let (x_over, p50_over, p95_over, group) = *over.max_by(|a, b| a.2.total_cmp(&b.2))?;
        if strained(first, "ttft") || !rose(p95, p95_over, 2.0, delay(&[first, group])) {
            return None;
        }
        let evidence = format!(
            "TTFT is {} ms at the median and {} ms at p95 at {}, and {} and {} ms at {}, which points to the load and not the request.",
            figure(p50),
            figure(p95),
            self.at(x),
            figure(p50_over),
            figure(p95_over),
            self.at(x_over)
        );
        Some(self.hit(&kinds::TTFT_LOAD, Severity::Warning, p95_over / p95, &evidence, &[group]))
    }

    /// `knee`: the load from which on nothing more runs at the same time.
    fn tpot_load(&self, knee: Option<f64>) -> Option<Hit> {
        /// Milliseconds that matter, whatever the share.
        const LEAST: f64 = 0.5;
        let levels = self.figures(("tpot", "p50"), ("in_flight_mean", ""));
        let levels: Vec<_> =
            levels.into_iter().filter(|(x, ..)| knee.is_none_or(|knee| *x <= knee)).collect();
        let (x, low, in_flight, first) = *levels.first()?;
        let (x_last, high, in_flight_last, last) = *levels.last()?;
        if high < 1.3 * low || high - low < LEAST || in_flight_last <= in_flight {
            return None;
        }
        let line = regress(
            &levels.iter().map(|(_, _, n, _)| *n).collect::<Vec<_>>(),
            &levels.iter().map(|(_, tpot, _, _)| *tpot).collect::<Vec<_>>(),
        );
        let slope = line.map_or((high - low) / (in_flight_last - in_flight), |line| line.slope);
        if slope <= 0.0 {
            return None;
        }
        let beyond = strained(last, "tpot") && !strained(first, "tpot");
        let evidence = format!(
            "TPOT p50 goes from {} ms at {} to {} ms at {}, about {} ms for each further request in flight.",
            figure(low),
            self.at(x),
            figure(high),
            self.at(x_last),
            figure(slope)
        );
        let severity = if beyond { Severity::Warning } else { Severity::Info };
        Some(self.hit(&kinds::TPOT_LOAD, severity, high / low, &evidence, &[last]))
    }

    /// Beyond a limit at every level, the lowest of which nothing else disturbs.
    fn always(&self, metric: &str, kind: &'static Kind) -> Option<Hit> {
        let (x, first) = self.levels.first().map(|(x, g)| (*x, g))?;
        let in_flight = value(first, "in_flight_mean", "")?;
        let median = value(first, metric, "p50")?;
        let all = self.levels.iter().all(|(_, g)| strained(g, metric));
        if !all || in_flight > ALONE || median <= 3.0 * delay(&[first]) {
            return None;
        }
        let evidence = format!(
            "{} is {} ms at {}, with {} requests of this client in flight on average.",
            words::metric_name(metric, "p50"),
            figure(median),
            self.at(x),
            figure(in_flight)
        );
        let groups: Vec<&Group<'_>> = self.levels.iter().map(|(_, g)| g).collect();
        Some(self.hit(kind, Severity::Warning, median, &evidence, &groups))
    }
}

/// TTFT over lengths of prompt, at the lowest load that has several.
pub(super) fn prompts(run: &RunData) -> Option<Hit> {
    let mut best: Option<(f64, Hit)> = None;
    for one in series(run, "workload.prompt_tokens") {
        let lengths: Vec<(f64, f64, &Group<'_>)> = one
            .groups
            .iter()
            .filter(|g| believable(g))
            .filter_map(|g| {
                let length = value(g, "prompt_length", "mean").or(g.number("workload.prompt_tokens"))?;
                Some((length, value(g, "ttft", "p50")?, g))
            })
            .collect();
        let (Some((short, fast, first)), Some((long, slow, last))) = (lengths.first(), lengths.last()) else {
            continue;
        };
        if long <= short || !rose(*fast, *slow, 1.5, delay(&[first, last])) {
            continue;
        }
        let load = value(first, "in_flight_mean", "").unwrap_or(f64::MAX);
        if best.as_ref().is_some_and(|(known, _)| *known <= load) {
            continue;
        }
        let x: Vec<f64> = lengths.iter().map(|(x, ..)| *x).collect();
        let y: Vec<f64> = lengths.iter().map(|(_, y, _)| *y).collect();
        let slope = regress(&x, &y).map_or((slow - fast) / (long - short), |line| line.slope);
        let at = if one.label.is_empty() { String::new() } else { format!(" ({})", one.label) };
        let beyond = strained(last, "ttft") && !strained(first, "ttft");
        let hit = Hit {
            kind: &kinds::PREFILL,
            severity: if beyond { Severity::Warning } else { Severity::Info },
            weight: slow / fast,
            place: String::new(),
            evidence: format!(
                "TTFT p50 is {} ms for prompts of {} tokens and {} ms for {}{at}: about {} ms for each 1,000 tokens.",
                figure(*fast),
                figure(*short),
                figure(*slow),
                figure(*long),
                figure(slope * 1000.0)
            ),
            cells: indices(&[last]),
        };
        best = Some((load, hit));
    }
    best.map(|(_, hit)| hit)
}
