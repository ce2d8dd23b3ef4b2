//! `requests-csv`: every record of every cell as a row of text.

use serde_json::Value;

use super::figures::csv_bytes;
use super::{ExportError, File, Input};
use crate::record::RequestRecord;

/// Columns before those of the record.
const KEYS: [&str; 3] = ["cell_index", "cell_id", "repeat"];

pub(super) fn write(input: &Input) -> Result<Vec<File>, ExportError> {
    let mut rows = vec![header()];
    for measured in &input.cells {
        let cell = &measured.cell;
        let key = [cell.index.to_string(), cell.id.to_string(), cell.repeat.to_string()];
        for record in measured.requests()? {
            rows.push(key.iter().cloned().chain(fields(&record).map(|(_, value)| text(&value))).collect());
        }
    }
    Ok(vec![File { name: format!("{}-requests.csv", input.manifest.run), bytes: csv_bytes(rows) }])
}

fn header() -> Vec<String> {
    let names = fields(&RequestRecord::blank(0)).map(|(name, _)| name);
    KEYS.iter().map(|k| (*k).to_owned()).chain(names).collect()
}

/// A record's fields in their order: a new one gets its column by itself.
fn fields(record: &RequestRecord) -> impl Iterator<Item = (String, Value)> + use<> {
    match serde_json::to_value(record) {
        Ok(Value::Object(map)) => map.into_iter(),
        _ => serde_json::Map::new().into_iter(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
