//! A capacity on the terminal: the answer, then what it is made of.

use super::terminal::align;
use crate::analysis::capacity::{Capacity, LevelResult, Method, Need, Plan, Shape, Standing, answers};
use crate::chart::{count, figure};

/// Answers first, then a table for each shape, the plan and its what-ifs. Plain text; every line
/// ends in a newline.
#[must_use]
pub fn summary(capacity: &Capacity, name: &str) -> String {
    let mut out = format!("=== {name} · {} ===\n", capacity.runs.join(", "));
    let said = answers(capacity);
    for sentence in &said {
        out.push_str(&format!("{sentence}\n"));
    }
    if said.is_empty() {
        out.push_str("Nothing can be said: no cell was judged.\n");
    }
    if !capacity.slo.words.is_empty() {
        out.push_str(&format!("SLO: {}.\n", capacity.slo.words.join("; ")));
    }
    for shape in &capacity.shapes {
        out.push('\n');
        of_shape(shape, &mut out);
    }
    if let Some(plan) = &capacity.plan {
        of_plan(plan, &mut out);
    }
    for note in &capacity.notes {
        out.push_str(&format!("\n{note}\n"));
    }
    out
}

fn title(shape: &Shape) -> String {
    let known = !shape.tokens.is_empty() && !shape.label.contains(&shape.tokens);
    let parts = [if known { shape.tokens.as_str() } else { "" }, &shape.label, shape.kind.words()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn of_shape(shape: &Shape, out: &mut String) {
    let some = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figure);
    let mut head = vec![title(shape)];
    head.extend(
        ["verdict", "good req/s", "attainment", "completed", "tok/s", "tok/s per user"].map(String::from),
    );
    let mut rows = vec![head];
    let mut reasons = String::new();
    for level in &shape.levels {
        let percent = level.attainment.map_or_else(|| "–".to_owned(), |a| format!("{:.1} %", a * 100.0));
        rows.push(vec![
            level.label.clone(),
            level.verdict.word().to_owned(),
            some(level.goodput_rps),
            percent,
            some(level.completed_rps),
            some(level.output_tps),
            some(level.user_tps),
        ]);
        if let Some(why) = why(level) {
            reasons.push_str(&format!("  {} at {}: {why}.\n", level.verdict.word(), level.label));
        }
    }
    out.push_str(&align(&rows));
    out.push_str(&reasons);
    if let Some(knee) = shape.knee {
        let knee = shape.levels.iter().find(|l| l.x == knee).map(|l| l.label.clone()).unwrap_or_default();
        out.push_str(&format!("Throughput bends most at {knee} (Kneedle): a note, the SLO decides.\n"));
    }
    if let Some(usl) = &shape.usl {
        out.push_str(&usl_text(usl));
        out.push('\n');
    }
    if shape.levels.iter().flat_map(|l| &l.rules).any(|r| r.method == Method::Figure) {
        out.push_str("One repeat of what isn't a share of requests can't be sure: run more repeats.\n");
    }
}

/// What keeps a level from passing: overload, else the first of the rules that stand worst.
fn why(level: &LevelResult) -> Option<&str> {
    if level.overloaded {
        return Some("the server is overloaded");
    }
    let worst = level.rules.iter().map(|r| r.verdict).max().filter(|v| *v > Standing::Pass)?;
    level.rules.iter().find(|r| r.verdict == worst).map(|r| r.text.as_str())
}

/// The scalability law in a sentence.
#[must_use]
pub fn usl_text(usl: &crate::analysis::capacity::UslFit) -> String {
    let peak = usl.peak.map_or_else(
        || format!("no peak up to {} users", figure(usl.reach)),
        |peak| format!("peak at {} users", figure(peak)),
    );
    format!(
        "Scalability law: {} req/s for one user, contention {:.4}, coherency {:.6}, {peak}; R² {:.3}, largest residual {:.0} %.",
        figure(usl.gamma),
        usl.alpha,
        usl.beta,
        usl.r2,
        usl.worst * 100.0
    )
}

fn of_plan(plan: &Plan, out: &mut String) {
    if plan.need.is_none() {
        return;
    }
    let some = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figure);
    let head = ["traffic", "req/s", "one replica carries", "replicas"].map(String::from).to_vec();
    let mut rows = vec![head];
    rows.extend(plan.flows.iter().map(|f| {
        let tokens = if f.tokens.is_empty() { "all" } else { &f.tokens };
        vec![tokens.to_owned(), figure(f.rps), some(f.replica_rps), some(f.replicas)]
    }));
    out.push_str(&format!("\n{}", align(&rows)));
    for table in &plan.what_if {
        let mut rows = vec![
            [format!("if {} is", table.key).as_str(), "replicas", "GPUs", "per hour", "per million tokens"]
                .map(String::from)
                .to_vec(),
        ];
        rows.extend(table.rows.iter().map(|(value, need)| what_if_row(plan, *value, need.as_ref())));
        out.push_str(&format!("\n{}", align(&rows)));
    }
}

fn what_if_row(plan: &Plan, value: f64, need: Option<&Need>) -> Vec<String> {
    let money = |amount: Option<f64>| {
        amount.map_or_else(|| "–".to_owned(), |a| crate::analysis::capacity::money(&plan.currency, a))
    };
    vec![
        format!("{value}"),
        need.map_or_else(|| "–".to_owned(), |n| count(n.replicas)),
        need.and_then(|n| n.gpus).map_or_else(|| "–".to_owned(), figure),
        money(need.and_then(|n| n.cost_per_hour)),
        money(need.and_then(|n| n.cost_per_million)),
    ]
}
