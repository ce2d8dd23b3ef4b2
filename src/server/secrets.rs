//! Keeps keys out of what a server says: some quote the key that they refuse.

use url::Url;

use super::client::{AUTHORIZATION, key_header};
use super::route::Route;
use crate::experiment::Target;

/// What `provider::clip` ends with where it cut.
const CUT: char = '…';
/// What stands in a secret's place.
const HIDDEN: &str = "[hidden]";
/// A shorter value would be found in harmless words, and is no secret.
const SHORTEST: usize = 4;

/// The secret values among a target's headers, those that came from the environment, and a
/// proxy's password.
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
            .filter(|(name, _)| name == AUTHORIZATION || name == key_header(target) || named(name))
            // A scheme before the key (`Bearer`) is often left out of a quotation.
            .flat_map(|(_, value)| [value.as_str(), value.rsplit(' ').next().unwrap_or_default()])
            .filter(|value| value.len() >= SHORTEST)
            .map(str::to_owned)
            .chain(of_proxy(target).into_iter().filter(|value| value.len() >= SHORTEST))
            .collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Self(values)
    }

    /// `words` without any of them, nor what is left of one at the end of words that were cut.
    #[must_use]
    pub fn hide(&self, words: String) -> String {
        let words = self.0.iter().fold(words, |words, secret| {
            if words.contains(secret.as_str()) { words.replace(secret.as_str(), HIDDEN) } else { words }
        });
        self.hide_cut(words)
    }

    /// Words are cut to a length before they come here, and a cut may go through a secret.
    fn hide_cut(&self, mut words: String) -> String {
        let end = words.strip_suffix(CUT).unwrap_or(&words).len();
        let left = self.0.iter().filter_map(|secret| beginning_at_end(&words[..end], secret)).max();
        if let Some(left) = left {
            words.replace_range(end - left..end, HIDDEN);
        }
        words
    }

    /// `body` without any of them; bytes that are no text are kept only where it holds none.
    #[must_use]
    pub fn hide_in_body(&self, body: Vec<u8>) -> Vec<u8> {
        let held = self.0.iter().any(|secret| memchr::memmem::find(&body, secret.as_bytes()).is_some());
        if held { self.hide(String::from_utf8_lossy(&body).into_owned()).into_bytes() } else { body }
    }
}

/// Bytes of the longest beginning of `secret` that `words` end with. A scheme before the key is
/// none of it: `Bearer` alone gives nothing away.
fn beginning_at_end(words: &str, secret: &str) -> Option<usize> {
    let shortest = SHORTEST + secret.find(' ').map_or(0, |scheme| scheme + 1);
    let lengths = secret.char_indices().map(|(at, _)| at).rev();
    lengths.take_while(|&length| length >= shortest).find(|&length| words.ends_with(&secret[..length]))
}

/// Secrets of the proxy on the way to `target`. A way that can't be made sense of has none: it
/// is an error elsewhere.
fn of_proxy(target: &Target) -> Vec<String> {
    // The simulator is on this machine.
    let url = if target.is_sim() { "http://localhost" } else { target.url.as_str() };
    let route =
        Url::parse(url).ok().and_then(|base| Route::to(&base, &target.connections, Route::environment).ok());
    route.map_or_else(Vec::new, |route| route.secrets())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Proxy;
    use crate::provider::{DETAIL_CHARS, clip, http_error};
    use crate::server::tests::settings;

    fn of_key() -> Secrets {
        let headers = [(AUTHORIZATION.to_owned(), "Bearer sk-0123456789".to_owned())];
        Secrets::of(&settings().target, &headers)
    }

    fn hidden(words: &str) -> String {
        of_key().hide(words.to_owned())
    }

    #[test]
    fn what_a_cut_leaves_of_a_key_is_hidden() {
        assert_eq!(hidden("no such key: sk-0123456789"), "no such key: [hidden]");
        for (words, want) in [
            ("key sk-012345678…", "key [hidden]…"),
            ("key sk-012345678", "key [hidden]"),
            ("key sk-0…", "key [hidden]…"),
            // Too little to be of use to anybody, or to be told from a harmless word.
            ("key sk-…", "key sk-…"),
            // Neither the scheme alone nor what stands in the middle.
            ("send it as Bearer…", "send it as Bearer…"),
            ("keys begin with sk-0 as a rule", "keys begin with sk-0 as a rule"),
            ("Bearer sk-01…", "[hidden]…"),
            ("", ""),
            ("…", "…"),
        ] {
            assert_eq!(hidden(words), want, "{words}");
        }
    }

    #[test]
    fn no_place_of_the_cut_gives_a_key_away() {
        for before in DETAIL_CHARS - 30..DETAIL_CHARS + 3 {
            let quoted = format!("{} sk-0123456789 is refused", "x".repeat(before));
            let (_, words) = http_error(401, quoted.as_bytes());
            // As the load engine does: cut once more, then hidden.
            let words = hidden(&clip(&words, DETAIL_CHARS));
            assert!(!words.contains("sk-0"), "{words}");
        }
    }

    #[test]
    fn a_proxys_password_is_a_secret_in_both_its_forms() {
        let mut target = Target { url: "http://10.0.0.1:8000".to_owned(), ..settings().target };
        for (proxy, words) in [
            ("http://me:hush%40hush@proxy:3128", "not hush@hush, nor bWU6aHVzaEBodXNo"),
            ("socks5://me:hush%40hush@proxy:1080", "not hush@hush, nor hush@hush"),
        ] {
            target.connections.proxy = Proxy::Url(proxy.to_owned());
            let told = Secrets::of(&target, &[]).hide(words.to_owned());
            assert_eq!(told, "not [hidden], nor [hidden]", "{proxy}");
        }
    }
}
