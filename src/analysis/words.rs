//! Metrics, rules and cells as people say them, for whatever a person reads.

use serde_json::Value;

use super::text::{figure, tick};
use crate::experiment::Load;
use crate::measure::SloVerdict;
use crate::metrics::{self, Better, Unit};
use crate::plan::Cell;

/// `TTFT p95`, `error rate`.
#[must_use]
pub fn metric_name(metric: &str, stat: &str) -> String {
    let name = match metric {
        "ttft" | "ttfv" | "tpot" | "e2e" => metric.to_uppercase(),
        _ => metric.replace('_', " "),
    };
    format!("{name} {stat}").trim_end().to_owned()
}

/// A figure with its unit; shares in percent.
#[must_use]
pub fn value_with_unit(metric: &str, value: f64) -> String {
    match metrics::metric(metric).map(|m| m.unit) {
        Some(Unit::Ratio) => format!("{} %", figure(value * 100.0)),
        Some(unit) => format!("{} {}", figure(value), unit.label()).trim_end().to_owned(),
        None => figure(value),
    }
}

/// A rule: `TTFT p95 ≤ 1,000 ms`, or `TTFT p95 ≤ 200 ms (acceptable 500 ms)` where it has a
/// target.
#[must_use]
pub fn rule_text(verdict: &SloVerdict) -> String {
    let metric = verdict.metric.as_str();
    let higher = metrics::metric(metric).is_some_and(|m| m.better == Better::Higher);
    let sign = if higher { "≥" } else { "≤" };
    let name = metric_name(metric, &verdict.stat);
    let limit = value_with_unit(metric, verdict.limit);
    match verdict.target {
        None => format!("{name} {sign} {limit}"),
        Some(target) => format!("{name} {sign} {} (acceptable {limit})", value_with_unit(metric, target)),
    }
}

/// A figure beside its limits: `TTFT p95 is 2,930 ms, limit 1,000 ms`.
#[must_use]
pub fn verdict_text(verdict: &SloVerdict) -> String {
    let unit = |value| value_with_unit(&verdict.metric, value);
    let name = metric_name(&verdict.metric, &verdict.stat);
    let limits = match verdict.target {
        None => format!("limit {}", unit(verdict.limit)),
        Some(target) => format!("target {}, acceptable {}", unit(target), unit(verdict.limit)),
    };
    match verdict.value {
        Some(value) => format!("{name} is {}, {limits}", unit(value)),
        None => format!("{name} has no samples, {limits}"),
    }
}

/// One level of a factor: `16 users`, `2.5 req/s`, `prompt tokens 512`.
#[must_use]
pub fn level(path: &str, value: f64) -> String {
    match (path, tick(value)) {
        ("load.users", _) if value == 1.0 => "1 user".to_owned(),
        ("load.users", n) => format!("{n} users"),
        ("load.qps", n) => format!("{n} req/s"),
        (_, n) => format!("{} {n}", super::grid::short_name(path)),
    }
}

/// The level of a cell's stage of this name: `20 users`, `150 req/s`; empty where it has none.
#[must_use]
pub fn stage_level(cell: &Cell, name: &str) -> String {
    let stage = cell.settings.stages.iter().find(|stage| stage.name == name);
    stage.map_or_else(String::new, |stage| level(load_path(cell), stage.level))
}

/// The factor that is a cell's level of load.
pub(super) const fn load_path(cell: &Cell) -> &'static str {
    match cell.settings.load {
        Load::Closed { .. } => "load.users",
        Load::Open { .. } => "load.qps",
    }
}

/// Whether a factor says a level of load, of the cell or of one of its stages.
pub(super) fn is_level(path: &str) -> bool {
    let of_stage = path.strip_prefix("stage.").and_then(|rest| rest.rsplit('.').next());
    matches!(path, "load.users" | "load.qps") || matches!(of_stage, Some("users" | "qps" | "times"))
}

/// The levels that a cell's stages go through: `2 → 40 → 2`. `None` where it has no stages, for
/// then its own level says it all.
pub(super) fn levels(cell: &Cell) -> Option<String> {
    let stages = &cell.settings.stages;
    let same = stages.iter().all(|stage| stage.level == stages[0].level);
    let shown = if same { stages.get(..1)? } else { stages.as_slice() };
    Some(shown.iter().map(|stage| tick(stage.level)).collect::<Vec<_>>().join(" → "))
}

/// The load that a cell's stages go through: `2 → 40 → 2 users`. `None` where it has no stages.
#[must_use]
pub fn staged_load(cell: &Cell) -> Option<String> {
    let levels = levels(cell)?;
    Some(match load_path(cell) {
        "load.users" if levels == "1" => "1 user".to_owned(),
        "load.users" => format!("{levels} users"),
        _ => format!("{levels} req/s"),
    })
}

/// The factors `paths` of a cell, each by `word`, the load of its stages in place of their
/// levels and of the one that it starts from.
pub fn factor_words<'p>(
    cell: &Cell,
    paths: impl Iterator<Item = &'p String>,
    word: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let staged = staged_load(cell);
    let mut out: Vec<String> = Vec::new();
    for path in paths {
        let text = staged.clone().filter(|_| is_level(path)).or_else(|| word(path));
        out.extend(text.filter(|text| !out.contains(text)));
    }
    out
}

/// What tells a cell from the others of its run: `16 users, prompt tokens 512`; its load where
/// nothing varies.
#[must_use]
pub fn place(cell: &Cell) -> String {
    let word = |path: &str| match cell.factors.get(path) {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_f64().map_or_else(
            || format!("{} {}", super::grid::short_name(path), super::axes::plain(value)),
            |x| level(path, x),
        )),
    };
    let words = factor_words(cell, cell.varying.iter(), word);
    if words.is_empty() {
        let load = staged_load(cell).or_else(|| word("load.qps"));
        return load.or_else(|| word("load.users")).unwrap_or_else(|| "the only load".to_owned());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Slo, SloRule, Stage};

    fn judged(metric: &str, stat: &str, target: Option<f64>, limit: f64, value: Option<f64>) -> SloVerdict {
        let rule = SloRule { metric: metric.to_owned(), stat: stat.to_owned(), limit, target };
        SloVerdict::judge(&rule, value)
    }

    #[test]
    fn rules_read_as_people_say_them() {
        let rule = |metric, stat, target, limit| rule_text(&judged(metric, stat, target, limit, None));
        assert_eq!(rule("ttft", "p95", None, 1000.0), "TTFT p95 ≤ 1,000 ms");
        assert_eq!(rule("error_rate", "", None, 0.01), "error rate ≤ 1.00 %");
        assert_eq!(rule("goodput_rps", "", None, 12.0), "goodput rps ≥ 12.0 req/s");
        assert_eq!(rule("ttft", "p95", Some(200.0), 500.0), "TTFT p95 ≤ 200 ms (acceptable 500 ms)");
    }

    #[test]
    fn verdicts_have_figure_and_limit() {
        let none = judged("tpot", "mean", None, 100.0, None);
        assert_eq!(verdict_text(&none), "TPOT mean has no samples, limit 100 ms");
        let two = judged("e2e", "p90", Some(2000.0), 5000.0, Some(2456.0));
        assert_eq!(verdict_text(&two), "E2E p90 is 2,456 ms, target 2,000 ms, acceptable 5,000 ms");
    }

    #[test]
    fn cells_are_named_by_what_varies() {
        let mut cell = crate::store::tests::cell(0);
        cell.factors.insert("load.users".into(), 16.into());
        cell.factors.insert("target.model".into(), "tiny".into());
        cell.varying = vec!["load.users".into(), "target.model".into()];
        assert_eq!(place(&cell), "16 users, model tiny");
        cell.factors.insert("mix.endpoints".into(), serde_json::json!(["thinker", "flash"]));
        cell.varying = vec!["mix.endpoints".into()];
        assert_eq!(place(&cell), "endpoints thinker+flash");
        assert_eq!(crate::analysis::label(&cell), "endpoints=thinker+flash");
        cell.varying.clear();
        assert!(place(&cell).ends_with("req/s") || place(&cell).ends_with("users"), "{}", place(&cell));
    }
    #[test]
    fn a_cell_with_stages_is_named_by_the_levels_they_go_through() {
        let mut cell = crate::store::tests::cell(0);
        let stage = |level: f64| Stage {
            name: format!("at {level}"),
            duration: std::time::Duration::from_secs(10),
            ramp: std::time::Duration::ZERO,
            level,
            slo: Slo::default(),
            recovers: None,
        };
        cell.settings.load = Load::Closed { users: 2 };
        cell.settings.stages = [2.0, 40.0, 2.0].map(stage).into();
        cell.factors.clear();
        cell.varying.clear();
        assert_eq!(place(&cell), "2 → 40 → 2 users");
        cell.factors.insert("load.users".into(), 2.into());
        assert_eq!(crate::analysis::label(&cell), "users=2 → 40 → 2");
        cell.factors.insert("stage.spike.times".into(), 20.into());
        cell.varying = vec!["load.users".into(), "stage.spike.times".into()];
        assert_eq!(place(&cell), "2 → 40 → 2 users");
        assert_eq!(crate::analysis::label(&cell), "users=2 → 40 → 2");
        cell.settings.stages.truncate(1);
        assert_eq!(place(&cell), "2 users");
    }
}
