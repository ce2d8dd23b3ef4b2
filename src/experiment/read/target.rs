//! `[target]`: where load goes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Map;

use super::{LONGEST, connections, custom};
use crate::experiment::mistake::{Mistake, MistakeKind, nearest};
use crate::experiment::reader::{Field, Section};
use crate::experiment::secret::{is_env_name, looks_secret};
use crate::experiment::settings::{ForceLength, MAX_TOKENS_FIELDS, StopAfter, Target, Workload};
use crate::provider;

const ALLOWED_URLS: &str = "http://…, https://… or \"sim:\"";

/// Makes of servers and services that are no API's name, and the API that each speaks.
const MAKES: [(&str, &str); 22] = [
    ("openai", "openai-chat"),
    ("chat", "openai-chat"),
    ("completions", "openai-completions"),
    ("azure", "openai-chat"),
    ("groq", "openai-chat"),
    ("mistral", "openai-chat"),
    ("deepseek", "openai-chat"),
    ("openrouter", "openai-chat"),
    ("lmstudio", "openai-chat"),
    ("lmdeploy", "openai-chat"),
    ("nim", "openai-chat"),
    ("transformers", "openai-chat"),
    ("embedding", "openai-embeddings"),
    ("reranker", "openai-rerank"),
    ("llama.cpp", "llamacpp"),
    ("llama-server", "llamacpp"),
    ("text-generation-inference", "tgi"),
    ("huggingface", "tgi"),
    ("triton", "triton-generate"),
    ("tensorrt-llm", "triton-generate"),
    ("claude", "anthropic-messages"),
    ("http", "custom"),
];

const SHORTEST: Duration = Duration::from_millis(1);

pub(super) fn read(section: Section<'_>) -> Target {
    let limit = |key| section.get(key).and_then(|f: Field<'_>| f.duration(SHORTEST, LONGEST));
    let limit_or_none =
        |key| section.get(key).and_then(|f: Field<'_>| f.duration_or_none(SHORTEST, LONGEST)).flatten();
    let api = section.get("api").map_or(Some("openai-chat".to_owned()), |f| api(&f));
    let extra_body = extra_body(&section);
    let mut headers = headers(&section.sub("headers"));
    // Of an API that nobody knows it can't be told what it wants.
    let custom = match &api {
        Some(api) => custom::read(&section, api, &extra_body, &mut headers),
        None => section.get("custom").and(None),
    };
    let target = Target {
        url: url(&section),
        api: api.unwrap_or_default(),
        model: section.get("model").and_then(|f| f.text()).unwrap_or_else(|| "auto".to_owned()),
        api_key_env: section.get("api_key_env").and_then(|f| env_name(&f)),
        headers,
        extra_body,
        max_tokens_field: section
            .get("max_tokens_field")
            .and_then(|f| f.word(&MAX_TOKENS_FIELDS.map(|name| (name, name))))
            .unwrap_or(MAX_TOKENS_FIELDS[0])
            .to_owned(),
        timeout: limit("timeout").unwrap_or(Duration::from_secs(120)),
        connect_timeout: limit("connect_timeout").unwrap_or(Duration::from_secs(5)),
        first_token_timeout: limit_or_none("first_token_timeout"),
        stall_timeout: limit_or_none("stall_timeout"),
        tls: connections::tls(section.sub("tls")),
        connections: connections::read(&section),
        custom,
    };
    known_wrong_keys(&section);
    section.done();
    target
}

/// Holds a target and what is asked of it to what its API can do. An API without streams is not
/// asked for one, unless the file says so, which is a mistake.
pub(super) fn hold_to_api(
    target_section: &Section<'_>,
    workload_section: &Section<'_>,
    target: &Target,
    workload: &mut Workload,
) {
    let Some(provider) = target.provider() else { return };
    let features = provider.features();
    let api = &target.api;
    let tell = |key, problem: String, allowed: &str| {
        if let Some(field) = workload_section.get(key) {
            field.mistake(Mistake::new(MistakeKind::Conflict, problem).allowed(allowed));
        }
    };
    if !features.streams {
        let why = match api.as_str() {
            "custom" => "target.custom.framing is \"whole\"".to_owned(),
            api => format!("the API \"{api}\" has no streams"),
        };
        if workload.stream && workload_section.get("stream").is_some() {
            tell("stream", format!("cannot be: {why}"), "false, or leave it out");
        } else if workload.stop_after == StopAfter::FirstToken {
            tell("stop_after", format!("there is no first token to stop after: {why}"), "\"end\"");
        }
        workload.stream = false;
    }
    if !features.forces_length && workload.force_length == ForceLength::Always {
        let problem = format!("the API \"{api}\" has no keys that force the length of an answer");
        tell("force_length", problem, "\"auto\" or \"never\"");
    }
    if !features.takes_images && workload.images.is_some() {
        let problem = format!("the API \"{api}\" has no place for pictures");
        tell("images", problem, "an API that takes them, such as \"openai-chat\"");
        workload.images = None;
    }
    let several = [("batch", workload.batch > 1), ("query_tokens", workload.query_tokens.is_some())];
    // What is told of already, as such prompts can't have others beside them.
    let told = ["dataset", "conversations", "session", "trace", "images"];
    let told = told.iter().any(|key| workload_section.peek(key).is_some());
    for (key, _) in several.into_iter().filter(|(_, asked)| *asked && !features.takes_batches && !told) {
        let problem = match api.as_str() {
            "custom" => "no text of the request has {{prompts}}, where they would stand".to_owned(),
            api => format!("the API \"{api}\" takes one prompt a request"),
        };
        tell(key, problem, "an API that takes several, such as \"openai-embeddings\" or \"openai-rerank\"");
    }
    let Some(described) = &target.custom else { return };
    custom::check_sampling(target_section, described, &target.extra_body, workload);
    custom::check_effect(target_section, workload_section, target, workload);
}

/// Tells of a key written out before it is called merely unknown.
fn known_wrong_keys(section: &Section<'_>) {
    for field in section.entries().filter(|f| ["api_key", "key", "token"].contains(&f.name())) {
        let problem = "a key is never written here, as the file is copied into every run";
        let mistake = Mistake::new(MistakeKind::Secret, problem).nearest(Some("api_key_env"));
        field.key_mistake(mistake.allowed("api_key_env = \"NAME\" of an environment variable").hidden());
        section.skip(field.name());
    }
}

fn url(section: &Section<'_>) -> String {
    let Some(field) = section.get("url") else {
        let mistake = Mistake::new(MistakeKind::Missing, "missing")
            .allowed("a URL such as \"http://127.0.0.1:8000\", or \"sim:\" for the embedded simulator");
        section.reader.add(section.origin, section.key("url"), mistake);
        return String::new();
    };
    let Some(text) = field.text() else { return String::new() };
    if text != "sim:" {
        check_url(&field, &text);
    }
    text
}

fn check_url(field: &Field<'_>, text: &str) {
    let tell = |mistake: Mistake| {
        // What is no URL to ask may still hold a password or a key.
        let open = !text.contains(['@', '?']);
        field.mistake(if open { mistake.found(format!("{text:?}")) } else { mistake.hidden() });
    };
    let bad = |problem: String| Mistake::new(MistakeKind::BadValue, problem);
    let url = match url::Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            let mistake = bad(format!("not a URL: {error}"));
            return tell(mistake.nearest(nearest_url(text)).allowed(ALLOWED_URLS));
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "a URL must not hold a name or password";
        return tell(
            Mistake::new(MistakeKind::Secret, problem).allowed("api_key_env, or headers with env:NAME"),
        );
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        let mistake = bad("not a URL to ask".to_owned());
        return tell(mistake.nearest(nearest_url(text)).allowed(ALLOWED_URLS));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return tell(bad("a base URL has no ? and no #".to_owned()));
    }
    // A base that ends in /v1, as most clients want it, is fine: see `provider::join`.
    let base = text.trim_end_matches('/');
    if let Some(base) = provider::ALL.iter().find_map(|entry| base.strip_suffix(entry.path)) {
        tell(bad("leave out the API's path: it is added".to_owned()).nearest(Some(base)));
    }
}

/// What was likely meant by a text that is no URL to ask.
fn nearest_url(text: &str) -> Option<String> {
    if text.split(':').next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("sim")) {
        return Some("sim:".to_owned());
    }
    if let Some(url) = respelt(text) {
        return Some(url);
    }
    // `host:8000` and `host/path`, but no lone word, and no other scheme.
    let meant = !text.contains("://") && !text.contains(['@', '?']) && text.contains([':', '.', '/']);
    let url = format!("http://{text}");
    (meant && url::Url::parse(&url).is_ok_and(|url| url.host_str().is_some())).then_some(url)
}

/// `htp:/host` as `http://host`: a scheme or its slashes misspelt.
fn respelt(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(':')?;
    let host = rest.strip_prefix('/')?.trim_start_matches('/');
    let url = format!("{}://{host}", nearest(scheme, ["http", "https"])?);
    let sound = url::Url::parse(&url).is_ok_and(|url| url.has_host());
    (sound && !text.contains(['@', '?'])).then_some(url)
}

fn api(field: &Field<'_>) -> Option<String> {
    let text = field.str()?;
    let mut names = vec!["auto"];
    names.extend(provider::ALL.iter().map(|entry| entry.name));
    if names.contains(&text) {
        return Some(text.to_owned());
    }
    // Other tools name the make of the server here, not the API that it speaks.
    let make = MAKES.iter().find(|(make, _)| *make == text.to_lowercase()).map(|(_, api)| *api);
    let near = make.or_else(|| nearest(text, names.iter().copied()));
    field.unknown_word_near(&names, near);
    None
}

fn env_name(field: &Field<'_>) -> Option<String> {
    let text = field.str()?;
    if is_env_name(text) {
        return Some(text.to_owned());
    }
    let problem = "not the name of an environment variable; the key itself is never written here";
    field.mistake(
        Mistake::new(MistakeKind::Secret, problem).allowed("a name such as \"OPENAI_API_KEY\"").hidden(),
    );
    None
}

pub(super) fn headers(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for field in section.entries() {
        if let Some(value) = header_name(&field).and_then(|()| header_value(&field)) {
            headers.insert(field.name().to_owned(), value.to_owned());
        }
    }
    headers
}

/// Whether a header can be called what this field is.
pub(super) fn header_name(field: &Field<'_>) -> Option<()> {
    let name = field.name();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    {
        let mistake = Mistake::new(MistakeKind::BadValue, "not a header's name");
        field.key_mistake(mistake.allowed("letters, digits and hyphens"));
        return None;
    }
    Some(())
}

/// A header's value: no secret, unless it is named.
pub(super) fn header_value<'r>(field: &Field<'r>) -> Option<&'r str> {
    let value = field.str()?;
    if let Some(variable) = value.strip_prefix("env:") {
        if !is_env_name(variable) {
            field.bad("env: wants the name of an environment variable");
            return None;
        }
    } else if looks_secret(field.name()) {
        let problem = "a secret must not be written here, as the file is copied into every run";
        let mistake = Mistake::new(MistakeKind::Secret, problem);
        field.mistake(mistake.allowed("\"env:NAME\", the whole value in an environment variable").hidden());
        return None;
    } else if value.chars().any(char::is_control) {
        field.bad("a header's value has no control characters");
        return None;
    }
    Some(value)
}

fn extra_body(section: &Section<'_>) -> Map<String, serde_json::Value> {
    section.get("extra_body").and_then(|f| f.table().map(|t| t.json())).unwrap_or_default()
}
