//! Tables of the page, as data: a field has its text and what it is sorted by.

use serde::Serialize;
use serde_json::Value;

use crate::analysis::capacity::{Capacity, LevelResult, LimitState, Shape, Standing, limit_text};
use crate::analysis::{CellData, RunData, text, words};
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
    /// Where its definition stands on the page: `m-ttft`; empty for none.
    pub(in crate::report) def: String,
    /// A quick filter by its values, where the table can be filtered.
    pub(in crate::report) filter: bool,
    /// Hidden at first, where columns can be chosen.
    pub(in crate::report) extra: bool,
}

impl Head {
    pub(in crate::report) fn text(text: &str) -> Self {
        Self {
            text: text.into(),
            unit: String::new(),
            number: false,
            def: String::new(),
            filter: false,
            extra: false,
        }
    }

    pub(in crate::report) fn number(text: &str, unit: &str) -> Self {
        Self { text: text.into(), unit: unit.into(), number: true, ..Self::text("") }
    }

    /// Of a metric, with the way to its definition.
    fn metric(text: &str, unit: &str, metric: &str) -> Self {
        Self { def: format!("m-{metric}"), ..Self::number(text, unit) }
    }

    fn filtered(self) -> Self {
        Self { filter: true, ..self }
    }
}

/// One field; `sort` is the number by which it is sorted.
#[derive(Serialize, Clone)]
pub(in crate::report) struct Field {
    pub(in crate::report) text: String,
    pub(in crate::report) sort: Option<f64>,
    pub(in crate::report) class: &'static str,
    /// Where it leads on the page: `cell-12`; empty for nowhere.
    pub(in crate::report) to: String,
}

impl Field {
    pub(in crate::report) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), sort: None, class: "", to: String::new() }
    }

    pub(in crate::report) fn number(value: Option<f64>) -> Self {
        Self { text: value.map_or_else(|| "–".into(), figure), sort: value, class: "n", to: String::new() }
    }

    pub(in crate::report) fn count(value: Option<u64>) -> Self {
        Self {
            text: value.map_or_else(|| "–".into(), count),
            sort: value.map(|v| v as f64),
            class: "n",
            to: String::new(),
        }
    }

    /// A cell's number, as people count them, with the way to its page.
    fn cell(index: u32) -> Self {
        let number = index + 1;
        Self { to: format!("cell-{number}"), ..Self::count(Some(u64::from(number))) }
    }

    fn word(text: &str, class: &'static str) -> Self {
        Self { class, ..Self::text(text) }
    }
}

/// Key figures of a table by load: metric and statistic.
const KEY: [(&str, &str); 7] = [
    ("completed_rps", ""),
    ("output_tps", ""),
    ("ttft", "p50"),
    ("ttft", "p95"),
    ("tpot", "p50"),
    ("e2e", "p95"),
    ("error_rate", ""),
];

/// A row per level of the run's only shape, else per cell: means over the usable repeats.
pub(in crate::report) fn level_table(run: &RunData, capacity: &Capacity) -> Table {
    let shown: Vec<_> = KEY
        .iter()
        .filter_map(|(metric, stat)| COLUMNS.iter().find(|c| c.metric == *metric && c.stat == *stat))
        .collect();
    let mut head = vec![Head::text("Load"), Head { def: "limit".into(), ..Head::text("SLO") }];
    head.push(Head { def: "validity".into(), ..Head::text("Valid") });
    head.extend(shown.iter().map(|c| Head::metric(c.title, c.unit, c.metric)));
    let row = |repeats: &Repeats<'_>, label: &str, slo: &str, class: &'static str| {
        let first = repeats.cells[0].cell.index;
        let mut row = vec![Field { to: format!("cell-{}", first + 1), ..Field::text(label) }];
        row.push(Field::word(slo, class));
        row.push(validity_of(repeats));
        row.extend(
            shown.iter().map(|c| Field::number(repeats.estimate(c.metric, c.stat).map(|e| e.mean * c.times))),
        );
        row
    };
    let rows = match capacity.shapes.as_slice() {
        [shape] => {
            let of = |level: &LevelResult| {
                let cells: Vec<&CellData> =
                    run.cells.iter().filter(|c| level.cells.contains(&c.cell.index)).collect();
                (!cells.is_empty())
                    .then(|| row(&Repeats { cells }, &level.label, met_word(level), met_class(level)))
            };
            shape.levels.iter().filter_map(of).collect()
        }
        _ => Repeats::all(run)
            .iter()
            .map(|r| row(r, &r.label(), terminal::verdict(r), verdict_class(terminal::verdict(r))))
            .collect(),
    };
    Table { head, rows }
}

/// How a level stands, in a word or two.
const fn met_word(level: &LevelResult) -> &'static str {
    match (level.verdict, level.met) {
        (Standing::Undecided, Some(true)) => "met, not sure",
        (Standing::Undecided, Some(false)) => "missed, not sure",
        (verdict, _) => verdict.word(),
    }
}

const fn met_class(level: &LevelResult) -> &'static str {
    match (level.verdict, level.met) {
        (Standing::Pass, _) | (Standing::Undecided, Some(true)) => "good",
        (Standing::Fail | Standing::Silent, _) => "bad",
        (Standing::Undecided, _) => "so-so",
        (Standing::Unjudged, _) => "none",
    }
}

/// A row per workload: what it carries.
pub(in crate::report) fn shape_table(shapes: &[Shape]) -> Table {
    let head = vec![
        Head::text("Workload"),
        Head { def: "limit".into(), ..Head::number("Carries up to", "") },
        Head::text("Binds"),
        Head::metric("At least", "req/s", "completed_rps"),
        Head::metric("At least", "tok/s", "output_tps"),
        Head { def: "sure".into(), ..Head::text("Sure") },
        Head::text("Loads measured"),
    ];
    let row = |shape: &Shape| {
        let limit = &shape.limit;
        let binding = limit.binding.as_ref().filter(|_| limit.state != LimitState::AtLeast);
        let sure = match limit.is_sure() {
            Some(true) => ("yes", "good"),
            Some(false) => ("not yet", "so-so"),
            None => ("–", "none"),
        };
        let labels: Vec<String> = shape.levels.iter().map(|l| text::tick(l.x)).collect();
        let label = if shape.label.is_empty() { "all" } else { &shape.label };
        vec![
            Field::text(label),
            Field { sort: limit.value, class: "n", ..Field::text(limit_text(shape)) },
            Field::text(binding.map_or("–", |b| b.name.as_str())),
            Field::number(shape.carried.map(|c| c.rps)),
            Field::number(shape.carried.and_then(|c| c.output_tps)),
            Field::word(sure.0, sure.1),
            Field::text(labels.join(", ")),
        ]
    };
    Table { head, rows: shapes.iter().map(row).collect() }
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
        varying
            .iter()
            .map(|p| Head::number(short_name(p), if p == "load.qps" { "req/s" } else { "" }).filtered()),
    );
    if repeated {
        head.push(Head::number("Repeat", ""));
    }
    head.extend([
        Head { def: "validity".into(), ..Head::text("Valid").filtered() },
        Head { def: "limit".into(), ..Head::text("SLO").filtered() },
        Head { extra: true, ..Head::number("OK", "") },
        Head::number("Failed", ""),
    ]);
    head.extend(COLUMNS.iter().map(|c| {
        // What fits into a window of 1,400 pixels beside a few axes; the others can be chosen.
        let extra = varying.len() > 2 && matches!((c.metric, c.stat), ("ttft", "p99") | ("e2e", "p50"));
        let extra = extra || matches!(c.metric, "error_rate");
        Head { extra, ..Head::metric(c.title, c.unit, c.metric) }
    }));
    Table { head, rows: run.cells.iter().map(|c| cell_row(c, &varying, repeated)).collect() }
}

pub(in crate::report) fn cell_row(data: &CellData, varying: &[String], repeated: bool) -> Vec<Field> {
    let alone = Repeats { cells: vec![data] };
    let mut row = vec![Field::cell(data.cell.index)];
    if varying.is_empty() {
        row.push(Field::text(alone.label()));
    }
    row.extend(varying.iter().map(|p| {
        let value = data.cell.factors.get(p).cloned().unwrap_or(Value::Null);
        let number = value.as_f64();
        Field {
            sort: number,
            class: if number.is_some() { "n" } else { "" },
            ..Field::text(value_text(&value))
        }
    }));
    if repeated {
        row.push(Field::count(Some(u64::from(data.cell.repeat))));
    }
    let slo = terminal::verdict(&alone);
    let slo_class = verdict_class(slo);
    row.push(validity(data));
    row.push(Field::word(slo, slo_class));
    let summary: Option<&CellSummary> = data.summary.as_ref();
    row.push(Field::count(summary.map(|s| s.counts.ok)));
    row.push(Field::count(summary.map(|s| s.counts.failed)));
    row.extend(COLUMNS.iter().map(|c| Field::number(summary.and_then(|s| c.value(s)))));
    row
}

/// Whether a cell can be believed.
pub(in crate::report) fn validity(data: &CellData) -> Field {
    validity_of(&Repeats { cells: vec![data] })
}

fn validity_of(repeats: &Repeats<'_>) -> Field {
    let valid = terminal::validity(repeats);
    let class = match valid {
        "yes" => "good",
        "INVALID" => "bad",
        "not run" => "none",
        _ => "so-so",
    };
    Field::word(valid, class)
}

/// A row for each task, endpoint and stage of each cell and repeat.
pub(in crate::report) fn group_table(run: &RunData) -> Table {
    let all = groups::breakdowns(run, |_| true);
    let mut head = vec![Head::number("Cell", "")];
    head.push(Head::text("Which"));
    head.extend(["Valid", "By", "Name"].map(|title| Head::text(title).filtered()));
    // Only stages have a level, and limits that the cell's verdict depends on.
    let staged = all.iter().flat_map(|b| &b.groups).any(|g| g.kind == GroupKind::Stage);
    if staged {
        head.extend(["Level", "SLO", "Recovery"].map(Head::text));
    }
    head.extend(["Requests", "OK", "Failed"].map(|title| Head::number(title, "")));
    head.push(Head::number("Output", "tokens"));
    head.extend(groups::COLUMNS.iter().map(|c| Head::metric(c.title, c.unit, c.metric)));
    let row = |of: &groups::Breakdown<'_>, group: &GroupSummary| {
        let mut row = vec![Field::cell(of.cell.cell.index)];
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
    let word = |word: &'static str| Field::word(word, verdict_class(word));
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
        "FAIL" | "no answer" => "bad",
        _ => "none",
    }
}
