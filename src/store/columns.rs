//! The columns of `summary.csv`: fixed, in this order, the same for a run's file and for
//! `runs/summary.csv`. `docs/storage.md` describes them; [`super::SCHEMA`] is their version.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::{Manifest, Skipped, StoredCell};
use crate::experiment::Load;
use crate::measure::{CellSummary, LimitVerdict, SloStatus, SloVerdict, Verdict};
use crate::metrics::{self, Kind, METRICS, STATS};
use crate::plan::Cell;

/// Factors that have a column of their own.
const NAMED_FACTORS: [(&str, &str); 4] = [
    ("users", "load.users"),
    ("qps", "load.qps"),
    ("prompt_tokens", "workload.prompt_tokens"),
    ("max_tokens", "workload.max_tokens"),
];

/// Columns before the metrics. The first three are the row's key: [`line_key`].
const BEFORE: &[&str] = &[
    "schema",
    "run",
    "cell_index",
    "experiment",
    "cell_id",
    "grid",
    "repeat",
    "seed",
    "salt",
    "load",
    "arrivals",
    "users",
    "qps",
    "prompt_tokens",
    "max_tokens",
    "factors",
    "target",
    "api",
    "model",
    "started_at",
    "ended_at",
    "window_s",
    "window_ended_by",
    "planned",
    "attempted",
    "sent",
    "ok",
    "failed",
    "dropped",
    "censored",
    "cancelled",
    "in_flight_at_end",
    "cap_blocked",
    "retries",
    "before_window",
    "errors",
];

/// Columns after the metrics.
const AFTER: &[&str] = &[
    "tokens_prompt_asked",
    "tokens_prompt",
    "tokens_max",
    "tokens_output",
    "tokens_cached",
    "chunks",
    "token_sources",
    "prompt_mismatches",
    "output_mismatches",
    "validity",
    "validity_reasons",
    "slo_pass",
    "slo",
    "semi_open",
    "workload_hash",
    "experiment_hash",
];

/// Names of all columns, in order.
#[must_use]
pub fn columns() -> Vec<String> {
    let mut all: Vec<String> = BEFORE.iter().map(|c| (*c).to_owned()).collect();
    for metric in METRICS {
        match metric.kind {
            Kind::Scalar => all.push(metrics::column(metric, "")),
            Kind::Distribution => all.extend(STATS.iter().map(|stat| metrics::column(metric, stat))),
        }
    }
    all.extend(AFTER.iter().map(|c| (*c).to_owned()));
    all
}

/// The row of one finished cell: as many fields as [`columns`]. An empty field is "not
/// known" or "not applicable". No field holds a line break.
#[must_use]
pub fn row(manifest: &Manifest, cell: &Cell, stored: &StoredCell) -> Vec<String> {
    let summary = &stored.summary;
    let mut fields = identity(manifest, cell).to_vec();
    fields.extend(asked(cell));
    fields.extend([
        addresses(cell),
        stored.api.clone().unwrap_or_else(|| cell.settings.of_targets(|target| &target.api)),
        stored.model.clone(),
        summary.started_at.clone(),
        summary.ended_at.clone(),
        summary.window.seconds().to_string(),
        summary.window.ended_by.name().to_owned(),
    ]);
    fields.extend(counts(summary));
    fields.extend(figures(summary));
    fields.extend(tokens(summary));
    fields.extend(verdicts(summary));
    fields.extend([summary.workload_hash.clone(), manifest.experiment_hash.clone()]);
    fields.iter_mut().for_each(one_line);
    fields
}

/// The row of a cell that is not to run: what was asked, `skipped` for its validity, and why.
#[must_use]
pub fn row_of_skipped(manifest: &Manifest, cell: &Cell, skipped: &Skipped) -> Vec<String> {
    let mut known = identity(manifest, cell).to_vec();
    known.extend(asked(cell));
    known.push(addresses(cell));
    known.push(cell.settings.of_targets(|target| &target.api));
    let columns = columns();
    known.resize(columns.len(), String::new());
    for (name, field) in columns.iter().zip(&mut known) {
        match name.as_str() {
            "ended_at" => skipped.at.clone_into(field),
            "validity" => "skipped".clone_into(field),
            "validity_reasons" => *field = format!("skipped: {}", skipped.reason),
            "experiment_hash" => manifest.experiment_hash.clone_into(field),
            _ => {}
        }
    }
    known.iter_mut().for_each(one_line);
    known
}

/// No field holds a line break: a line of the file is a row.
pub(super) fn one_line(field: &mut String) {
    if field.contains(['\n', '\r']) {
        *field = field.replace(['\n', '\r'], " ");
    }
}

/// Every address that a cell asks, each once.
fn addresses(cell: &Cell) -> String {
    let mut urls: Vec<String> = Vec::new();
    for (target, _) in cell.settings.parts() {
        let url = without_credentials(&target.url).into_owned();
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls.join(" + ")
}

/// How the line of a cell begins: no other line begins so. Run ids hold nothing that a CSV
/// writer would quote.
pub(super) fn line_key(run: &str, cell_index: u32) -> String {
    format!("{},{run},{cell_index},", super::SCHEMA)
}

fn identity(manifest: &Manifest, cell: &Cell) -> [String; 9] {
    [
        super::SCHEMA.to_string(),
        manifest.run.clone(),
        cell.index.to_string(),
        manifest.name.clone(),
        cell.id.0.clone(),
        cell.grid.clone().unwrap_or_default(),
        cell.repeat.to_string(),
        cell.seed.to_string(),
        manifest.salt.clone(),
    ]
}

fn asked(cell: &Cell) -> Vec<String> {
    let (load, arrivals) = match &cell.settings.load {
        Load::Closed { .. } => ("closed", ""),
        Load::Open { arrivals, .. } => ("open", arrivals.name()),
    };
    let mut fields = vec![load.to_owned(), arrivals.to_owned()];
    fields.extend(NAMED_FACTORS.iter().map(|(_, path)| scalar(cell.factors.get(*path))));
    let others: BTreeMap<&str, Value> = cell
        .factors
        .iter()
        .filter(|(path, _)| NAMED_FACTORS.iter().all(|(_, named)| named != path))
        .map(|(path, value)| (path.as_str(), public(path, value)))
        .collect();
    fields.push(json(&others));
    fields
}

fn counts(summary: &CellSummary) -> Vec<String> {
    let c = &summary.counts;
    let mut fields: Vec<String> = [
        c.planned,
        c.attempted,
        c.sent,
        c.ok,
        c.failed,
        c.dropped,
        c.censored,
        c.cancelled,
        c.in_flight_at_end,
        c.cap_blocked,
        c.retries,
        c.before_window,
    ]
    .iter()
    .map(u64::to_string)
    .collect();
    fields.push(json(&c.errors));
    fields
}

fn figures(summary: &CellSummary) -> Vec<String> {
    let value = |name: &str, stat: &str| summary.value(name, stat).map(|v| v.to_string()).unwrap_or_default();
    METRICS
        .iter()
        .flat_map(|metric| match metric.kind {
            Kind::Scalar => vec![value(metric.name, "")],
            Kind::Distribution => STATS.iter().map(|stat| value(metric.name, stat)).collect(),
        })
        .collect()
}

fn tokens(summary: &CellSummary) -> [String; 9] {
    let t = &summary.tokens;
    [
        t.prompt_asked.to_string(),
        t.prompt.to_string(),
        t.max_tokens.to_string(),
        t.output.to_string(),
        t.cached.map(|n| n.to_string()).unwrap_or_default(),
        t.chunks.to_string(),
        json(&t.sources),
        t.prompt_mismatches.to_string(),
        t.output_mismatches.to_string(),
    ]
}

fn verdicts(summary: &CellSummary) -> [String; 5] {
    let reasons: Vec<&str> = summary.validity.reasons.iter().map(|r| r.text.as_str()).collect();
    let slo_pass = passes(summary.statuses());
    let slo: Vec<String> =
        summary.slo.iter().map(slo_text).chain(summary.limits().iter().map(limit_text)).collect();
    [
        verdict(summary.validity.verdict).to_owned(),
        reasons.join("; "),
        slo_pass,
        slo.join("; "),
        summary.semi_open.to_string(),
    ]
}

/// `memory 613000000 (limit 512000000) fail`, in the unit that the limit is written in.
fn limit_text(limit: &LimitVerdict) -> String {
    let value = limit.value.map_or_else(|| "unknown".to_owned(), |v| v.to_string());
    format!("{} {value} (limit {}) {}", limit.on.key(), limit.most, limit.status.word().to_lowercase())
}

/// Whether nothing of what was asked fails; empty where nothing was.
pub(super) fn passes(statuses: impl Iterator<Item = SloStatus>) -> String {
    statuses.max().map_or_else(String::new, |worst| (worst != SloStatus::Fail).to_string())
}

/// `ttft_p95_ms 812.5 (limit 1000) pass`, `e2e_p95_ms 312.5 (target 200, limit 500) warning`.
pub(super) fn slo_text(rule: &SloVerdict) -> String {
    let name = metrics::metric(&rule.metric)
        .map_or_else(|| format!("{}_{}", rule.metric, rule.stat), |m| metrics::column(m, &rule.stat));
    let value = rule.value.map_or_else(|| "unknown".to_owned(), |v| v.to_string());
    let target = rule.target.map_or_else(String::new, |target| format!("target {target}, "));
    format!("{name} {value} ({target}limit {}) {}", rule.limit, rule.status.word().to_lowercase())
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Warn => "warn",
        Verdict::Invalid => "invalid",
    }
}

/// A factor as a person would write it; empty if it isn't set.
fn scalar(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("maps with text keys can be JSON")
}

/// The value of a factor without credentials.
pub(super) fn public(path: &str, value: &Value) -> Value {
    match value {
        Value::String(url) if path == "target.url" => without_credentials(url).into_owned().into(),
        other => other.clone(),
    }
}

/// `url` without user, password, query and fragment, where keys may hide. Text that is no
/// URL with a host stays as it is.
#[must_use]
pub fn without_credentials(url: &str) -> Cow<'_, str> {
    let Ok(mut parsed) = url::Url::parse(url) else { return Cow::Borrowed(url) };
    let bare = parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.query().is_none()
        && parsed.fragment().is_none();
    if bare || parsed.cannot_be_a_base() {
        return Cow::Borrowed(url);
    }
    // Both fail only for URLs without a host, which can't hold credentials.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.set_query(None);
    parsed.set_fragment(None);
    Cow::Owned(parsed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{cell, manifest, summary};

    fn stored() -> StoredCell {
        StoredCell::new("r", &cell(3), "tiny".into(), &summary(3))
    }

    #[test]
    fn names_are_unique_and_rows_fit_them() {
        let names = columns();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert_eq!(row(&manifest("r"), &cell(3), &stored()).len(), names.len());
    }

    #[test]
    fn every_column_is_documented() {
        let page = include_str!("../../docs/storage.md");
        assert!(page.contains(&format!("`summary.csv`, schema {}", crate::store::SCHEMA)));
        for column in BEFORE.iter().chain(AFTER) {
            assert!(page.contains(&format!("`{column}`")), "{column} is not in docs/storage.md");
        }
    }

    #[test]
    fn each_value_stands_under_its_name() {
        let names = columns();
        let fields = row(&manifest("r"), &cell(3), &stored());
        let at = |name: &str| fields[names.iter().position(|n| n == name).unwrap()].as_str();
        let s = summary(3);
        assert_eq!((at("run"), at("cell_index"), at("model")), ("r", "3", "tiny"));
        assert_eq!(at("api"), "openai-chat");
        let served = crate::store::Served { api: "tgi", model: "tiny", start: None };
        let found = StoredCell::new("r", &cell(3), served, &summary(3));
        assert_eq!(
            row(&manifest("r"), &cell(3), &found)[17],
            "tgi",
            "what was found goes before what was asked"
        );
        assert_eq!(names[17], "api");
        assert_eq!((at("users"), at("qps"), at("load"), at("arrivals")), ("", "2.5", "open", "poisson"));
        assert_eq!(at("factors"), r#"{"workload.temperature":0.7}"#);
        assert_eq!(at("ok"), s.counts.ok.to_string());
        assert_eq!(at("errors"), r#"{"429":1}"#);
        assert_eq!(at("ttft_p95_ms"), s.value("ttft", "p95").unwrap().to_string());
        assert_eq!(at("output_tps"), s.value("output_tps", "").unwrap().to_string());
        assert_eq!(at("e2e_p50_ms"), "", "no sample is an empty field, not 0");
        assert_eq!(at("validity"), "warn");
        assert_eq!((at("slo_pass"), at("slo")), ("false", "ttft_p95_ms unknown (limit 1000) fail"));
        assert_eq!(at("experiment_hash"), "hash");
        assert_eq!(at("window_s"), "30");
        assert_eq!(at("tokens_cached"), "");
    }

    #[test]
    fn a_line_break_in_a_reason_stays_out_of_the_file() {
        let mut stored = stored();
        stored.summary.validity.reasons[0].text = "two\r\nlines".to_owned();
        let fields = row(&manifest("r"), &cell(3), &stored);
        assert!(fields.iter().all(|f| !f.contains(['\n', '\r'])));
    }

    #[test]
    fn credentials_are_cut_out_of_urls() {
        for (url, bare) in [
            ("http://me:secret@h:8000/v1?key=k#f", "http://h:8000/v1"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("sim:", "sim:"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_credentials(url), bare);
        }
        let value = public("target.url", &Value::from("http://a:b@h/"));
        assert_eq!(value, Value::from("http://h/"));
    }
}
