//! What the load half hands over: one record per arrival, and what a cell came to beside them.
//!
//! A record says what was asked of the server, what came back, and when.
//!
//! Every arrival of a schedule yields exactly one [`RequestRecord`], whatever becomes of
//! it: a failed or dropped request is data, not an error. All times are microseconds since
//! the cell's epoch, on the monotonic clock of the process; the epoch's wall-clock time is
//! stored once per cell.

mod answer;
mod cell_run;
pub mod inside;
mod observed;
mod trace;

pub use answer::{ANSWER_CHARS, BODY_CHARS, Excerpt, KeptAnswer, PROMPT_CHARS, Texts};
pub use cell_run::{Ceiling, CellRun, ClientHealth, EndedBy, StageWindow, TICK_US, Tick, Window};
pub use observed::{Observed, ObservedLook, ObservedSeries, Reading, ReadingKind, labels};
pub use trace::{TraceId, Traces};

use serde::{Deserialize, Serialize};

/// The part of a cell in which a request was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Load is still rising to the cell's level.
    Ramp,
    /// Full load, not yet measured.
    Warmup,
    /// Due inside the measured window: the population of every latency figure.
    Measure,
}

/// What became of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A whole answer.
    Ok,
    /// The stream ended without its end marker and finish reason.
    Truncated,
    /// The server answered with a status other than 2xx.
    HttpError,
    /// One of the time-outs (connect, first token, between chunks, whole) ran out.
    Timeout,
    /// No connection could be made.
    ConnectError,
    /// The connection broke after the request was sent.
    Reset,
    /// The answer could not be decoded, or bore an error object in mid-stream.
    BadStream,
    /// An open-loop arrival that could never be sent.
    Dropped,
    /// Still in flight when the drain's limit ran out: censored, neither good nor failed.
    Censored,
    /// Cut off by this client on purpose (`workload.cancel`): neither good nor failed.
    Cancelled,
}

impl Outcome {
    /// All outcomes, in the order in which they are reported.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::Truncated,
        Self::HttpError,
        Self::Timeout,
        Self::ConnectError,
        Self::Reset,
        Self::BadStream,
        Self::Dropped,
        Self::Censored,
        Self::Cancelled,
    ];

    /// The word for it in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Truncated => "truncated",
            Self::HttpError => "http_error",
            Self::Timeout => "timeout",
            Self::ConnectError => "connect_error",
            Self::Reset => "reset",
            Self::BadStream => "bad_stream",
            Self::Dropped => "dropped",
            Self::Censored => "censored",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it counts into the error rate. Dropped arrivals, censored and cancelled requests
    /// are counted apart.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Ok | Self::Dropped | Self::Censored | Self::Cancelled)
    }
}

/// Where a request's count of output tokens comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    /// The server's own `usage`.
    Usage,
    /// Counted here with a tokenizer over the answer's text.
    Tokenizer,
    /// The number of content chunks: a guess, one token a chunk.
    Chunks,
}

impl TokenSource {
    /// The word for it in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Tokenizer => "tokenizer",
            Self::Chunks => "chunks",
        }
    }
}

/// One arrival. `None` is "not known" or "did not happen", never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Number of the arrival in the cell's global schedule, from 0; unique in the cell.
    pub seq: u64,
    /// The closed-loop user that sent it.
    pub user: Option<u32>,
    /// The load core that sent it.
    pub shard: u32,
    /// The part of the cell in which it was due.
    pub phase: Phase,

    /// When the schedule wanted it sent.
    pub intended_us: u64,
    /// When it was handed to the HTTP client, which connects first where it must.
    pub sent_us: Option<u64>,
    /// When the answer's status line and headers had come.
    pub headers_us: Option<u64>,
    /// First non-empty content, reasoning or tool-call delta.
    pub first_token_us: Option<u64>,
    /// First non-reasoning content.
    pub first_visible_us: Option<u64>,
    /// Second content chunk.
    pub second_chunk_us: Option<u64>,
    /// Last content chunk.
    pub last_token_us: Option<u64>,
    /// End of the stream, or the moment of failure.
    pub end_us: Option<u64>,

    /// Prompt length asked for, in tokens.
    pub prompt_tokens_asked: u32,
    /// Prompt length as this client counted it before sending.
    pub prompt_tokens_counted: Option<u32>,
    /// Prompt length as the server reported it.
    pub prompt_tokens: Option<u32>,
    /// `max_tokens` asked for.
    pub max_tokens: u32,
    /// Output tokens, by `token_source`.
    pub output_tokens: Option<u32>,
    /// Prompt tokens that the server took from its prefix cache, if it said so.
    pub cached_tokens: Option<u32>,
    /// Where `output_tokens` comes from.
    pub token_source: Option<TokenSource>,

    /// Content-bearing chunks.
    pub chunks: u32,
    /// Content-bearing chunks stamped inside the measured window.
    pub chunks_in_window: u32,
    /// Largest gap between two content chunks, in microseconds.
    pub max_gap_us: Option<u64>,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// HTTP status.
    pub status: Option<u16>,
    /// The server's reason for stopping.
    pub finish_reason: Option<String>,
    /// Times the request was sent again because a kept-alive connection was found dead
    /// before any byte of an answer.
    pub retries: u32,
    /// A cap on requests in flight held it back.
    pub cap_blocked: bool,
    /// What became of it.
    pub outcome: Outcome,
    /// Class of the failure: `connect`, `429`, `3xx`, `4xx`, `503`, `5xx`, `timeout_connect`,
    /// `timeout_first_token`, `timeout_stall`, `timeout_total`, `reset`, `bad_stream`,
    /// `server_error` (an error object in mid-stream), `truncated`.
    pub error_class: Option<String>,
    /// The failure in the server's or the system's words, at most 300 characters.
    pub detail: Option<String>,

    /// The task of a mix that it belongs to, by name.
    #[serde(default)]
    pub task: Option<String>,
    /// The endpoint of several that it went to, by name.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The stage of the cell in which it was due, by name.
    #[serde(default)]
    pub stage: Option<String>,
    /// The conversation that it is a turn of; unique in the cell.
    #[serde(default)]
    pub session: Option<u64>,
    /// Its place in that conversation, from 0.
    #[serde(default)]
    pub turn: Option<u32>,
    /// Time to first token as the server reports it, in microseconds.
    #[serde(default)]
    pub server_ttft_us: Option<u64>,
    /// Time of the whole request as the server reports it, in microseconds.
    #[serde(default)]
    pub server_e2e_us: Option<u64>,
    /// Answers that it asked for at once (`n`), where more than one. `max_tokens` is the length
    /// of each, all else counts over all of them.
    #[serde(default)]
    pub choices: Option<u32>,
    /// The trace whose name it bore in `traceparent`: 32 hexadecimal digits. `None`: it bore none.
    #[serde(default)]
    pub trace_id: Option<String>,
}

impl RequestRecord {
    /// Output tokens asked for, over all answers.
    #[must_use]
    pub fn output_asked(&self) -> u64 {
        u64::from(self.max_tokens) * u64::from(self.choices.unwrap_or(1))
    }

    /// A record of arrival `seq`, of which nothing else is known yet.
    #[must_use]
    pub const fn blank(seq: u64) -> Self {
        Self {
            seq,
            user: None,
            shard: 0,
            phase: Phase::Measure,
            intended_us: 0,
            sent_us: None,
            headers_us: None,
            first_token_us: None,
            first_visible_us: None,
            second_chunk_us: None,
            last_token_us: None,
            end_us: None,
            prompt_tokens_asked: 0,
            prompt_tokens_counted: None,
            prompt_tokens: None,
            max_tokens: 0,
            output_tokens: None,
            cached_tokens: None,
            token_source: None,
            chunks: 0,
            chunks_in_window: 0,
            max_gap_us: None,
            bytes: 0,
            status: None,
            finish_reason: None,
            retries: 0,
            cap_blocked: false,
            outcome: Outcome::Dropped,
            error_class: None,
            detail: None,
            task: None,
            endpoint: None,
            stage: None,
            session: None,
            turn: None,
            server_ttft_us: None,
            server_e2e_us: None,
            choices: None,
            trace_id: None,
        }
    }
}

/// Where a load engine puts its records as they come. Implemented by `store`.
pub trait RecordSink: Send {
    /// Append a batch.
    ///
    /// # Errors
    /// When the batch could not be written, such as on a full disk.
    fn write(&mut self, batch: &[RequestRecord]) -> std::io::Result<()>;

    /// Keep the texts of some arrivals. Whether that worked is for the sink to remember: no figure
    /// depends on it.
    fn keep(&mut self, _answers: &[KeptAnswer]) {}
}
