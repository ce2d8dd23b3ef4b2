//! Every cell's figures beside their limits, line by line.

use super::{Finding, Severity, kinds, usable};
use crate::analysis::words::{metric_name, place, rule_text, value_with_unit, verdict_text};
use crate::analysis::{CellData, RunData, inside};
use crate::experiment::presets;
use crate::measure::{CellSummary, GroupSummary, LimitVerdict, SloStatus, SloVerdict, Verdict};

/// One line about a cell: a figure, its limits, and how it stands to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictLine {
    /// [`Severity::Info`]: nobody asked for anything.
    pub severity: Severity,
    /// `TTFT p95 is 2,930 ms, limit 1,000 ms`.
    pub text: String,
}

/// What is told of every cell, whether limits were set or not.
const ALWAYS: [(&str, &str); 3] = [("error_rate", ""), ("e2e", "p90"), ("ttft", "p50")];

/// Verdict lines of a cell: one for each rule of its `[slo]` and of its stages' and for each
/// recovery, else for each of the preset
/// `llm-good`, marked as such; and the figures of error rate, latency and TTFT in any case.
/// Nothing for a cell that did not run.
#[must_use]
pub fn verdicts(cell: &CellData) -> Vec<VerdictLine> {
    let Some(summary) = &cell.summary else { return Vec::new() };
    if summary.validity.verdict == Verdict::Invalid {
        let text = "not judged: the cell is invalid".to_owned();
        return vec![VerdictLine { severity: Severity::Info, text }];
    }
    let given = summary.slo_statuses().next().is_some();
    let judged = if given { summary.slo.clone() } else { by_default(summary) };
    let mut lines: Vec<VerdictLine> = judged
        .iter()
        .map(|verdict| {
            let text = verdict_text(verdict);
            if given {
                return VerdictLine { severity: verdict.status.into(), text };
            }
            let severity = Severity::from(verdict.status).min(Severity::Warning);
            VerdictLine {
                severity,
                text: format!("{text} (of the preset {}: no SLO is set)", presets::DEFAULT),
            }
        })
        .collect();
    lines.extend(summary.stages().flat_map(of_stage));
    let limit =
        |limit: &LimitVerdict| VerdictLine { severity: limit.status.into(), text: inside::limit_text(limit) };
    lines.extend(summary.limits().iter().map(limit));
    // One long stage is there to show whether anything grows.
    if !cell.cell.settings.stages.is_empty() {
        lines.extend(summary.drift.iter().map(|drift| VerdictLine {
            severity: if drift.drifts { Severity::Warning } else { Severity::Pass },
            text: drift.text.clone(),
        }));
    }
    for (metric, stat) in ALWAYS {
        let told = judged.iter().any(|v| v.metric == metric && v.stat == stat);
        if let Some(value) = summary.value(metric, stat).filter(|_| !told) {
            let text =
                format!("{} is {}, no limit set", metric_name(metric, stat), value_with_unit(metric, value));
            lines.push(VerdictLine { severity: Severity::Info, text });
        }
    }
    let energy = summary.inside.as_ref().and_then(inside::energy);
    lines.extend(energy.map(|text| VerdictLine { severity: Severity::Info, text }));
    lines
}

/// A line for each rule of a stage, and for its recovery.
fn of_stage(stage: &GroupSummary) -> Vec<VerdictLine> {
    let rule = |verdict: &SloVerdict| VerdictLine {
        severity: verdict.status.into(),
        text: format!("{}: {}", stage.name, verdict_text(verdict)),
    };
    let recovery = stage.recovery.iter();
    let recovery = recovery.map(|r| VerdictLine { severity: r.status().into(), text: r.text.clone() });
    stage.slo.iter().map(rule).chain(recovery).collect()
}

/// The common limits on figures that the cell has.
pub(super) fn by_default(summary: &CellSummary) -> Vec<SloVerdict> {
    let rules = presets::find(presets::DEFAULT).map_or(&[][..], |preset| preset.rules);
    rules.iter().map(|rule| SloVerdict::of(&rule.rule(), summary)).filter(|v| v.value.is_some()).collect()
}

/// A run without any SLO, held against the common limits.
pub(super) fn common_limits(run: &RunData) -> Option<Finding> {
    let cells: Vec<_> = run.cells.iter().filter_map(|cell| Some((cell, usable(cell)?))).collect();
    if cells.is_empty() || cells.iter().any(|(_, s)| s.slo_statuses().next().is_some()) {
        return None;
    }
    let judged: Vec<_> = cells
        .iter()
        .flat_map(|(cell, summary)| by_default(summary).into_iter().map(|verdict| (*cell, verdict)))
        .collect();
    let rules = presets::find(presets::DEFAULT).map_or(&[][..], |preset| preset.rules);
    let mut parts = Vec::new();
    for rule in rules {
        let of_rule = |(_, v): &&(&CellData, SloVerdict)| v.metric == rule.metric && v.stat == rule.stat;
        let mine: Vec<_> = judged.iter().filter(of_rule).collect();
        let by_value = |a: &&&(&CellData, SloVerdict), b: &&&(&CellData, SloVerdict)| {
            a.1.value.unwrap_or(0.0).total_cmp(&b.1.value.unwrap_or(0.0))
        };
        let Some((cell, worst)) = mine.iter().max_by(by_value) else { continue };
        let met = mine.iter().filter(|(_, v)| v.status == SloStatus::Pass).count();
        let value = worst.value.map_or_else(String::new, |v| value_with_unit(&worst.metric, v));
        let at = if mine.len() > 1 {
            format!(", at most {value} at {}", place(&cell.cell))
        } else {
            format!(", {value}")
        };
        parts.push(format!("{} in {met} of {}{at}", rule_text(worst), mine.len()));
    }
    let worst = judged.iter().map(|(_, v)| v.status).max()?;
    let evidence = format!("No SLO is set. By the preset {}: {}.", presets::DEFAULT, parts.join("; "));
    let missed = |(_, v): &&(&CellData, SloVerdict)| v.status != SloStatus::Pass;
    let mut indices: Vec<u32> = judged.iter().filter(missed).map(|(cell, _)| cell.cell.index).collect();
    indices.dedup();
    let severity = Severity::from(worst).min(Severity::Warning);
    Some(Finding { kind: &kinds::COMMON_LIMITS, severity, evidence, cells: indices })
}
