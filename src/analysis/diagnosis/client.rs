//! Was it this client? Asked before anything is said about the server.

use super::{Hit, Severity, kinds};
use crate::analysis::{RunData, words};
use crate::measure::Verdict;
use crate::measure::validity::WORKERS_LOST_NAME;

/// Validity signals that say that this client, and not the server, may be what was measured.
pub const CLIENT_SIGNALS: [&str; 12] = [
    "sent_off_plan",
    "lag_p99_ms",
    "lag_growth_ms_per_s",
    "timer_overshoot_p99_ms",
    "longest_stall_ms",
    "busiest_core",
    "chunk_rate",
    "request_rate",
    "throttled_ms",
    "suspended_ms",
    "lost_records",
    "little",
];

/// Those of them that say that a timer woke late.
const TIMERS: [&str; 2] = ["timer_overshoot_p99_ms", "longest_stall_ms"];

pub(super) fn look(run: &RunData) -> Vec<Hit> {
    let mut hits = Vec::new();
    for cell in &run.cells {
        let Some(validity) = cell.summary.as_ref().map(|s| &s.validity) else { continue };
        // What a lost worker had sent is missing: that says nothing of how the others did.
        if validity.reasons.iter().any(|r| r.signal == WORKERS_LOST_NAME) {
            continue;
        }
        let mine: Vec<_> =
            validity.reasons.iter().filter(|r| CLIENT_SIGNALS.contains(&r.signal.as_str())).collect();
        let Some(worst) = mine.iter().map(|r| r.verdict).max() else { continue };
        let texts: Vec<&str> = mine.iter().map(|r| r.text.as_str()).collect();
        let place = words::place(&cell.cell);
        let left_out = if worst == Verdict::Invalid {
            " Nothing is concluded about the server from such cells."
        } else {
            ""
        };
        let late = mine.iter().any(|r| TIMERS.contains(&r.signal.as_str()));
        let cause = if late { " Other programs on this machine are a likely cause." } else { "" };
        hits.push(Hit {
            kind: &kinds::CLIENT_LIMIT,
            severity: if worst == Verdict::Invalid { Severity::Fail } else { Severity::Warning },
            weight: mine.len() as f64,
            evidence: format!("At {place}: {}.{cause}{left_out}", texts.join("; ").trim_end_matches('.')),
            place,
            cells: vec![cell.cell.index],
        });
    }
    hits
}
