//! Keeps secrets out of files: what looks like one has to be named, not written.

/// Words that a name of a secret contains.
const WORDS: [&str; 10] = [
    "authorization",
    "api-key",
    "apikey",
    "token",
    "secret",
    "password",
    "cookie",
    "auth-key",
    "access-key",
    "subscription-key",
];

/// Whether a header or key of this name usually holds a secret.
pub(crate) fn looks_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace('_', "-");
    // `prompt_tokens` and its like count tokens, a tokenizer makes them; they hold none.
    let harmless = name.contains("tokens") || name.contains("tokenizer");
    !harmless && !name.ends_with("-env") && WORDS.iter().any(|word| name.contains(word))
}

/// Whether this can be the name of an environment variable.
pub(crate) fn is_env_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in ["Authorization", "x-api-key", "api_key", "X-Auth-Token", "Cookie", "client_secret"] {
            assert!(looks_secret(name), "{name}");
        }
        for name in
            ["api_key_env", "prompt_tokens", "X-Request-Source", "max_tokens", "url", "tokenizer-mode"]
        {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn names_of_variables() {
        assert!(is_env_name("OPENAI_API_KEY"));
        for text in ["", "sk-abc", "1A", "A B"] {
            assert!(!is_env_name(text), "{text}");
        }
    }
}
