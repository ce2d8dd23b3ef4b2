//! What changed over the time of a cell: queue, latencies, throughput.

use super::{Hit, Kind, Severity, client_ms, kinds, rose};
use crate::analysis::text::figure;
use crate::analysis::{CellData, words};
use crate::measure::{CellSummary, OVERLOAD};
use crate::record::{TICK_US, Tick, Window};
use crate::stats::{Line, Moments, regress, student_t_quantile};

/// Trends are read from so many means, which makes neighbours nearly independent.
const PARTS: usize = 10;
/// Parts of the beginning and of the end that are held against each other.
const ENDS: usize = 3;
/// No trend is read from a shorter window, in seconds.
const TREND_SECONDS: f64 = 5.0;
/// Whole seconds below which throughput is not called unsteady.
const FEWEST_SECONDS: usize = 10;

pub(super) fn look(cell: &CellData, summary: &CellSummary) -> Vec<Hit> {
    // A window that goes through stages is meant to change.
    if !cell.cell.settings.stages.is_empty() {
        return Vec::new();
    }
    let view = View { cell, summary, place: words::place(&cell.cell) };
    let queue = view.queue();
    let mut hits: Vec<Hit> = Vec::new();
    if queue.is_none() {
        hits.extend(view.ttft());
    }
    hits.extend(queue);
    hits.extend([view.tpot(), view.throughput(), view.unsteady()].into_iter().flatten());
    hits
}

/// A quantity over the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    /// Means over the window's beginning and end.
    from: f64,
    to: f64,
    line: Line,
}

impl Course {
    /// Whether its slope is more than chance, at one-sided 99 %.
    fn is_sure(&self) -> bool {
        self.line.t.abs() > student_t_quantile(0.99, self.line.df as f64)
    }

    /// Whether it rose by so many times and more, and not by chance.
    fn rises(&self, times: f64) -> bool {
        self.line.slope > 0.0 && self.to >= self.from * times && self.is_sure()
    }
}

/// The course of points (microseconds, value); `None` where the window is short or a part of it
/// has no point.
pub(super) fn course(window: &Window, points: impl Iterator<Item = (u64, f64)>) -> Option<Course> {
    if window.seconds() < TREND_SECONDS {
        return None;
    }
    let width = (window.end_us - window.start_us) as f64 / PARTS as f64;
    let mut parts = [Moments::default(); PARTS];
    for (t_us, value) in points.filter(|(t, _)| (window.start_us..window.end_us).contains(t)) {
        let part = ((t_us - window.start_us) as f64 / width) as usize;
        parts[part.min(PARTS - 1)].add(value);
    }
    let means: Vec<f64> = parts.iter().map(Moments::mean).collect::<Option<_>>()?;
    let times: Vec<f64> = (0..PARTS).map(|i| (i as f64 + 0.5) * width / 1e6).collect();
    let line = regress(&times, &means)?;
    let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
    Some(Course { from: mean(&means[..ENDS]), to: mean(&means[PARTS - ENDS..]), line })
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
        course(&self.summary.window, self.cell.timeline.iter().map(|tick| (tick.t_us, value(tick))))
    }

    /// Of a number that a tick counts, per second.
    fn rate(&self, value: impl Fn(&Tick) -> u32) -> Option<Course> {
        self.ticks(|tick| f64::from(value(tick)) * 1e6 / TICK_US as f64)
    }

    /// Of a latency of the good answers, by when they were sent.
    fn latency(&self, value: impl Fn(&crate::analysis::RequestPoint) -> Option<f64>) -> Option<Course> {
        let good = self.cell.points.iter().filter(|p| p.ok);
        let points = good.filter_map(|p| Some(((p.sent_s.max(0.0) * 1e6) as u64, value(p)?)));
        course(&self.summary.window, points)
    }

    fn queue(&self) -> Option<Hit> {
        let overloaded = self.summary.validity.reasons.iter().any(|r| r.signal == OVERLOAD);
        let in_flight = self.ticks(|tick| f64::from(tick.in_flight))?;
        let completed = self.rate(|tick| tick.completed)?;
        let ttft = self.latency(|p| p.ttft_ms);
        let waits_longer =
            ttft.is_some_and(|c| c.rises(1.5) && rose(c.from, c.to, 1.5, client_ms(self.summary)));
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
        let ttft = self.latency(|p| p.ttft_ms)?;
        if !ttft.rises(1.5) || !rose(ttft.from, ttft.to, 1.5, client_ms(self.summary)) {
            return None;
        }
        let evidence = self.change_of("TTFT", &ttft, "ms");
        Some(self.hit(&kinds::TTFT_GROWS, ttft.to / ttft.from, evidence))
    }

    fn tpot(&self) -> Option<Hit> {
        /// Milliseconds that matter, whatever the share.
        const LEAST: f64 = 0.5;
        let tpot = self.latency(|p| p.tpot_ms)?;
        let overshoot = self.summary.validity.signals.get("timer_overshoot_p99_ms").copied().unwrap_or(0.0);
        if !tpot.rises(1.2) || tpot.to - tpot.from <= f64::max(LEAST, overshoot) {
            return None;
        }
        let evidence = self.change_of("TPOT", &tpot, "ms");
        Some(self.hit(&kinds::TPOT_GROWS, tpot.to / tpot.from, evidence))
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
