//! The requests of one cell, by arrival or by turn of a conversation.

use std::sync::Arc;

use serde_json::Value;

use super::conversations::Talks;
use super::data::DataError;
use super::dataset::{Line, Lines};
use super::images::Pictures;
use super::lengths::Drawn;
use super::random;
use super::texts::{Key, Made, Texts};
use super::trace::Trace;
use super::{Request, Tokenizer};
use crate::experiment::{Shuffle, Workload};

/// Where the prompts of a cell come from.
pub(super) enum Content {
    /// One text, and its tokens with all that the server adds.
    Fixed(String, u32),
    /// Made word by word, each alone.
    Generated,
    Lines(Lines),
    Talks(Talks),
    /// Made word by word, several to a conversation of so many turns.
    Sessions(Drawn),
    Trace(Trace),
}

impl Content {
    fn read(workload: &Workload, seed: u64) -> Result<Self, DataError> {
        Ok(if let Some(dataset) = &workload.dataset {
            Self::Lines(Lines::read(dataset, seed).map_err(|e| e.of("workload.dataset"))?)
        } else if let Some(wanted) = &workload.conversations {
            Self::Talks(Talks::read(wanted, seed).map_err(|e| e.of("workload.conversations"))?)
        } else if let Some(session) = &workload.session {
            Self::Sessions(Drawn::open(&session.turns)?)
        } else if let Some(trace) = &workload.trace {
            Self::Trace(Trace::read(trace).map_err(|e| e.of("workload.trace"))?)
        } else if let Some(text) = &workload.prompt {
            Self::Fixed(text.clone(), 0)
        } else {
            Self::Generated
        })
    }
}

/// Looks at every file that a workload names: whether it is there, is what the plan saw, and
/// reads. For a sweep, before its first request.
///
/// # Errors
/// The first file with a mistake; of a data set all wrong lines.
pub fn check(workload: &Workload) -> Result<(), DataError> {
    let mut whole = workload.clone();
    // A sample is another one in each cell.
    if let Some(dataset) = whole.dataset.as_mut().filter(|d| d.shuffle == Shuffle::Cell) {
        dataset.limit = None;
    }
    if let Some(wanted) = whole.conversations.as_mut().filter(|c| c.shuffle == Shuffle::Cell) {
        wanted.limit = None;
    }
    Content::read(&whole, 0)?;
    for lengths in [Some(&whole.prompt_tokens), Some(&whole.max_tokens), whole.query_tokens.as_ref()] {
        lengths.map(Drawn::open).transpose()?;
    }
    if let Some(images) = whole.images.as_ref().filter(|images| !images.files.is_empty()) {
        Pictures::open(images, |n| random::stream("picture", 0, "", n))?;
    }
    Ok(())
}

/// Makes the requests of one cell. Random access, so that each load core makes its own.
pub struct Source {
    pub(super) workload: Workload,
    pub(super) seed: u64,
    pub(super) tokenizer: Arc<dyn Tokenizer>,
    pub(super) texts: Texts,
    pub(super) content: Content,
    pub(super) prompt_tokens: Drawn,
    pub(super) max_tokens: Drawn,
    pub(super) query_tokens: Option<Drawn>,
    pub(super) pictures: Option<Pictures>,
}

impl Source {
    /// A source for one cell. `seed` decides the lengths, `salt` with it the texts.
    ///
    /// With `unique_prompts = false` neither has a say in the texts: arrival k has the same
    /// words in every cell, repeat and run, cut to its length.
    ///
    /// # Errors
    /// When a file that the workload names can't be read, is not in its format, or has changed
    /// since the experiment was read.
    pub fn open(
        workload: Workload,
        seed: u64,
        salt: &str,
        tokenizer: Arc<dyn Tokenizer>,
    ) -> Result<Self, DataError> {
        let mut content = Content::read(&workload, seed)?;
        let mut texts = Texts::new(&workload, seed, salt, Arc::clone(&tokenizer));
        match &mut content {
            Content::Fixed(text, tokens) => {
                let sample = texts.numbered(text, u64::MAX);
                *tokens = tokenizer.count_exactly(&sample) + tokenizer.overhead();
            }
            Content::Lines(_) | Content::Talks(_) => {}
            Content::Generated | Content::Trace(_) => texts.measure(false),
            Content::Sessions(_) => texts.measure(true),
        }
        let pictures =
            workload.images.as_ref().map(|images| Pictures::open(images, |n| texts.stream("picture", n)));
        Ok(Self {
            prompt_tokens: Drawn::open(&workload.prompt_tokens)?,
            max_tokens: Drawn::open(&workload.max_tokens)?,
            query_tokens: workload.query_tokens.as_ref().map(Drawn::open).transpose()?,
            pictures: pictures.transpose()?,
            workload,
            seed,
            tokenizer,
            texts,
            content,
        })
    }

    /// [`Source::open`] for a workload that names no file.
    ///
    /// # Panics
    /// When it names one that can't be used.
    #[must_use]
    pub fn new(workload: Workload, seed: u64, salt: &str, tokenizer: Arc<dyn Tokenizer>) -> Self {
        Self::open(workload, seed, salt, tokenizer).expect("a workload without files reads none")
    }

    /// The tokenizer in use.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<dyn Tokenizer> {
        &self.tokenizer
    }

    /// The trace that arrivals repeat, with the times at which they are due.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        match &self.content {
            Content::Trace(trace) => Some(trace),
            _ => None,
        }
    }

    /// Arrivals (of conversations: sessions) after which a file begins again.
    #[must_use]
    pub fn period(&self) -> Option<u64> {
        match &self.content {
            Content::Lines(lines) => Some(lines.len()),
            Content::Talks(talks) => Some(talks.len()),
            Content::Trace(trace) => Some(trace.len()),
            Content::Fixed(..) | Content::Generated | Content::Sessions(_) => None,
        }
    }

    /// Arrivals after which there is nothing more to ask, where a data set is not to repeat.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.period().filter(|_| self.workload.dataset.as_ref().is_some_and(|dataset| !dataset.repeat))
    }

    /// Prompt and output length of arrival `seq`, without making the text.
    #[must_use]
    pub fn lengths(&self, seq: u64) -> (u32, u32) {
        let output = self.max_tokens.draw(self.seed, "max_tokens", seq);
        match &self.content {
            Content::Fixed(_, tokens) => {
                let tokens = |item| shifted(*tokens, self.texts.digits_differ(item));
                (sum(self.items(seq).map(tokens)), output)
            }
            Content::Generated => {
                let query = self.query_tokens.iter().map(|query| query.draw(self.seed, "query_tokens", seq));
                (sum(query.chain(self.items(seq).map(|item| self.drawn_prompt(item)))), output)
            }
            Content::Lines(lines) => {
                let line = lines.line(seq);
                (self.line_tokens(line, seq), line.max_tokens.unwrap_or(output))
            }
            Content::Trace(trace) => {
                let entry = trace.entry(seq);
                (entry.prompt_tokens, entry.max_tokens)
            }
            Content::Sessions(_) => (self.drawn_prompt(seq), output),
            Content::Talks(_) => {
                let first = self.turn(seq, 0, seq, &[]);
                (first.prompt_tokens_asked, first.max_tokens)
            }
        }
    }

    /// Arrival `seq`, whole. Of conversations, the first turn of session `seq`.
    #[must_use]
    pub fn request(&self, seq: u64) -> Request {
        let mut request = match &self.content {
            Content::Fixed(text, tokens) => self.together(seq, |item| Made {
                text: self.texts.numbered(text, item),
                tokens: shifted(*tokens, self.texts.digits_differ(item)),
            }),
            Content::Generated => self
                .together(seq, |item| self.texts.generate(&Key::new("text", item), self.drawn_prompt(item))),
            Content::Lines(lines) => self.line_request(lines.line(seq), seq),
            Content::Trace(trace) => {
                let entry = trace.entry(seq);
                let blocks = (&entry.hash_ids[..], seq / trace.len());
                let made = self.texts.generate(&Key { blocks, ..Key::new("text", seq) }, entry.prompt_tokens);
                Request { prompt: made.text, prompt_tokens_counted: Some(made.tokens), ..Request::default() }
            }
            Content::Talks(_) | Content::Sessions(_) => return self.turn(seq, 0, seq, &[]),
        };
        (request.prompt_tokens_asked, request.max_tokens) = self.lengths(seq);
        self.finish(request, seq)
    }

    /// What every request has, wherever its prompt is from.
    pub(super) fn finish(&self, mut request: Request, seq: u64) -> Request {
        if let Some(pictures) = &self.pictures {
            request.images = pictures.draw(self.seed, seq);
        }
        if self.workload.seed_per_request {
            // Some servers take no more than 31 bits. A line's own seed has the last word.
            let seed = random::below(&mut random::stream("sampling seed", self.seed, "", seq), 1 << 31);
            request.body.entry("seed").or_insert_with(|| Value::from(seed));
        }
        request
    }

    /// Numbers of the prompts that arrival `seq` bears.
    fn items(&self, seq: u64) -> impl Iterator<Item = u64> + use<> {
        let batch = u64::from(self.workload.batch.max(1));
        (0..batch).map(move |k| seq.wrapping_mul(batch).wrapping_add(k))
    }

    fn drawn_prompt(&self, item: u64) -> u32 {
        self.prompt_tokens.draw(self.seed, "prompt_tokens", item)
    }

    /// The prompts of a batch in one request, after the query where there is one.
    fn together(&self, seq: u64, make: impl Fn(u64) -> Made) -> Request {
        let query = self.query_tokens.iter().map(|query| {
            let asked = query.draw(self.seed, "query_tokens", seq);
            self.texts.generate(&Key::new("query", seq), asked)
        });
        let mut tokens = 0_u32;
        let mut texts = query.chain(self.items(seq).map(make)).map(|made| {
            tokens = tokens.saturating_add(made.tokens);
            made.text
        });
        let prompt = texts.next().unwrap_or_default();
        let more = texts.collect();
        Request { prompt, more, prompt_tokens_counted: Some(tokens), ..Request::default() }
    }

    fn line_request(&self, line: &Line, seq: u64) -> Request {
        let mut request = Request {
            prompt: self.texts.around(&line.prompt, true),
            more: line.more.clone(),
            history: line.history.clone(),
            body: line.body.clone(),
            prompt_tokens_counted: Some(self.line_tokens(line, seq)),
            ..Request::default()
        };
        // Against caching they have to stand before everything.
        let first = request.history.first_mut().map_or(&mut request.prompt, |turn| &mut turn.text);
        *first = self.texts.numbered(first, seq);
        request
    }

    /// Tokens of all texts of a line, as the tokenizer counts them.
    fn line_tokens(&self, line: &Line, seq: u64) -> u32 {
        let count = || {
            let prompt = self.texts.around(&line.prompt, true);
            let texts = line.history.iter().map(|turn| &turn.text).chain(&line.more).chain([&prompt]);
            sum(texts.map(|text| self.tokenizer.count(text)).chain([self.tokenizer.overhead()]))
        };
        line.tokens.get_or_init(count).saturating_add(self.texts.digit_tokens(seq))
    }
}

fn sum(tokens: impl Iterator<Item = u32>) -> u32 {
    tokens.fold(0, u32::saturating_add)
}

fn shifted(tokens: u32, by: i64) -> u32 {
    u32::try_from(i64::from(tokens) + by).unwrap_or(0)
}
