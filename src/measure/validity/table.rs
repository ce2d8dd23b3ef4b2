//! Every signal of a cell's validity with its limits: judged by, and printed in
//! `docs/methods.md`.

/// What a signal's value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 1 when it is so.
    Flag,
    Count,
    /// Of 1.
    Share,
    Ms,
    Seconds,
    MsPerS,
    Ratio,
}

/// Past what a signal fires.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// It is told and never fires.
    Never,
    /// This value, in the signal's unit.
    Over(f64),
    /// The greater of a value in milliseconds and a share of the median TTFT (of the median
    /// E2E where answers are not streamed).
    OverOrShare(f64, f64),
    /// The greater of a value in milliseconds and a share of the window's length.
    OverOrWindow(f64, f64),
}

impl Limit {
    /// The limit in the signal's unit, where the median latency is `scale_ms` and the window
    /// `window_ms` long.
    #[must_use]
    pub fn value(self, scale_ms: f64, window_ms: f64) -> Option<f64> {
        match self {
            Self::Never => None,
            Self::Over(limit) => Some(limit),
            Self::OverOrShare(ms, share) => Some(f64::max(ms, share * scale_ms)),
            Self::OverOrWindow(ms, share) => Some(f64::max(ms, share * window_ms)),
        }
    }

    /// In words, for a table; empty for none.
    #[must_use]
    pub fn words(self, unit: Unit) -> String {
        match self {
            Self::Never => String::new(),
            Self::Over(0.0) => "any".to_owned(),
            Self::Over(limit) => format!("> {}", unit.words(limit)),
            Self::OverOrShare(ms, share) => {
                format!("> {} and > {} of the median TTFT", unit.words(ms), Unit::Share.words(share))
            }
            Self::OverOrWindow(ms, share) => {
                format!("> {} and > {} of the window", unit.words(ms), Unit::Share.words(share))
            }
        }
    }
}

impl Unit {
    fn words(self, value: f64) -> String {
        match self {
            Self::Flag | Self::Count | Self::Ratio => value.to_string(),
            // Rounded: 0.07 of 1 is not 7.000000000000001 %.
            Self::Share => format!("{} %", (value * 1e5).round() / 1e3),
            Self::Ms => format!("{value} ms"),
            Self::Seconds => format!("{value} s"),
            Self::MsPerS => format!("{value} ms/s"),
        }
    }
}

/// One signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signal {
    /// Its key in a summary's `validity.signals`.
    pub name: &'static str,
    pub unit: Unit,
    pub warn: Limit,
    pub invalid: Limit,
    pub help: &'static str,
}

const fn signal(name: &'static str, unit: Unit, warn: Limit, invalid: Limit, help: &'static str) -> Signal {
    Signal { name, unit, warn, invalid, help }
}

use Limit::{Never, Over, OverOrShare, OverOrWindow};
use Unit::{Count, Flag, Ms, MsPerS, Ratio, Seconds, Share};

const ANY: Limit = Over(0.0);

pub(super) const NOTHING_DUE: Signal =
    signal("nothing_due", Flag, Never, ANY, "No request was due in the window.");
pub(super) const NOTHING_ANSWERED: Signal = signal(
    NOTHING_ANSWERED_NAME,
    Flag,
    Never,
    ANY,
    "Requests were due in the window and none was answered: there is nothing but failures to tell of.",
);
pub(super) const SENT_OFF_PLAN: Signal = signal(
    "sent_off_plan",
    Share,
    Over(0.005),
    Over(0.02),
    "Open loop: how far the number sent is off the number that the schedule had, |sent/planned − 1|.",
);
pub(super) const CAP_BLOCKED: Signal = signal(
    "cap_blocked",
    Share,
    ANY,
    Never,
    "Arrivals that the cap on requests in flight held back: the cell is neither open nor closed.",
);
pub(super) const LAG_P99: Signal = signal(
    "lag_p99_ms",
    Ms,
    OverOrShare(10.0, 0.05),
    OverOrShare(50.0, 0.20),
    "How late this client sent, p99; what the cap held back left out.",
);
pub(super) const LAG_GROWTH: Signal = signal(
    "lag_growth_ms_per_s",
    MsPerS,
    Never,
    Over(1.0),
    "Slope of the lag over ten batch means, where it is more than chance (one-sided 99 %). Read from 100 requests and 5 s on.",
);
pub(super) const INTERRUPTED: Signal =
    signal("interrupted", Flag, Never, ANY, "Cut short by Ctrl-C; the cell is run again on resume.");
pub(super) const UNANSWERED: Signal = signal(
    "unanswered",
    Flag,
    ANY,
    Never,
    "Nothing was answered and the first hundred requests failed: the cell was closed early.",
);
pub(super) const WORKERS_LOST: Signal = signal(
    WORKERS_LOST_NAME,
    Count,
    Never,
    ANY,
    "Workers that were lost while the cell ran: what they sent and had not handed over is not known. The cell is run again on resume.",
);
pub(super) const CLOCK_DOUBT: Signal = signal(
    "clock_doubt_ms",
    Ms,
    OverOrShare(10.0, 0.05),
    OverOrShare(50.0, 0.20),
    "How far the clocks of two workers may have been apart, by questions and answers before and after the cell: requests of different workers were sent against each other by no more than that off the schedule. No latency goes from one clock to another.",
);
pub(super) const TIMER_OVERSHOOT: Signal = signal(
    "timer_overshoot_p99_ms",
    Ms,
    Over(5.0),
    Over(25.0),
    "How late a 10 ms timer beside the load woke, p99 of the worst load core: stamps are as late. Read from 1 s on.",
);
pub(super) const LONGEST_STALL: Signal = signal(
    "longest_stall_ms",
    Ms,
    Over(100.0),
    OverOrWindow(200.0, 0.01),
    "The latest that the same timer woke, from the window's start to the end of the drain, of the worst load core: for so long nothing was sent or stamped. A single stall is not in the p99.",
);
pub(super) const BUSIEST_CORE: Signal = signal(
    "busiest_core",
    Share,
    Over(0.70),
    Over(0.90),
    "Share of its time that the busiest load core worked. Read from 1 s on.",
);
pub(super) const CHUNK_RATE: Signal = signal(
    "chunk_rate",
    Share,
    Over(0.50),
    Over(0.80),
    "Content chunks a second of the busiest load core, of what a core of this machine can do in a flood. Read from 1 s on, where `plimsoll calibrate` has run.",
);
pub(super) const REQUEST_RATE: Signal = signal(
    "request_rate",
    Share,
    Over(0.50),
    Over(0.80),
    "Requests a second that ended on the busiest load core, of the short ones that a core of this machine can do. Read likewise.",
);
pub(super) const THROTTLED: Signal = signal(
    "throttled_ms",
    Ms,
    Never,
    ANY,
    "Time that a CPU quota on this process's control group, or on one above it, took from it from the window's start to the end of the drain, summed over processors.",
);
pub(super) const SUSPENDED: Signal = signal(
    "suspended_ms",
    Ms,
    Never,
    Over(10.0),
    "Time in which the machine was suspended during the cell: the stamps' clock stood still, the server's did not.",
);
pub(super) const WALL_STEP: Signal = signal(
    "wall_step_ms",
    Ms,
    Over(50.0),
    Never,
    "Largest step of the wall clock during the cell, either way: latencies are by another clock, but the cell's dates are off against other machines' logs.",
);
pub(super) const HELD_REPORTS: Signal = signal(
    "held_reports",
    Count,
    Never,
    Never,
    "Times that records waited on a load core because the disk or the display was behind.",
);
pub(super) const BODY_WAITS: Signal =
    signal("body_waits", Count, Never, Never, "Requests that were wanted before their body was made.");
pub(super) const SINGLE_READ: Signal = signal(
    "single_read",
    Share,
    Over(0.05),
    Never,
    "Good streamed answers of several chunks that this client read all at once, so that the first and the last have one stamp: their TTFT is the whole answer's time and their TPOT 0.",
);
pub(super) const LOST_RECORDS: Signal =
    signal("lost_records", Count, Never, ANY, "Records that could not be written, as on a full disk.");
pub(super) const LITTLE: Signal = signal(
    "little",
    Share,
    Never,
    Over(0.05),
    "Little's law, |L − X·R|/L: the engine's own count in flight against the records'. Read from 100 requests and 2 s on.",
);
pub(super) const CENSORED: Signal = signal(
    "censored",
    Share,
    Over(0.01),
    Never,
    "Requests still unanswered when the drain ran out: the slowest are missing from the latencies.",
);
pub(super) const RETRIES: Signal = signal(
    "retries",
    Share,
    Over(0.01),
    Never,
    "Requests sent a second time because a kept connection had died: their latencies hold both tries. Read from ten for each load core on.",
);
pub(super) const E2E_PER_WARMUP: Signal = signal(
    "e2e_per_warmup",
    Ratio,
    Over(1.0),
    Never,
    "Mean end-to-end latency over ramp and warm-up: above 1 the window opens before the first answers have ended. Not read where there is no warm-up.",
);
pub(super) const COMPLETED_OF_DUE: Signal = signal(
    "completed_of_due_last_half",
    Ratio,
    Never,
    Never,
    "Open loop: answers per arrival in the last half of the window. Not read of bursts, nor where stages change the load.",
);
pub(super) const OVERLOAD: Signal = signal(
    "overload",
    Share,
    Over(0.02),
    Never,
    "Open loop: share of the arrivals that pile up in flight, from ten batch means, where it is more than chance (one-sided 99 %, and a pile of more than 3 √L). Read from 5 s on; not of bursts, nor where stages change the load.",
);
pub(super) const MSER_CUT: Signal = signal(
    "mser_cut_s",
    Seconds,
    Never,
    Never,
    "What MSER-5 would cut off the window's beginning, the latest of in flight, TTFT by the order of sending, and output. Nothing is cut. Read from 10 s and ten times the mean time from an answer's first token to its last on; not where stages change the load.",
);
pub(super) const NOT_STEADY: Signal = signal(
    "not_steady",
    Ratio,
    Over(3.0),
    Never,
    "How far the window's halves are apart, in standard deviations within them, in a series whose MSER-5 cut is at its limit, half of the window; 0 where none is, or where they differ by less than 10 %. Read as `mser_cut_s`.",
);
pub(super) const TOKENS_GUESSED: Signal = signal(
    "tokens_guessed",
    Share,
    ANY,
    Never,
    "Answers whose tokens are guessed, one a chunk, for want of `usage` and text.",
);
pub(super) const PROMPT_MISMATCH: Signal =
    signal("prompt_mismatch", Share, ANY, Never, "Prompts not as long as asked, by the server's count.");
pub(super) const OUTPUT_MISMATCH: Signal =
    signal("output_mismatch", Share, Never, Never, "Answers not as long as asked.");
const CONTAMINATED: Signal = signal(
    CONTAMINATED_NAME,
    Flag,
    ANY,
    Never,
    "The server was still busy with the last cell when this one began. Judged by the sweep.",
);
const DATA_AGAIN: Signal = signal(
    DATA_AGAIN_NAME,
    Flag,
    ANY,
    Never,
    "A data set was gone through more than once, so a server that keeps what it made of prompts may have answered from it. Judged by the sweep.",
);
pub(super) const SERVER_COUNTS: Signal = signal(
    SERVER_COUNTS_NAME,
    Share,
    Over(0.01),
    Never,
    "How far the server's own count of requests that ended well, of prompt tokens or of output tokens, over the whole cell, is beyond what this client can have caused, as a share of this client's; 0 where it is by no more than two requests. Read where the server's figures are (`[observe]`).",
);
/// The signal of counts of server and client that don't agree.
pub const SERVER_COUNTS_NAME: &str = "server_counts";
/// The signal of a cell that went through its data set more than once.
pub const DATA_AGAIN_NAME: &str = "data_again";
/// The signal of a cell in which no request due in the window was answered.
pub const NOTHING_ANSWERED_NAME: &str = "nothing_answered";
/// Name of the signal of a cell that lost a worker.
pub const WORKERS_LOST_NAME: &str = "workers_lost";
/// The signal that is judged between cells, not from a cell's own records.
pub const CONTAMINATED_NAME: &str = "contaminated";

/// All signals, in the order in which they are judged.
pub const SIGNALS: &[Signal] = &[
    NOTHING_DUE,
    NOTHING_ANSWERED,
    SENT_OFF_PLAN,
    CAP_BLOCKED,
    LAG_P99,
    LAG_GROWTH,
    INTERRUPTED,
    UNANSWERED,
    WORKERS_LOST,
    CLOCK_DOUBT,
    TIMER_OVERSHOOT,
    LONGEST_STALL,
    BUSIEST_CORE,
    CHUNK_RATE,
    REQUEST_RATE,
    THROTTLED,
    SUSPENDED,
    WALL_STEP,
    HELD_REPORTS,
    BODY_WAITS,
    SINGLE_READ,
    LOST_RECORDS,
    LITTLE,
    CENSORED,
    RETRIES,
    E2E_PER_WARMUP,
    MSER_CUT,
    NOT_STEADY,
    COMPLETED_OF_DUE,
    OVERLOAD,
    TOKENS_GUESSED,
    PROMPT_MISMATCH,
    OUTPUT_MISMATCH,
    CONTAMINATED,
    DATA_AGAIN,
    SERVER_COUNTS,
];
