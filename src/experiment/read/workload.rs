//! `[workload]`: what is asked of the server.

use serde_json::{Map, Value};

use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::settings::{ForceLength, LengthShape, Lengths, StopAfter, TokenizerChoice, Workload};
use crate::experiment::tree::Value as Written;

/// Longest prompt or answer that can be asked for, in tokens.
const MAX_TOKENS: u32 = 10_000_000;

const SHAPES: [(&str, LengthShape); 4] = [
    ("constant", LengthShape::Constant),
    ("uniform", LengthShape::Uniform),
    ("normal", LengthShape::Normal),
    ("exponential", LengthShape::Exponential),
];

const FORCE: [(&str, ForceLength); 3] =
    [("auto", ForceLength::Auto), ("always", ForceLength::Always), ("never", ForceLength::Never)];

const STOPS: [(&str, StopAfter); 2] = [("end", StopAfter::End), ("first_token", StopAfter::FirstToken)];

pub(super) fn read(section: Section<'_>) -> Workload {
    let prompt = section.get("prompt");
    let lengths = section.get("prompt_tokens");
    let prefix = section.get("prefix");
    let unique = section.get("unique_prompts");
    let unique_prompts = unique.as_ref().and_then(Field::bool);
    if prompt.is_some() {
        for (field, why) in [(&lengths, "its length is what it is"), (&prefix, "put it into the prompt")] {
            if let Some(field) = field {
                let mistake = format!("no {} beside prompt, which is one fixed text: {why}", field.name());
                field.key_mistake(Mistake::new(MistakeKind::Conflict, mistake));
            }
        }
        if let (Some(field), Some(true)) = (&unique, unique_prompts) {
            let problem = "prompt is one fixed text, so prompts cannot differ";
            field.mistake(Mistake::new(MistakeKind::Conflict, problem));
        }
    }
    let stream = section.get("stream").and_then(|f| f.bool()).unwrap_or(true);
    let stop = section.get("stop_after");
    let stop_after = stop.as_ref().and_then(|f| f.word(&STOPS)).unwrap_or_default();
    if let (Some(field), StopAfter::FirstToken, false) = (&stop, stop_after, stream) {
        let problem = "an answer that is not streamed has no first token to stop after";
        field.mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
    let cancel = cancel(&section, stream, stop_after);
    let workload = Workload {
        unique_prompts: unique_prompts.unwrap_or(prompt.is_none()),
        prompt_tokens: lengths.and_then(|f| read_lengths(&f)).unwrap_or(Lengths::constant(512)),
        max_tokens: section
            .get("max_tokens")
            .and_then(|f| read_lengths(&f))
            .unwrap_or(Lengths::constant(128)),
        prompt: prompt.and_then(|f| f.text_or_file()),
        prefix: prefix.and_then(|f| f.text_or_file()),
        tokenizer: section.get("tokenizer").and_then(|f| tokenizer(&f)).unwrap_or(TokenizerChoice::Auto),
        stream,
        stop_after,
        cancel,
        force_length: section.get("force_length").and_then(|f| f.word(&FORCE)).unwrap_or(ForceLength::Auto),
        sampling: sampling(&section),
    };
    section.done();
    workload
}

/// A share of the requests, or `{ rate }`; none where it is 0.
fn cancel(section: &Section<'_>, stream: bool, stop_after: StopAfter) -> Option<f64> {
    let field = section.get("cancel")?;
    let share = if field.is_table() {
        let inner = field.section();
        let rate = inner.get("rate");
        if rate.is_none() {
            let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed("a share, such as 0.1");
            inner.reader.add(inner.origin, inner.key("rate"), mistake);
        }
        inner.done();
        rate.and_then(|f| f.share())
    } else {
        field.share()
    };
    let share = share.filter(|share| *share > 0.0)?;
    let problem = match (stream, stop_after) {
        (false, _) => "an answer that is not streamed has no middle to cut it off in",
        (true, StopAfter::FirstToken) => "every answer is left after its first token already",
        (true, StopAfter::End) => return Some(share),
    };
    field.mistake(Mistake::new(MistakeKind::Conflict, problem));
    None
}

fn tokenizer(field: &Field<'_>) -> Option<TokenizerChoice> {
    let text = field.text()?;
    match text.as_str() {
        "auto" => Some(TokenizerChoice::Auto),
        "server" => Some(TokenizerChoice::Server),
        "bundled" => Some(TokenizerChoice::Bundled),
        path if path.contains('/') || path.contains('.') => field.file().map(TokenizerChoice::File),
        word => {
            field.unknown_word(word, &["auto", "server", "bundled", "path/to/tokenizer.json"]);
            None
        }
    }
}

/// An integer, or `{ mean, distribution, range, cap }`.
fn read_lengths(field: &Field<'_>) -> Option<Lengths> {
    if !field.is_table() {
        return match field.node.value {
            Written::Int(_) | Written::Float(_) | Written::Str(_) => {
                field.u32(1, MAX_TOKENS).map(Lengths::constant)
            }
            _ => {
                field.wrong_type("a number of tokens, or { mean, distribution, range, cap }");
                None
            }
        };
    }
    let section = field.section();
    let mean = section.get("mean");
    if mean.is_none() {
        let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed("a number of tokens");
        section.reader.add(section.origin, section.key("mean"), mistake);
    }
    let mean = mean.and_then(|f| f.u32(1, MAX_TOKENS));
    let shape = section.get("distribution").map(|f| f.word(&SHAPES));
    let range_field = section.get("range");
    let cap_field = section.get("cap");
    let cap = cap_field.as_ref().and_then(|f| f.u32(1, MAX_TOKENS));
    section.done();
    let (mean, shape) = (mean?, shape.unwrap_or(Some(LengthShape::Constant))?);
    let range = range(range_field.as_ref(), shape);
    if let (LengthShape::Constant, Some(field), Some(cap)) = (shape, &cap_field, cap)
        && cap < mean
    {
        let problem = format!("below the constant length {mean}");
        field.mistake(Mistake::new(MistakeKind::Conflict, problem).found(cap.to_string()));
    }
    Some(Lengths { mean, shape, range, cap })
}

/// Width of a distribution; 0 where it has none.
fn range(field: Option<&Field<'_>>, shape: LengthShape) -> f64 {
    const USUAL: f64 = 0.3;
    match (shape, field) {
        (LengthShape::Constant | LengthShape::Exponential, Some(field)) => {
            let problem = "has no effect: only the distributions \"uniform\" and \"normal\" have a range";
            field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
            0.0
        }
        (LengthShape::Constant | LengthShape::Exponential, None) => 0.0,
        (LengthShape::Uniform, Some(field)) => field
            .number_in("more than 0, at most 1 (1: from 1 token to twice the mean)", |x| x > 0.0 && x <= 1.0)
            .unwrap_or(USUAL),
        (LengthShape::Normal, Some(field)) => field
            .number_in("more than 0, at most 3 (the standard deviation over the mean)", |x| {
                x > 0.0 && x <= 3.0
            })
            .unwrap_or(USUAL),
        (_, None) => USUAL,
    }
}

/// What a sampling key may hold.
enum Takes {
    Number(&'static str, fn(f64) -> bool),
    Int(i64, i64),
    /// `stop`: a text or a list of texts.
    Texts,
    /// `logprobs`: true or false (chat), or a number (completions).
    BoolOrInt(i64, i64),
    Word(&'static [&'static str]),
}

/// Sampling settings, by their names on the wire.
const SAMPLING: [(&str, Takes); 14] = [
    ("temperature", Takes::Number("0 to 2", |x| (0.0..=2.0).contains(&x))),
    ("top_p", Takes::Number("more than 0, at most 1", |x| x > 0.0 && x <= 1.0)),
    ("top_k", Takes::Int(-1, 1_000_000)),
    ("min_p", Takes::Number("0 to 1", |x| (0.0..=1.0).contains(&x))),
    ("seed", Takes::Int(i64::MIN, i64::MAX)),
    ("stop", Takes::Texts),
    ("n", Takes::Int(1, 128)),
    ("best_of", Takes::Int(1, 128)),
    ("logprobs", Takes::BoolOrInt(0, 100)),
    ("top_logprobs", Takes::Int(0, 100)),
    ("presence_penalty", Takes::Number("-2 to 2", |x| (-2.0..=2.0).contains(&x))),
    ("frequency_penalty", Takes::Number("-2 to 2", |x| (-2.0..=2.0).contains(&x))),
    ("repetition_penalty", Takes::Number("more than 0, at most 10", |x| x > 0.0 && x <= 10.0)),
    ("reasoning_effort", Takes::Word(&["none", "minimal", "low", "medium", "high"])),
];

/// The names of sampling settings.
pub(super) fn sampling_names() -> impl Iterator<Item = &'static str> {
    SAMPLING.iter().map(|(name, _)| *name)
}

fn sampling(section: &Section<'_>) -> Map<String, Value> {
    let mut sampling = Map::new();
    for (name, takes) in &SAMPLING {
        let Some(field) = section.get(name) else { continue };
        let value = match takes {
            Takes::Number(allowed, fits) => field.number_in(allowed, fits).map(|_| field.node.json()),
            Takes::Int(min, max) => field.int(*min, *max).map(Value::from),
            Takes::Texts => texts(&field),
            Takes::BoolOrInt(min, max) => match &field.node.value {
                Written::Bool(b) => Some(Value::Bool(*b)),
                Written::Int(_) => field.int(*min, *max).map(Value::from),
                _ => {
                    field.wrong_type("true, false or a number");
                    None
                }
            },
            Takes::Word(words) => {
                let words: Vec<(&str, &str)> = words.iter().map(|w| (*w, *w)).collect();
                field.word(&words).map(Value::from)
            }
        };
        if let Some(value) = value {
            sampling.insert((*name).to_owned(), value);
        }
    }
    sampling
}

fn texts(field: &Field<'_>) -> Option<Value> {
    if let Written::Str(text) = &field.node.value {
        return Some(Value::from(text.clone()));
    }
    let Written::Array(items) = &field.node.value else {
        field.wrong_type("a text or a list of texts");
        return None;
    };
    let texts = items.iter().enumerate().map(|(i, node)| {
        let item = field.item(node, format!("{}[{}]", field.key(), i + 1));
        item.str().map(Value::from)
    });
    texts.collect::<Option<Vec<_>>>().map(Value::Array)
}
