//! What an arrival said and was told, in words: kept only where that is asked for.

use serde::{Deserialize, Serialize};

use super::{Outcome, Phase, RequestRecord};

/// Characters of a prompt that are kept.
pub const PROMPT_CHARS: usize = 500;
/// Characters of an answer that are kept.
pub const ANSWER_CHARS: usize = 16_000;
/// Characters of a refusal's body that are kept.
pub const BODY_CHARS: usize = 2_000;

/// The beginning of a text, and how long it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    pub text: String,
    /// Length of the whole in characters; of a text that was cut, more than `text` has.
    pub chars: u64,
}

impl Excerpt {
    /// The first `most` characters of `text`.
    #[must_use]
    pub fn of(text: &str, most: usize) -> Self {
        let end = text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
        Self { text: text[..end].to_owned(), chars: text.chars().count() as u64 }
    }
}

/// A line of a cell's `answers.jsonl`: an arrival of the cell's first ones, or one that was
/// refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// As in [`RequestRecord`], as is what follows but the texts.
    pub seq: u64,
    pub phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub finish_reason: Option<String>,
    pub output_tokens: Option<u32>,
    pub error_class: Option<String>,
    pub detail: Option<String>,
    /// What was asked, up to [`PROMPT_CHARS`]; of a conversation its last turn. `None` for a
    /// refusal after the first arrivals.
    pub prompt: Option<Excerpt>,
    /// What was answered, up to [`ANSWER_CHARS`], reasoning included; of an answer that broke off
    /// as much as had come. `None` where no text came.
    pub answer: Option<Excerpt>,
    /// Body of an answer with a status other than 2xx, up to [`BODY_CHARS`].
    pub body: Option<Excerpt>,
}

/// The texts of a [`KeptAnswer`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    pub prompt: Option<Excerpt>,
    pub answer: Option<Excerpt>,
    pub body: Option<Excerpt>,
}

impl Texts {
    /// Their size in memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        [&self.prompt, &self.answer, &self.body].into_iter().flatten().map(|e| e.text.len()).sum()
    }

    /// With what `record` says of the arrival.
    #[must_use]
    pub fn of(self, record: &RequestRecord) -> KeptAnswer {
        let Self { prompt, answer, body } = self;
        KeptAnswer {
            seq: record.seq,
            phase: record.phase,
            task: record.task.clone(),
            endpoint: record.endpoint.clone(),
            session: record.session,
            turn: record.turn,
            outcome: record.outcome,
            status: record.status,
            finish_reason: record.finish_reason.clone(),
            output_tokens: record.output_tokens,
            error_class: record.error_class.clone(),
            detail: record.detail.clone(),
            prompt,
            answer,
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_cut_between_characters_and_says_how_long_the_whole_was() {
        assert_eq!(Excerpt::of("abc", 3), Excerpt { text: "abc".to_owned(), chars: 3 });
        assert_eq!(Excerpt::of("äöü€", 2), Excerpt { text: "äö".to_owned(), chars: 4 });
        assert_eq!(Excerpt::of("", 2), Excerpt { text: String::new(), chars: 0 });
    }
}
