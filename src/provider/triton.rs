//! What the two APIs of Triton share: the names of a language model's inputs as TensorRT-LLM's
//! ensembles have them, and a reader of `text_output`.
//!
//! Such a model may say the prompt again before its answer, after a begin-of-sequence mark. What
//! was not generated must not be counted, so both are cut off.

use serde::Deserialize;
use serde_json::Value;

use super::answer::{Account, document};
use super::openai::undecodable;
use super::text::Text;
use super::{DecodeError, Delta, Features};

/// OpenAI's names of sampling settings, and Triton's.
pub(super) const NAMES: &[(&str, &str)] = &[("seed", "random_seed"), ("stop", "stop_words")];

/// Key that forces the length of an answer.
pub(super) const FORCE: &str = "min_length";

pub(super) const FEATURES: Features = Features { model: Some("ensemble"), ..Features::USUAL };

/// `text` without what the answer only repeats.
fn own<'a>(text: &'a str, echo: Option<&str>) -> &'a str {
    let text = text.strip_prefix("<s> ").unwrap_or(text);
    let own = echo.filter(|prompt| !prompt.is_empty()).and_then(|prompt| text.strip_prefix(prompt));
    own.map_or(text, |own| own.strip_prefix(' ').unwrap_or(own))
}

/// Reads an answer of either API.
pub(super) fn read(account: &mut Account, payload: &[u8]) -> Result<Delta, DecodeError> {
    let doc: Document<'_> = document(payload)?;
    if let Some(error) = doc.error.as_ref().and_then(|error| account.error(error)) {
        return Ok(error);
    }
    let output = doc.outputs.iter().flatten().find(|output| output.name == "text_output");
    let text = doc.text_output.as_ref().or(output.and_then(|output| output.data.as_ref()));
    let Some(text) = text.map(Text::as_str) else {
        return Err(undecodable("no text_output or error in it", payload));
    };
    if account.stream {
        return Ok(account.visible(text));
    }
    let echo = account.echo.take();
    let delta = account.visible(own(text, echo.as_deref()));
    account.finish();
    Ok(delta)
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    text_output: Option<Text<'a>>,
    #[serde(borrow)]
    outputs: Option<Vec<Output<'a>>>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Output<'a> {
    name: String,
    /// Of `text_output` a list of one text; of other outputs numbers, which are none.
    #[serde(borrow, default, deserialize_with = "texts")]
    data: Option<Text<'a>>,
}

fn texts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Text<'de>>, D::Error> {
    let raw: &serde_json::value::RawValue = Deserialize::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn what_is_repeated_is_cut_off() {
        for (text, want) in [
            ("<s> Say hi. Hello", "Hello"),
            ("Say hi. Hello", "Hello"),
            ("Say hi.Hello", "Hello"),
            ("<s> Hello", "Hello"),
            (" Hello", " Hello"),
            ("Say hi.", ""),
            ("Say hi", "Say hi"),
        ] {
            assert_eq!(own(text, Some("Say hi.")), want, "{text:?}");
        }
        assert_eq!(own("Say hi. Hello", None), "Say hi. Hello");
        assert_eq!(own("Hello", Some("")), "Hello");
    }
}
