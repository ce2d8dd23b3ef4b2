//! `[target.custom]`: an endpoint that no provider knows.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::sampling::sampling_names;
use super::target::{header_name, header_value};
use crate::experiment::mistake::{Mistake, MistakeKind, nearest};
use crate::experiment::reader::{Field, Section};
use crate::experiment::settings::{Target, Workload};
use crate::experiment::tree::Value as Written;
use crate::provider::Framing;
use crate::provider::custom::{Custom, METHODS};
use crate::provider::template::{BUILT_IN, Piece, json_of, pieces};

const FRAMINGS: [(&str, Framing); 3] =
    [("whole", Framing::Whole), ("sse", Framing::Sse), ("json_lines", Framing::JsonLines)];

/// The names that placeholders may have.
struct Names<'a> {
    extra_body: &'a Map<String, Value>,
}

impl Names<'_> {
    fn all(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in BUILT_IN.into_iter().chain(sampling_names()) {
            names.push(name);
        }
        names.extend(self.extra_body.keys().map(String::as_str));
        names
    }

    /// Tells of every placeholder of `text` that stands for nothing.
    fn check(&self, field: &Field<'_>, text: &str) {
        let names = match pieces(text) {
            Ok(found) => found,
            Err(error) => {
                let mistake = Mistake::new(MistakeKind::BadValue, error.to_string());
                return field.mistake(mistake.allowed("{{name}}"));
            }
        };
        for piece in &names {
            if let Piece::Name(name) = piece
                && !self.all().contains(&name.as_str())
            {
                let near = nearest(name, self.all()).map(|near| format!("{{{{{near}}}}}"));
                let mistake = Mistake::new(MistakeKind::UnknownWord, "unknown placeholder");
                let mistake = mistake.found(format!("{{{{{name}}}}}")).nearest(near);
                field.mistake(mistake.allowed(format!(
                    "{}; any other name is given its value in target.extra_body",
                    self.all().join(", ")
                )));
            }
        }
    }

    /// Likewise in every text of a value.
    fn check_all(&self, field: &Field<'_>) {
        match &field.node.value {
            Written::Str(text) => self.check(field, text),
            Written::Array(items) => {
                for (i, node) in items.iter().enumerate() {
                    self.check_all(&field.item(node, format!("{}[{}]", field.key(), i + 1)));
                }
            }
            Written::Table(table) => {
                for entry in &table.0 {
                    self.check_all(&field.item(&entry.node, format!("{}.{}", field.key(), entry.key)));
                }
            }
            _ => {}
        }
    }
}

/// Reads `[target.custom]` where the API wants it, and tells where it is missing or idle.
/// Headers without placeholders go to `headers`, the target's own.
pub(super) fn read(
    target: &Section<'_>,
    api: &str,
    extra_body: &Map<String, Value>,
    headers: &mut BTreeMap<String, String>,
) -> Option<Custom> {
    let field = target.get("custom");
    if api != "custom" {
        // An axis may go through several APIs, one of them this.
        let by_axis = target.get("api").is_some_and(|api| api.node.alias.is_some());
        if let Some(field) = field.filter(|_| !by_axis) {
            let problem = format!("has no effect: target.api is \"{api}\"");
            field.key_mistake(Mistake::new(MistakeKind::Conflict, problem).allowed("api = \"custom\""));
        }
        return None;
    }
    let Some(field) = field else {
        let mistake = Mistake::new(MistakeKind::Missing, "missing: api is \"custom\"");
        let mistake = mistake.allowed("[target.custom] with at least a path");
        target.reader.add(target.origin, target.key("custom"), mistake);
        return None;
    };
    field.table()?;
    let section = field.section();
    let custom = read_section(&section, &Names { extra_body }, headers);
    section.done();
    custom
}

fn read_section(
    section: &Section<'_>,
    names: &Names<'_>,
    headers: &mut BTreeMap<String, String>,
) -> Option<Custom> {
    let method = section.get("method");
    let body = section.get("body");
    let path = path(section, names);
    let word = method.as_ref().map(|f| f.word(&METHODS.map(|method| (method, method))));
    let method_name = word.unwrap_or(Some(if body.is_some() { "POST" } else { "GET" }));
    if let (Some(field), Some("GET")) = (&body, method_name) {
        field.key_mistake(Mistake::new(MistakeKind::Conflict, "a GET has no body"));
    }
    let framing = section.get("framing").map_or(Some(Framing::Whole), |f| f.word(&FRAMINGS));
    let done = section.get("done");
    if let (Some(field), Some(Framing::Whole)) = (&done, framing) {
        let problem = "has no effect: an answer that is not cut into frames has none that ends it";
        field.key_mistake(
            Mistake::new(MistakeKind::Conflict, problem).allowed("framing = \"sse\" or \"json_lines\""),
        );
    }
    let body = body.map(|f| read_body(&f, names));
    let templated = read_headers(&section.sub("headers"), names, headers);
    let custom = Custom {
        text: section.get("text").and_then(|f| pointer(&f)),
        prompt_tokens: section.get("prompt_tokens").and_then(|f| pointer(&f)),
        output_tokens: section.get("output_tokens").and_then(|f| pointer(&f)),
        finish: section.get("finish").and_then(|f| pointer(&f)),
        error: section.get("error").and_then(|f| pointer(&f)),
        done: done.and_then(|f| f.text()),
        method: method_name?.to_owned(),
        path: path?,
        headers: templated,
        body: match body {
            Some(body) => Some(body?),
            None => None,
        },
        framing: framing?,
    };
    Some(custom)
}

fn path(section: &Section<'_>, names: &Names<'_>) -> Option<String> {
    let Some(field) = section.get("path") else {
        let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed("a path such as \"/generate\"");
        section.reader.add(section.origin, section.key("path"), mistake);
        return None;
    };
    let text = field.text()?;
    if !text.starts_with('/') || text.contains('#') || text.chars().any(char::is_whitespace) {
        let near = (!text.contains("://")).then(|| format!("/{}", text.trim_start_matches('/')));
        let mistake = Mistake::new(MistakeKind::BadValue, "not a path below target.url");
        let mistake = mistake.found(field.node.describe()).nearest(near.filter(|near| *near != text));
        field.mistake(mistake.allowed("such as \"/generate\" or \"/embed?truncate=true\""));
        return None;
    }
    names.check(&field, &text);
    Some(text)
}

/// A JSON value, a text that is one, or any other text.
fn read_body(field: &Field<'_>, names: &Names<'_>) -> Option<Value> {
    match &field.node.value {
        Written::Table(_) | Written::Array(_) => {
            names.check_all(field);
            Some(field.node.json())
        }
        Written::Str(_) => {
            let text = field.text_or_file()?;
            names.check(field, &text);
            Some(json_of(&text).unwrap_or(Value::String(text)))
        }
        _ => {
            field.wrong_type("a table, a list, a text, or \"@file\"");
            None
        }
    }
}

/// Headers with placeholders; the rest join the target's, whose secrets come from the environment.
fn read_headers(
    section: &Section<'_>,
    names: &Names<'_>,
    targets: &mut BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut templated = BTreeMap::new();
    for field in section.entries() {
        let Some(value) = header_name(&field).and_then(|()| header_value(&field)) else { continue };
        let name = field.name();
        if targets.keys().any(|there| there.eq_ignore_ascii_case(name)) {
            field.key_mistake(Mistake::new(MistakeKind::Duplicate, "this header is in target.headers too"));
        } else if value.contains("{{") {
            names.check(&field, value);
            templated.insert(name.to_owned(), value.to_owned());
        } else {
            targets.insert(name.to_owned(), value.to_owned());
        }
    }
    templated
}

/// A JSON pointer (RFC 6901).
fn pointer(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if text.starts_with('/') {
        return Some(text);
    }
    // As other tools write it: `$.choices[0].text`.
    let steps =
        text.trim_start_matches(['$', '.']).replace("].", "/").replace(['.', '['], "/").replace(']', "");
    let mistake = Mistake::new(MistakeKind::BadValue, "not a JSON pointer").found(field.node.describe());
    field.mistake(mistake.nearest(Some(format!("/{steps}"))).allowed("such as \"/choices/0/text\""));
    None
}

/// Tells of what would go nowhere: a key for a body that has no keys, and a stream that nobody is
/// asked to leave off.
pub(super) fn check_effect(
    target_section: &Section<'_>,
    workload_section: &Section<'_>,
    target: &Target,
    workload: &Workload,
) {
    let Some(custom) = &target.custom else { return };
    let names = custom.names();
    let no_effect = |problem: &str| Mistake::new(MistakeKind::Conflict, format!("has no effect: {problem}"));
    if !matches!(custom.body, Some(Value::Object(_))) {
        let problem = "the body of target.custom is no table, and has no placeholder of this name";
        let extra = target_section.sub("extra_body").entries();
        let sampling = workload_section.entries().filter(|f| sets(workload, f.name()));
        for field in extra.chain(sampling).filter(|f| !names.contains(f.name())) {
            field.key_mistake(no_effect(problem));
        }
    }
    let streams = custom.framing != Framing::Whole && !names.contains("stream");
    if let Some(field) = workload_section.get("stream").filter(|_| streams && !workload.stream) {
        field.mistake(no_effect("target.custom has no {{stream}} by which the server is told"));
    }
}

/// Tells of a sampling setting that a template names and nothing sets.
pub(super) fn check_sampling(
    target: &Section<'_>,
    custom: &Custom,
    extra_body: &Map<String, Value>,
    workload: &Workload,
) {
    for name in custom.names() {
        let set = extra_body.contains_key(&name) || sets(workload, &name);
        if !set && sampling_names().any(|known| known == name) {
            let problem = format!("not set, but target.custom has {{{{{name}}}}}");
            let mistake = Mistake::new(MistakeKind::Missing, problem);
            target.reader.add(target.sub("custom").origin, format!("workload.{name}"), mistake);
        }
    }
}

/// Whether `[workload]` sets the sampling key of this name; the seed may be each request's own.
fn sets(workload: &Workload, name: &str) -> bool {
    workload.sampling.contains_key(name) || (name == "seed" && workload.seed_per_request)
}
