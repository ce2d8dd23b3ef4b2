//! A few small completions before the run, to learn what no document tells.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::ask::Asker;
use super::idle::IdleSign;
use super::{DiscoverError, shown};
use crate::experiment::{ForceLength, Lengths, MAX_TOKENS_FIELDS, Settings, Workload};
use crate::provider::framing::Framer;
use crate::provider::{Call, Closing, Provider, WireRequest, http_error, join};
use crate::workload::{Source, Tokenizer, Words};

/// Prompt lengths of the two probes, in words.
const WORDS: [u32; 2] = [16, 80];
/// Answer length of the first probe: no model ends by itself that soon, or hardly ever.
const ANSWER: u32 = 8;
/// More than any chat template adds: such a difference is no template.
const MOST_OVERHEAD: i64 = 4096;
/// An idle server that takes longer for one token is not probed between cells.
const CHEAP: Duration = Duration::from_secs(2);

/// What the probes told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Learnt {
    /// Whether a small request was answered at all.
    pub answered: bool,
    /// Whether `ignore_eos` and `min_tokens` are to be sent.
    pub force_length: bool,
    /// Tokens that the server adds to each prompt, if that is the same for all lengths.
    pub overhead: Option<u32>,
}

/// Asks one server for small completions.
pub(super) struct Probe<'a> {
    pub asker: &'a Asker,
    pub settings: &'a Settings,
    pub provider: Arc<dyn Provider>,
    pub base: &'a Url,
    pub model: &'a str,
}

/// Why a probe failed.
enum Failure {
    /// The server's answer: its status and words.
    Status(u16, String),
    Other(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status, words) => write!(f, "HTTP {status}: {words}"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

impl Probe<'_> {
    /// Learn whether lengths can be forced, and what is added to each prompt. Failures
    /// become notes, but for refused access.
    pub fn learn(
        &self,
        tokenizer: &Arc<dyn Tokenizer>,
        notes: &mut Vec<String>,
    ) -> Result<Learnt, DiscoverError> {
        let prompts = self.prompts(tokenizer);
        let wanted = self.settings.workload.force_length;
        let features = self.provider.features();
        let mut force = wanted != ForceLength::Never && features.forces_length;
        let mut answer = self.complete(&prompts[0], ANSWER, force);
        if let Err(Failure::Status(400 | 422, words)) = &answer
            && force
            && wanted == ForceLength::Auto
        {
            let again = self.complete(&prompts[0], ANSWER, false);
            if again.is_ok() {
                notes.push(format!(
                    "the server takes no ignore_eos and min_tokens ({words}): answers may be short"
                ));
            }
            force = false;
            answer = again;
        }
        let first = match answer {
            Ok(closing) => closing,
            Err(Failure::Status(status @ (401 | 403), words)) => {
                let url = join(self.base, &self.request("", 1, false, false).path);
                return Err(DiscoverError::Refused { url: shown(&url), status, words });
            }
            Err(failure) => {
                let field = &self.settings.target.max_tokens_field;
                let other =
                    MAX_TOKENS_FIELDS.iter().find(|f| *f != field && failure.to_string().contains(**f));
                let hint = other.map_or_else(String::new, |other| {
                    format!(". Perhaps it wants target.max_tokens_field = \"{other}\"")
                });
                notes.push(format!("the server failed a first small request: {failure}{hint}"));
                return Ok(Learnt { answered: false, force_length: force, overhead: None });
            }
        };
        if force && wanted == ForceLength::Auto && self.is_short(&first) {
            notes.push(
                "the server takes ignore_eos and min_tokens but heeds neither: answers may be short".into(),
            );
            force = false;
        }
        if !features.counts_prompt {
            return Ok(Learnt { answered: true, force_length: force, overhead: None });
        }
        let second = self.complete(&prompts[1], 1, force).ok();
        let reported = [first.prompt_tokens, second.and_then(|c| c.prompt_tokens)];
        let overhead = self.overhead(tokenizer, &prompts, reported, notes);
        Ok(Learnt { answered: true, force_length: force, overhead })
    }

    /// Whether an answer ended before the length that was forced.
    fn is_short(&self, closing: &Closing) -> bool {
        let target = &self.settings.target;
        let overridden = target.extra_body.contains_key(&target.max_tokens_field);
        !overridden && closing.output_tokens.is_some_and(|n| n < ANSWER)
    }

    /// What the server counts beyond the text, when it is the same for a short and a longer
    /// prompt.
    fn overhead(
        &self,
        tokenizer: &Arc<dyn Tokenizer>,
        prompts: &[String; 2],
        reported: [Option<u32>; 2],
        notes: &mut Vec<String>,
    ) -> Option<u32> {
        let [Some(short), Some(long)] = reported.map(|n| n.map(i64::from)) else {
            notes.push(
                "the server reports no usage.prompt_tokens: what it adds to a prompt is not known".into(),
            );
            return None;
        };
        let [short, long] = [(short, &prompts[0]), (long, &prompts[1])]
            .map(|(n, p)| n - i64::from(tokenizer.count_exactly(p)));
        if short != long {
            notes.push(format!(
                "the {} tokenizer is not the server's: {} words more are {} tokens more there; prompts will \
                 have another length than asked",
                tokenizer.name(),
                WORDS[1] - WORDS[0],
                i64::from(WORDS[1] - WORDS[0]) + long - short
            ));
            return None;
        }
        u32::try_from(short).ok().filter(|n| i64::from(*n) <= MOST_OVERHEAD)
    }

    /// The sign of idleness of a server without gauges: what one token takes when nothing
    /// else is asked. The least of three, as the first may load something.
    pub fn idle_sign(&self) -> IdleSign {
        let [prompt, _] = self.prompts(&(Arc::new(crate::workload::BundledTokenizer) as _));
        let request = self.request(&prompt, 1, true, false);
        let url = join(self.base, &request.path);
        let ttft = || time_to_first(self.asker, &url, &request, self.provider.as_ref());
        match (0..3).map(|_| ttft()).collect::<Option<Vec<Duration>>>().and_then(|t| t.into_iter().min()) {
            Some(idle) if idle <= CHEAP => {
                let provider = Arc::clone(&self.provider);
                IdleSign::FirstToken { idle, url, request, provider }
            }
            _ => IdleSign::None,
        }
    }

    /// Two prompts of the lengths in [`WORDS`], new each time.
    fn prompts(&self, tokenizer: &Arc<dyn Tokenizer>) -> [String; 2] {
        let salt = format!("probe {}", jiff::Timestamp::now());
        let make = |words: u32| {
            let work = Workload { prompt_tokens: Lengths::constant(words), ..Workload::default() };
            let plain: Arc<dyn Tokenizer> = Arc::new(WordsOf(Arc::clone(tokenizer)));
            Source::new(work, u64::from(words), &salt, plain).request(0).prompt
        };
        [make(WORDS[0]), make(WORDS[1])]
    }

    fn request(&self, prompt: &str, max_tokens: u32, stream: bool, force_length: bool) -> WireRequest {
        self.provider.request(&Call {
            max_tokens_field: &self.settings.target.max_tokens_field,
            stream,
            force_length,
            sampling: &self.settings.workload.sampling,
            extra_body: &self.settings.target.extra_body,
            ..Call::new(self.model, prompt, max_tokens)
        })
    }

    /// A completion that is not streamed, read whole.
    fn complete(&self, prompt: &str, max_tokens: u32, force: bool) -> Result<Closing, Failure> {
        let request = self.request(prompt, max_tokens, false, force);
        let url = join(self.base, &request.path);
        let answer = self.asker.complete(&url, &request).map_err(|e| Failure::Other(e.words(&url).0))?;
        if !answer.is_ok() {
            return Err(Failure::Status(answer.status, http_error(answer.status, &answer.body).1));
        }
        let mut decoder = self.provider.decoder(false, false);
        let mut framer = Framer::new(self.provider.framing(false));
        let mut read = Ok(());
        let mut take = |payload: &[u8]| {
            if let Err(e) = decoder.frame(payload) {
                read = Err(Failure::Other(e.to_string()));
            }
        };
        framer.push(&answer.body, &mut take).map_err(|e| Failure::Other(e.to_string()))?;
        framer.end(&mut take);
        read?;
        let closing = decoder.close();
        match closing.error {
            Some(words) => Err(Failure::Other(words)),
            None => Ok(closing),
        }
    }
}

/// Time to the first content of one small streamed request; `None` when it failed.
pub(super) fn time_to_first(
    asker: &Asker,
    url: &Url,
    request: &WireRequest,
    provider: &dyn Provider,
) -> Option<Duration> {
    let mut decoder = provider.decoder(true, false);
    let first = |payload: &[u8]| decoder.frame(payload).is_ok_and(|delta| delta.content);
    asker.time_to(url, request, provider.framing(true), first).ok().flatten()
}

/// A tokenizer's words alone: what the probes need, without a question to the server.
struct WordsOf(Arc<dyn Tokenizer>);

impl Tokenizer for WordsOf {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn count(&self, text: &str) -> u32 {
        self.0.count(text)
    }
    fn words(&self) -> &Words {
        self.0.words()
    }
}

/// A tokenizer before a server that adds tokens to each prompt.
pub(super) struct Templated {
    inner: Arc<dyn Tokenizer>,
    overhead: u32,
}

/// `inner` for a server that adds so many tokens to each prompt.
pub(super) fn templated(inner: Arc<dyn Tokenizer>, overhead: Option<u32>) -> Arc<dyn Tokenizer> {
    match overhead {
        Some(overhead) if overhead > 0 => Arc::new(Templated { inner, overhead }),
        _ => inner,
    }
}

impl Tokenizer for Templated {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn count(&self, text: &str) -> u32 {
        self.inner.count(text)
    }
    fn is_exact(&self) -> bool {
        self.inner.is_exact()
    }
    fn count_exactly(&self, text: &str) -> u32 {
        self.inner.count_exactly(text)
    }
    fn words(&self) -> &Words {
        self.inner.words()
    }
    fn overhead(&self) -> u32 {
        self.overhead
    }
}
