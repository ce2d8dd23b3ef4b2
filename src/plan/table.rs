//! The plan as people read it in a terminal.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::factors::{GRID, MAIN};
use super::{Amount, Cell, Plan, Span, estimate, estimate_cell};
use crate::experiment::{Arrivals, Load, Target, Think, Workload, canonical_json};
use crate::units::format_duration;

/// One line per cell (repeats counted, in the order in which cells first run), and the sums.
/// Ends with a line break.
#[must_use]
pub fn render_table(plan: &Plan) -> String {
    let estimate = estimate(plan);
    let mut repeats: HashMap<&str, u32> = HashMap::new();
    for cell in &plan.cells {
        *repeats.entry(&cell.id.0).or_default() += 1;
    }
    let others = other_paths(plan);
    let named = plan.cells.iter().any(|c| c.grid.is_some());
    let mut head = vec!["#", "cell"];
    head.extend(named.then_some("grid"));
    head.extend(["load", "prompt", "output"]);
    head.extend(others.iter().map(String::as_str));
    head.extend(["repeats", "each", "requests"]);
    let mut rows: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
    for (cell, guess) in plan.cells.iter().zip(&estimate.cells).filter(|(cell, _)| cell.repeat == 1) {
        let mut row = vec![(cell.index + 1).to_string(), cell.id.to_string()];
        row.extend(named.then(|| cell.grid.clone().unwrap_or_default()));
        row.push(load(cell));
        row.extend(["workload.prompt_tokens", "workload.max_tokens"].map(|path| lengths(cell, path)));
        row.extend(others.iter().map(|path| factor(cell, path)));
        row.push(repeats[cell.id.0.as_str()].to_string());
        row.push(span(guess.seconds));
        row.push(amount(guess.requests));
        rows.push(row);
    }
    let mut out = format!("{}: {}, seed {}\n\n", plan.name, target(plan), plan.seed);
    out.push_str(&aligned(&rows));
    let _ = writeln!(out, "\n{}", cells(rows.len() - 1, plan.cells.len()));
    if !plan.searches.is_empty() {
        out.push_str(&searches(plan));
        return out;
    }
    let _ = writeln!(out, "time           {} (about {})", span(estimate.seconds), time(estimate.expected_s));
    let _ = writeln!(out, "requests       {}", amount(estimate.requests));
    let _ = writeln!(out, "prompt tokens  {}", amount(estimate.prompt_tokens));
    let _ = writeln!(out, "output tokens  {}", amount(estimate.output_tokens));
    if estimate.requests.is_none() {
        out.push_str(
            "\nA closed loop sends as fast as the server answers: how much is not known before the run.\n",
        );
    }
    out
}

/// What the searches of a plan come to, of which it holds but the first cells.
fn searches(plan: &Plan) -> String {
    let mut out = String::from("and those that the searches decide on:\n");
    let (mut least, mut most) = (0.0, Some(0.0));
    for (number, search) in plan.searches.iter().enumerate() {
        let rules = &search.rules;
        let shortest = estimate_cell(&plan.cells[search.cells[0] as usize]);
        if plan.searches[..number].iter().all(|other| other.rules != *rules) {
            let alike = plan.searches.iter().filter(|other| other.rules == *rules).count();
            let shapes = if alike == 1 { "1 search".to_owned() } else { format!("{alike} searches") };
            let name = rules.axis.trim_start_matches("load.");
            let (start, min, max) = (rules.start, rules.min, rules.max);
            let near = format!("{:.3}", (rules.ratio - 1.0) * 100.0);
            let near = near.trim_end_matches('0').trim_end_matches('.');
            let _ = writeln!(
                out,
                "  {name} in {shapes}: from {start} {}, within {min} to {max}, until a pass and a fail are {near} % apart; \
                 at most {} cells each",
                rules.unit(),
                rules.probes
            );
        }
        // Two cells at least: one that passes and one that fails.
        least += 2.0 * shortest.seconds.min.min(rules.time_s.unwrap_or(f64::INFINITY));
        let of_all = shortest.seconds.max.map(|longest| longest * f64::from(rules.probes));
        let limit = [of_all, rules.time_s].into_iter().flatten().reduce(f64::min);
        most = most.zip(limit).map(|(sum, limit)| sum + limit);
    }
    let _ = writeln!(out, "time           {}", span(Span { min: least, max: most }));
    out.push_str("requests, prompt and output tokens are those of the loads that are tried\n");
    if plan.cells.iter().any(|cell| cell.settings.cell.requests.is_some()) {
        out.push_str("\nWhere a request count closes cells, those at other loads take another time.\n");
    }
    out
}

/// A cell's load in words: `16 users`, `4/s poisson, at most 100`.
#[must_use]
pub fn load_in_words(cell: &Cell) -> String {
    load(cell)
}

/// Whom the plan asks, as far as all cells agree.
fn target(plan: &Plan) -> String {
    let of = |read: fn(&Target) -> &str| {
        let first = plan.cells.first().map_or_else(String::new, |c| c.settings.of_targets(read));
        let same = plan.cells.iter().all(|c| c.settings.of_targets(read) == first);
        if same { first } else { "several".to_owned() }
    };
    let url = of(|target| &target.url);
    let model = of(|target| &target.model);
    let model = if model == "auto" { "its first model" } else { &model };
    let api = of(|target| &target.api);
    let api = if api == "auto" { "whatever API is spoken" } else { &api };
    format!("{api} at {url} ({model})")
}

/// `6 cells, 18 with their repeats`.
fn cells(distinct: usize, all: usize) -> String {
    let cells = if distinct == 1 { "1 cell".to_owned() } else { format!("{distinct} cells") };
    if distinct == all { cells } else { format!("{cells}, {all} with their repeats") }
}

/// A count with its thousands apart: `100,608,000`.
fn group(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Varying factors that have no column of their own.
fn other_paths(plan: &Plan) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for path in plan.cells.iter().flat_map(|c| &c.varying) {
        let own_column = path == GRID || MAIN.contains(&path.as_str());
        if !own_column && !paths.contains(path) {
            paths.push(path.clone());
        }
    }
    paths
}

fn load(cell: &Cell) -> String {
    let settings = &cell.settings;
    let levels: Vec<String> = settings.stages.iter().map(|stage| stage.level.to_string()).collect();
    // Stages name their own levels.
    let level = |one: String| if levels.is_empty() { one } else { levels.join(" → ") };
    match settings.load {
        Load::Closed { users } => {
            let word = if users == 1 && levels.is_empty() { "user" } else { "users" };
            let think = settings.think.map_or_else(String::new, |think| format!(", {}", thinking(think)));
            format!("{} {word}{think}", level(users.to_string()))
        }
        Load::Open { qps, arrivals: Arrivals::Burst { size }, .. } => {
            format!("{size} at once every {}", format_duration(period(size, qps)))
        }
        Load::Open { qps, arrivals, max_in_flight } => {
            let shape = match arrivals {
                Arrivals::Trace => return format!("trace, {qps:.2}/s on average"),
                Arrivals::Gamma { burstiness } => format!("gamma {burstiness}"),
                other => other.name().to_owned(),
            };
            let cap = max_in_flight.map_or_else(String::new, |cap| format!(", at most {cap}"));
            format!("{}/s {shape}{cap}", level(qps.to_string()))
        }
    }
}

/// The time from one burst to the next, to the microsecond.
fn period(size: u32, qps: f64) -> Duration {
    Duration::from_micros((f64::from(size) / qps * 1e6).round() as u64)
}

fn thinking(think: Think) -> String {
    match think {
        Think::Constant(time) => format!("think {}", format_duration(time)),
        Think::Uniform(from, to) => format!("think {} to {}", format_duration(from), format_duration(to)),
        Think::Exponential { mean, .. } => format!("think {} on average", format_duration(mean)),
    }
}

/// Lengths asked for; in a mix each task has its own.
fn lengths(cell: &Cell, path: &str) -> String {
    let asked = |w: &Workload| (w.prompt_tokens.clone(), w.max_tokens.clone());
    let whole = asked(&cell.settings.workload);
    let differ = cell.settings.parts.iter().any(|part| asked(&part.workload) != whole);
    if differ { "by task".to_owned() } else { factor(cell, path) }
}

fn factor(cell: &Cell, path: &str) -> String {
    match cell.factors.get(path) {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(table)) if table.contains_key("distribution") => {
            let word = table["distribution"].as_str().unwrap_or_default();
            format!("{word} {}", canonical_json(&table["mean"]))
        }
        Some(value) => canonical_json(value),
    }
}

fn time(seconds: f64) -> String {
    let grain = match seconds {
        s if s >= 3600.0 => 60.0,
        s if s >= 10.0 => 1.0,
        _ => 0.1,
    };
    // Times 10 and back again: 0.1 has no exact double.
    let rounded = (seconds / grain).round() * (grain * 10.0) / 10.0;
    format_duration(Duration::from_secs_f64(rounded))
}

fn span(span: Span) -> String {
    match span.max {
        Some(max) => format!("{} to {}", time(span.min), time(max)),
        None => format!("at least {}", time(span.min)),
    }
}

fn amount(amount: Option<Amount>) -> String {
    match amount {
        None => "not known".to_owned(),
        Some(Amount { count, at_most: true }) => format!("at most {}", group(count)),
        Some(Amount { count, at_most: false }) => format!("about {}", group(count)),
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows[0].len();
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}
