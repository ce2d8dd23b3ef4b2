//! What the page of one cell shows, as data that the script draws when it is opened.
//!
//! Names stand once in shared tables, figures are written as people read them: a run of
//! hundreds of cells stays small.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::analysis::diagnosis;
use crate::analysis::{CellData, RunData};
use crate::chart::{Repeats, count, figure, seconds, short_name, value_text};
use crate::measure::validity::{Limit, SERVER_COUNTS_NAME, SIGNALS, Signal, Unit};
use crate::measure::{
    CellSummary, CountCheck, Distribution, SERVER_FIGURES, ServerFigure, ServerSide, Verdict,
};
use crate::metrics::{METRICS, STATS};
use crate::record::EndedBy;
use crate::report::columns::COLUMNS;
use crate::report::signs::class;
use crate::report::terminal;
use crate::stats::{Moments, student_t_quantile};

/// Level of the intervals over repeats.
const LEVEL: f64 = 0.95;

/// All cells, with the tables that they share.
#[derive(Serialize)]
pub(in crate::report) struct Cells {
    stats: Vec<&'static str>,
    /// Name, unit.
    metrics: Vec<(&'static str, &'static str)>,
    /// Name, limits of a warning and of invalidity, help.
    signals: Vec<(&'static str, String, String, &'static str)>,
    /// The server's own figures: title, unit, help.
    server: Vec<(&'static str, &'static str, &'static str)>,
    /// Axes that vary.
    factors: Vec<String>,
    counts: Vec<&'static str>,
    /// Key figures: title, unit, metric.
    key: Vec<(&'static str, &'static str, &'static str)>,
    /// Repeats taken together.
    over: Vec<Over>,
    cells: Vec<Page>,
}

/// One cell over its repeats.
#[derive(Serialize)]
struct Over {
    /// Numbers of its repeats' pages.
    cells: Vec<u32>,
    /// For each key figure: mean, interval, and repeats that it is of; empty for none.
    rows: Vec<(String, String, usize)>,
}

#[derive(Serialize)]
struct Page {
    n: u32,
    label: String,
    repeat: u32,
    seed: String,
    id: String,
    over: usize,
    valid: &'static str,
    slo: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    started: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    window: String,
    factors: Vec<String>,
    /// Class and words.
    reasons: Vec<(&'static str, String)>,
    verdicts: Vec<(&'static str, &'static str, String)>,
    key: Vec<String>,
    counts: Vec<String>,
    errors: Vec<(String, String, String)>,
    scalars: Vec<(usize, String)>,
    dists: Vec<(usize, Vec<String>)>,
    /// Signal, value, class.
    signals: Vec<(usize, String, &'static str)>,
    /// What the server says of itself; `None` where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Server>,
}

/// The server's side of a cell.
#[derive(Serialize)]
struct Server {
    /// Figure, mean, greatest, looks.
    figures: Vec<(usize, String, String, String)>,
    /// What, by the client, what may be more, by the server, class.
    counts: Vec<(String, String, String, String, &'static str)>,
    notes: Vec<String>,
    /// Where it comes from, in a sentence.
    from: String,
}

/// Everything that cells' pages show.
pub(in crate::report) fn pages(run: &RunData) -> Cells {
    let varying: Vec<String> = run.cells.first().map(|c| c.cell.varying.clone()).unwrap_or_default();
    let all = Repeats::all(run);
    let groups: BTreeMap<&str, usize> =
        all.iter().enumerate().map(|(i, r)| (r.cell().id.0.as_str(), i)).collect();
    let page = |data: &CellData| {
        let over = groups.get(data.cell.id.0.as_str()).copied().unwrap_or_default();
        of_cell(data, &varying, over)
    };
    Cells {
        stats: STATS.to_vec(),
        metrics: METRICS.iter().map(|m| (m.name, m.unit.label())).collect(),
        signals: SIGNALS.iter().map(signal_row).collect(),
        server: SERVER_FIGURES.iter().map(|f| (f.title, f.unit, f.help)).collect(),
        factors: varying.iter().map(|p| short_name(p).to_owned()).collect(),
        counts: COUNTS.iter().map(|(title, _)| *title).collect(),
        key: COLUMNS.iter().map(|c| (c.title, c.unit, c.metric)).collect(),
        over: all.iter().map(over).collect(),
        cells: run.cells.iter().map(page).collect(),
    }
}

fn signal_row(s: &Signal) -> (&'static str, String, String, &'static str) {
    let words = |limit: Limit| limit.words(s.unit);
    (s.name, words(s.warn), words(s.invalid), s.help)
}

type Read = fn(&CellSummary) -> u64;
const COUNTS: [(&str, Read); 9] = [
    ("due in the window", |s| s.counts.attempted),
    ("ended well", |s| s.counts.ok),
    ("failed", |s| s.counts.failed),
    ("dropped", |s| s.counts.dropped),
    ("still ran when waiting ended", |s| s.counts.censored),
    ("cut off on purpose", |s| s.counts.cancelled),
    ("sent again", |s| s.counts.retries),
    ("output tokens", |s| s.tokens.output),
    ("prompt tokens", |s| s.tokens.prompt),
];

fn over(repeats: &Repeats<'_>) -> Over {
    let row = |c: &crate::report::columns::Column| {
        let values: Vec<f64> =
            repeats.usable().iter().filter_map(|s| c.value(s)).filter(|v| v.is_finite()).collect();
        let moments = Moments::of(&values);
        let Some(mean) = moments.mean() else { return (String::new(), String::new(), 0) };
        let interval = moments.std().map_or_else(String::new, |std| {
            let n = values.len() as f64;
            let reach = student_t_quantile(0.5 + LEVEL / 2.0, n - 1.0) * std / n.sqrt();
            format!("{}–{}", figure((mean - reach).max(0.0)), figure(mean + reach))
        });
        (figure(mean), interval, values.len())
    };
    Over {
        cells: repeats.cells.iter().map(|c| c.cell.index + 1).collect(),
        rows: COLUMNS.iter().map(row).collect(),
    }
}

fn of_cell(data: &CellData, varying: &[String], over: usize) -> Page {
    let alone = Repeats { cells: vec![data] };
    let cell = &data.cell;
    let factor = |p: &String| cell.factors.get(p).map(value_text).unwrap_or_default();
    let mut page = Page {
        n: cell.index + 1,
        label: alone.label(),
        repeat: cell.repeat,
        seed: cell.seed.to_string(),
        id: cell.id.0.clone(),
        over,
        valid: terminal::validity(&alone),
        slo: terminal::verdict(&alone),
        started: String::new(),
        window: String::new(),
        factors: varying.iter().map(factor).collect(),
        reasons: Vec::new(),
        verdicts: diagnosis::verdicts(data)
            .into_iter()
            .map(|l| (class(l.severity), l.severity.word(), l.text))
            .collect(),
        key: Vec::new(),
        counts: Vec::new(),
        errors: Vec::new(),
        scalars: Vec::new(),
        dists: Vec::new(),
        signals: Vec::new(),
        server: None,
    };
    let Some(summary) = &data.summary else { return page };
    page.started.clone_from(&summary.started_at);
    page.window = window(summary);
    page.reasons =
        summary.validity.reasons.iter().map(|r| (verdict_class(r.verdict), r.text.clone())).collect();
    page.key = COLUMNS.iter().map(|c| c.value(summary).map_or_else(|| "–".into(), figure)).collect();
    page.counts = COUNTS.iter().map(|(_, read)| count(read(summary))).collect();
    let words = |class: &str| summary.counts.error_words.get(class).cloned().unwrap_or_default();
    page.errors =
        summary.counts.errors.iter().map(|(class, n)| (class.clone(), count(*n), words(class))).collect();
    for (i, metric) in METRICS.iter().enumerate() {
        if let Some(value) = summary.scalars.get(metric.name) {
            page.scalars.push((i, figure(*value)));
        }
        if let Some(d) = summary.distributions.get(metric.name) {
            page.dists.push((i, statistics(d)));
        }
    }
    page.signals = signals(summary);
    page.server = summary.server.as_ref().map(|side| server(side, summary));
    page
}

fn server(side: &ServerSide, summary: &CellSummary) -> Server {
    let of = |(i, f): (usize, &ServerFigure)| {
        let value = side.figures.get(f.name)?;
        Some((i, figure(value.mean), figure(value.max), count(value.n)))
    };
    let fired = summary.validity.reasons.iter().any(|r| r.signal == SERVER_COUNTS_NAME);
    let one = |check: &CountCheck| {
        let unsure = if check.unsure == 0 { "–".to_owned() } else { count(check.unsure) };
        let class = if fired && check.off().abs() > 0.01 { "so-so" } else { "" };
        (check.name().to_owned(), count(check.client), unsure, count(check.server), class)
    };
    Server {
        figures: SERVER_FIGURES.iter().enumerate().filter_map(of).collect(),
        counts: side.counts.iter().map(one).collect(),
        notes: side.notes.clone(),
        from: format!(
            "From {}: {} series, {} looks, which took {} ms of this machine's processors.",
            side.sources.join(", "),
            count(side.series),
            count(side.looks),
            figure(side.cpu_ms)
        ),
    }
}

fn statistics(d: &Distribution) -> Vec<String> {
    let text = |stat: &&str| match (*stat, d.stat(stat)) {
        (_, None) => "–".to_owned(),
        ("n", Some(n)) => count(n as u64),
        (_, Some(value)) => figure(value),
    };
    STATS.iter().map(text).collect()
}

fn window(summary: &CellSummary) -> String {
    let (from, to) = (summary.window.start_us as f64 / 1e6, summary.window.end_us as f64 / 1e6);
    let by = match summary.window.ended_by {
        EndedBy::Duration => "ended by its time",
        EndedBy::Requests => "ended by its number of requests",
        _ => "cut short",
    };
    format!(
        "{} long, from {} to {} after the cell's start; {by}",
        seconds(to - from),
        seconds(from),
        seconds(to)
    )
}

/// What was measured of each signal, and how it stands.
fn signals(summary: &CellSummary) -> Vec<(usize, String, &'static str)> {
    let of = |(i, signal): (usize, &Signal)| {
        let value = *summary.validity.signals.get(signal.name)?;
        let fired = summary.validity.reasons.iter().find(|r| r.signal == signal.name);
        Some((i, measured(signal.unit, value), fired.map_or("", |r| verdict_class(r.verdict))))
    };
    SIGNALS.iter().enumerate().filter_map(of).collect()
}

fn measured(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Flag => if value > 0.0 { "yes" } else { "no" }.to_owned(),
        Unit::Count => count(value.max(0.0) as u64),
        Unit::Share => format!("{} %", figure(value * 100.0)),
        Unit::Ms => format!("{} ms", figure(value)),
        Unit::Seconds => format!("{} s", figure(value)),
        Unit::MsPerS => format!("{} ms/s", figure(value)),
        Unit::Ratio => figure(value),
    }
}

const fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "",
        Verdict::Warn => "so-so",
        Verdict::Invalid => "bad",
    }
}
