//! `[observe]`: what is read of the server while a cell runs.

use std::time::Duration;

use super::inside::inside;
use super::server::address;
use super::target::headers;
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::observe::{MetricsFrom, MetricsUrl, ObserveSettings};
use crate::experiment::reader::{Field, Section};
use crate::experiment::tree::Value as Written;

const OFTENEST: Duration = Duration::from_millis(100);
const RAREST: Duration = Duration::from_secs(3_600);
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(8);
const ALLOWED: &str =
    "\"auto\", false, a path at the target such as \"/metrics\", http://… or https://…, or a list of them";

pub(crate) fn observe(section: Section<'_>) -> ObserveSettings {
    let usual = ObserveSettings::default();
    let settings = ObserveSettings {
        metrics: section.get("metrics").and_then(|f| metrics(&f)).unwrap_or(usual.metrics),
        every: section.get("every").and_then(|f| f.duration(OFTENEST, RAREST)).unwrap_or(usual.every),
        timeout: section.get("timeout").and_then(|f| f.duration(SHORTEST, LONGEST)).unwrap_or(usual.timeout),
        inside: inside(&section),
    };
    section.done();
    settings
}

fn metrics(field: &Field<'_>) -> Option<MetricsFrom> {
    match &field.node.value {
        Written::Str(word) if word == "auto" => Some(MetricsFrom::Auto),
        Written::Bool(false) => Some(MetricsFrom::Nowhere),
        Written::Bool(true) => {
            field.mistake(
                Mistake::new(MistakeKind::BadValue, "doesn't say where").found("true").allowed(ALLOWED),
            );
            None
        }
        Written::Array(items) => {
            let named = |(i, node)| one(&field.item(node, format!("{}[{}]", field.key(), i + 1)));
            let all: Vec<MetricsUrl> = items.iter().enumerate().map(named).collect::<Option<_>>()?;
            Some(if all.is_empty() { MetricsFrom::Nowhere } else { MetricsFrom::These(all) })
        }
        Written::Str(_) | Written::Table(_) => one(field).map(|url| MetricsFrom::These(vec![url])),
        _ => {
            field.wrong_type(ALLOWED);
            None
        }
    }
}

fn one(field: &Field<'_>) -> Option<MetricsUrl> {
    let read = |field: &Field<'_>| address(field, true, ("not where something can be asked", ALLOWED));
    if !field.is_table() {
        return Some(MetricsUrl { url: read(field)?, headers: Default::default() });
    }
    let section = field.section();
    let url = section.get("url");
    if url.is_none() {
        let mistake =
            Mistake::new(MistakeKind::Missing, "missing").allowed("{ url = \"…\", headers = { … } }");
        section.reader.add(section.origin, section.key("url"), mistake);
    }
    let headers = headers(&section.sub("headers"));
    section.done();
    Some(MetricsUrl { url: read(&url?)?, headers })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::experiment::Experiment;

    fn read(observe: &str) -> Result<ObserveSettings, String> {
        let text = format!(
            "[target]\nurl = \"sim:\"\n[load]\nusers = 1\n[cell]\nduration = \"1s\"\n[observe]\n{observe}"
        );
        let experiment = Experiment::parse(Path::new("f.toml"), &text, &[]).map_err(|m| m.to_string())?;
        Ok(experiment.observe)
    }

    #[test]
    fn addresses_are_written_in_several_ways() {
        assert_eq!(read("").unwrap(), ObserveSettings::default());
        assert_eq!(read("metrics = false").unwrap().metrics, MetricsFrom::Nowhere);
        let plain = |url: &str| MetricsUrl { url: url.into(), headers: Default::default() };
        let one = read("metrics = \"/m\"\nevery = \"500ms\"\ntimeout = \"1s\"").unwrap();
        assert_eq!(one.metrics, MetricsFrom::These(vec![plain("/m")]));
        assert_eq!((one.every.as_millis(), one.timeout.as_secs()), (500, 1));
        let MetricsFrom::These(two) = read(
            "metrics = [\"http://a:1/metrics\", { url = \"https://b/x\", headers = { Authorization = \"env:TOKEN\" } }]",
        )
        .unwrap()
        .metrics
        else {
            panic!("two addresses")
        };
        assert_eq!(two[0], plain("http://a:1/metrics"));
        assert_eq!(two[1].headers["Authorization"], "env:TOKEN");
    }

    #[test]
    fn mistakes_name_their_key_and_what_is_allowed() {
        for (observe, key, words) in [
            ("metrics = true", "observe.metrics", "auto"),
            ("metrics = 3", "observe.metrics", "auto"),
            ("metrics = \"metrics\"", "observe.metrics", "a path at the target"),
            ("metrics = [\"/a\", \"x\"]", "observe.metrics[2]", "a path at the target"),
            ("metrics = { headers = {} }", "observe.metrics.url", "missing"),
            (
                "metrics = { url = \"/\", headers = { Authorization = \"Bearer x\" } }",
                "Authorization",
                "secret",
            ),
            ("metrics = \"http://u:p@h/\"", "observe.metrics", "name or password"),
            ("metric = false", "observe.metric", "metrics"),
            ("every = \"1ms\"", "observe.every", "100ms"),
            ("timeout = \"1m\"", "observe.timeout", "8s"),
        ] {
            let text = read(observe).unwrap_err();
            assert!(text.contains(key) && text.contains(words), "{observe}: {text}");
            assert!(!text.contains("u:p@") && !text.contains("Bearer x"), "{text}");
        }
    }
}
