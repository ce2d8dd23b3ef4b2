//! Keeps keys out of what a server says: some quote the key that they refuse.

use super::client::AUTHORIZATION;
use crate::experiment::Target;

/// What stands in a secret's place.
const HIDDEN: &str = "[hidden]";
/// A shorter value would be found in harmless words, and is no secret.
const SHORTEST: usize = 4;

/// The secret values among a target's headers: those that came from the environment.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Of `headers`, made from `target`.
    #[must_use]
    pub fn of(target: &Target, headers: &[(String, String)]) -> Self {
        let named = |name: &str| {
            target.headers.iter().any(|(n, value)| n.eq_ignore_ascii_case(name) && value.starts_with("env:"))
        };
        let mut values: Vec<String> = headers
            .iter()
            .filter(|(name, _)| name == AUTHORIZATION || named(name))
            // A scheme before the key (`Bearer`) is often left out of a quotation.
            .flat_map(|(_, value)| [value.as_str(), value.rsplit(' ').next().unwrap_or_default()])
            .filter(|value| value.len() >= SHORTEST)
            .map(str::to_owned)
            .collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Self(values)
    }

    /// `words` without any of them.
    #[must_use]
    pub fn hide(&self, words: String) -> String {
        self.0.iter().fold(words, |words, secret| {
            if words.contains(secret.as_str()) { words.replace(secret.as_str(), HIDDEN) } else { words }
        })
    }

    /// `body` without any of them; bytes that are no text are kept only where it holds none.
    #[must_use]
    pub fn hide_in_body(&self, body: Vec<u8>) -> Vec<u8> {
        let held = self.0.iter().any(|secret| memchr::memmem::find(&body, secret.as_bytes()).is_some());
        if held { self.hide(String::from_utf8_lossy(&body).into_owned()).into_bytes() } else { body }
    }
}
