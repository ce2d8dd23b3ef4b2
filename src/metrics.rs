//! The one table of metrics: name, unit, help, and which direction is better.
//!
//! The columns of every CSV, the rows of the terminal's summary, the keys of an `[slo]`
//! section, the direction of a comparison and `docs/metrics.md` all come from it.

/// Which direction of a metric is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
    /// Neither: a count or a setting.
    Neither,
}

/// What a metric is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Requests per second.
    RequestsPerSecond,
    /// Tokens per second.
    TokensPerSecond,
    /// A share, 0 to 1.
    Ratio,
    /// A number of things.
    Count,
    /// Tokens.
    Tokens,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// As a suffix of a column's name; empty where the name says it.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Ms => "_ms",
            Self::Seconds => "_s",
            Self::RequestsPerSecond | Self::TokensPerSecond => "",
            Self::Ratio | Self::Count | Self::Tokens => "",
        }
    }

    /// As people read it on an axis.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::RequestsPerSecond => "req/s",
            Self::TokensPerSecond => "tok/s",
            Self::Ratio => "share",
            Self::Count => "",
            Self::Tokens => "tokens",
            Self::Seconds => "s",
        }
    }
}

/// Whether a metric has one value per cell or one per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One value per request (or chunk); summarised by the statistics of [`STATS`].
    Distribution,
    /// One value per cell and repeat.
    Scalar,
}

/// One row of [`METRICS`].
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub better: Better,
    /// One sentence: the definition.
    pub help: &'static str,
}

/// The statistics of a [`Kind::Distribution`], as they are named in columns and SLO keys.
pub const STATS: [&str; 11] = ["n", "mean", "std", "min", "p50", "p75", "p90", "p95", "p99", "p999", "max"];

/// The row of `name`, if there is one.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|m| m.name == name)
}

/// Whether this is a rate that rises with the load: a least value of it is missed where the load is
/// too low, and not where the server is at its end.
#[must_use]
pub fn rises_with_load(name: &str) -> bool {
    metric(name).is_some_and(|m| {
        m.better == Better::Higher
            && m.kind == Kind::Scalar
            && matches!(m.unit, Unit::RequestsPerSecond | Unit::TokensPerSecond)
    })
}

/// Name of the column that holds `stat` of `metric`: `ttft_p95_ms`; for a scalar, `stat` is
/// empty: `output_tps`.
#[must_use]
pub fn column(metric: &Metric, stat: &str) -> String {
    match stat {
        "" => format!("{}{}", metric.name, metric.unit.suffix()),
        "n" => format!("{}_n", metric.name),
        _ => format!("{}_{stat}{}", metric.name, metric.unit.suffix()),
    }
}

const fn dist(name: &'static str, unit: Unit, better: Better, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Distribution, unit, better, help }
}

const fn scalar(name: &'static str, unit: Unit, better: Better, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Scalar, unit, better, help }
}

/// Every metric, in the order in which it is reported.
pub const METRICS: &[Metric] = &[
    dist(
        "ttft",
        Unit::Ms,
        Better::Lower,
        "Time to first token: first non-empty content, reasoning or tool-call delta, from when the request was due.",
    ),
    dist(
        "ttfv",
        Unit::Ms,
        Better::Lower,
        "Time to first visible token: first non-reasoning content, from when the request was due.",
    ),
    dist(
        "tpot",
        Unit::Ms,
        Better::Lower,
        "Time per output token: (last token − first token)/(n − 1); not applicable when n ≤ 1, nor to several answers at once.",
    ),
    dist(
        "e2e",
        Unit::Ms,
        Better::Lower,
        "End-to-end latency: last content chunk, from when the request was due.",
    ),
    dist(
        "ttft_service",
        Unit::Ms,
        Better::Lower,
        "TTFT from when the request was really sent: hides what overload costs; shown beside `ttft`.",
    ),
    dist("e2e_service", Unit::Ms, Better::Lower, "End-to-end latency from when the request was really sent."),
    dist("second_chunk_gap", Unit::Ms, Better::Lower, "Gap between the first and the second content chunk."),
    dist(
        "chunk_gap",
        Unit::Ms,
        Better::Lower,
        "Gaps between content chunks, pooled over all requests of the cell (other tools' raw-gap \"ITL\").",
    ),
    dist("max_gap", Unit::Ms, Better::Lower, "Each request's largest gap between content chunks."),
    dist(
        "normalised_latency",
        Unit::Ms,
        Better::Lower,
        "End-to-end latency divided by the output tokens; not of several answers at once.",
    ),
    dist(
        "user_tps",
        Unit::TokensPerSecond,
        Better::Higher,
        "Output tokens per second as one user sees them: 1/TPOT.",
    ),
    dist(
        "lag",
        Unit::Ms,
        Better::Lower,
        "How late a request was sent: sent − due. The client's own fault, or its cap's.",
    ),
    dist("output_length", Unit::Tokens, Better::Neither, "Output tokens per request."),
    dist(
        "prompt_length",
        Unit::Tokens,
        Better::Neither,
        "Prompt tokens per request, as the server reported them, else as counted here.",
    ),
    scalar(
        "offered_rps",
        Unit::RequestsPerSecond,
        Better::Neither,
        "Arrivals due inside the window ÷ window.",
    ),
    scalar("sent_rps", Unit::RequestsPerSecond, Better::Neither, "Requests sent inside the window ÷ window."),
    scalar(
        "completed_rps",
        Unit::RequestsPerSecond,
        Better::Higher,
        "Successful answers that ended inside the window ÷ window.",
    ),
    scalar(
        "output_tps",
        Unit::TokensPerSecond,
        Better::Higher,
        "Output tokens stamped inside the window ÷ window; left out where no answer's tokens are known.",
    ),
    scalar(
        "prompt_tps",
        Unit::TokensPerSecond,
        Better::Higher,
        "Prompt tokens of requests whose first token came inside the window ÷ window.",
    ),
    scalar(
        "whole_run_output_tps",
        Unit::TokensPerSecond,
        Better::Higher,
        "All output tokens ÷ wall time from first send to last byte, ramp and drain included; left out likewise.",
    ),
    scalar(
        "goodput_rps",
        Unit::RequestsPerSecond,
        Better::Higher,
        "Successful answers that ended inside the window and met every per-request SLO ÷ window.",
    ),
    scalar(
        "attainment",
        Unit::Ratio,
        Better::Higher,
        "Good requests ÷ all attempted, errors, time-outs and dropped arrivals included; those that this client cut off on purpose left out.",
    ),
    scalar(
        "error_rate",
        Unit::Ratio,
        Better::Lower,
        "Failed ÷ attempted requests of the window; those that this client cut off on purpose left out.",
    ),
    scalar(
        "contention_error_rate",
        Unit::Ratio,
        Better::Lower,
        "Requests that timed out or were refused with 503 ÷ attempted requests of the window; those that this client cut off on purpose left out.",
    ),
    scalar(
        "in_flight_mean",
        Unit::Count,
        Better::Neither,
        "Mean number of requests in flight over the window.",
    ),
    scalar(
        "in_flight_max",
        Unit::Count,
        Better::Neither,
        "Greatest number of requests in flight in the window.",
    ),
];
