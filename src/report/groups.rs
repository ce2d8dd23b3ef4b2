//! The figures of each task, endpoint and stage, for page and terminal.

use crate::analysis::{CellData, RunData};
use crate::chart::Repeats;
use crate::measure::{GroupKind, GroupSummary, Verdict};

/// One column of a group's key figures.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) metric: &'static str,
    stat: &'static str,
    /// Shown is the value times this.
    times: f64,
    /// Whether the terminal has room for it.
    pub(super) terminal: bool,
}

const fn column(
    title: &'static str,
    unit: &'static str,
    metric: &'static str,
    stat: &'static str,
    terminal: bool,
) -> Column {
    Column { title, unit, metric, stat, times: 1.0, terminal }
}

/// All of them: rates first, then latencies, then errors.
pub(super) const COLUMNS: &[Column] = &[
    column("Completed", "req/s", "completed_rps", "", true),
    column("Output", "tok/s", "output_tps", "", true),
    column("TTFT p50", "ms", "ttft", "p50", true),
    column("TTFT p90", "ms", "ttft", "p90", true),
    column("TTFT p99", "ms", "ttft", "p99", true),
    column("TPOT p50", "ms", "tpot", "p50", false),
    column("E2E p50", "ms", "e2e", "p50", true),
    column("E2E p90", "ms", "e2e", "p90", true),
    column("E2E p99", "ms", "e2e", "p99", true),
    Column { times: 100.0, ..column("Errors", "%", "error_rate", "", false) },
    Column { times: 100.0, ..column("Of contention", "%", "contention_error_rate", "", false) },
];

impl Column {
    /// The figure as shown.
    pub(super) fn value(&self, group: &GroupSummary) -> Option<f64> {
        group.value(self.metric, self.stat).map(|v| v * self.times)
    }
}

/// The groups of one cell and repeat.
pub(super) struct Breakdown<'a> {
    pub(super) cell: &'a CellData,
    /// What tells the cell from the others.
    pub(super) label: String,
    pub(super) groups: Vec<&'a GroupSummary>,
}

impl Breakdown<'_> {
    /// Whether the cell can't be believed: its groups are shown, and nothing follows from them.
    pub(super) fn invalid(&self) -> bool {
        self.cell.summary.as_ref().is_some_and(|s| s.validity.verdict == Verdict::Invalid)
    }

    /// What tells the cell from the others, and that it can't be believed where it can't.
    pub(super) fn title(&self) -> String {
        if self.invalid() { format!("{} (INVALID)", self.label) } else { self.label.clone() }
    }
}

/// Every cell and repeat that has groups of the `wanted` kinds, in plan order.
pub(super) fn breakdowns(run: &RunData, wanted: impl Fn(GroupKind) -> bool) -> Vec<Breakdown<'_>> {
    let some = run.cells.iter().filter_map(|cell| {
        let groups = &cell.summary.as_ref()?.groups;
        Some((cell, groups.iter().filter(|g| wanted(g.kind)).collect::<Vec<_>>()))
    });
    some.filter(|(_, groups)| !groups.is_empty())
        .map(|(cell, groups)| {
            let repeat =
                if cell.cell.repeat > 1 { format!(", repeat {}", cell.cell.repeat) } else { String::new() };
            let label = format!("{}{repeat}", Repeats { cells: vec![cell] }.label());
            Breakdown { cell, label, groups }
        })
        .collect()
}

/// That `n` cells more are not shown; ends in a line break.
pub(super) fn more(n: usize) -> String {
    let cells = if n == 1 { "1 more cell".to_owned() } else { format!("{n} more cells") };
    format!("and {cells}; groups.csv has them all\n")
}

/// `endpoint flash`.
pub(super) fn name(group: &GroupSummary) -> String {
    format!("{} {}", group.kind.name(), group.name)
}

/// The kinds that a run has, for a heading: `endpoint`, `task and endpoint`.
pub(super) fn kinds(breakdowns: &[Breakdown<'_>]) -> String {
    let has = |kind: GroupKind| breakdowns.iter().any(|b| b.groups.iter().any(|g| g.kind == kind));
    let kinds: Vec<&str> = [GroupKind::Task, GroupKind::Endpoint, GroupKind::Stage]
        .into_iter()
        .filter(|kind| has(*kind))
        .map(GroupKind::name)
        .collect();
    match kinds.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
