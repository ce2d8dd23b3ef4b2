//! What changed over the time of a cell: queue, latencies, throughput.

use super::{Hit, Kind, LEAST_MS, Severity, client_ms, kinds, rose};
use crate::analysis::text::figure;
use crate::analysis::{CellData, words};
use crate::measure::{Batches, CellSummary, Course, DriftVerdict, OVERLOAD};
use crate::record::{TICK_US, Tick};
use crate::stats::Moments;

/// Whole seconds below which throughput is not called unsteady.
const FEWEST_SECONDS: usize = 10;

pub(super) fn look(cell: &CellData, summary: &CellSummary) -> Vec<Hit> {
    // A window whose stages have different levels is meant to change.
    if cell.cell.settings.level_changes() {
        return Vec::new();
    }
    let view = View { cell, summary, place: words::place(&cell.cell) };
    let queue = view.queue();
    let mut hits: Vec<Hit> = Vec::new();
    if queue.is_none() {
        hits.extend(view.ttft());
    }
    hits.extend(queue);
    hits.extend([view.tpot(), view.errors(), view.throughput(), view.unsteady()].into_iter().flatten());
    hits
}

struct View<'a> {
    cell: &'a CellData,
    summary: &'a CellSummary,
    place: String,
}

impl View<'_> {
    fn hit(&self, kind: &'static Kind, weight: f64, evidence: String) -> Hit {
        let cells = vec![self.cell.cell.index];
        Hit { kind, severity: Severity::Warning, weight, place: self.place.clone(), evidence, cells }
    }

    /// Of a number that each tick has.
    fn ticks(&self, value: impl Fn(&Tick) -> f64) -> Option<Course> {
        let window = self.summary.window;
        let mut batches = Batches::new(window);
        let inside = |tick: &&Tick| (window.start_us..window.end_us).contains(&tick.t_us);
        self.cell.timeline.iter().filter(inside).for_each(|tick| batches.add(tick.t_us, value(tick)));
        batches.course()
    }

    /// Of a number that a tick counts, per second.
    fn rate(&self, value: impl Fn(&Tick) -> u32) -> Option<Course> {
        self.ticks(|tick| f64::from(value(tick)) * 1e6 / TICK_US as f64)
    }

    /// A figure's drift that is more than chance and more than this client could have added.
    fn drift(&self, metric: &str, least_ms: f64) -> Option<&DriftVerdict> {
        let drift = self.summary.drift_of(metric).filter(|drift| drift.drifts)?;
        (drift.to - drift.from > least_ms).then_some(drift)
    }

    /// A latency that drifts: a warning from `times` what it was at the window's start.
    fn grown(&self, kind: &'static Kind, drift: &DriftVerdict, times: f64) -> Hit {
        let evidence = format!("At {} {}.", self.place, drift.text);
        let warns = 1.0 + drift.growth >= times;
        let severity = if warns { Severity::Warning } else { Severity::Info };
        Hit { severity, ..self.hit(kind, drift.growth, evidence) }
    }

    fn queue(&self) -> Option<Hit> {
        let overloaded = self.summary.validity.reasons.iter().any(|r| r.signal == OVERLOAD);
        let in_flight = self.ticks(|tick| f64::from(tick.in_flight))?;
        let completed = self.rate(|tick| tick.completed)?;
        let ttft = self.summary.drift_of("ttft");
        let client = client_ms(self.summary);
        let waits_longer = ttft.is_some_and(|d| d.drifts && rose(d.from, d.to, 1.5, client));
        let grows = in_flight.rises(1.5) && waits_longer && !completed.rises(1.2);
        if !overloaded && !grows {
            return None;
        }
        let latency = ttft.map_or_else(String::new, |c| {
            format!(" and TTFT from {} to {} ms", figure(c.from), figure(c.to))
        });
        let due = self.rate(|tick| tick.due).map_or_else(String::new, |due| {
            format!(" of {} that were due", figure((due.from + due.to) / 2.0))
        });
        let mean = |metric| self.summary.value(metric, "mean");
        let waiting = mean("ttft").zip(mean("e2e")).filter(|(_, e2e)| *e2e > 0.0);
        let waiting = waiting.map_or_else(String::new, |(ttft, e2e)| {
            format!(" Of a request's time {} % is the wait for its first token.", figure(100.0 * ttft / e2e))
        });
        let evidence = format!(
            "At {} requests in flight went from {} to {}{latency} between the window's beginning and its end, \
             while {} requests a second{due} were completed.{waiting}",
            self.place,
            figure(in_flight.from),
            figure(in_flight.to),
            figure((completed.from + completed.to) / 2.0)
        );
        Some(self.hit(&kinds::QUEUE_GROWS, in_flight.to / in_flight.from.max(1.0), evidence))
    }

    fn ttft(&self) -> Option<Hit> {
        let drift = self.drift("ttft", LEAST_MS.max(3.0 * client_ms(self.summary)))?;
        Some(self.grown(&kinds::TTFT_GROWS, drift, 1.5))
    }

    fn tpot(&self) -> Option<Hit> {
        /// Milliseconds that matter, whatever the share.
        const LEAST: f64 = 0.5;
        let overshoot = self.summary.validity.signals.get("timer_overshoot_p99_ms").copied().unwrap_or(0.0);
        let drift = self.drift("tpot", f64::max(LEAST, overshoot))?;
        Some(self.grown(&kinds::TPOT_GROWS, drift, 1.2))
    }

    fn errors(&self) -> Option<Hit> {
        let drift = self.summary.drift_of("error_rate").filter(|drift| drift.drifts)?;
        let evidence = format!("At {} {}.", self.place, drift.text);
        Some(self.hit(&kinds::ERRORS_GROW, drift.growth, evidence))
    }

    fn change_of(&self, what: &str, course: &Course, unit: &str) -> String {
        format!(
            "At {} {what} went from {} to {} {unit} between the window's beginning and its end.",
            self.place,
            figure(course.from),
            figure(course.to)
        )
    }

    /// What throughput is told by: chunks where answers are streamed.
    fn output(&self) -> (&'static str, fn(&Tick) -> u32) {
        if self.cell.cell.settings.workload.stream {
            ("output chunks a second", |tick| tick.chunks)
        } else {
            ("completed requests a second", |tick| tick.completed)
        }
    }

    fn throughput(&self) -> Option<Hit> {
        let (name, read) = self.output();
        let output = self.rate(read)?;
        // Where less was asked, less comes.
        let asked_less = self.rate(|tick| tick.due).is_some_and(|due| due.to < 0.9 * due.from);
        let open = self.cell.cell.factors.get("load.qps").is_some_and(|qps| !qps.is_null());
        let falls = output.line.slope < 0.0 && output.to <= 0.8 * output.from && output.is_sure();
        if !falls || (open && asked_less) {
            return None;
        }
        let evidence = self.change_of(name, &output, "");
        let evidence = evidence.replace("  ", " ");
        Some(self.hit(&kinds::THROUGHPUT_FALLS, output.from / output.to.max(1e-9), evidence))
    }

    /// The coefficient of variation of the output by whole seconds.
    fn unsteady(&self) -> Option<Hit> {
        const CV: f64 = 0.5;
        /// A few requests a second are uneven by chance alone: by so many standard deviations.
        const CHANCE: f64 = 1.5;
        const LEAST_PER_S: f64 = 20.0;
        if !self.cell.cell.settings.workload.stream {
            return None;
        }
        let window = &self.summary.window;
        let whole = window.seconds().floor() as usize;
        // Of a window with fewer ticks than seconds, as of an imported cell, they aren't known.
        if whole > self.cell.timeline.len() {
            return None;
        }
        let mut seconds = vec![(0.0, 0.0); whole];
        for tick in &self.cell.timeline {
            let second = tick.t_us.checked_sub(window.start_us).map(|us| (us / 1_000_000) as usize);
            if let Some((chunks, completed)) = second.and_then(|s| seconds.get_mut(s)) {
                *chunks += f64::from(tick.chunks);
                *completed += f64::from(tick.completed);
            }
        }
        let chunks = Moments::of(&seconds.iter().map(|(chunks, _)| *chunks).collect::<Vec<_>>());
        let completed = seconds.iter().map(|(_, completed)| completed).sum::<f64>() / whole.max(1) as f64;
        let (mean, std) = (chunks.mean()?, chunks.std()?);
        let cv = std / mean;
        let by_chance = CHANCE / completed.sqrt();
        if whole < FEWEST_SECONDS || mean < LEAST_PER_S || !cv.is_finite() || cv <= CV.max(by_chance) {
            return None;
        }
        let evidence = format!(
            "At {} output came to {} chunks a second with a standard deviation of {} from second to second ({} % of it).",
            self.place,
            figure(mean),
            figure(std),
            figure(cv * 100.0)
        );
        Some(self.hit(&kinds::THROUGHPUT_UNSTEADY, cv, evidence))
    }
}
