//! The page: one file that works offline and asks nothing of any network.

use minijinja::{AutoEscape, Environment};
use plotly::Plot;
use serde::Serialize;
use serde_json::Value;

use super::columns::COLUMNS;
use super::findings::{self, Findings};
use super::signs::{CellVerdicts, Sign, class, verdicts};
use super::{MAX_STRIP_FILES, ReportError, contention, groups, plotly as drawing, stages, terminal};
use crate::analysis::{CellData, RunData, words};
use crate::chart::{Body, Chart, Repeats, count, figure, short_name, value_text};
use crate::measure::{CellSummary, GroupKind, GroupSummary, Verdict};
use crate::metrics;

/// The whole page. `charts` are those of [`crate::chart::all`].
///
/// # Errors
/// When the template cannot be filled in.
pub fn page(run: &RunData, charts: &[Chart]) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("page.html", include_str!("page.html"))?;
    let (strips, figures): (Vec<&Chart>, Vec<&Chart>) =
        charts.iter().partition(|c| matches!(c.body, Body::Strip(_)));
    let strip_files = strips.len().min(MAX_STRIP_FILES);
    let found = findings::find(run);
    let context = Page {
        name: &run.title,
        id: &run.id,
        css: include_str!("page.css"),
        script: include_str!("page.js"),
        plotly: plotly_script(),
        signs: found.diagnosis.iter().map(|f| Sign::of(f, run)).collect(),
        verdicts: verdicts(run),
        findings: Facts::of(found),
        figures: figures.into_iter().map(|c| Figure::of(c, true)).collect::<Result<_, _>>()?,
        strips: strips
            .into_iter()
            .enumerate()
            .map(|(i, c)| Figure::of(c, i < strip_files))
            .collect::<Result<_, _>>()?,
        cells: cells(run),
        kinds: groups::kinds(&groups::breakdowns(run, |_| true)),
        groups: group_table(run),
        recoveries: recoveries(run),
        contention: contention::sentences(run),
        remarks: remarks(run),
        environment: flat(&run.environment),
        manifest: flat(&run.manifest),
        experiment: &run.experiment,
        path: run.path.display().to_string(),
        salt: run.manifest.get("salt").and_then(Value::as_str),
        metrics: metrics::METRICS.iter().map(Definition::of).collect(),
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(environment.get_template("page.html")?.render(minijinja::value::Serde(&context))?)
}

/// The first script of the crate's two; the second, MathJax, is not needed.
fn plotly_script() -> String {
    const END: &str = "</script>";
    let both = Plot::offline_js_sources();
    both.split_inclusive(END).next().unwrap_or_default().to_owned()
}

/// JSON that may stand inside a script element whatever texts it holds.
fn embedded(value: &Value) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(value)?.replace('<', "\\u003c"))
}

#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    id: &'a str,
    css: &'a str,
    script: &'a str,
    plotly: String,
    findings: Facts,
    signs: Vec<Sign>,
    verdicts: Vec<CellVerdicts>,
    figures: Vec<Figure>,
    strips: Vec<Figure>,
    cells: Table,
    /// What `groups` are by, such as `task and endpoint`; empty without any.
    kinds: String,
    groups: Table,
    recoveries: Vec<Recovery>,
    contention: Vec<String>,
    remarks: Vec<Remark>,
    environment: Vec<(String, String)>,
    manifest: Vec<(String, String)>,
    experiment: &'a str,
    path: String,
    salt: Option<&'a str>,
    metrics: Vec<Definition>,
    version: &'a str,
}

#[derive(Serialize)]
struct Facts {
    planned: usize,
    ran_cells: usize,
    believable: usize,
    invalid: usize,
    ran: Vec<String>,
    figures: Vec<String>,
    limits: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
struct Rule {
    rule: String,
    word: &'static str,
    class: &'static str,
    /// Of the believable cells, how many meet it.
    share: String,
    worst: String,
}

impl Facts {
    fn of(found: Findings) -> Self {
        let rule = |r: findings::RuleLine| Rule {
            rule: r.rule,
            word: r.status.word(),
            class: class(r.status.into()),
            share: match r.acceptable {
                0 => format!("{} of {}", r.passed, r.of),
                n => format!("{} of {}, acceptable in {n} more", r.passed, r.of),
            },
            worst: r.worst,
        };
        Self {
            planned: found.counts.planned,
            ran_cells: found.counts.ran,
            believable: found.counts.valid + found.counts.warned,
            invalid: found.counts.invalid,
            ran: found.ran,
            figures: found.figures,
            limits: found.limits,
            rules: found.rules.into_iter().map(rule).collect(),
        }
    }
}

#[derive(Serialize)]
struct Figure {
    id: String,
    title: String,
    subtitle: String,
    caption: String,
    json: String,
    /// Its file beside the page, if there is one.
    png: Option<String>,
    table: Table,
}

impl Figure {
    fn of(chart: &Chart, file: bool) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: chart.id.clone(),
            title: chart.title.clone(),
            subtitle: chart.subtitle.clone(),
            caption: chart.caption.clone(),
            json: embedded(&drawing::figure(chart))?,
            png: file.then(|| format!("{}.png", chart.id)),
            table: data_table(chart),
        })
    }
}

#[derive(Serialize, Default)]
struct Table {
    head: Vec<Head>,
    rows: Vec<Vec<Field>>,
}

#[derive(Serialize)]
struct Head {
    text: String,
    unit: String,
    number: bool,
}

impl Head {
    fn text(text: &str) -> Self {
        Self { text: text.into(), unit: String::new(), number: false }
    }

    fn number(text: &str, unit: &str) -> Self {
        Self { text: text.into(), unit: unit.into(), number: true }
    }
}

/// One field; `sort` is the number by which it is sorted.
#[derive(Serialize)]
struct Field {
    text: String,
    sort: Option<f64>,
    class: &'static str,
}

impl Field {
    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), sort: None, class: "" }
    }

    fn number(value: Option<f64>) -> Self {
        Self { text: value.map_or_else(|| "–".into(), figure), sort: value, class: "n" }
    }

    fn count(value: Option<u64>) -> Self {
        Self { text: value.map_or_else(|| "–".into(), count), sort: value.map(|v| v as f64), class: "n" }
    }
}

/// A place on an axis, by its tick's name where it has one.
fn place(axis: &crate::chart::Axis, x: f64) -> Field {
    let tick = axis.ticks.iter().find(|t| t.at == x);
    Field { text: tick.map_or_else(|| figure(x), |t| t.text.clone()), ..Field::number(Some(x)) }
}

/// Every point of a figure in words; a strip's thousands are left to its file.
fn data_table(chart: &Chart) -> Table {
    match &chart.body {
        Body::Strip(_) => Table::default(),
        Body::Lines(lines) => {
            let head = vec![
                Head::text("Series"),
                Head::number(&lines.x.label, &lines.x.unit),
                Head::number(&lines.y.label, &lines.y.unit),
                Head::number("least", &lines.y.unit),
                Head::number("greatest", &lines.y.unit),
                Head::text("Remark"),
            ];
            let of = |panel: &crate::chart::Panel| -> Vec<Vec<Field>> {
                let row = |name: &str, p: &crate::chart::Point| {
                    let name = [panel.title.as_str(), name].into_iter().filter(|t| !t.is_empty());
                    vec![
                        Field::text(name.collect::<Vec<_>>().join(": ")),
                        place(&lines.x, p.x),
                        Field::number(Some(p.y)),
                        Field::number(p.low),
                        Field::number(p.high),
                        Field::text(p.note.clone()),
                    ]
                };
                panel
                    .series
                    .iter()
                    .flat_map(|s| s.points.iter().map(|p| row(&s.name, p)).collect::<Vec<_>>())
                    .collect()
            };
            Table { head, rows: lines.panels.iter().flat_map(of).collect() }
        }
        Body::HeatMap(map) => {
            let mut head = vec![Head::text(&format!("{} \\ {}", map.y_label, map.x_label))];
            head.extend(map.xs.iter().map(|x| Head::number(x, "")));
            let of = |panel: &crate::chart::HeatPanel| -> Vec<Vec<Field>> {
                let row = |j: usize| {
                    let name = if panel.title.is_empty() {
                        map.ys[j].clone()
                    } else {
                        format!("{}: {}", panel.title, map.ys[j])
                    };
                    let mut row = vec![Field::text(name)];
                    row.extend(panel.values[j].iter().zip(&panel.flags[j]).map(|(v, f)| {
                        let mut field = Field::number(*v);
                        if f.invalid {
                            field.text.push_str(" (invalid)");
                        } else if f.overloaded {
                            field.text.push_str(" (overloaded)");
                        }
                        field
                    }));
                    row
                };
                (0..map.ys.len()).map(row).collect()
            };
            Table { head, rows: map.panels.iter().flat_map(of).collect() }
        }
    }
}

/// A row per cell and repeat.
fn cells(run: &RunData) -> Table {
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

fn cell_row(data: &CellData, varying: &[String], repeated: bool) -> Vec<Field> {
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
fn validity(data: &CellData) -> Field {
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
fn group_table(run: &RunData) -> Table {
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
fn of_stage(of: &groups::Breakdown<'_>, group: &GroupSummary) -> [Field; 3] {
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
fn verdict_class(word: &str) -> &'static str {
    match word {
        "PASS" => "good",
        "WARNING" => "so-so",
        "FAIL" => "bad",
        _ => "none",
    }
}

/// Whether stages recovered, in a sentence each.
fn recoveries(run: &RunData) -> Vec<Recovery> {
    let all = groups::breakdowns(run, |kind| kind == GroupKind::Stage);
    let of = |b: &groups::Breakdown<'_>| -> Vec<Recovery> {
        let verdicts = b.groups.iter().filter_map(|g| g.recovery.as_ref());
        verdicts
            .map(|verdict| Recovery {
                word: verdict.status().word(),
                class: verdict_class(verdict.status().word()),
                label: b.label.clone(),
                text: verdict.text.clone(),
            })
            .collect()
    };
    all.iter().filter(|b| !b.invalid()).flat_map(of).collect()
}

#[derive(Serialize)]
struct Recovery {
    word: &'static str,
    class: &'static str,
    /// The cell and repeat.
    label: String,
    text: String,
}

/// A cell that is not to be taken at face value.
#[derive(Serialize)]
struct Remark {
    cell: u32,
    label: String,
    word: &'static str,
    class: &'static str,
    reasons: Vec<String>,
}

fn remarks(run: &RunData) -> Vec<Remark> {
    run.cells.iter().filter_map(remark).collect()
}

fn remark(data: &CellData) -> Option<Remark> {
    let repeat = if data.cell.repeat > 1 { format!(", repeat {}", data.cell.repeat) } else { String::new() };
    let label = format!("{}{repeat}", Repeats { cells: vec![data] }.label());
    let cell = data.cell.index + 1;
    let Some(summary) = &data.summary else {
        let reasons = vec!["it did not run, or did not run to its end".to_owned()];
        return Some(Remark { cell, label, word: "not run", class: "none", reasons });
    };
    let mut reasons: Vec<String> = summary.validity.reasons.iter().map(|r| r.text.clone()).collect();
    if !summary.counts.errors.is_empty() {
        let errors: Vec<String> =
            summary.counts.errors.iter().map(|(class, n)| format!("{} × {class}", count(*n))).collect();
        reasons.push(format!("failures by class: {}", errors.join(", ")));
    }
    let (word, class) = match summary.validity.verdict {
        Verdict::Invalid => ("INVALID", "bad"),
        Verdict::Warn => ("warn", "so-so"),
        Verdict::Valid if reasons.is_empty() => return None,
        Verdict::Valid => ("valid", "good"),
    };
    Some(Remark { cell, label, word, class, reasons })
}

#[derive(Serialize)]
struct Definition {
    name: &'static str,
    unit: &'static str,
    better: &'static str,
    help: &'static str,
}

impl Definition {
    fn of(metric: &metrics::Metric) -> Self {
        let better = match metric.better {
            metrics::Better::Lower => "lower",
            metrics::Better::Higher => "higher",
            metrics::Better::Neither => "–",
        };
        Self { name: metric.name, unit: metric.unit.label(), better, help: metric.help }
    }
}

/// Leaves of a JSON document by dotted path.
fn flat(value: &Value) -> Vec<(String, String)> {
    fn walk(path: &str, value: &Value, out: &mut Vec<(String, String)>) {
        let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| walk(&join(k), v, out)),
            Value::Array(items) if items.iter().any(|i| i.is_object() || i.is_array()) => {
                items.iter().enumerate().for_each(|(i, v)| walk(&join(&i.to_string()), v, out));
            }
            Value::Array(items) => {
                out.push((path.to_owned(), items.iter().map(leaf).collect::<Vec<_>>().join(", ")));
            }
            other => out.push((path.to_owned(), leaf(other))),
        }
    }
    fn leaf(value: &Value) -> String {
        match value {
            Value::Null => "not known".to_owned(),
            Value::String(s) => s.clone(),
            other => other.to_string(),
        }
    }
    let mut out = Vec::new();
    if !value.is_null() {
        walk("", value, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_cannot_end_its_script_element() {
        let text = embedded(&json!({ "a": "</script><!--" })).unwrap();
        assert!(!text.contains('<'));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["a"], "</script><!--");
    }

    #[test]
    fn documents_become_rows() {
        let rows = flat(&json!({ "cpu": { "cores": 2 }, "disks": ["a", "b"], "gpu": null }));
        let expected = [("cpu.cores", "2"), ("disks", "a, b"), ("gpu", "not known")];
        assert_eq!(rows, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(flat(&Value::Null).is_empty());
    }

    #[test]
    fn only_the_plotting_script_is_taken() {
        let script = plotly_script();
        assert!(script.starts_with("<script") && script.ends_with("</script>"));
        assert!(script.contains("Plotly") && !script.contains("MathJax=") && script.len() < 6_000_000);
    }
}
