//! One client span for each traced request, as OTLP's JSON has it. Attributes by OpenTelemetry's
//! conventions for generative AI and HTTP where they have one.

use serde_json::{Map, Value, json};
use url::Url;

use crate::plan::Cell;
use crate::record::{Outcome, RequestRecord, TraceId};

/// What all spans of a cell have in common.
#[derive(Debug, Clone)]
pub(super) struct Common {
    cell: u32,
    repeat: u32,
    parts: Vec<Part>,
}

/// What is asked at one of its endpoints.
#[derive(Debug, Clone)]
struct Part {
    task: Option<String>,
    endpoint: Option<String>,
    operation: &'static str,
    /// `None`: it is found out by asking the server.
    model: Option<String>,
    server: Option<(String, Option<u16>)>,
}

/// What is done, in the words of the conventions.
fn operation(api: &str) -> &'static str {
    match api {
        "openai-embeddings" => "embeddings",
        "openai-chat" | "anthropic-messages" | "ollama" => "chat",
        api if api.ends_with("-completions") || api.ends_with("-generate") => "text_completion",
        "tgi" | "llamacpp" | "triton-infer" => "text_completion",
        // Flavours of OpenAI's chat, and what can't be told.
        _ => "chat",
    }
}

impl Common {
    pub(super) fn of(cell: &Cell) -> Self {
        let settings = &cell.settings;
        let server = |url: &str| {
            let url = Url::parse(url).ok()?;
            Some((url.host_str()?.to_owned(), url.port_or_known_default()))
        };
        let named = |i: usize| settings.parts.get(i);
        let parts = settings.parts().enumerate().map(|(i, (target, _))| Part {
            task: named(i).and_then(|part| part.task.clone()),
            endpoint: named(i).and_then(|part| part.endpoint.clone()),
            operation: operation(&target.api),
            model: Some(target.model.clone()).filter(|model| model != "auto"),
            server: server(&target.url),
        });
        Self { cell: cell.index + 1, repeat: cell.repeat, parts: parts.collect() }
    }

    fn part(&self, record: &RequestRecord) -> Option<&Part> {
        let same = |part: &&Part| part.task == record.task && part.endpoint == record.endpoint;
        self.parts.iter().find(same).or(self.parts.first())
    }

    /// The span of a request, whose times count from `epoch_ns` of the Unix clock. `None`: it was
    /// not traced, or never sent.
    pub(super) fn span(&self, record: &RequestRecord, epoch_ns: u64) -> Option<Value> {
        let trace = TraceId::parse(record.trace_id.as_deref()?)?;
        let sent = record.sent_us?;
        let part = self.part(record)?;
        let at = |us: u64| (epoch_ns + us * 1_000).to_string();
        let last = record.end_us.or(record.last_token_us).or(record.headers_us).unwrap_or(sent);
        let events = [
            ("sent", Some(sent)),
            ("headers", record.headers_us),
            ("first token", record.first_token_us),
            ("last token", record.last_token_us),
        ];
        let events: Vec<Value> = events
            .into_iter()
            .filter_map(|(name, us)| Some(json!({ "timeUnixNano": at(us?), "name": name })))
            .collect();
        let name = match &part.model {
            Some(model) => format!("{} {model}", part.operation),
            None => part.operation.to_owned(),
        };
        let mut span = json!({
            "traceId": trace.to_string(),
            "spanId": format!("{:016x}", trace.span()),
            "name": name,
            // A client's.
            "kind": 3,
            "startTimeUnixNano": at(sent),
            "endTimeUnixNano": at(last.max(sent)),
            "attributes": self.attributes(part, record, sent),
            "events": events,
        });
        if record.outcome != Outcome::Ok && record.outcome != Outcome::Cancelled {
            let words = record.detail.as_deref().unwrap_or(record.outcome.name());
            span["status"] = json!({ "code": 2, "message": words });
        }
        Some(span)
    }

    fn attributes(&self, part: &Part, record: &RequestRecord, sent: u64) -> Vec<Value> {
        let mut all = Attributes::default();
        all.text("gen_ai.operation.name", Some(part.operation));
        all.text("gen_ai.request.model", part.model.as_deref());
        all.number("gen_ai.request.max_tokens", Some(u64::from(record.max_tokens)));
        all.number("gen_ai.request.choice.count", record.choices.map(u64::from));
        all.number("gen_ai.usage.input_tokens", record.prompt_tokens.map(u64::from));
        all.number("gen_ai.usage.output_tokens", record.output_tokens.map(u64::from));
        if let Some(reason) = &record.finish_reason {
            let values = json!({ "arrayValue": { "values": [{ "stringValue": reason }] } });
            all.0.push(json!({ "key": "gen_ai.response.finish_reasons", "value": values }));
        }
        all.text("server.address", part.server.as_ref().map(|(host, _)| host.as_str()));
        all.number("server.port", part.server.as_ref().and_then(|(_, port)| *port).map(u64::from));
        all.number("http.response.status_code", record.status.map(u64::from));
        all.number("http.request.resend_count", Some(u64::from(record.retries)).filter(|n| *n > 0));
        let wrong = record.outcome != Outcome::Ok;
        let class = record.error_class.as_deref().unwrap_or(record.outcome.name());
        all.text("error.type", wrong.then_some(class));
        all.number("plimsoll.cell", Some(u64::from(self.cell)));
        all.number("plimsoll.repeat", Some(u64::from(self.repeat)));
        all.number("plimsoll.seq", Some(record.seq));
        // Sent so much later than it was due.
        all.number("plimsoll.lag_us", Some(sent.saturating_sub(record.intended_us)));
        all.text("plimsoll.task", record.task.as_deref());
        all.text("plimsoll.stage", record.stage.as_deref());
        all.0
    }
}

/// Attributes as OTLP's JSON has them: what isn't known is left out.
#[derive(Default)]
struct Attributes(Vec<Value>);

impl Attributes {
    fn text(&mut self, key: &str, value: Option<&str>) {
        self.0.extend(value.map(|value| json!({ "key": key, "value": { "stringValue": value } })));
    }

    /// 64 bits are a text in JSON.
    fn number(&mut self, key: &str, value: Option<u64>) {
        self.0.extend(value.map(|value| json!({ "key": key, "value": { "intValue": value.to_string() } })));
    }
}

/// The body of a request that exports `spans` of the run `run`.
pub(super) fn body(run: &str, spans: Vec<Value>) -> String {
    let mut resource = Attributes::default();
    resource.text("service.name", Some("plimsoll"));
    resource.text("service.version", Some(env!("CARGO_PKG_VERSION")));
    resource.text("plimsoll.run", Some(run).filter(|run| !run.is_empty()));
    let mut scope = Map::new();
    scope.insert("name".to_owned(), "plimsoll".into());
    let scoped = json!({ "scope": scope, "spans": spans });
    json!({ "resourceSpans": [{ "resource": { "attributes": resource.0 }, "scopeSpans": [scoped] }] })
        .to_string()
}
