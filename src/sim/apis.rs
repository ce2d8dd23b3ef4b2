//! Which APIs a simulator serves: a set of families, as the knob `apis` names them.

use serde_json::Value;

use super::knob::KnobValue;

/// A set of API families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apis(u16);

/// Every family, in the order in which they are shown; the last one stands for four.
const WORDS: [(&str, Apis); 13] = [
    ("all", Apis::ALL),
    ("openai", Apis::OPENAI),
    ("chat", Apis::CHAT),
    ("completions", Apis::COMPLETIONS),
    ("embeddings", Apis::EMBEDDINGS),
    ("rerank", Apis::RERANK),
    ("anthropic", Apis::ANTHROPIC),
    ("llamacpp", Apis::LLAMACPP),
    ("ollama", Apis::OLLAMA),
    ("tgi", Apis::TGI),
    ("triton", Apis::TRITON),
    ("together", Apis::TOGETHER),
    ("plain", Apis::PLAIN),
];

impl Apis {
    pub const CHAT: Self = Self(1);
    pub const COMPLETIONS: Self = Self(1 << 1);
    pub const EMBEDDINGS: Self = Self(1 << 2);
    pub const RERANK: Self = Self(1 << 3);
    /// The four that OpenAI's list of models belongs to.
    pub const OPENAI: Self = Self(0b1111);
    pub const ANTHROPIC: Self = Self(1 << 4);
    pub const LLAMACPP: Self = Self(1 << 5);
    pub const OLLAMA: Self = Self(1 << 6);
    pub const TGI: Self = Self(1 << 7);
    pub const TRITON: Self = Self(1 << 8);
    pub const TOGETHER: Self = Self(1 << 9);
    /// `/generate` of small servers: `prompt`, `max_tokens`, `strategy`.
    pub const PLAIN: Self = Self(1 << 10);
    pub const ALL: Self = Self((1 << 11) - 1);

    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether they have a family in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn of_words<'a>(words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut all = Self(0);
        for word in words.map(str::trim).filter(|w| !w.is_empty()) {
            all = all.or(WORDS.iter().find(|(name, _)| *name == word)?.1);
        }
        (all.0 != 0).then_some(all)
    }
}

impl KnobValue for Apis {
    const UNIT: &'static str = "";
    const ALLOWED: &'static str = "`all`, or some of `openai` (which is `chat`, `completions`, `embeddings`, \
                                   `rerank`), `anthropic`, `llamacpp`, `ollama`, `tgi`, `triton`, \
                                   `together`, `plain`: as a list, or in one text with commas";

    fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::of_words(text.split(',')),
            Value::Array(list) => {
                let words: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                Self::of_words(words?.into_iter())
            }
            _ => None,
        }
    }

    fn show(&self) -> Value {
        let mut left = *self;
        let mut words = Vec::new();
        // The wider words first, and none twice.
        for (word, apis) in WORDS {
            if left.0 & apis.0 == apis.0 {
                words.push(word);
                left.0 &= !apis.0;
            }
        }
        words.join(",").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn families_come_as_a_word_a_text_or_a_list() {
        let cases = [
            (json!("all"), Apis::ALL, "all"),
            (json!("tgi"), Apis::TGI, "tgi"),
            (json!(["ollama", "chat"]), Apis::OLLAMA.or(Apis::CHAT), "chat,ollama"),
            (json!("rerank, chat,completions,embeddings"), Apis::OPENAI, "openai"),
            (json!("openai,triton"), Apis::OPENAI.or(Apis::TRITON), "openai,triton"),
        ];
        for (value, apis, shown) in cases {
            assert_eq!(Apis::parse(&value), Some(apis), "{value}");
            assert_eq!(apis.show(), json!(shown));
            assert_eq!(Apis::parse(&apis.show()), Some(apis));
        }
        for bad in [json!(""), json!([]), json!("grpc"), json!(["tgi", 3]), json!(true)] {
            assert_eq!(Apis::parse(&bad), None, "{bad}");
        }
        assert!(WORDS.iter().all(|(word, _)| Apis::ALLOWED.contains(&format!("`{word}`"))));
    }
}
