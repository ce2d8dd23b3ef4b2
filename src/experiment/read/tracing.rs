//! `[tracing]`: requests that bear the name of a trace, and where to look at it.

use std::collections::BTreeMap;

use super::server::address;
use super::target::{header_name, header_value};
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::tracing::{TRACE_ID, Tracing};

/// The share where none is named: one request of a hundred.
const SHARE: f64 = 0.01;

pub(crate) fn tracing(section: Section<'_>) -> Tracing {
    let whole = "http://… or https://…";
    let mut headers = BTreeMap::new();
    for field in section.sub("headers").entries() {
        if let Some(value) = header_name(&field).and_then(|()| header_value(&field)) {
            headers.insert(field.name().to_owned(), value.to_owned());
        }
    }
    let tracing = Tracing {
        share: section.get("share").and_then(|f| share(&f)).unwrap_or(SHARE),
        link: section.get("link").and_then(|f| link(&f)),
        otlp: section
            .get("otlp")
            .and_then(|f| address(&f, false, ("not where spans can be sent", whole)))
            .map(|url| url.trim_end_matches('/').to_owned()),
        headers,
    };
    section.done();
    tracing
}

fn share(field: &Field<'_>) -> Option<f64> {
    let share = field.share()?;
    if share <= 0.0 || share > 1.0 {
        let mistake = Mistake::new(MistakeKind::BadValue, "no share of the requests");
        let allowed = "more than 0, at most 1; leave [tracing] out for none";
        field.mistake(mistake.found(field.node.describe()).allowed(allowed));
        return None;
    }
    Some(share)
}

/// Only what a browser may follow: a link of the page is clicked.
fn link(field: &Field<'_>) -> Option<String> {
    let allowed =
        "http://… or https://… with {trace_id} in it, such as \"http://jaeger:16686/trace/{trace_id}\"";
    let text = address(field, false, ("not where a trace can be looked at", allowed))?;
    if !text.contains(TRACE_ID) {
        let mistake = Mistake::new(MistakeKind::BadValue, "leads to no trace");
        field.mistake(mistake.found(field.node.describe()).allowed(allowed));
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::experiment::Experiment;

    fn read(tracing: &str) -> Result<Tracing, String> {
        let text = format!(
            "[target]\nurl = \"sim:\"\n[load]\nusers = 1\n[cell]\nduration = \"1s\"\n[tracing]\n{tracing}"
        );
        let experiment = Experiment::parse(Path::new("f.toml"), &text, &[]).map_err(|m| m.to_string())?;
        let alone = Tracing::of_experiment(Path::new("f.toml"), &text, &[]).unwrap();
        assert_eq!(experiment.tracing, alone, "the section alone reads as it does in the file");
        Ok(experiment.tracing.expect("there is a section"))
    }

    #[test]
    fn a_section_is_read_with_its_defaults() {
        assert_eq!(read("").unwrap().share, SHARE);
        let all = read(
            "share = \"5%\"
            link = \"http://jaeger:16686/trace/{trace_id}\"
            otlp = \"http://127.0.0.1:4318/\"
            headers = { Authorization = \"env:KEY\" }",
        )
        .unwrap();
        assert!((all.share - 0.05).abs() < 1e-12);
        assert_eq!(all.link_to("ab").as_deref(), Some("http://jaeger:16686/trace/ab"));
        assert_eq!(all.otlp.as_deref(), Some("http://127.0.0.1:4318"));
        assert_eq!(all.headers["Authorization"], "env:KEY");
        let none = Tracing::of_experiment(Path::new("f.toml"), "[load]\nusers = 1", &[]);
        assert_eq!(none, Ok(None));
    }

    #[test]
    fn mistakes_name_their_key_and_what_is_allowed() {
        for (tracing, key, words) in [
            ("share = 0", "tracing.share", "more than 0"),
            ("share = 1.5", "tracing.share", "1"),
            ("link = \"javascript:alert(1)//{trace_id}\"", "tracing.link", "https://"),
            ("link = \"http://jaeger/trace\"", "tracing.link", "{trace_id}"),
            ("otlp = \"127.0.0.1:4318\"", "tracing.otlp", "http://"),
            ("headers = { api-key = \"hunter2\" }", "tracing.headers.api-key", "env:NAME"),
            ("shares = 0.1", "tracing.shares", "share"),
        ] {
            let text = read(tracing).unwrap_err();
            assert!(text.contains(key) && text.contains(words), "{tracing}: {text}");
            assert!(!text.contains("hunter2"), "{tracing}: {text}");
        }
    }
}
