//! What identifies a cell: its factors, and the hashes made from them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::CellId;
use crate::experiment::{Grid, LengthShape, Lengths, Load, Override, Settings, Table, canonical_json};

/// Factors that every cell has, null where not set.
pub(super) const MAIN: [&str; 4] =
    ["load.users", "load.qps", "workload.prompt_tokens", "workload.max_tokens"];

/// The factor that holds the name of a cell's grid, where such names tell cells apart.
pub(super) const GRID: &str = "grid";

/// The four main factors as the cell's settings have them, then the other axes of its grid,
/// and what its line of `include` gives, as the document has them.
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
    // A fixed prompt's length is not asked for.
    let prompt = match settings.workload.prompt {
        Some(_) => Value::Null,
        None => lengths(&settings.workload.prompt_tokens),
    };
    let main = [users, qps, prompt, lengths(&settings.workload.max_tokens)];
    let mut factors: BTreeMap<String, Value> = MAIN.iter().map(|m| (*m).to_owned()).zip(main).collect();
    let axes = grid.into_iter().flat_map(|g| &g.axes).filter_map(|axis| axis.values.first());
    for value in axes.chain(values.iter().copied()) {
        if !MAIN.contains(&value.path.as_str()) {
            let found = tree.lookup(&value.parts).map_or(Value::Null, crate::experiment::Node::json);
            factors.insert(value.path.clone(), found);
        }
    }
    factors
}

/// 4.0 as 4.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 9e15 { json!(x as i64) } else { json!(x) }
}

/// A constant length is a number; another is a table without what it doesn't use.
fn lengths(lengths: &Lengths) -> Value {
    if lengths.shape == LengthShape::Constant {
        return json!(lengths.mean);
    }
    let mut table = Map::new();
    table.insert("mean".to_owned(), json!(lengths.mean));
    table.insert("distribution".to_owned(), json!(lengths.shape));
    if lengths.shape != LengthShape::Exponential {
        table.insert("range".to_owned(), number(lengths.range));
    }
    if let Some(cap) = lengths.cap {
        table.insert("cap".to_owned(), json!(cap));
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
