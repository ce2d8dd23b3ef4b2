//! The dashboard that comes with it.

use serde_json::Value;

use super::*;
use crate::rig::simulator;

fn dashboard() -> Value {
    let text = std::fs::read_to_string("contrib/grafana/plimsoll.json").unwrap();
    serde_json::from_str(&text).unwrap()
}

fn expressions(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match inner {
                    Value::String(text) if key == "expr" => into.push(text.clone()),
                    _ => expressions(inner, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, into)),
        _ => {}
    }
}

/// Everything that it asks, as it stands in the file.
fn asked() -> Vec<String> {
    let mut all = Vec::new();
    expressions(&dashboard(), &mut all);
    assert!(all.len() >= 20, "{}", all.len());
    all
}

/// The same as Grafana would send it.
pub fn queries() -> Vec<String> {
    let put_in = |query: String| {
        [
            ("$__rate_interval", "1m"),
            ("$__range", "1h"),
            ("$experiment", ".*"),
            ("$run", ".*"),
            ("$cell", ".*"),
            ("$model", ".*"),
        ]
        .iter()
        .fold(query, |query, (name, value)| query.replace(name, value))
    };
    let all: Vec<String> = asked().into_iter().map(put_in).collect();
    assert!(all.iter().all(|query| !query.contains('$')), "{all:?}");
    all
}

/// The names of metrics in a query.
fn metrics(query: &str) -> Vec<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|w| w.starts_with("plimsoll_") || w.starts_with("vllm:")).map(str::to_owned).collect()
}

#[test]
fn the_dashboard_asks_only_for_metrics_that_there_are() {
    let engine = simulator(&BTreeMap::new());
    let server = get(engine.addr(), "/metrics").expect("the simulator's own figures");
    let mut own = 0;
    for query in asked() {
        for name in metrics(&query) {
            let base =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            if name.starts_with("vllm:") {
                assert!(server.contains(&format!("# TYPE {base} ")), "{query}: vLLM has no {name}");
            } else {
                let family = FAMILIES.iter().find(|f| f.name == name || f.name == base);
                assert!(family.is_some(), "{query}: there is no {name}");
                own += 1;
            }
        }
    }
    assert!(own >= 20, "{own}");
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert_eq!(dashboard["id"], Value::Null, "it is imported as a new one");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|v| v["type"] == "datasource" && v["query"] == "prometheus"));
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = Vec::new();
    let mut places: Vec<[u64; 4]> = Vec::new();
    for panel in panels {
        ids.push(panel["id"].as_u64().unwrap());
        let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        let [x, y, w, h] = place;
        assert!(x + w <= 24, "{}: wider than the page", panel["title"]);
        let over = places.iter().find(|p| x < p[0] + p[2] && p[0] < x + w && y < p[1] + p[3] && p[1] < y + h);
        assert_eq!(over, None, "{} lies over another", panel["title"]);
        places.push(place);
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{}: no unit", panel["title"]);
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{}", panel["title"]);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), panels.len(), "each has a number of its own");
    assert!(dashboard["annotations"]["list"].as_array().unwrap().iter().any(|a| a["expr"].is_string()));
}
