//! Which factors vary in a run, and what people call them.

use serde_json::Value;

use super::{RunData, words};
use crate::plan::Cell;

/// Factors with a short name of their own.
const SHORT: [(&str, &str); 6] = [
    ("load.users", "users"),
    ("load.qps", "qps"),
    ("workload.prompt_tokens", "prompt_tokens"),
    ("workload.max_tokens", "max_tokens"),
    ("mix.tasks", "tasks"),
    ("mix.endpoints", "endpoints"),
];

/// A factor that varies within a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Its dotted path.
    pub path: String,
    /// What people call it: [`short_name`].
    pub name: String,
    /// The values it takes: numbers ascending, anything else in plan order.
    pub values: Vec<Value>,
}

impl Axis {
    /// Whether all its values are numbers.
    #[must_use]
    pub fn is_numeric(&self) -> bool {
        self.values.iter().all(|v| v.as_f64().is_some())
    }
}

/// The short name of a factor, or its path where it has none.
#[must_use]
pub fn short_name(path: &str) -> &str {
    SHORT.iter().find(|(long, _)| *long == path).map_or(path, |(_, short)| short)
}

/// A factor's value as a number; `None` where it isn't set or isn't one.
#[must_use]
pub fn number(cell: &Cell, path: &str) -> Option<f64> {
    cell.factors.get(path).and_then(Value::as_f64)
}

/// What tells a cell from the others: `users=4 prompt_tokens=128`. The common factors
/// that are set where nothing varies.
#[must_use]
pub fn label(cell: &Cell) -> String {
    let varying: Vec<&str> = cell.varying.iter().map(String::as_str).collect();
    let paths = if varying.is_empty() { SHORT.iter().map(|(path, _)| *path).collect() } else { varying };
    let mut parts: Vec<String> = Vec::new();
    for path in paths {
        let levels = words::levels(cell).filter(|_| words::is_level(path));
        let part = match (levels, cell.factors.get(path).filter(|v| !v.is_null())) {
            (Some(levels), Some(_)) => format!("{}={levels}", short_name(words::load_path(cell))),
            (None, Some(value)) => format!("{}={}", short_name(path), plain(value)),
            (_, None) => continue,
        };
        // The levels of several stages may vary.
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.join(" ")
}

/// A value as people write it: text without quotes, a list with plus signs, a distribution by
/// its name and mean.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("+"),
        Value::Object(table) if table.contains_key("distribution") => {
            let word = table["distribution"].as_str().unwrap_or_default();
            format!("{word} {}", table.get("mean").unwrap_or(&Value::Null))
        }
        other => other.to_string(),
    }
}

/// All factors that vary, in the order in which the experiment has them.
#[must_use]
pub fn axes(run: &RunData) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    for path in run.cells.iter().flat_map(|c| &c.cell.varying) {
        if axes.iter().all(|axis| axis.path != *path) {
            axes.push(Axis {
                path: path.clone(),
                name: short_name(path).to_owned(),
                values: values(run, path),
            });
        }
    }
    axes
}

/// The axis of load, which most figures have at the bottom: `qps` if it varies, else
/// `users`.
#[must_use]
pub fn load_axis(run: &RunData) -> Option<Axis> {
    let mut all = axes(run);
    let at = |all: &[Axis], path: &str| all.iter().position(|a| a.path == path && a.is_numeric());
    let found = at(&all, "load.qps").or_else(|| at(&all, "load.users"))?;
    Some(all.swap_remove(found))
}

fn values(run: &RunData, path: &str) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::new();
    for value in run.cells.iter().filter_map(|c| c.cell.factors.get(path)) {
        if !value.is_null() && !values.contains(value) {
            values.push(value.clone());
        }
    }
    if values.iter().all(|v| v.as_f64().is_some()) {
        values.sort_by(|a, b| a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)));
    }
    values
}
