//! `triton-infer`: a language model behind Triton's plain inference protocol, in which every
//! setting is a tensor. It has no streams.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer::Reader;
use super::call::{Key, listed};
use super::{Call, Decoder, Entry, Features, Framing, Options, Provider, WireRequest, triton};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "triton-infer",
    help: "Triton's inference protocol, without streams; model ensemble unless another is named.",
    path: "/v2/models/{model}/infer",
    build: |options: &Options| Box::new(Infer { inputs: options.inputs.clone() }),
};

/// Keys of the request itself; every other is the name of an input.
const OWN_KEYS: [&str; 4] = ["id", "parameters", "inputs", "outputs"];

struct Infer {
    /// Datatypes by name, as the server tells them.
    inputs: BTreeMap<String, String>,
}

impl Provider for Infer {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        let prompt = call.whole_prompt();
        let mut inputs: Vec<(String, Value)> = Vec::new();
        let mut put = |name: &str, value: &Value| {
            let tensor = tensor(name, value, self.inputs.get(name).map(String::as_str));
            match inputs.iter_mut().find(|(there, _)| there == name) {
                Some(there) => there.1 = tensor,
                None => inputs.push((name.to_owned(), tensor)),
            }
        };
        put("text_input", &json!(prompt));
        put("max_tokens", &json!(call.max_tokens));
        put("bad_words", &json!(""));
        put("stop_words", &json!(""));
        if call.force_length {
            put(triton::FORCE, &json!(call.max_tokens));
        }
        let mut own = Map::new();
        for (key, value) in call.keys(triton::NAMES) {
            match key {
                Key::Written(key) if OWN_KEYS.contains(&key) => {
                    own.insert(key.to_owned(), value.clone());
                }
                Key::Setting(key) | Key::Written(key) => put(key, value),
            }
        }
        let mut body = Map::new();
        body.insert("inputs".to_owned(), inputs.into_iter().map(|(_, tensor)| tensor).collect());
        body.extend(own);
        let request = WireRequest::json(format!("/v2/models/{}/infer", call.model), body);
        WireRequest { echo: Some(prompt.into_owned()), ..request }
    }

    fn framing(&self, _stream: bool) -> Framing {
        Framing::Whole
    }

    fn decoder(&self, _stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        Reader::boxed(false, keep_text, triton::read)
    }

    fn features(&self) -> Features {
        Features { streams: false, ..triton::FEATURES }
    }
}

/// One setting as a tensor: a batch of one, with its value or values. Its type is what the
/// server says of that input, where the value is of that kind; else that of TensorRT-LLM's
/// ensembles, whose whole numbers are `INT32` (those of old versions were `UINT32`).
fn tensor(name: &str, value: &Value, told: Option<&str>) -> Value {
    let values = listed(value);
    let first = values.get(0);
    let datatype = told.filter(|told| first.is_some_and(|value| is_of(value, told)));
    let datatype = datatype.unwrap_or_else(|| usual(name, first));
    let length = values.as_array().map_or(1, Vec::len);
    json!({ "name": name, "datatype": datatype, "shape": [1, length], "data": [values] })
}

/// Whether a value can stand in a tensor of this type.
fn is_of(value: &Value, datatype: &str) -> bool {
    match value {
        Value::Bool(_) => datatype == "BOOL",
        Value::Number(n) if datatype.starts_with("UINT") => n.is_u64(),
        Value::Number(n) if datatype.starts_with("INT") => n.is_i64() || n.is_u64(),
        Value::Number(_) => datatype.starts_with("FP") || datatype == "BF16",
        Value::String(_) => datatype == "BYTES",
        _ => false,
    }
}

fn usual(name: &str, first: Option<&Value>) -> &'static str {
    match (name, first) {
        ("random_seed", _) => "UINT64",
        ("temperature" | "top_p" | "repetition_penalty" | "presence_penalty" | "frequency_penalty", _) => {
            "FP32"
        }
        (_, Some(Value::Bool(_))) => "BOOL",
        (_, Some(Value::Number(n))) if n.is_i64() => "INT32",
        (_, Some(Value::Number(n))) if n.is_u64() => "UINT64",
        (_, Some(Value::Number(_))) => "FP32",
        _ => "BYTES",
    }
}
