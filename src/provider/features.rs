//! What APIs differ in beside their bytes: the settings of an experiment are held to it, and
//! the questions that are asked of a server before a run follow it.

/// What an API can do, and what it wants beside its requests: what settings are held to, and
/// what questions to its server need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Answers can be streamed.
    pub streams: bool,
    /// A request can ask for an answer that doesn't end before its length.
    pub forces_length: bool,
    /// Pictures can go with a prompt.
    pub takes_images: bool,
    /// Several texts can go in one request: a batch, or a query and what is to be ranked by it.
    pub takes_batches: bool,
    /// The prompt tokens that the server reports are those of the prompt, so that it can be told
    /// what it adds to one.
    pub counts_prompt: bool,
    /// Header that bears the key of `target.api_key_env` as it is; `None`: `authorization`, after
    /// `Bearer`.
    pub key_header: Option<&'static str>,
    /// Headers that every request to its server must have.
    pub headers: &'static [(&'static str, &'static str)],
    /// What `target.model = "auto"` means where the server lists no model.
    pub model: Option<&'static str>,
}

impl Features {
    /// Those of OpenAI's completions.
    pub const USUAL: Self = Self {
        streams: true,
        forces_length: true,
        takes_images: false,
        takes_batches: false,
        counts_prompt: true,
        key_header: None,
        headers: &[],
        model: None,
    };
}
