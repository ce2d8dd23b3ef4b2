//! The page of a comparison: the answer first.

use serde::Serialize;

use super::facts::Definition;
use super::figures::Figure;
use super::shell::{self, Shell};
use super::tables::{Field, Head, Table};
use crate::analysis::compare::{Comparison, Outcome, Row, Side, Verdict};
use crate::analysis::text::probability;
use crate::analysis::words;
use crate::chart::{Chart, Compared, list};
use crate::metrics;
use crate::report::ReportError;

/// The page. `charts` are those of [`crate::chart::of_comparison`].
///
/// # Errors
/// When the template cannot be filled in.
pub fn of_comparison(compared: &Compared<'_>, charts: &[Chart]) -> Result<String, ReportError> {
    let comparison = compared.comparison;
    let mut environment = shell::environment()?;
    environment.add_template("comparison.html", include_str!("comparison.html"))?;
    let name = title(comparison);
    let context = Page {
        shell: Shell::new(&format!("{name} · Plimsoll comparison")),
        name,
        sides: [SideOf::of("baseline", &comparison.baseline), SideOf::of("candidate", &comparison.candidate)],
        outcome: outcome(comparison.outcome),
        counts: counts(comparison),
        reasons: &comparison.reasons,
        pairing: pairing(comparison),
        environment: environment_table(comparison),
        sections: sections(charts)?,
        checks: checks(comparison),
        rows: rows(comparison),
        verdicts: Verdict::ALL.map(Sign::of),
        methods: methods(comparison),
        metrics: metrics::METRICS.iter().map(Definition::of).collect(),
    };
    Ok(environment.get_template("comparison.html")?.render(minijinja::value::Serde(&context))?)
}

#[derive(Serialize)]
struct Page<'a> {
    shell: Shell,
    name: String,
    sides: [SideOf<'a>; 2],
    outcome: Sign,
    counts: Vec<Count>,
    reasons: &'a [String],
    pairing: Vec<String>,
    environment: Table,
    sections: Vec<Section>,
    checks: Table,
    rows: Table,
    verdicts: [Sign; 8],
    methods: Vec<String>,
    metrics: Vec<Definition>,
}

fn title(comparison: &Comparison) -> String {
    let (base, cand) = (&comparison.baseline.name, &comparison.candidate.name);
    if base == cand { base.clone() } else { format!("{cand} against {base}") }
}

#[derive(Serialize)]
struct SideOf<'a> {
    side: &'static str,
    run: &'a str,
    name: &'a str,
    started_at: String,
    /// The name that it is kept under as a baseline.
    kept: Option<&'a str>,
    imported: Option<&'a str>,
}

impl<'a> SideOf<'a> {
    fn of(side: &'static str, of: &'a Side) -> Self {
        Self {
            side,
            run: &of.run,
            name: &of.name,
            started_at: second(&of.started_at),
            kept: of.baseline.as_deref(),
            imported: of.imported.as_deref(),
        }
    }
}

/// A time stamp to the second: `2026-11-26 19:27:01 UTC`; as it is where it isn't one in UTC.
pub(super) fn second(stamp: &str) -> String {
    match (stamp.get(..19), stamp.ends_with('Z')) {
        (Some(second), true) => format!("{} UTC", second.replace('T', " ")),
        _ => stamp.to_owned(),
    }
}

/// A sign with its word, what it means, and its look.
#[derive(Serialize)]
struct Sign {
    glyph: char,
    word: &'static str,
    #[serde(rename = "text")]
    meaning: &'static str,
    class: &'static str,
}

impl Sign {
    fn of(verdict: Verdict) -> Self {
        Self {
            glyph: verdict.glyph(),
            word: verdict.word(),
            meaning: verdict.meaning(),
            class: class(verdict),
        }
    }
}

fn outcome(outcome: Outcome) -> Sign {
    let (meaning, class) = match outcome {
        Outcome::Pass => ("nothing that decides got worse", "good"),
        Outcome::Fail => ("worse than the gate allows", "bad"),
        Outcome::Inconclusive => ("can't be told from these runs", "so-so"),
        Outcome::NotComparable => ("these runs can't be compared", "so-so"),
        Outcome::Invalid => ("the measurement can't be believed", "so-so"),
    };
    Sign { glyph: outcome.glyph(), word: outcome.word(), meaning, class }
}

const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Regressed => "bad",
        Verdict::Improved => "good",
        Verdict::Inconclusive | Verdict::Invalid => "so-so",
        _ => "",
    }
}

#[derive(Serialize)]
struct Count {
    count: usize,
    glyph: char,
    text: String,
    class: &'static str,
}

/// Primary figures by verdict; those that occur.
fn counts(comparison: &Comparison) -> Vec<Count> {
    let primary = || comparison.rows.iter().filter(|r| r.primary);
    let all = primary().count();
    Verdict::ALL
        .into_iter()
        .map(|verdict| Count {
            count: primary().filter(|r| r.verdict == verdict).count(),
            glyph: verdict.glyph(),
            text: format!("of {all} deciding figures {}", verdict.word().to_lowercase()),
            class: class(verdict),
        })
        .filter(|c| c.count > 0)
        .collect()
}

/// How cells and repeats met.
fn pairing(comparison: &Comparison) -> Vec<String> {
    let mut cells: Vec<&str> = Vec::new();
    for row in comparison.rows.iter().filter(|r| r.verdict != Verdict::Missing) {
        if let Some(id) = &row.cell
            && !cells.contains(&id.0.as_str())
        {
            cells.push(&id.0);
        }
    }
    let number = match cells.len() {
        0 => "No cell is on both sides.".to_owned(),
        1 => "One cell is on both sides.".to_owned(),
        n => format!("{n} cells are on both sides."),
    };
    let tested: Vec<&Row> = comparison.rows.iter().filter(|r| r.repeats > 0).collect();
    let (least, most) = (
        tested.iter().map(|r| r.repeats).min().unwrap_or(0),
        tested.iter().map(|r| r.repeats).max().unwrap_or(0),
    );
    let paired = tested.iter().filter(|r| r.paired).count();
    let how = match paired {
        _ if tested.is_empty() => return vec![number],
        0 => "not paired, for their seeds or workloads differ: each side's scatter counts in full",
        n if n == tested.len() => "paired: the same seed, and the same requests on both sides",
        _ => "paired where seed and requests are the same on both sides, and not paired elsewhere",
    };
    let repeats = match (least, most) {
        (1, 1) => "One repeat".to_owned(),
        (a, b) if a == b => format!("{a} repeats of each cell"),
        (a, b) => format!("{a} to {b} repeats of each cell"),
    };
    vec![number, format!("{repeats}, {how}.")]
}

fn environment_table(comparison: &Comparison) -> Table {
    let head = ["What", "Baseline", "Candidate"].map(Head::text).into();
    let of = |d: &crate::analysis::compare::Difference| {
        [&d.key, &d.baseline, &d.candidate].map(|t| Field::text(t.as_str())).into()
    };
    Table { head, rows: comparison.environment.iter().map(of).collect() }
}

#[derive(Serialize)]
struct Section {
    id: &'static str,
    title: &'static str,
    hint: &'static str,
    figures: Vec<Figure>,
    /// What goes on in further figures of the same kind.
    folded: Vec<Figure>,
}

/// Ids of the sections, their titles, the figures that they hold by the stem of their ids.
const SECTIONS: [(&str, &str, &str, &[&str]); 5] = [
    (
        "changes",
        "Changes",
        "Hover for figures, drag to zoom, double-click to zoom out, the buttons above a figure hide its series.",
        &["forest"],
    ),
    ("map", "Verdicts", "", &["verdicts"]),
    (
        "distributions",
        "Distributions",
        "Requests of the cells that changed most for the worse, for the eye: nothing is tested on them.",
        &["ecdf", "ccdf"],
    ),
    ("quantiles", "By quantile", "Whether all requests changed alike, or the tail alone.", &["shift"]),
    ("repeats", "By repeat", "Whether all repeats say the same.", &["slopes"]),
];

fn sections(charts: &[Chart]) -> Result<Vec<Section>, ReportError> {
    let stem =
        |c: &Chart, stems: &[&str]| stems.iter().any(|s| c.id == *s || c.id.starts_with(&format!("{s}-")));
    // `forest-2` goes on where `forest-1` ends.
    let further = |c: &Chart| {
        let number = c.id.rsplit('-').next().and_then(|n| n.parse::<u32>().ok());
        number.is_some_and(|n| n > 1)
    };
    let mut out = Vec::new();
    for (id, title, hint, stems) in SECTIONS {
        let mine = || charts.iter().filter(|c| stem(c, stems));
        let figures =
            mine().filter(|c| !further(c)).map(|c| Figure::of(c, true)).collect::<Result<Vec<_>, _>>()?;
        let folded =
            mine().filter(|c| further(c)).map(|c| Figure::of(c, true)).collect::<Result<Vec<_>, _>>()?;
        if !figures.is_empty() {
            out.push(Section { id, title, hint, figures, folded });
        }
    }
    Ok(out)
}

fn unit(metric: &str, value: Option<f64>) -> Field {
    let text = value.map_or_else(|| "–".to_owned(), |v| words::value_with_unit(metric, v));
    Field { text, sort: value.filter(|v| v.is_finite()), class: "n", to: String::new() }
}

fn checks(comparison: &Comparison) -> Table {
    let head = vec![
        Head::text("Cell"),
        Head::text("Rule"),
        Head::number("Value", ""),
        Head::number("Bound", ""),
        Head::text("Held"),
    ];
    let row = |c: &crate::analysis::compare::Check| {
        let (word, class) = match c.held {
            Some(true) => ("✓ held", "good"),
            Some(false) => ("✗ broken", "bad"),
            None => ("? can't be told", "so-so"),
        };
        vec![
            Field::text(c.label.as_str()),
            Field::text(c.rule.as_str()),
            unit(&c.metric, c.value),
            unit(&c.metric, c.bound),
            Field { text: word.into(), sort: None, class, to: String::new() },
        ]
    };
    Table { head, rows: comparison.checks.iter().map(row).collect() }
}

/// All rows: those of all cells together first.
fn rows(comparison: &Comparison) -> Table {
    let mut head = vec![Head::text("Cell"), Head::text("Figure"), Head::text("Verdict")];
    let numbers = [
        "Change",
        "from",
        "to",
        "Margin ±",
        "Baseline",
        "Candidate",
        "p",
        "p adjusted",
        "q",
        "Repeats",
        "n eff.",
    ];
    head.extend(numbers.map(|t| Head::number(t, "")));
    head.push(Head::text("Why"));
    let share = |row: &Row, v: Option<f64>| Field {
        text: v.map_or_else(|| "–".to_owned(), |v| row.share_text(v)),
        sort: v.filter(|v| v.is_finite()),
        class: "n",
        to: String::new(),
    };
    let p = |v: Option<f64>| Field {
        text: v.map_or_else(|| "–".to_owned(), probability),
        sort: v.filter(|v| v.is_finite()),
        class: "n",
        to: String::new(),
    };
    let of = |row: &Row| {
        let figure = words::metric_name(&row.metric, &row.stat);
        let strong = if row.primary { "strong" } else { "" };
        vec![
            Field { text: row.label.clone(), sort: None, class: strong, to: String::new() },
            Field { text: figure, sort: None, class: strong, to: String::new() },
            Field {
                text: format!("{} {}", row.verdict.glyph(), row.verdict.word()),
                sort: None,
                class: class(row.verdict),
                to: String::new(),
            },
            share(row, row.effect),
            share(row, row.interval.map(|i| i.0)),
            share(row, row.interval.map(|i| i.1)),
            share(row, Some(row.margin)),
            unit(&row.metric, row.base),
            unit(&row.metric, row.cand),
            p(row.p),
            p(row.p_adjusted),
            p(row.q),
            Field::count(Some(u64::from(row.repeats))),
            Field::number(row.n_eff),
            Field::text(list(&row.reasons, 3)),
        ]
    };
    Table { head, rows: comparison.suite.iter().chain(&comparison.rows).map(of).collect() }
}

fn methods(comparison: &Comparison) -> Vec<String> {
    let gate = &comparison.gate;
    let percent = |share: f64| words::value_with_unit("error_rate", share);
    vec![
        "A figure is taken of each repeat, and the logarithms of candidate over baseline are tested: requests of one repeat depend on each other, so that pooling them raises false alarms. Shares, such as the error rate, are compared by their difference.".into(),
        "Repeats are paired where seed and workload are the same on both sides (paired t-test), else not (Welch's t-test). The change is e to the mean log ratio, less 1; its interval is the 95 % t interval.".into(),
        format!(
            "Of the deciding figures, p is adjusted after Holm; a change is more than chance below {}. The colours of the map follow Benjamini and Hochberg over all figures, at q ≤ {}.",
            percent(gate.alpha),
            percent(gate.q)
        ),
        format!("A pass needs at least {} repeats.", gate.min_repeats),
        "The margin is the smallest change that matters. A ratio is beyond it from 1 + margin up, and from 1/(1 + margin) down.".into(),
        "Where repeats are pairs, the shift function takes each quantile within each repeat, and its band is a 95 % t interval over the pairs, for each quantile by itself; else over all requests of a side, without a band.".into(),
        "A p99 decides only where a repeat has enough independent requests above it; “n eff.” says how many there are in all.".into(),
    ]
}
