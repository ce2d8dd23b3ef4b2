//! `scale_time`: everything that lasts a planned time, longer or shorter by one factor, so that
//! a sequence of hours can be tried in minutes.
//!
//! It works on the document, before it is read: what a mistake quotes and what a factor says is
//! then the time that a cell really has. Times that belong to the load itself (think times, the
//! period of bursts) and limits (time-outs, drain) stay: they don't make a plan long.

use std::time::Duration;

use super::tree::{Entry, Node, Origin, Table, Value};
use crate::units::{format_duration, parse_duration};

/// The key, at the top of the document.
pub(super) const KEY: &str = "scale_time";
/// Greatest factor.
pub(super) const MOST: f64 = 1000.0;

/// What stands where the document is silent; `read::cell` has the same.
const WARMUP: Duration = Duration::from_secs(5);
const DURATION: Duration = Duration::from_secs(60);
const COOLDOWN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// No time that is not 0 becomes shorter: less can't be measured.
const SHORTEST: Duration = Duration::from_millis(1);

/// Scales the document's times by its own `scale_time`, if it has one. A value that is no
/// duration stays as it is, for the reader to tell.
pub(super) fn apply(tree: &mut Table) {
    let Some(entry) = tree.entry(KEY) else { return };
    let Some(factor) = factor(&entry.node).filter(|factor| *factor != 1.0) else { return };
    let origin = entry.key_origin;
    let staged = tree.entry("stage").is_some();
    let by_trace = scale_trace(tree, factor, origin);
    let Some(cell) = table_in(tree, "cell", origin) else { return };
    let closed = ["duration", "requests"].iter().any(|key| cell.entry(key).is_some());
    if !closed && !staged && !by_trace {
        put(cell, "duration", time(DURATION), origin);
    }
    if cell.entry("warmup").is_none() && !by_trace {
        put(cell, "warmup", time(WARMUP), origin);
    }
    spell_out_cooldown(cell, origin);
    for key in ["duration", "warmup", "ramp", "cooldown"] {
        scale(cell, key, factor);
    }
    if let Some(Value::Table(stages)) = value_in(tree, "stage") {
        for stage in &mut stages.0 {
            if let Value::Table(stage) = &mut stage.node.value {
                scale(stage, "duration", factor);
                scale(stage, "ramp", factor);
            }
        }
    }
    // The ramp is users ÷ spawn_rate.
    if let Some(Value::Table(load)) = value_in(tree, "load")
        && let Some(rate) = value_in(load, "spawn_rate")
    {
        match rate {
            Value::Int(n) => *rate = Value::Float(*n as f64 / factor),
            Value::Float(x) => *x /= factor,
            _ => {}
        }
    }
}

/// Scales a trace's own times. Whether there is one that says when requests are due.
fn scale_trace(tree: &mut Table, factor: f64, origin: Origin) -> bool {
    let Some(Value::Table(workload)) = value_in(tree, "workload") else { return false };
    let Some(Value::Table(trace)) = value_in(workload, "trace") else { return false };
    if matches!(value_in(trace, "times"), Some(Value::Bool(false))) {
        return false;
    }
    let scale = match value_in(trace, "scale") {
        None => 1.0,
        Some(Value::Int(n)) => *n as f64,
        Some(Value::Float(x)) => *x,
        Some(_) => return true,
    };
    put(trace, "scale", Value::Float(scale * factor), origin);
    true
}

/// The factor, if it is one that the reader takes.
fn factor(node: &Node) -> Option<f64> {
    let factor = match node.value {
        Value::Int(n) => n as f64,
        Value::Float(x) => x,
        _ => return None,
    };
    (factor > 0.0 && factor <= MOST).then_some(factor)
}

/// Cooldown as a table with both ends, since each end has a default that hangs on the other.
fn spell_out_cooldown(cell: &mut Table, origin: Origin) {
    let read = |node: &Node| match &node.value {
        Value::Str(text) => parse_duration(text).ok(),
        _ => None,
    };
    let (min, max) = match cell.entry("cooldown").map(|entry| &entry.node) {
        None => (None, None),
        Some(Node { value: Value::Table(written), .. }) => {
            let ends = ["min", "max"].map(|key| written.entry(key).map(|entry| read(&entry.node)));
            let known = written.0.iter().all(|entry| ["min", "max"].contains(&entry.key.as_str()));
            match ends {
                [Some(None), _] | [_, Some(None)] => return,
                [min, max] if known => (min.flatten(), max.flatten()),
                _ => return,
            }
        }
        Some(node) => match read(node) {
            Some(min) => (Some(min), None),
            None => return,
        },
    };
    let low = min.unwrap_or_else(|| COOLDOWN.0.min(max.unwrap_or(COOLDOWN.0)));
    let high = max.unwrap_or_else(|| COOLDOWN.1.max(low));
    let origin = cell.entry("cooldown").map_or(origin, |entry| entry.node.origin);
    let mut ends = Table::default();
    put(&mut ends, "min", time(low), origin);
    put(&mut ends, "max", time(high), origin);
    put(cell, "cooldown", Value::Table(ends), origin);
}

fn time(duration: Duration) -> Value {
    Value::Str(format_duration(duration))
}

/// Multiplies the duration at `key`, or every duration of the table there.
fn scale(table: &mut Table, key: &str, factor: f64) {
    match value_in(table, key) {
        Some(Value::Str(text)) => {
            if let Ok(whole) = parse_duration(text) {
                *text = format_duration(scaled(whole, factor));
            }
        }
        Some(Value::Table(inner)) => {
            let keys: Vec<String> = inner.0.iter().map(|entry| entry.key.clone()).collect();
            for key in keys {
                scale(inner, &key, factor);
            }
        }
        _ => {}
    }
}

/// To the microsecond: nobody plans finer, and it keeps the text short.
fn scaled(whole: Duration, factor: f64) -> Duration {
    if whole.is_zero() {
        return whole;
    }
    let micros = (whole.as_secs_f64() * factor * 1e6).round();
    Duration::from_micros(micros as u64).max(SHORTEST)
}

fn value_in<'t>(table: &'t mut Table, key: &str) -> Option<&'t mut Value> {
    table.0.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node.value)
}

/// The table at `key`, made if it is not there; `None` if something else is.
fn table_in<'t>(table: &'t mut Table, key: &str, origin: Origin) -> Option<&'t mut Table> {
    if table.entry(key).is_none() {
        put(table, key, Value::Table(Table::default()), origin);
    }
    match value_in(table, key) {
        Some(Value::Table(inner)) => Some(inner),
        _ => None,
    }
}

/// Puts a value at `key`, with the alias of what was there.
fn put(table: &mut Table, key: &str, value: Value, origin: Origin) {
    if let Some(there) = value_in(table, key) {
        *there = value;
        return;
    }
    let node = Node { value, origin, alias: None };
    table.0.push(Entry { key: key.to_owned(), key_origin: origin, node });
}

#[cfg(test)]
mod tests {
    use super::super::{CellSettings, Experiment};
    use super::*;
    use std::path::Path;

    /// The settings of a file's only cell.
    fn cell(text: &str, factor: &str) -> CellSettings {
        let text = format!("target.url = \"sim:\"\nload.users = 1\n{text}");
        let sets = [format!("{KEY}={factor}")];
        let experiment =
            Experiment::parse(Path::new("file.toml"), &text, &sets).unwrap_or_else(|m| panic!("{m}"));
        experiment.settings(&experiment.reader(), &[]).0.cell
    }

    #[test]
    fn what_is_not_written_is_scaled_too() {
        for text in ["", "cell.requests = 7", "cell.cooldown = \"5m\"", "cell.cooldown = { max = \"500ms\" }"]
        {
            let (whole, twice) = (cell(text, "1"), cell(text, "2"));
            assert_eq!(twice.duration, whole.duration.map(|d| d * 2), "{text}");
            assert_eq!(twice.warmup, whole.warmup * 2, "{text}");
            assert_eq!(twice.cooldown.min, whole.cooldown.min * 2, "{text}");
            assert_eq!(twice.cooldown.max, whole.cooldown.max * 2, "{text}");
            assert_eq!((twice.requests, twice.ramp, twice.drain), (whole.requests, whole.ramp, whole.drain));
        }
    }

    #[test]
    fn what_is_written_is_scaled_and_limits_stay() {
        let text = "[cell]\nduration = \"10m\"\nwarmup = \"0s\"\nramp = \"1m30s\"\ndrain = \"40s\"\n\
                    cooldown = { min = \"5m\", max = \"6m\" }";
        let cell = cell(text, "0.01");
        let millis = |d: Duration| d.as_millis();
        assert_eq!(cell.duration.map(millis), Some(6_000));
        assert_eq!((millis(cell.warmup), millis(cell.ramp), millis(cell.drain)), (0, 900, 40_000));
        assert_eq!((millis(cell.cooldown.min), millis(cell.cooldown.max)), (3_000, 3_600));
    }

    #[test]
    fn nothing_becomes_too_short_to_be_read() {
        assert_eq!(cell("cell.duration = \"1s\"", "0.0001").duration, Some(SHORTEST));
    }

    #[test]
    fn stages_and_spawn_rate_go_along() {
        let text = "scale_time = 0.5\nload = { users = 2, spawn_rate = 4 }\n\
                    stage = { up = { duration = \"1m\", ramp = \"10s\", users = 9 } }";
        let sources = super::super::Sources::new("file.toml".to_owned(), text.to_owned());
        let (mut tree, mistakes) = super::super::tree::parse(&sources);
        assert!(mistakes.is_empty());
        apply(&mut tree);
        let json = serde_json::Value::Object(tree.json());
        assert_eq!(json["load"]["spawn_rate"], 8.0);
        assert_eq!(json["stage"]["up"], serde_json::json!({"duration": "30s", "ramp": "5s", "users": 9}));
        assert!(json["cell"].get("duration").is_none(), "the stages say how long it is");
    }

    #[test]
    fn a_factor_that_is_none_is_told() {
        for factor in ["0", "-1", "2000", "fast", "nan"] {
            let text = "target.url = \"sim:\"\nload.users = 1";
            let sets = [format!("{KEY}={factor}")];
            let mistakes = Experiment::parse(Path::new("file.toml"), text, &sets).expect_err(factor).0;
            assert_eq!((mistakes.len(), mistakes[0].key.as_str()), (1, KEY), "{factor}: {mistakes:?}");
        }
    }

    #[test]
    fn an_axis_is_scaled_cell_by_cell() {
        let text = "scale_time = 0.1\ntarget.url = \"sim:\"\nload.users = 1\n\
                    [grid]\n\"cell.duration\" = [\"10s\", \"20s\"]";
        let experiment =
            Experiment::parse(Path::new("file.toml"), text, &[]).unwrap_or_else(|m| panic!("{m}"));
        let reader = experiment.reader();
        let lengths = experiment.grids[0].axes[0].values.iter().map(|value| {
            let (settings, tree) = experiment.settings(&reader, &[value]);
            (settings.cell.duration, tree.lookup(&value.parts).map(Node::json))
        });
        let expected =
            [("1s", 1), ("2s", 2)].map(|(text, s)| (Some(Duration::from_secs(s)), Some(text.into())));
        assert_eq!(lengths.collect::<Vec<_>>(), expected);
    }
}
