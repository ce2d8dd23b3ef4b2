//! Can a cell's figures be believed? Each signal's value is kept, fired or not; a signal that
//! goes past a limit gives a reason, and the worst reason is the verdict.

mod steady;
mod table;

use std::collections::BTreeMap;

use super::totals::Lags;
use super::trend::Batches;
use super::{CellSummary, Reason, Validity, Verdict};
use crate::experiment::{Arrivals, Load, Settings};
use crate::record::{CellRun, ClientHealth, EndedBy, TICK_US, Tick, Window};
use crate::stats::{Line, student_t_quantile};

pub(super) use steady::BySending;
pub use table::{
    CONTAMINATED_NAME, DATA_AGAIN_NAME, Limit, NOTHING_ANSWERED_NAME, SERVER_COUNTS_NAME, SIGNALS, Signal,
    Unit, WORKERS_LOST_NAME,
};

/// Standard deviations of a steady number in flight that a pile has to exceed.
const CHANCE_SD: f64 = 3.0;
/// Requests below which a trend or Little's law says nothing.
const ENOUGH: u64 = 100;
/// Retries of a load core below which they say nothing.
const RETRIES_PER_CORE: u64 = 10;
/// Little's law needs ticks that are short against the window: in seconds.
const LITTLE_SECONDS: f64 = 2.0;
/// What a load core did in a window that is shorter says nothing of what it could do: in
/// milliseconds.
const CORE_MS: f64 = 1000.0;

/// What the signals are read from, beside the engine's own account.
pub(super) struct Evidence<'a> {
    pub(super) settings: &'a Settings,
    pub(super) run: &'a CellRun,
    /// Everything but the verdict itself.
    pub(super) summary: &'a CellSummary,
    /// Of requests that no cap held back.
    pub(super) lags: &'a Lags,
    /// TTFT of the good answers due in the window, by when they were asked for.
    pub(super) ttft: &'a BySending,
    /// X·R, from the records.
    pub(super) in_flight_by_records: f64,
    /// Share of the good streamed answers of several chunks that came in a single read.
    pub(super) single_read: Option<f64>,
}

/// Judge a cell.
pub(super) fn judge(evidence: &Evidence<'_>) -> Validity {
    // Without streaming there is no TTFT; the whole answer is then what lag is held against.
    let summary = evidence.summary;
    let scale_ms = summary.value("ttft", "p50").or(summary.value("e2e", "p50")).unwrap_or(0.0);
    let window_ms = summary.window.seconds() * 1000.0;
    let mut court = Court { scale_ms, window_ms, signals: BTreeMap::new(), reasons: Vec::new() };
    schedule_kept(evidence, &mut court);
    workers_as_one(evidence, &mut court);
    client_fit(evidence, &mut court);
    accounts_agree(evidence, &mut court);
    server_steady(evidence, &mut court);
    tokens_known(evidence, &mut court);
    let verdict = court.reasons.iter().map(|r| r.verdict).max().unwrap_or(Verdict::Valid);
    Validity { verdict, reasons: court.reasons, signals: court.signals }
}

/// Judge how the server's counts stand to this client's: the share by which they are off, and what
/// that says.
pub(super) fn hear_server(validity: &mut Validity, off: Option<(f64, String)>) {
    let mut court = Court { scale_ms: 0.0, window_ms: 0.0, signals: BTreeMap::new(), reasons: Vec::new() };
    court.hear(&table::SERVER_COUNTS, off.as_ref().map(|(off, _)| *off), |_, _| {
        off.as_ref().map(|(_, text)| text.clone()).unwrap_or_default()
    });
    validity.signals.extend(court.signals);
    court.reasons.into_iter().for_each(|reason| validity.add(&reason.signal, reason.verdict, reason.text));
}

/// Signals and reasons as they are found.
struct Court {
    /// What limits that are shares of a latency are taken of.
    scale_ms: f64,
    window_ms: f64,
    signals: BTreeMap<String, f64>,
    reasons: Vec<Reason>,
}

impl Court {
    /// Note `value`; when it is past a limit, give the reason that `text` makes of the value
    /// and the limit.
    fn hear(&mut self, signal: &Signal, value: Option<f64>, text: impl Fn(f64, f64) -> String) {
        let Some(value) = value.filter(|v| v.is_finite()) else { return };
        self.signals.insert(signal.name.to_owned(), value);
        let past = |limit: Limit| limit.value(self.scale_ms, self.window_ms).filter(|&limit| value > limit);
        let fired = past(signal.invalid)
            .map(|limit| (Verdict::Invalid, limit))
            .or_else(|| past(signal.warn).map(|limit| (Verdict::Warn, limit)));
        if let Some((verdict, limit)) = fired {
            self.reasons.push(Reason { signal: signal.name.to_owned(), verdict, text: text(value, limit) });
        }
    }

    /// Note a value that has no limits.
    fn note(&mut self, signal: &Signal, value: Option<f64>) {
        self.hear(signal, value, |_, _| String::new());
    }
}

/// Was it sent, and when it was due?
fn schedule_kept(e: &Evidence<'_>, court: &mut Court) {
    let counts = &e.summary.counts;
    let none = (counts.attempted == 0).then_some(1.0);
    court.hear(&table::NOTHING_DUE, none, |_, _| {
        "no request was due in the window: make cell.duration longer than an answer takes".to_owned()
    });
    // What this client cut off on purpose may well have been under way.
    let silent = counts.attempted > 0 && counts.ok == 0 && counts.cancelled == 0;
    court.hear(&table::NOTHING_ANSWERED, silent.then_some(1.0), |_, _| {
        let became = [
            (counts.failed, "failed"),
            (counts.censored, "had not ended when the drain ran out"),
            (counts.dropped, "could not be sent"),
        ];
        let became: Vec<String> =
            became.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        format!("no request due in the window was answered: {}", became.join(", "))
    });
    // With what followed from answers: no schedule had those, and they are sent as well.
    let planned = e.run.planned.map(|_| counts.planned).filter(|&n| n > 0);
    let off = planned.map(|n| (counts.sent as f64 / n as f64 - 1.0).abs());
    court.hear(&table::SENT_OFF_PLAN, off, |v, limit| {
        format!(
            "{} of {} planned requests were sent, {:.1} % off (limit {:.1} %)",
            counts.sent,
            counts.planned,
            v * 100.0,
            limit * 100.0
        )
    });
    let held = (counts.attempted > 0).then(|| counts.cap_blocked as f64 / counts.attempted as f64);
    court.hear(&table::CAP_BLOCKED, held, |v, _| {
        format!(
            "the cap on requests in flight held back {:.1} % of the arrivals: neither open nor closed loop",
            v * 100.0
        )
    });
    court.hear(&table::LAG_P99, e.lags.p99, |v, limit| {
        format!("this client sent late: lag p99 {v:.1} ms (limit {limit:.1} ms)")
    });
    let growth = e.lags.trend.filter(|_| e.lags.n >= ENOUGH);
    let slope = growth.map(|line| if significant(&line) { line.slope } else { 0.0 });
    court.hear(&table::LAG_GROWTH, slope, |v, limit| {
        format!("this client fell behind: lag grew by {v:.1} ms a second (limit {limit:.1})")
    });
    let ended = |by: EndedBy| (e.summary.window.ended_by == by).then_some(1.0);
    court.hear(&table::INTERRUPTED, ended(EndedBy::Interrupt), |_, _| {
        "the cell was cut short by Ctrl-C".to_owned()
    });
    court.hear(&table::UNANSWERED, ended(EndedBy::Unanswered), |_, _| {
        format!("nothing was answered: the cell was closed early, after {} failed requests", counts.failed)
    });
}

/// Where several machines drove the cell: were they as one?
fn workers_as_one(e: &Evidence<'_>, court: &mut Court) {
    let client = &e.run.client;
    if client.core_worker.is_empty() && client.lost_workers.is_empty() {
        return;
    }
    court.hear(&table::WORKERS_LOST, Some(client.lost_workers.len() as f64), |_, _| {
        format!(
            "a worker was lost, and with it what it had not handed over: {}",
            client.lost_workers.join("; ")
        )
    });
    let doubt = client.clock_doubt_us.map(|us| us as f64 / 1000.0);
    court.hear(&table::CLOCK_DOUBT, doubt, |v, limit| {
        format!(
            "the workers' clocks may be {v:.1} ms apart (limit {limit:.1} ms): together they may have kept the schedule              worse than each for itself"
        )
    });
}

/// Had this client time to spare?
fn client_fit(e: &Evidence<'_>, court: &mut Court) {
    let client = &e.run.client;
    let on = on_worker(client, &client.timer_overshoot_p99_us);
    let overshoot = client.timer_overshoot_p99_us.iter().max().map(|&us| us as f64 / 1000.0);
    court.hear(
        &table::TIMER_OVERSHOOT,
        overshoot,
        |v, limit| {
            format!(
                "a 10 ms timer beside the load{on} woke {v:.2} ms late at p99 (limit {limit:.0} ms): stamps are late too"
            )
        },
    );
    let stall = client.longest_stall_us.iter().max().map(|&us| us as f64 / 1000.0);
    let on = on_worker(client, &client.longest_stall_us);
    court.hear(&table::LONGEST_STALL, stall, |v, limit| {
        format!(
            "this client{on} stood still for {v:.0} ms (limit {limit:.0} ms): whatever was due or came then was sent or \
             stamped late"
        )
    });
    let long = court.window_ms >= CORE_MS;
    let busiest = client.core_cpu.iter().copied().reduce(f64::max).filter(|_| long);
    let on = on_worker(client, &client.core_cpu);
    court.hear(&table::BUSIEST_CORE, busiest, |v, limit| {
        format!(
            "the busiest load core{on} used {:.0} % of its time (limit {:.0} %): use more threads or machines",
            v * 100.0,
            limit * 100.0
        )
    });
    if long {
        rates_below_ceiling(client, court);
    }
    let throttled = client.throttled_us.map(|us| us as f64 / 1000.0);
    court.hear(&table::THROTTLED, throttled, |v, _| {
        format!("throttled: a CPU quota stopped this client for {v:.0} ms, summed over processors: give its control group more")
    });
    let ms = |us: Option<u64>| us.map(|us| us as f64 / 1000.0);
    court.hear(&table::SUSPENDED, ms(client.suspended_us), |v, _| {
        format!("this machine was suspended for {:.1} s: latencies leave that time out", v / 1000.0)
    });
    court.hear(&table::WALL_STEP, ms(client.wall_step_us), |v, _| {
        format!("the wall clock was set by {v:.0} ms: latencies are right, the cell's dates may not be")
    });
    court.note(&table::HELD_REPORTS, Some(client.held_reports as f64));
    court.note(&table::BODY_WAITS, Some(client.body_waits as f64));
    court.hear(&table::SINGLE_READ, e.single_read, |v, _| {
        format!(
            "{:.0} % of the answers came in a single read: their TTFT is the whole answer's time and their TPOT 0; the \
             server, or something between, holds answers back, or this client was too busy to read them",
            v * 100.0
        )
    });
}

/// The worker with the greatest of the load cores' `values`, where workers drove the cell.
fn on_worker<T: PartialOrd>(client: &ClientHealth, values: &[T]) -> String {
    let greatest = (0..values.len()).reduce(|a, b| if values[b] > values[a] { b } else { a });
    match greatest.filter(|_| values.len() == client.core_worker.len()) {
        Some(core) => format!(" (worker {})", client.core_worker[core]),
        None => String::new(),
    }
}

/// How near was the busiest load core to what one of this machine was found to do?
fn rates_below_ceiling(client: &ClientHealth, court: &mut Court) {
    let Some(ceiling) = client.ceiling else { return };
    let busiest = |rates: &[f64], most: f64| {
        rates.iter().copied().reduce(f64::max).filter(|_| most > 0.0).map(|rate| rate / most)
    };
    let text = |what: &str, v: f64, limit: f64| {
        format!(
            "the busiest load core took in {what} at {:.0} % of its calibrated ceiling (limit {:.0} %): use more threads or machines",
            v * 100.0,
            limit * 100.0
        )
    };
    let chunks = busiest(&client.core_chunks_per_s, ceiling.chunks_per_s);
    court.hear(&table::CHUNK_RATE, chunks, |v, limit| text("chunks", v, limit));
    let requests = busiest(&client.core_requests_per_s, ceiling.requests_per_s);
    court.hear(&table::REQUEST_RATE, requests, |v, limit| text("answers", v, limit));
}

/// Do the engine's counters and the records tell the same story?
fn accounts_agree(e: &Evidence<'_>, court: &mut Court) {
    let lost = e.run.lost_records.as_ref().map_or(0, |(n, _)| *n);
    court.hear(&table::LOST_RECORDS, Some(lost as f64), |v, _| {
        let why = e.run.lost_records.as_ref().map_or("", |(_, why)| why);
        format!("{v:.0} records could not be written: {why}")
    });
    let enough = e.summary.counts.sent >= ENOUGH && e.summary.window.seconds() >= LITTLE_SECONDS;
    let little =
        e.run.in_flight_mean.filter(|&l| enough && l > 0.0).map(|l| (l - e.in_flight_by_records).abs() / l);
    court.hear(&table::LITTLE, little, |v, limit| {
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
    court.hear(&table::CENSORED, censored, |v, _| {
        format!(
            "{:.1} % of the requests had not ended when the drain ran out: the slowest are missing from the latencies",
            v * 100.0
        )
    });
    let retried = (counts.attempted > 0 && counts.retries >= retries_that_count(&e.run.client))
        .then(|| counts.retries as f64 / counts.attempted as f64);
    court.hear(&table::RETRIES, retried, |v, limit| {
        format!(
            "{:.1} % of the requests were sent a second time, as their kept connection had died (limit {:.0} %): \
             their latencies hold both tries",
            v * 100.0,
            limit * 100.0
        )
    });
    let warm = e.settings.cell.ramp.as_secs_f64() + e.settings.cell.warmup.as_secs_f64();
    let e2e_s = e.summary.value("e2e_service", "mean").map(|ms| ms / 1000.0).filter(|&s| s > 0.0);
    let e2e_per_warmup = e2e_s.filter(|_| warm > 0.0).map(|s| s / warm);
    court.hear(&table::E2E_PER_WARMUP, e2e_per_warmup, |v, _| {
        format!(
            "an answer takes {v:.1} times as long as the warm-up did: the window opened before the load had settled"
        )
    });
    let mean_s = |metric| e.summary.value(metric, "mean").map(|ms| ms / 1000.0);
    let answer_s = mean_s("e2e").map(|e2e| e2e - mean_s("ttft").unwrap_or(0.0));
    // A window whose load changes by plan is not meant to be steady.
    let level = !e.settings.level_changes();
    let steadiness = level.then(|| steady::steadiness(window, &e.run.timeline, e.ttft, answer_s)).flatten();
    court.note(&table::MSER_CUT, steadiness.map(|s| s.cut_s));
    court.hear(&table::NOT_STEADY, steadiness.map(|s| s.shift), |_, _| {
        let of = steadiness.map_or("", |s| s.of);
        format!("not steady: by MSER-5 half of the window is a beginning, as {of} differs between its halves by more than chance")
    });
    let Load::Open { arrivals, .. } = e.settings.load else { return };
    // Nor does what piles up in a stage say anything of the window; of bursts as much is held back
    // as is not answered in time, and never more in flight.
    if !level || matches!(arrivals, Arrivals::Burst { .. }) {
        return;
    }
    court.note(&table::COMPLETED_OF_DUE, completed_of_due(window, &e.run.timeline));
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
        // Numbers in flight of a server that keeps up vary by about the root of their mean,
        // and neighbours are alike: a short window can show a slope that isn't there.
        let by_chance = CHANCE_SD * (mean_of(&level)).sqrt();
        let piled = line.slope * window.seconds();
        if significant(&line) && piled > by_chance { share } else { share.min(0.0) }
    });
    court.hear(&table::OVERLOAD, growth, |v, limit| {
        format!(
            "overloaded: {:.1} % of the arrivals pile up in flight (limit {:.0} %), so latencies depend on how long the cell ran",
            v * 100.0,
            limit * 100.0
        )
    });
}

/// Retries from which on they are told. A load core keeps no connections any more once three
/// have died: a server that closes each stays below, but for requests that it meets all at once.
fn retries_that_count(client: &ClientHealth) -> u64 {
    RETRIES_PER_CORE * client.longest_stall_us.len().max(1) as u64
}

/// Are lengths what they are taken for?
fn tokens_known(e: &Evidence<'_>, court: &mut Court) {
    let (counts, tokens) = (&e.summary.counts, &e.summary.tokens);
    let share = |n: u64| (counts.ok > 0).then(|| n as f64 / counts.ok as f64);
    let guessed = tokens.sources.get("chunks").copied().unwrap_or(0);
    court.hear(&table::TOKENS_GUESSED, share(guessed), |v, _| {
        format!("output tokens of {:.0} % of the answers are guessed: one a chunk", v * 100.0)
    });
    court.hear(&table::PROMPT_MISMATCH, share(tokens.prompt_mismatches), |v, _| {
        format!("{:.0} % of the prompts were not as long as asked, by the server's count", v * 100.0)
    });
    court.note(&table::OUTPUT_MISMATCH, share(tokens.output_mismatches));
}

/// A line through the batch means of points (time in microseconds, value) over the window,
/// per second.
fn trend(window: &Window, points: &[(u64, f64)]) -> Option<Line> {
    let mut batches = Batches::new(*window);
    points.iter().for_each(|&(t, value)| batches.add(t, value));
    batches.line()
}

/// Whether a rise is more than chance, at one-sided 99 %.
fn significant(line: &Line) -> bool {
    line.t > student_t_quantile(0.99, line.df as f64)
}

fn mean_of(points: &[(u64, f64)]) -> f64 {
    points.iter().map(|(_, value)| value).sum::<f64>() / points.len().max(1) as f64
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
