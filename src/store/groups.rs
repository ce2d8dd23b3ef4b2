//! `groups.csv`: a run's figures for each task, endpoint and stage of its cells, a line each.
//! Made from the `summary.json` files like `summary.csv`, which stands beside it.

use super::columns::{self, json, one_line, passes, slo_text};
use super::{Manifest, StoredCell};
use crate::measure::GroupSummary;
use crate::metrics::{self, Kind, METRICS, STATS};
use crate::plan::Cell;

/// Columns before the metrics. The first three are those of `summary.csv`; with kind and name
/// they are the line's key.
const BEFORE: &[&str] = &[
    "schema",
    "run",
    "cell_index",
    "kind",
    "name",
    "cell_id",
    "repeat",
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
    "prompt_mismatches",
    "output_mismatches",
    "slo_pass",
    "slo",
    "recovery",
];

/// Metrics that a group can have: all but those that are pooled over the cell.
fn metrics_of_groups() -> impl Iterator<Item = &'static metrics::Metric> {
    METRICS.iter().filter(|metric| metric.name != "chunk_gap")
}

/// Names of all columns of `groups.csv`, in order.
#[must_use]
pub fn group_columns() -> Vec<String> {
    let figures = metrics_of_groups().flat_map(|metric| match metric.kind {
        Kind::Scalar => vec![metrics::column(metric, "")],
        Kind::Distribution => STATS.iter().map(|stat| metrics::column(metric, stat)).collect(),
    });
    let before = BEFORE.iter().map(|c| (*c).to_owned());
    before.chain(figures).chain(AFTER.iter().map(|c| (*c).to_owned())).collect()
}

/// The rows of one finished cell, one for each group: each as many fields as
/// [`group_columns`]. An empty field is "not known" or "not applicable".
#[must_use]
pub fn group_rows(manifest: &Manifest, cell: &Cell, stored: &StoredCell) -> Vec<Vec<String>> {
    stored.summary.groups.iter().map(|group| row(manifest, cell, group)).collect()
}

fn row(manifest: &Manifest, cell: &Cell, group: &GroupSummary) -> Vec<String> {
    let mut fields = vec![
        super::SCHEMA.to_string(),
        manifest.run.clone(),
        cell.index.to_string(),
        group.kind.name().to_owned(),
        group.name.clone(),
        cell.id.0.clone(),
        cell.repeat.to_string(),
    ];
    let c = &group.counts;
    let counts = [c.attempted, c.sent, c.ok, c.failed, c.dropped, c.censored, c.cancelled];
    fields.extend(counts.iter().map(u64::to_string));
    fields.extend([c.in_flight_at_end, c.cap_blocked, c.retries].iter().map(u64::to_string));
    fields.push(json(&c.errors));
    let value = |name: &str, stat: &str| group.value(name, stat).map(|v| v.to_string()).unwrap_or_default();
    for metric in metrics_of_groups() {
        match metric.kind {
            Kind::Scalar => fields.push(value(metric.name, "")),
            Kind::Distribution => fields.extend(STATS.iter().map(|stat| value(metric.name, stat))),
        }
    }
    let t = &group.tokens;
    fields.extend([t.prompt_asked, t.prompt, t.max_tokens, t.output].iter().map(u64::to_string));
    fields.push(t.cached.map(|n| n.to_string()).unwrap_or_default());
    fields.extend([t.chunks, t.prompt_mismatches, t.output_mismatches].iter().map(u64::to_string));
    fields.push(passes(group.statuses()));
    fields.push(group.slo.iter().map(slo_text).collect::<Vec<_>>().join("; "));
    fields.push(group.recovery.as_ref().map(|r| r.text.clone()).unwrap_or_default());
    fields.iter_mut().for_each(one_line);
    fields
}

/// How the line of a group begins: no other line begins so.
pub(super) fn line_key(run: &str, cell_index: u32, group: &GroupSummary) -> String {
    format!("{}{},{},", columns::line_key(run, cell_index), group.kind.name(), group.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Recovery;
    use crate::measure::{GroupKind, recovery};
    use crate::store::tests::{cell, manifest, summary};

    fn stored() -> StoredCell {
        let mut whole = summary(3);
        let kinds = [(GroupKind::Task, "short"), (GroupKind::Endpoint, "flash"), (GroupKind::Stage, "after")];
        whole.groups = kinds
            .into_iter()
            .map(|(kind, name)| GroupSummary {
                kind,
                name: name.to_owned(),
                counts: whole.counts.clone(),
                distributions: whole.distributions.clone(),
                scalars: whole.scalars.clone(),
                tokens: whole.tokens.clone(),
                slo: whole.slo.clone(),
                window: None,
                recovery: None,
            })
            .collect();
        let rule = Recovery { of: "before".to_owned(), within: 0.2 };
        let after = &whole.groups[2];
        let recovery = recovery("after", &rule, &after.distributions, &after.distributions);
        whole.groups[2].recovery = Some(recovery);
        whole.groups[1].scalars.insert("output_tps".to_owned(), f64::NAN);
        StoredCell::new("r", &cell(3), "tiny".into(), &whole)
    }

    #[test]
    fn each_value_stands_under_its_name() {
        let names = group_columns();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        let stored = stored();
        let rows = group_rows(&manifest("r"), &cell(3), &stored);
        assert_eq!(rows.len(), 3);
        let at = |row: &[String], name: &str| row[names.iter().position(|n| n == name).unwrap()].clone();
        for (row, group) in rows.iter().zip(&stored.summary.groups) {
            assert_eq!(row.len(), names.len());
            assert_eq!(
                (at(row, "kind"), at(row, "name")),
                (group.kind.name().to_owned(), group.name.clone())
            );
            assert_eq!(at(row, "ok"), group.counts.ok.to_string());
            assert_eq!(at(row, "ttft_p95_ms"), group.value("ttft", "p95").unwrap().to_string());
            assert_eq!(at(row, "e2e_p50_ms"), "", "no sample is an empty field, not 0");
            assert_eq!(at(row, "slo"), "ttft_p95_ms unknown (limit 1000) fail");
            assert!(row.join(",").starts_with(&line_key("r", 3, group)));
        }
        assert_ne!(at(&rows[0], "output_tps"), "");
        assert_eq!(at(&rows[1], "output_tps"), "", "what is no number is absent");
        // Only of a stage do rules decide.
        let passes = rows.iter().map(|row| at(row, "slo_pass"));
        assert_eq!(passes.collect::<Vec<_>>(), ["", "", "false"]);
        assert_eq!(
            (at(&rows[0], "recovery"), at(&rows[2], "recovery").contains("recovered: ")),
            (String::new(), true)
        );
    }

    #[test]
    fn every_column_is_documented() {
        let page = include_str!("../../docs/storage.md");
        let (_, section) = page.split_once("## `groups.csv`").expect("a section of its own");
        for column in BEFORE.iter().chain(AFTER) {
            assert!(section.contains(&format!("`{column}`")), "{column} is not in docs/storage.md");
        }
    }
}
