//! A piece of text in an answer, in any of the forms that servers give it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Text from a string, from a list of parts such as `[{"type":"text","text":"…"}]`, or
/// none from anything else. Borrowed where the JSON string has no escapes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Pieces)
    }
}

struct Pieces;

impl<'de> Visitor<'de> for Pieces {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a list of parts")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Text<'de>, E> {
        Ok(Text::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Text<'de>, A::Error> {
        let mut joined = String::new();
        while let Some(part) = parts.next_element::<Text<'de>>()? {
            joined.push_str(part.as_str());
        }
        Ok(Text(Cow::Owned(joined)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Text<'de>, A::Error> {
        let mut found = Text::default();
        while let Some(key) = fields.next_key::<Cow<'de, str>>()? {
            if matches!(&*key, "text" | "thinking" | "content" | "refusal") {
                found = fields.next_value()?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_every_form() {
        for (json, want) in [
            (r#""plain""#, "plain"),
            (r#""esc\n\u00e9""#, "esc\né"),
            (r#"[{"type":"text","text":"a"},{"type":"thinking","thinking":[{"text":"b"}]},"c"]"#, "abc"),
            (r#"{"type":"text","text":"a","annotations":[1]}"#, "a"),
            (r#"null"#, ""),
            (r#"[]"#, ""),
        ] {
            let text: Text<'_> = serde_json::from_str(json).expect(json);
            assert_eq!(text.as_str(), want, "{json}");
        }
        assert!(serde_json::from_str::<Text<'_>>("3").is_err(), "a number is not text");
    }
}
