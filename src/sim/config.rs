//! Every knob of the simulator in one table: the struct, its defaults, its documentation
//! and its parser are made from it, so that they cannot disagree.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::apis::Apis;
use super::knob::{Knob, KnobError, KnobValue, Rate, value_of_text, words};
use super::presets::{self, PRESETS};

words! {
    /// The first chunk of a streamed chat answer.
    FirstChunk {
        /// vLLM: a role and an empty content.
        RoleEmpty = "role_empty",
        /// transformers serve: a role alone.
        RoleOnly = "role_only",
        /// llama-server: a role and a null content.
        ContentNull = "content_null",
        /// No such chunk.
        None = "none",
    }
}
words! {
    /// Where a streamed answer's usage stands.
    UsageStyle {
        /// vLLM: a last chunk without choices, when asked for.
        Asked = "asked",
        /// Never told.
        Never = "never",
        /// llama-server's completions: inside the finish chunk, unasked.
        FinishChunk = "finish_chunk",
        /// On every chunk.
        EveryChunk = "every_chunk",
        /// Some proxies: a last chunk with one empty choice.
        EmptyChoice = "empty_choice",
    }
}
words! {
    /// Which chunk bears the finish reason.
    FinishStyle {
        /// vLLM: the chunk of the last token.
        WithText = "with_text",
        /// llama-server: a chunk of its own with an empty delta.
        OwnChunk = "own_chunk",
    }
}
words! {
    /// How lines of the event stream end.
    LineEnd {
        /// `\n`
        Lf = "lf",
        /// `\r\n`
        Crlf = "crlf",
        /// `\r`
        Cr = "cr",
    }
}

words! {
    /// Type of the whole numbers that a model behind Triton takes.
    TritonInt {
        /// TensorRT-LLM's ensembles.
        Int32 = "INT32",
        /// Those of its first versions.
        Uint32 = "UINT32",
    }
}

macro_rules! knobs {
    ($($(#[doc = $help:literal])+ $name:ident : $ty:ty = $default:literal;)+) => {
        /// The simulator's settings. Each field is a knob of the same name.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config { $($(#[doc = $help])+ pub $name: $ty,)+ }

        /// Every knob, in the order of the table in `docs/simulator.md`.
        pub const KNOBS: &[Knob] = &[$(Knob {
            name: stringify!($name),
            unit: <$ty as KnobValue>::UNIT,
            allowed: <$ty as KnobValue>::ALLOWED,
            help: concat!($($help),+).trim_ascii(),
            default: $default,
        }),+];

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: <$ty as KnobValue>::parse(&value_of_text($default))
                    .expect("invariant: a test parses every default")),+ }
            }
        }

        impl Serialize for Config {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(KNOBS.len()))?;
                $(map.serialize_entry(stringify!($name), &self.$name.show())?;)+
                map.end()
            }
        }

        impl Config {
            /// Set one knob. `None` when there is none of that name, `Some(false)` when it
            /// can't hold the value.
            fn set(&mut self, key: &str, value: &Value) -> Option<bool> {
                match key {
                    $(stringify!($name) => Some(match <$ty as KnobValue>::parse(value) {
                        Some(v) => { self.$name = v; true }
                        None => false,
                    }),)+
                    _ => None,
                }
            }
        }
    };
}

knobs! {
    /// Settings to start from; the other knobs override it.
    preset: String = "demo";
    /// Seed of step jitter, output lengths and faults.
    seed: u64 = "0";
    /// Name of the served model; any other name is answered 404.
    model: String = "sim";
    /// Longest prompt and answer together.
    max_model_len: u32 = "8192";
    /// API families that are served; the paths of the others are answered 404.
    apis: Apis = "all";
    /// Whom `/v1/models` names as the model's owner, by which clients tell one make of server from another.
    owned_by: String = "plimsoll";

    /// Time of every engine step (reading the weights, launching kernels).
    step_base: Duration = "4ms";
    /// Time added by each sequence that decodes in the step.
    step_per_seq: Duration = "100us";
    /// Time added by each prompt token that the step computes.
    step_per_prefill_token: Duration = "20us";
    /// Largest random deviation of a step's time, as a share of it.
    step_jitter: Rate = "0.02";
    /// Most sequences that run at once (slots).
    max_num_seqs: u32 = "16";
    /// Most tokens that one step computes; longer prompts are prefilled in chunks.
    max_num_batched_tokens: u32 = "2048";
    /// Most requests that wait for a slot; the next one is refused.
    max_waiting: Option<u32> = "none";
    /// Answer 503 rather than 429 when the queue is full.
    full_queue_503: bool = "false";
    /// Tokens in one block of the KV cache.
    block_size: u32 = "16";
    /// Blocks in the KV cache; when they run out, the youngest sequence is preempted.
    kv_blocks: u32 = "4096";
    /// Reuse the blocks of prompts that begin alike.
    prefix_cache: bool = "true";
    /// Time after the start in which requests and /health are answered 503.
    startup_delay: Duration = "0s";
    /// Mean of the exponential output length when the request does not force one.
    output_tokens_mean: f64 = "128.0";
    /// Prepend a token to every prompt, as models with a BOS token do.
    add_bos: bool = "false";

    /// Time from a request's arrival to its first token, whatever the load: with this or `tpot` set, answers go by the clock and the engine has no part in them. 0: at once.
    ttft: Option<Duration> = "none";
    /// Time between two tokens of an answer, whatever the load. 0, or none beside `ttft`: as fast as the client takes them, many chunks to a system call.
    tpot: Option<Duration> = "none";

    /// Tokens put into one chunk of a stream.
    tokens_per_chunk: u32 = "1";
    /// First chunk of a streamed chat answer.
    first_chunk: FirstChunk = "role_empty";
    /// Which chunk bears the finish reason.
    finish: FinishStyle = "with_text";
    /// Where a streamed answer's usage stands.
    usage: UsageStyle = "asked";
    /// Tell cached prompt tokens in the usage.
    usage_cached_tokens: bool = "true";
    /// End a stream with what marks its end: `data: [DONE]`, or the API's last document or event.
    done: bool = "true";
    /// Tokens of a chat answer sent as reasoning before the visible content.
    reasoning_tokens: Option<u32> = "none";
    /// Name of the reasoning field.
    reasoning_field: String = "reasoning_content";
    /// Answer a chat that defines tools by calling the first of them.
    tool_calls: bool = "false";
    /// Tokens that each tile of a picture (512 by 512 pixels) counts as.
    image_tokens_per_tile: u32 = "256";
    /// Length of an embedding where the request asks for no shorter one.
    embedding_dimensions: u32 = "768";
    /// Repeat the prompt at the beginning of whole answers of Triton and of the plain API.
    echo_prompt: bool = "true";
    /// Begin the answers of Triton's `infer` with `<s> `.
    triton_bos: bool = "true";
    /// Type of the whole numbers among the inputs of Triton's model; `infer` refuses tensors of another.
    triton_int: TritonInt = "INT32";
    /// Share of chunks sent empty, their text withheld until the next chunk.
    empty_chunks: Rate = "0.0";
    /// Share of frames preceded by a comment line, as keep-alive pings are.
    comments: Rate = "0.0";
    /// Share of frames written to the socket in three pieces.
    split_frames: Rate = "0.0";
    /// Pause between the pieces of a split frame.
    split_gap: Duration = "1ms";
    /// How lines of the event stream end.
    line_end: LineEnd = "lf";
    /// Close the socket after each streamed answer although keep-alive was promised.
    close_after_stream: bool = "false";

    /// Share of requests answered 429 (JSON, Retry-After).
    fault_429: Rate = "0.0";
    /// Share of requests answered 500 (plain text).
    fault_500: Rate = "0.0";
    /// Share of requests answered 503 (JSON).
    fault_503: Rate = "0.0";
    /// Share of requests answered 400 (JSON).
    fault_400: Rate = "0.0";
    /// Share of requests answered 400 as if they exceeded the context length.
    fault_context_length: Rate = "0.0";
    /// Share of requests whose connection is reset before any answer.
    fault_reset: Rate = "0.0";
    /// Share of streams whose connection is reset in the middle.
    fault_reset_mid: Rate = "0.0";
    /// Share of streams that stall in the middle.
    fault_stall: Rate = "0.0";
    /// How long a stall lasts before the stream goes on.
    fault_stall_time: Duration = "60s";
    /// Share of streams that end without finish reason, usage and end marker.
    fault_no_end: Rate = "0.0";
    /// Share of streams with a frame that is not JSON in the middle.
    fault_garbage: Rate = "0.0";
    /// Share of streams that end with an error object in the middle.
    fault_error_object: Rate = "0.0";

    /// Share of requests that are slow, as those whom a slower replica serves: they take longer between tokens, and no longer to the first.
    slow_share: Rate = "0.0";
    /// How many times as long a slow request takes between tokens.
    slow_factor: f64 = "2.0";

    /// Requests for computation that arrive before the whole server stops once; the next one meets it.
    pause_after: Option<u32> = "none";
    /// How long it then stops, as a suspended process does.
    pause_for: Duration = "1s";

    /// Most finished requests that the log of the truth keeps; older ones are dropped.
    truth_limit: u32 = "1000000";
}

impl Config {
    /// A preset's settings, or `None` when there is none of that name.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        presets::build(name)
    }

    /// Read knobs by name, `preset` first. Every mistake is reported, not only the first.
    ///
    /// # Errors
    /// One [`KnobError`] for each unknown knob, for each value that its knob can't hold,
    /// and for combinations that cannot work.
    pub fn from_knobs(knobs: &BTreeMap<String, Value>) -> Result<Self, Vec<KnobError>> {
        let mut errors = Vec::new();
        let mut config = match knobs.get("preset") {
            None => Self::default(),
            Some(value) => value.as_str().and_then(Self::preset).unwrap_or_else(|| {
                errors.push(error("preset", value, preset_names(value.as_str())));
                Self::default()
            }),
        };
        for (key, value) in knobs.iter().filter(|(k, _)| *k != "preset") {
            match config.set(key, value) {
                Some(true) => {}
                Some(false) => errors.push(error(key, value, allowed(key).to_owned())),
                None => errors.push(error(key, value, knob_names(key))),
            }
        }
        if errors.is_empty() {
            config.check(&mut errors);
        }
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    /// The sum of the fault rates: the share of requests that go wrong on purpose.
    #[must_use]
    pub fn fault_rate(&self) -> f64 {
        super::faults::Fault::ALL.iter().map(|f| f.rate(self).0).sum()
    }

    /// Whether answers go by a timetable instead of the engine.
    #[must_use]
    pub fn by_the_clock(&self) -> bool {
        self.ttft.is_some() || self.tpot.is_some()
    }

    /// What no knob can see alone.
    fn check(&self, errors: &mut Vec<KnobError>) {
        let capacity = u64::from(self.kv_blocks) * u64::from(self.block_size);
        if capacity < u64::from(self.max_model_len) {
            errors.push(KnobError {
                key: "kv_blocks".into(),
                found: format!("{} ({capacity} tokens)", self.kv_blocks),
                allowed: format!(
                    "enough blocks for one request of max_model_len {} tokens, else it could never end",
                    self.max_model_len
                ),
            });
        }
        if self.fault_rate() > 1.0 + 1e-9 {
            errors.push(KnobError {
                key: "fault_*".into(),
                found: format!("rates that sum to {:.3}", self.fault_rate()),
                allowed: "fault rates that sum to at most 1: a request has at most one fault".into(),
            });
        }
        if self.step_base.is_zero() && self.step_per_seq.is_zero() {
            errors.push(KnobError {
                key: "step_base".into(),
                found: "0, and step_per_seq 0 too".into(),
                allowed: "a step that takes time: set step_base or step_per_seq".into(),
            });
        }
    }
}

fn error(key: &str, value: &Value, allowed: String) -> KnobError {
    KnobError { key: key.to_owned(), found: value.to_string(), allowed }
}

fn allowed(key: &str) -> &'static str {
    KNOBS.iter().find(|k| k.name == key).map_or("", |k| k.allowed)
}

fn nearest<'a>(found: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|n| (strsim::jaro_winkler(found, n), n))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, n)| n)
}

fn list(found: Option<&str>, names: &[&str]) -> String {
    let all = names.join(", ");
    match found.and_then(|f| nearest(f, names.iter().copied())) {
        Some(near) => format!("{all} (did you mean `{near}`?)"),
        None => all,
    }
}

fn knob_names(found: &str) -> String {
    list(Some(found), &KNOBS.iter().map(|k| k.name).collect::<Vec<_>>())
}

fn preset_names(found: Option<&str>) -> String {
    list(found, &PRESETS.iter().map(|p| p.name).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn knobs(value: Value) -> BTreeMap<String, Value> {
        value.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    #[test]
    fn every_default_is_what_its_knob_shows() {
        let shown = serde_json::to_value(Config::default()).unwrap();
        for knob in KNOBS {
            assert_eq!(shown[knob.name], value_of_text(knob.default), "{}", knob.name);
            assert!(!knob.help.is_empty());
        }
    }

    #[test]
    fn a_config_survives_being_written_and_read() {
        for preset in PRESETS {
            let config = Config::preset(preset.name).unwrap();
            let text = serde_json::to_value(&config).unwrap();
            assert_eq!(Config::from_knobs(&knobs(text)).unwrap(), config, "{}", preset.name);
        }
    }

    #[test]
    fn knobs_override_their_preset() {
        let c = Config::from_knobs(&knobs(json!({"max_num_seqs": 3, "preset": "8b-h100"}))).unwrap();
        let p = Config::preset("8b-h100").unwrap();
        assert_eq!((c.max_num_seqs, c.step_base), (3, p.step_base));
        assert_ne!(p.max_num_seqs, 3);
    }

    #[test]
    fn every_mistake_is_named() {
        let bad = json!({"preset": "8b-h10", "max_num_seq": 3, "fault_stall": 2, "step_base": "soon", "usage": "x"});
        let errors = Config::from_knobs(&knobs(bad)).unwrap_err();
        let keys: Vec<_> = errors.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["preset", "fault_stall", "max_num_seq", "step_base", "usage"]);
        assert!(errors[0].allowed.contains("did you mean `8b-h100`"), "{}", errors[0]);
        assert!(errors[2].allowed.contains("did you mean `max_num_seqs`"), "{}", errors[2]);
        assert!(errors[4].allowed.contains("`finish_chunk`"), "{}", errors[4]);
    }

    #[test]
    fn impossible_combinations_are_refused() {
        let e = Config::from_knobs(&knobs(json!({"kv_blocks": 10}))).unwrap_err();
        assert_eq!(e[0].key, "kv_blocks");
        let e = Config::from_knobs(&knobs(json!({"fault_stall": 0.6, "fault_500": 0.6}))).unwrap_err();
        assert_eq!(e[0].key, "fault_*");
        let e = Config::from_knobs(&knobs(json!({"step_base": 0, "step_per_seq": 0}))).unwrap_err();
        assert_eq!(e[0].key, "step_base");
    }
}
