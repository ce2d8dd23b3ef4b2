//! An address that answers with JSON, such as the memory that a server tells of.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::fetch::Fetch;
use super::{ObserveError, Reading, Source};
use crate::experiment::{Pointer, Target};
use crate::server::ClientError;

/// See the module.
pub struct Json {
    /// As the table of sources has it.
    name: String,
    label: String,
    pointers: BTreeMap<String, Pointer>,
    fetch: Fetch,
}

impl Json {
    /// `name` labels the readings. The others are as those of any address that is read.
    ///
    /// # Errors
    /// When no client can be set up.
    pub fn new(
        name: &str,
        target: &Target,
        url: (Url, bool),
        headers: Vec<(String, String)>,
        pointers: BTreeMap<String, Pointer>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let fetch = Fetch::new(target, url, headers, timeout)?;
        Ok(Self { name: format!("json {name}"), label: name.to_owned(), pointers, fetch })
    }
}

impl Source for Json {
    fn name(&self) -> &str {
        &self.name
    }

    /// # Errors
    /// When it doesn't answer with JSON, or a pointer points to no number.
    fn read(&mut self) -> Result<Vec<Reading>, ObserveError> {
        readings(&self.label, &self.pointers, &self.fetch.get("application/json")?)
    }
}

fn readings(
    name: &str,
    pointers: &BTreeMap<String, Pointer>,
    body: &[u8],
) -> Result<Vec<Reading>, ObserveError> {
    let document: Value =
        serde_json::from_slice(body).map_err(|_| ObserveError::Failed("its answer is no JSON".to_owned()))?;
    let mut readings = Vec::new();
    let mut missing = None;
    for (reading, Pointer { pointer, scale }) in pointers {
        match document.pointer(pointer).and_then(number) {
            Some(value) => readings.push(Reading::gauge(reading, &[("json", name)], value * scale)),
            None => missing = missing.or(Some((reading, pointer))),
        }
    }
    // One that is there is worth more than a complaint about another.
    match missing {
        Some((reading, pointer)) if readings.is_empty() => {
            Err(ObserveError::Failed(format!("{pointer:?} points to no number, for {reading}")))
        }
        _ => Ok(readings),
    }
}

/// A number, also in a text, which some servers write; yes and no are 1 and 0.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(all: &[(&str, &str, f64)]) -> BTreeMap<String, Pointer> {
        all.iter()
            .map(|(name, at, scale)| {
                ((*name).to_owned(), Pointer { pointer: (*at).to_owned(), scale: *scale })
            })
            .collect()
    }

    #[test]
    fn numbers_are_found_by_their_pointers() {
        let body = br#"{"memory":{"rss_mb":"512.5"},"models":[{"loaded":true,"n":3}]}"#;
        let asked = pointers(&[
            ("loaded", "/models/0/loaded", 1.0),
            ("server_memory_bytes", "/memory/rss_mb", 1e6),
            ("nowhere", "/x", 1.0),
        ]);
        let found = readings("api", &asked, body).unwrap();
        let want = [
            Reading::gauge("loaded", &[("json", "api")], 1.0),
            Reading::gauge("server_memory_bytes", &[("json", "api")], 512.5e6),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn what_is_no_number_is_told() {
        let said = |body: &[u8]| readings("a", &pointers(&[("m", "/m", 1.0)]), body).unwrap_err().to_string();
        for body in ["{}", r#"{"m":null}"#, r#"{"m":"much"}"#, r#"{"m":{"n":1}}"#] {
            assert!(said(body.as_bytes()).contains("\"/m\" points to no number, for m"), "{body}");
        }
        assert!(said(b"<html>").contains("no JSON"));
    }
}
