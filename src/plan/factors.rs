//! What identifies a cell: its factors, and the hashes made from them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::CellId;
use crate::experiment::{Grid, LengthShape, Lengths, Load, Node, Override, Settings, Table, canonical_json};
use crate::units::parse_count;

/// Factors that every cell has, null where not set.
pub(super) const MAIN: [&str; 4] =
    ["load.users", "load.qps", "workload.prompt_tokens", "workload.max_tokens"];

/// The factor that holds the name of a cell's grid, where such names tell cells apart.
pub(super) const GRID: &str = "grid";

/// The four main factors as the cell's settings have them, then the other axes of its grid,
/// and what its line of `include` gives, as the document has them. The load is that of the
/// whole mix also where a cell has only a part of it: a cell stands beside those of which it
/// was set apart.
pub(super) fn factors(
    settings: &Settings,
    tree: &Table,
    grid: Option<&Grid>,
    values: &[&Override],
) -> BTreeMap<String, Value> {
    let (users, qps) = match settings.load {
        Load::Closed { users } => (json!(users), Value::Null),
        Load::Open { qps, max_in_flight, .. } => (json!(max_in_flight), number(qps)),
    };
    let whole = |key: &str, own: Value| match settings.parts.is_empty() || own.is_null() {
        true => own,
        false => tree.lookup(&["load".to_owned(), key.to_owned()]).map_or(own, as_written),
    };
    let (users, qps) = (whole("users", users), whole("qps", qps));
    // Lengths that a text or a file has are not asked for.
    let workload = &settings.workload;
    let asked = |asks: bool, of: &Lengths| if asks { lengths(of) } else { Value::Null };
    let prompt = asked(workload.asks_prompt_lengths(), &workload.prompt_tokens);
    let output = asked(workload.asks_output_lengths(), &workload.max_tokens);
    let main = [users, qps, prompt, output];
    let mut factors: BTreeMap<String, Value> = MAIN.iter().map(|m| (*m).to_owned()).zip(main).collect();
    let axes = grid.into_iter().flat_map(|g| &g.axes).filter_map(|axis| axis.values.first());
    for value in axes.chain(values.iter().copied()) {
        if !MAIN.contains(&value.path.as_str()) {
            let found = tree.lookup(&value.parts).map_or(Value::Null, Node::json);
            factors.insert(value.path.clone(), found);
        }
    }
    factors
}

/// A number of the document, in whichever way it was written.
fn as_written(node: &Node) -> Value {
    match node.json() {
        Value::String(text) => parse_count(&text).map_or(Value::String(text), |n| json!(n)),
        Value::Number(x) => x.as_f64().map_or(Value::Null, number),
        other => other,
    }
}

/// 4.0 as 4.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 9e15 { json!(x as i64) } else { json!(x) }
}

/// A constant length is a number; another is a table without what it doesn't use. What a file
/// holds counts, not where it lies.
fn lengths(lengths: &Lengths) -> Value {
    if lengths.is_constant() {
        return json!(lengths.mean);
    }
    let mut table = Map::new();
    let mut put = |key: &str, value: Value| table.insert(key.to_owned(), value);
    put("mean", json!(lengths.mean));
    put("distribution", json!(lengths.shape));
    if !matches!(lengths.shape, LengthShape::Constant | LengthShape::Exponential | LengthShape::Empirical) {
        put("range", number(lengths.range));
    }
    if let Some(from) = &lengths.file {
        put("sha256", json!(from.file.sha256));
        for (key, column) in [("column", &from.column), ("weight", &from.weight)] {
            column.as_ref().map(|name| put(key, json!(name)));
        }
    }
    if let Some(min) = lengths.min {
        put("min", json!(min));
    }
    if let Some(cap) = lengths.cap {
        put("cap", json!(cap));
    }
    if lengths.jitter > 0.0 {
        put("jitter", number(lengths.jitter));
    }
    Value::Object(table)
}

/// The first 16 hexadecimal digits of the SHA-256 of the factors' canonical JSON: an object
/// with the dotted paths as keys, written as [`canonical_json`] says.
pub(super) fn cell_id(factors: &BTreeMap<String, Value>) -> CellId {
    let object: Map<String, Value> = factors.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let digest = Sha256::digest(canonical_json(&Value::Object(object)));
    CellId(hex(&digest[..8]))
}

/// A cell's seed: the first 8 bytes, big-endian, of the SHA-256 of the lines
/// `plimsoll cell seed 1`, experiment seed, cell id, repeat.
pub(super) fn cell_seed(seed: u64, id: &CellId, repeat: u32) -> u64 {
    let digest = Sha256::digest(format!("plimsoll cell seed 1\n{seed}\n{id}\n{repeat}\n"));
    digest[..8].iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The factors in words, for a mistake: `load.users = 4, workload.max_tokens = 64`.
pub(super) fn in_words(factors: &BTreeMap<String, Value>) -> String {
    let known = factors.iter().filter(|(_, v)| !v.is_null());
    known.map(|(k, v)| format!("{k} = {}", canonical_json(v))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn main_factors(users: Value) -> BTreeMap<String, Value> {
        let values = [users, Value::Null, json!(128), json!(64)];
        MAIN.iter().map(|m| (*m).to_owned()).zip(values).collect()
    }

    #[test]
    fn an_id_never_changes() {
        // Stored runs are joined by these: a change here orphans them all.
        let text =
            r#"{"load.qps":null,"load.users":4,"workload.max_tokens":64,"workload.prompt_tokens":128}"#;
        assert_eq!(hex(&Sha256::digest(text)[..8]), cell_id(&main_factors(json!(4))).0);
        assert_eq!(cell_id(&main_factors(json!(4))).0, "d63f463a1d0f9437");
        assert_eq!(cell_seed(42, &CellId("d63f463a1d0f9437".to_owned()), 1), 15_298_285_179_159_535_535);
    }

    #[test]
    fn whole_numbers_are_equal_however_written() {
        assert_eq!(cell_id(&main_factors(json!(4.0))), cell_id(&main_factors(json!(4))));
        assert_ne!(cell_id(&main_factors(json!(5))), cell_id(&main_factors(json!(4))));
    }
}
