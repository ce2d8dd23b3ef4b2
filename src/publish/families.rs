//! The table of all figures that are given out: name, kind, unit, labels, meaning.
//! docs/publish.md, the exposition text, OTLP and the dashboard are held to it.

/// What a figure is to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises while a cell runs.
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// The word for it in the exposition text.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Whose figure it is: which labels it has beside its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Labels `run` and `experiment`.
    Sweep,
    /// Those, and `model`, `cell`, `repeat` and the axes'.
    Cell,
    /// Labels `experiment` and `model`: of whichever cell runs or was the last.
    Latest,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    /// As OTLP has it (UCUM); empty where it has none.
    pub unit: &'static str,
    pub of: Of,
    /// Labels of its own.
    pub labels: &'static [&'static str],
    /// Whether only a cell that runs has it.
    pub live: bool,
    /// One sentence.
    pub help: &'static str,
}

const fn row(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind, unit, of: Of::Cell, labels, live: false, help }
}

const fn live(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { live: true, ..row(name, Kind::Gauge, unit, labels, help) }
}

const fn sweep(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { of: Of::Sweep, ..row(name, Kind::Gauge, unit, labels, help) }
}

const fn alias(name: &'static str, unit: &'static str, help: &'static str) -> Family {
    Family { of: Of::Latest, ..row(name, Kind::Gauge, unit, &[], help) }
}

const PHASE: &[&str] = &["phase"];

/// Every figure, in the order in which it is given out.
pub const FAMILIES: &[Family] = &[
    row(
        "plimsoll_requests_total",
        Kind::Counter,
        "{request}",
        &["phase", "outcome", "class"],
        "Requests that have ended, dropped ones among them; phase=\"measure\" are those that the summary counts.",
    ),
    row(
        "plimsoll_prompt_tokens_total",
        Kind::Counter,
        "{token}",
        PHASE,
        "Prompt tokens of good answers, as the server reported them, else as counted here.",
    ),
    row("plimsoll_output_tokens_total", Kind::Counter, "{token}", PHASE, "Output tokens of good answers."),
    row(
        "plimsoll_retries_total",
        Kind::Counter,
        "{retry}",
        PHASE,
        "Times that a request was sent again, as a kept connection was found dead.",
    ),
    row(
        "plimsoll_ttft_seconds",
        Kind::Histogram,
        "s",
        PHASE,
        "Time to first token of good answers due in the measured window, from when they were due.",
    ),
    row("plimsoll_tpot_seconds", Kind::Histogram, "s", PHASE, "Time per output token of the same answers."),
    row("plimsoll_e2e_seconds", Kind::Histogram, "s", PHASE, "End-to-end latency of the same answers."),
    live("plimsoll_in_flight", "{request}", &[], "Requests in flight."),
    live("plimsoll_users", "{user}", &[], "Users of a closed loop of one level, as asked for."),
    live(
        "plimsoll_offered_requests_per_second",
        "{request}/s",
        &[],
        "Rate of an open loop of one level, as asked for.",
    ),
    live("plimsoll_sent_requests_per_second", "{request}/s", &[], "Requests sent, over the last seconds."),
    live(
        "plimsoll_completed_requests_per_second",
        "{request}/s",
        &[],
        "Good answers, over the last seconds.",
    ),
    live(
        "plimsoll_failed_requests_per_second",
        "{request}/s",
        &[],
        "Failed requests, over the last seconds.",
    ),
    live("plimsoll_output_tokens_per_second", "{token}/s", &[], "Output tokens, over the last seconds."),
    live(
        "plimsoll_lag_p99_seconds",
        "s",
        &[],
        "How late requests were sent, p99 over the last seconds: this client's own fault.",
    ),
    live(
        "plimsoll_stage",
        "",
        &["stage"],
        "1 for the part of the cell that runs: ramp, warmup, measure or drain.",
    ),
    row(
        "plimsoll_cell_start_timestamp_seconds",
        Kind::Gauge,
        "s",
        &[],
        "When the cell began, in seconds since 1970.",
    ),
    row(
        "plimsoll_cell_end_timestamp_seconds",
        Kind::Gauge,
        "s",
        &[],
        "When the cell ended; absent while it runs.",
    ),
    row(
        "plimsoll_result_seconds",
        Kind::Gauge,
        "s",
        &["metric", "stat"],
        "A latency of a finished cell, exactly as summary.csv has it, in seconds.",
    ),
    row(
        "plimsoll_result",
        Kind::Gauge,
        "",
        &["metric"],
        "A rate, share or number of a finished cell, exactly as summary.csv has it.",
    ),
    row(
        "plimsoll_slo_status",
        Kind::Gauge,
        "",
        &["metric", "stat"],
        "A rule of the SLO in a finished cell: 2 met, 1 met but beyond its target, 0 missed.",
    ),
    row(
        "plimsoll_cell_validity",
        Kind::Gauge,
        "",
        &[],
        "Whether a finished cell can be believed: 2 yes, 1 with a remark, 0 no.",
    ),
    sweep("plimsoll_sweep_running", "", &[], "1 while the sweep runs, 0 when it has ended."),
    sweep("plimsoll_cell_number", "", &[], "Number of the cell that runs or was the last, from 1."),
    sweep("plimsoll_cells", "{cell}", &[], "Cells of the sweep, as far as known."),
    sweep("plimsoll_cells_finished", "{cell}", &[], "Cells that are finished, earlier runs' among them."),
    sweep("plimsoll_info", "", &["version"], "1; the version of this client."),
];

/// Another tool's names for some of them, pushed beside the others where `aliases` is set.
pub const ALIASES: &[Family] = &[
    alias("llm_client_lag_p50_seconds", "s", "End-to-end latency, p50 of the cell's measured answers."),
    alias("llm_client_lag_p90_seconds", "s", "End-to-end latency, p90 of the cell's measured answers."),
    alias("llm_client_lag_p99_seconds", "s", "End-to-end latency, p99 of the cell's measured answers."),
    alias("llm_ttft_p50_seconds", "s", "Time to first token, p50 of the cell's measured answers."),
    alias("llm_ttft_p90_seconds", "s", "Time to first token, p90 of the cell's measured answers."),
    alias("llm_ttft_p99_seconds", "s", "Time to first token, p99 of the cell's measured answers."),
    alias("llm_tokens_per_second", "{token}/s", "Output tokens per second."),
    alias("llm_request_rate_per_second", "{request}/s", "Good answers per second."),
    alias("llm_error_rate", "1", "Share of the measured requests that failed, 0 to 1."),
    alias("llm_contention_error_rate", "1", "Share of them that timed out or were refused with 503."),
    alias("llm_active_users", "{request}", "Requests in flight, while a cell runs."),
];

/// Names that the label of an axis can't have.
pub(super) const RESERVED: [&str; 17] = [
    "run",
    "experiment",
    "model",
    "cell",
    "repeat",
    "phase",
    "outcome",
    "class",
    "stage",
    "metric",
    "stat",
    "version",
    "le",
    "quantile",
    "job",
    "instance",
    "grid",
];
