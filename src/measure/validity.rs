//! Can a cell's figures be believed? Each signal's value is kept, fired or not; a signal that
//! goes past a limit gives a reason, and the worst reason is the verdict.

use std::collections::BTreeMap;

use super::{CellSummary, Reason, Validity, Verdict};
use crate::experiment::{Load, Settings};
use crate::record::{CellRun, EndedBy, TICK_US, Tick, Window};
use crate::stats::{Line, regress, student_t_quantile};

/// |sent/planned − 1| of an open loop.
pub const SENT_WARN: f64 = 0.005;
pub const SENT_INVALID: f64 = 0.02;
/// Lag p99: the greater of milliseconds and a share of the median TTFT.
pub const LAG_WARN: (f64, f64) = (10.0, 0.05);
pub const LAG_INVALID: (f64, f64) = (50.0, 0.20);
/// Growth of the lag, in milliseconds per second.
pub const LAG_GROWTH_INVALID: f64 = 1.0;
/// Overshoot p99 of a 10 ms timer beside the load, in milliseconds.
pub const OVERSHOOT_WARN: f64 = 5.0;
pub const OVERSHOOT_INVALID: f64 = 25.0;
/// CPU share of the busiest load core.
pub const CORE_WARN: f64 = 0.70;
pub const CORE_INVALID: f64 = 0.90;
/// Little's law: |L − X·R|/L.
pub const LITTLE_INVALID: f64 = 0.05;
/// Share of arrivals that pile up in flight, above which an open loop is overloaded.
pub const OVERLOAD_WARN: f64 = 0.02;
/// Share of requests censored at the drain's limit.
pub const CENSORED_WARN: f64 = 0.01;

/// Trends are read from so many batch means, which makes neighbours nearly independent.
const BATCHES: usize = 10;
/// No trend is read from a shorter window, in seconds.
const TREND_SECONDS: f64 = 5.0;
/// Requests below which a trend or Little's law says nothing.
const ENOUGH: u64 = 100;
/// Little's law needs ticks that are short against the window: in seconds.
const LITTLE_SECONDS: f64 = 2.0;

/// What the signals are read from, beside the engine's own account.
pub(super) struct Evidence<'a> {
    pub(super) settings: &'a Settings,
    pub(super) run: &'a CellRun,
    /// Everything but the verdict itself.
    pub(super) summary: &'a CellSummary,
    /// Due time in microseconds and lag in ms of requests that no cap held back.
    pub(super) lags: &'a [(u64, f64)],
    /// X·R, from the records.
    pub(super) in_flight_by_records: f64,
}

/// Judge a cell.
pub(super) fn judge(evidence: &Evidence<'_>) -> Validity {
    let mut court = Court::default();
    schedule_kept(evidence, &mut court);
    client_fit(evidence, &mut court);
    accounts_agree(evidence, &mut court);
    server_steady(evidence, &mut court);
    tokens_known(evidence, &mut court);
    let verdict = court.reasons.iter().map(|r| r.verdict).max().unwrap_or(Verdict::Valid);
    Validity { verdict, reasons: court.reasons, signals: court.signals }
}

/// Signals and reasons as they are found.
#[derive(Default)]
struct Court {
    signals: BTreeMap<String, f64>,
    reasons: Vec<Reason>,
}

impl Court {
    /// Note `value`; when it is past a limit, give the reason that `text` makes of the limit.
    fn hear(
        &mut self,
        signal: &str,
        value: Option<f64>,
        warn: Option<f64>,
        invalid: Option<f64>,
        text: impl Fn(f64, f64) -> String,
    ) {
        let Some(value) = value.filter(|v| v.is_finite()) else { return };
        self.signals.insert(signal.to_owned(), value);
        let past = |limit: Option<f64>| limit.filter(|&limit| value > limit);
        let fired = past(invalid)
            .map(|limit| (Verdict::Invalid, limit))
            .or_else(|| past(warn).map(|limit| (Verdict::Warn, limit)));
        if let Some((verdict, limit)) = fired {
            self.reasons.push(Reason { signal: signal.to_owned(), verdict, text: text(value, limit) });
        }
    }
}

/// Was it sent, and when it was due?
fn schedule_kept(e: &Evidence<'_>, court: &mut Court) {
    let counts = &e.summary.counts;
    let none = (counts.attempted == 0).then_some(1.0);
    court.hear("nothing_due", none, None, Some(0.0), |_, _| "no request was due in the window".to_owned());
    let planned = e.run.planned.filter(|&n| n > 0);
    let off = planned.map(|n| (counts.sent as f64 / n as f64 - 1.0).abs());
    court.hear("sent_off_plan", off, Some(SENT_WARN), Some(SENT_INVALID), |v, limit| {
        format!(
            "{} of {} planned requests were sent, {:.1} % off (limit {:.1} %)",
            counts.sent,
            counts.planned,
            v * 100.0,
            limit * 100.0
        )
    });
    let held = (counts.attempted > 0).then(|| counts.cap_blocked as f64 / counts.attempted as f64);
    court.hear("cap_blocked", held, Some(0.0), None, |v, _| {
        format!(
            "the cap on requests in flight held back {:.1} % of the arrivals: neither open nor closed loop",
            v * 100.0
        )
    });
    let mut lags: Vec<f64> = e.lags.iter().map(|(_, lag)| *lag).collect();
    lags.sort_unstable_by(f64::total_cmp);
    let p99 = crate::stats::quantile(&lags, 0.99);
    // Without streaming there is no TTFT; the whole answer is then what lag is held against.
    let scale = e.summary.value("ttft", "p50").or(e.summary.value("e2e", "p50")).unwrap_or(0.0);
    let limit = |(ms, share): (f64, f64)| Some(f64::max(ms, share * scale));
    court.hear("lag_p99_ms", p99, limit(LAG_WARN), limit(LAG_INVALID), |v, limit| {
        format!("this client sent late: lag p99 {v:.1} ms (limit {limit:.1} ms)")
    });
    let growth = trend(&e.summary.window, e.lags).filter(|_| e.lags.len() as u64 >= ENOUGH);
    let slope = growth.map(|line| if significant(&line) { line.slope } else { 0.0 });
    court.hear("lag_growth_ms_per_s", slope, None, Some(LAG_GROWTH_INVALID), |v, limit| {
        format!("this client fell behind: lag grew by {v:.1} ms a second (limit {limit:.1})")
    });
    let cut = (e.summary.window.ended_by == EndedBy::Interrupt).then_some(1.0);
    court.hear("interrupted", cut, Some(0.0), None, |_, _| "the window was cut short by Ctrl-C".to_owned());
}

/// Had this client time to spare?
fn client_fit(e: &Evidence<'_>, court: &mut Court) {
    let client = &e.run.client;
    let overshoot = client.timer_overshoot_p99_us.iter().max().map(|&us| us as f64 / 1000.0);
    court.hear(
        "timer_overshoot_p99_ms",
        overshoot,
        Some(OVERSHOOT_WARN),
        Some(OVERSHOOT_INVALID),
        |v, limit| {
            format!(
                "a 10 ms timer beside the load woke {v:.1} ms late at p99 (limit {limit:.0} ms): stamps are late too"
            )
        },
    );
    let busiest = client.core_cpu.iter().copied().reduce(f64::max);
    court.hear("busiest_core", busiest, Some(CORE_WARN), Some(CORE_INVALID), |v, limit| {
        format!(
            "the busiest load core used {:.0} % of its time (limit {:.0} %): use more threads or machines",
            v * 100.0,
            limit * 100.0
        )
    });
    let throttled = client.throttled_us.map(|us| us as f64 / 1000.0);
    court.hear("throttled_ms", throttled, None, Some(0.0), |v, _| {
        format!("a CPU quota stopped this client for {v:.0} ms: give its cgroup more")
    });
    court.hear("held_reports", Some(client.held_reports as f64), None, None, |_, _| String::new());
    court.hear("body_waits", Some(client.body_waits as f64), None, None, |_, _| String::new());
}

/// Do the engine's counters and the records tell the same story?
fn accounts_agree(e: &Evidence<'_>, court: &mut Court) {
    let lost = e.run.lost_records.as_ref().map_or(0, |(n, _)| *n);
    court.hear("lost_records", Some(lost as f64), None, Some(0.0), |v, _| {
        let why = e.run.lost_records.as_ref().map_or("", |(_, why)| why);
        format!("{v:.0} records could not be written: {why}")
    });
    let enough = e.summary.counts.sent >= ENOUGH && e.summary.window.seconds() >= LITTLE_SECONDS;
    let little =
        e.run.in_flight_mean.filter(|&l| enough && l > 0.0).map(|l| (l - e.in_flight_by_records).abs() / l);
    court.hear("little", little, None, Some(LITTLE_INVALID), |v, limit| {
        format!(
            "Little's law is off by {:.1} % (limit {:.0} %): the records don't account for the requests in flight",
            v * 100.0,
            limit * 100.0
        )
    });
}

/// Was the server in a state that a longer cell would show as well?
fn server_steady(e: &Evidence<'_>, court: &mut Court) {
    let counts = &e.summary.counts;
    let window = &e.summary.window;
    let censored = (counts.attempted > 0).then(|| counts.censored as f64 / counts.attempted as f64);
    court.hear("censored", censored, Some(CENSORED_WARN), None, |v, _| {
        format!(
            "{:.1} % of the requests had not ended when the drain ran out: the slowest are missing from the latencies",
            v * 100.0
        )
    });
    let warm = e.settings.cell.ramp.as_secs_f64() + e.settings.cell.warmup.as_secs_f64();
    let e2e_s = e.summary.value("e2e_service", "mean").map(|ms| ms / 1000.0).filter(|&s| s > 0.0);
    court.hear("warmup_per_e2e", e2e_s.map(|s| warm / s), None, None, |_, _| String::new());
    let Load::Open { .. } = e.settings.load else { return };
    court.hear(
        "completed_of_due_last_half",
        completed_of_due(window, &e.run.timeline),
        None,
        None,
        |_, _| String::new(),
    );
    let rate = e.summary.value("offered_rps", "").filter(|&r| r > 0.0);
    let level: Vec<(u64, f64)> = e
        .run
        .timeline
        .iter()
        .map(|tick| (tick.t_us + TICK_US - 1, f64::from(tick.in_flight)))
        .filter(|(t, _)| *t >= window.start_us && *t < window.end_us)
        .collect();
    let growth = trend(window, &level).zip(rate).map(|(line, rate)| {
        let share = line.slope / rate;
        if significant(&line) { share } else { share.min(0.0) }
    });
    court.hear("overload", growth, Some(OVERLOAD_WARN), None, |v, limit| {
        format!(
            "overloaded: {:.1} % of the arrivals pile up in flight (limit {:.0} %), so latencies depend on how long the cell ran",
            v * 100.0,
            limit * 100.0
        )
    });
}

/// Are lengths what they are taken for?
fn tokens_known(e: &Evidence<'_>, court: &mut Court) {
    let (counts, tokens) = (&e.summary.counts, &e.summary.tokens);
    let share = |n: u64| (counts.ok > 0).then(|| n as f64 / counts.ok as f64);
    let guessed = tokens.sources.get("chunks").copied().unwrap_or(0);
    court.hear("tokens_guessed", share(guessed), Some(0.0), None, |v, _| {
        format!("output tokens of {:.0} % of the answers are guessed: one a chunk", v * 100.0)
    });
    court.hear("prompt_mismatch", share(tokens.prompt_mismatches), Some(0.0), None, |v, _| {
        format!("{:.0} % of the prompts were not as long as asked, by the server's count", v * 100.0)
    });
    court.hear("output_mismatch", share(tokens.output_mismatches), None, None, |_, _| String::new());
}

/// A line through the batch means of points (time in microseconds, value) over the window,
/// per second. `None` when the window is short or a batch is empty.
fn trend(window: &Window, points: &[(u64, f64)]) -> Option<Line> {
    if window.seconds() < TREND_SECONDS {
        return None;
    }
    let width = (window.end_us - window.start_us) as f64 / BATCHES as f64;
    let mut batches = [(0.0, 0u32); BATCHES];
    for (t, value) in points {
        let place = t.saturating_sub(window.start_us) as f64 / width;
        let (sum, n) = &mut batches[(place as usize).min(BATCHES - 1)];
        *sum += value;
        *n += 1;
    }
    if batches.iter().any(|(_, n)| *n == 0) {
        return None;
    }
    let x: Vec<f64> = (0..BATCHES).map(|i| (i as f64 + 0.5) * width / 1e6).collect();
    let y: Vec<f64> = batches.iter().map(|(sum, n)| sum / f64::from(*n)).collect();
    regress(&x, &y)
}

/// Whether a rise is more than chance, at one-sided 99 %.
fn significant(line: &Line) -> bool {
    line.t > student_t_quantile(0.99, line.df as f64)
}

/// Answers per arrival in the window's last half; `None` without arrivals.
fn completed_of_due(window: &Window, timeline: &[Tick]) -> Option<f64> {
    let half = window.start_us + (window.end_us - window.start_us) / 2;
    let (mut due, mut completed) = (0u64, 0u64);
    for tick in timeline.iter().filter(|t| t.t_us >= half && t.t_us + TICK_US <= window.end_us) {
        due += u64::from(tick.due);
        completed += u64::from(tick.completed);
    }
    (due > 0).then(|| completed as f64 / due as f64)
}
