//! The server under test, seen from outside before and between cells: which model it
//! serves, what it is, whether it can count tokens, whether it is idle.

/// A server, found and ready to be loaded.
#[derive(Clone)]
pub struct Endpoint {
    /// Base URL, without the API's path.
    pub base: url::Url,
    /// The model's name as the server knows it.
    pub model: String,
    /// Headers of every request, secrets resolved. Never logged, never stored.
    pub headers: Vec<(String, String)>,
    /// Whether the server takes `ignore_eos`/`min_tokens` and they are wanted.
    pub force_length: bool,
}
