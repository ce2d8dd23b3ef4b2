//! Tables of the page, as data: a field has its text and what it is sorted by.

use serde::Serialize;
use serde_json::Value;

use crate::analysis::{CellData, RunData, words};
use crate::chart::{Repeats, count, figure, short_name, value_text};
use crate::measure::{CellSummary, GroupKind, GroupSummary};
use crate::report::columns::COLUMNS;
use crate::report::{groups, stages, terminal};

#[derive(Serialize, Default)]
pub(in crate::report) struct Table {
    pub(in crate::report) head: Vec<Head>,
    pub(in crate::report) rows: Vec<Vec<Field>>,
}

#[derive(Serialize, Clone)]
pub(in crate::report) struct Head {
    pub(in crate::report) text: String,
    pub(in crate::report) unit: String,
    pub(in crate::report) number: bool,
}

impl Head {
    pub(in crate::report) fn text(text: &str) -> Self {
        Self { text: text.into(), unit: String::new(), number: false }
    }

    pub(in crate::report) fn number(text: &str, unit: &str) -> Self {
        Self { text: text.into(), unit: unit.into(), number: true }
    }
}

/// One field; `sort` is the number by which it is sorted.
#[derive(Serialize, Clone)]
pub(in crate::report) struct Field {
    pub(in crate::report) text: String,
    pub(in crate::report) sort: Option<f64>,
    pub(in crate::report) class: &'static str,
}

impl Field {
    pub(in crate::report) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), sort: None, class: "" }
    }

    pub(in crate::report) fn number(value: Option<f64>) -> Self {
        Self { text: value.map_or_else(|| "–".into(), figure), sort: value, class: "n" }
    }

    pub(in crate::report) fn count(value: Option<u64>) -> Self {
        Self { text: value.map_or_else(|| "–".into(), count), sort: value.map(|v| v as f64), class: "n" }
    }
}

/// A row per cell and repeat.
pub(in crate::report) fn cells(run: &RunData) -> Table {
    let varying: Vec<String> = run.cells.first().map(|c| c.cell.varying.clone()).unwrap_or_default();
    let repeated = run.cells.iter().any(|c| c.cell.repeat > 1);
    let mut head = vec![Head::number("Cell", "")];
    if varying.is_empty() {
        head.push(Head::text("load"));
    }
    head.extend(
        varying.iter().map(|p| Head::number(short_name(p), if p == "load.qps" { "req/s" } else { "" })),
    );
    if repeated {
        head.push(Head::number("Repeat", ""));
    }
    head.extend([Head::text("Valid"), Head::text("SLO"), Head::number("OK", ""), Head::number("Failed", "")]);
    head.extend(COLUMNS.iter().map(|c| Head::number(c.title, c.unit)));
    Table { head, rows: run.cells.iter().map(|c| cell_row(c, &varying, repeated)).collect() }
}

pub(in crate::report) fn cell_row(data: &CellData, varying: &[String], repeated: bool) -> Vec<Field> {
    let alone = Repeats { cells: vec![data] };
    let mut row = vec![Field::count(Some(u64::from(data.cell.index) + 1))];
    if varying.is_empty() {
        row.push(Field::text(alone.label()));
    }
    row.extend(varying.iter().map(|p| {
        let value = data.cell.factors.get(p).cloned().unwrap_or(Value::Null);
        let number = value.as_f64();
        Field { text: value_text(&value), sort: number, class: if number.is_some() { "n" } else { "" } }
    }));
    if repeated {
        row.push(Field::count(Some(u64::from(data.cell.repeat))));
    }
    let slo = terminal::verdict(&alone);
    let slo_class = verdict_class(slo);
    row.push(validity(data));
    row.push(Field { text: slo.into(), sort: None, class: slo_class });
    let summary: Option<&CellSummary> = data.summary.as_ref();
    row.push(Field::count(summary.map(|s| s.counts.ok)));
    row.push(Field::count(summary.map(|s| s.counts.failed)));
    row.extend(COLUMNS.iter().map(|c| Field::number(summary.and_then(|s| c.value(s)))));
    row
}

/// Whether a cell can be believed.
pub(in crate::report) fn validity(data: &CellData) -> Field {
    let valid = terminal::validity(&Repeats { cells: vec![data] });
    let class = match valid {
        "yes" => "good",
        "INVALID" => "bad",
        "not run" => "none",
        _ => "so-so",
    };
    Field { text: valid.into(), sort: None, class }
}

/// A row for each task, endpoint and stage of each cell and repeat.
pub(in crate::report) fn group_table(run: &RunData) -> Table {
    let all = groups::breakdowns(run, |_| true);
    let mut head = vec![Head::number("Cell", "")];
    head.extend(["Which", "Valid", "By", "Name"].map(Head::text));
    // Only stages have a level, and limits that the cell's verdict depends on.
    let staged = all.iter().flat_map(|b| &b.groups).any(|g| g.kind == GroupKind::Stage);
    if staged {
        head.extend(["Level", "SLO", "Recovery"].map(Head::text));
    }
    head.extend(["Requests", "OK", "Failed"].map(|title| Head::number(title, "")));
    head.push(Head::number("Output", "tokens"));
    head.extend(groups::COLUMNS.iter().map(|c| Head::number(c.title, c.unit)));
    let row = |of: &groups::Breakdown<'_>, group: &GroupSummary| {
        let mut row = vec![Field::count(Some(u64::from(of.cell.cell.index) + 1))];
        row.extend([Field::text(of.label.as_str()), validity(of.cell)]);
        row.extend([group.kind.name(), group.name.as_str()].map(Field::text));
        if staged {
            row.extend(of_stage(of, group));
        }
        let (c, t) = (&group.counts, &group.tokens);
        row.extend([c.attempted, c.ok, c.failed, t.output].map(|n| Field::count(Some(n))));
        row.extend(groups::COLUMNS.iter().map(|c| Field::number(c.value(group))));
        row
    };
    Table {
        head,
        rows: all.iter().flat_map(|b| b.groups.iter().map(|g| row(b, g)).collect::<Vec<_>>()).collect(),
    }
}

/// Level, SLO and recovery of a stage; of any other group nothing.
pub(in crate::report) fn of_stage(of: &groups::Breakdown<'_>, group: &GroupSummary) -> [Field; 3] {
    if group.kind != GroupKind::Stage {
        return ["", "", ""].map(Field::text);
    }
    let word = |word: &'static str| Field { text: word.into(), sort: None, class: verdict_class(word) };
    let recovery = group.recovery.as_ref().filter(|_| !of.invalid());
    let recovery = recovery.map_or("–", |recovery| recovery.status().word());
    let level = Field::text(words::stage_level(&of.cell.cell, &group.name));
    [level, word(stages::slo(of, group)), word(recovery)]
}

/// The look of a verdict's word.
pub(in crate::report) fn verdict_class(word: &str) -> &'static str {
    match word {
        "PASS" => "good",
        "WARNING" => "so-so",
        "FAIL" => "bad",
        _ => "none",
    }
}
