//! `[workload]`: what is asked of the server.

use super::{content, lengths, sampling};
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::settings::{ForceLength, MAX_KEPT_ANSWERS, StopAfter, TokenizerChoice, Workload};
use crate::experiment::tree::Value as Written;

const FORCE: [(&str, ForceLength); 3] =
    [("auto", ForceLength::Auto), ("always", ForceLength::Always), ("never", ForceLength::Never)];

const STOPS: [(&str, StopAfter); 2] = [("end", StopAfter::End), ("first_token", StopAfter::FirstToken)];

pub(super) fn read(section: Section<'_>) -> Workload {
    refuse_idle(&section);
    let length = |key, usual| section.get(key).and_then(|f: Field<'_>| lengths::read(&f)).unwrap_or(usual);
    let text = |key| section.get(key).and_then(|f: Field<'_>| f.text_or_file());
    let usual = Workload::default();
    let mut workload = Workload {
        prompt_tokens: length("prompt_tokens", usual.prompt_tokens),
        max_tokens: length("max_tokens", usual.max_tokens),
        prompt: text("prompt"),
        prefix: text("prefix"),
        suffix: text("suffix"),
        random_digits: section.get("random_digits").and_then(|f| f.u32(0, 1000)).unwrap_or(0),
        batch: section.get("batch").and_then(|f| f.u32(1, 10_000)).unwrap_or(1),
        query_tokens: section.get("query_tokens").and_then(|f| lengths::read(&f)),
        shared_prefix: section.get("shared_prefix").and_then(|f| content::shared_prefix(&f)),
        dataset: section.get("dataset").and_then(|f| content::dataset(&f)),
        conversations: section.get("conversations").and_then(|f| content::conversations(&f)),
        session: section.get("session").and_then(|f| content::session(&f)),
        trace: section.get("trace").and_then(|f| content::trace(&f)),
        images: section.get("images").and_then(|f| content::images(&f)),
        tokenizer: section.get("tokenizer").and_then(|f| tokenizer(&f)).unwrap_or(TokenizerChoice::Auto),
        unique_prompts: section
            .get("unique_prompts")
            .and_then(|f| f.bool())
            .unwrap_or_else(|| source_of(&section).is_none_or(|(_, s)| s.generates)),
        keep_answers: section.get("keep_answers").and_then(|f| f.u32(0, MAX_KEPT_ANSWERS)).unwrap_or(0),
        stream: section.get("stream").and_then(|f| f.bool()).unwrap_or(true),
        force_length: section.get("force_length").and_then(|f| f.word(&FORCE)).unwrap_or(ForceLength::Auto),
        ..usual
    };
    workload.stop_after = stop_after(&section, workload.stream);
    workload.cancel = cancel(&section, workload.stream, workload.stop_after);
    (workload.sampling, workload.seed_per_request) = sampling::read(&section);
    if workload.conversations.as_ref().is_some_and(|c| c.recorded_lengths)
        && let Some(field) = section.peek("max_tokens")
    {
        let problem = "has no effect: conversations.recorded_lengths asks for the recorded answers' lengths";
        field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
    section.done();
    workload
}

fn stop_after(section: &Section<'_>, stream: bool) -> StopAfter {
    let field = section.get("stop_after");
    let stop_after = field.as_ref().and_then(|f| f.word(&STOPS)).unwrap_or_default();
    if let (Some(field), StopAfter::FirstToken, false) = (&field, stop_after, stream) {
        let problem = "an answer that is not streamed has no first token to stop after";
        field.mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
    stop_after
}

/// A share of the requests, or `{ rate }`; none where it is 0.
fn cancel(section: &Section<'_>, stream: bool, stop_after: StopAfter) -> Option<f64> {
    let field = section.get("cancel")?;
    let share = if field.is_table() {
        let inner = field.section();
        let rate = inner.get("rate");
        if rate.is_none() {
            let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed("a share, such as 0.1");
            inner.reader.add(inner.origin, inner.key("rate"), mistake);
        }
        inner.done();
        rate.and_then(|f| f.share())
    } else {
        field.share()
    };
    let share = share.filter(|share| *share > 0.0)?;
    let problem = match (stream, stop_after) {
        (false, _) => "an answer that is not streamed has no middle to cut it off in",
        (true, StopAfter::FirstToken) => "every answer is left after its first token already",
        (true, StopAfter::End) => return Some(share),
    };
    field.mistake(Mistake::new(MistakeKind::Conflict, problem));
    None
}

/// Where prompts come from when they are not generated one by one.
struct Origin {
    key: &'static str,
    /// Whether its texts are made here, so that they can differ from every other.
    generates: bool,
    /// Keys that have no effect beside it, and why.
    excludes: &'static [(&'static str, &'static str)],
}

const FIXED: &str = "which is one fixed text";
const ORIGINS: [Origin; 5] = [
    Origin {
        key: "prompt",
        generates: false,
        excludes: &[
            ("prompt_tokens", "its length is what it is"),
            ("prefix", "put it into the prompt"),
            ("suffix", "put it into the prompt"),
            ("query_tokens", "only generated prompts have a query apart"),
            ("shared_prefix", "it is all the same"),
        ],
    },
    Origin {
        key: "dataset",
        generates: false,
        excludes: &[
            ("prompt_tokens", "its lines are as long as they are"),
            ("batch", "a line whose prompt is a list of texts is a batch"),
            ("query_tokens", "only generated prompts have a query apart"),
            ("shared_prefix", "what its lines have in common is theirs to say"),
        ],
    },
    Origin {
        key: "conversations",
        generates: false,
        excludes: &[
            ("prompt_tokens", "they are as long as they are"),
            ("batch", "a conversation goes turn by turn"),
            ("query_tokens", "only generated prompts have a query apart"),
            ("shared_prefix", "what they have in common is theirs to say"),
            ("images", "a history bears no pictures"),
        ],
    },
    Origin {
        key: "session",
        generates: true,
        excludes: &[
            ("batch", "a conversation goes turn by turn"),
            ("query_tokens", "only single prompts have a query apart"),
            ("images", "a history bears no pictures"),
        ],
    },
    Origin {
        key: "trace",
        generates: true,
        excludes: &[
            ("prompt_tokens", "the trace says how long each is"),
            ("max_tokens", "the trace says how long each answer is"),
            ("batch", "the trace has single prompts"),
            ("query_tokens", "the trace has single prompts"),
            ("shared_prefix", "the trace says what prompts have in common"),
            ("random_digits", "no prompt would begin as another does"),
        ],
    },
];

/// The one that is written; of several the first.
fn source_of<'r>(section: &Section<'r>) -> Option<(Field<'r>, &'static Origin)> {
    ORIGINS.iter().find_map(|origin| section.peek(origin.key).map(|field| (field, origin)))
}

/// Keys that can have no effect together.
fn refuse_idle(section: &Section<'_>) {
    if let Some((_, origin)) = source_of(section) {
        let beside = if origin.key == "prompt" { format!("prompt, {FIXED}") } else { origin.key.to_owned() };
        let others = ORIGINS.iter().filter(|other| other.key != origin.key);
        let others = others.map(|other| (other.key, "prompts come from one place"));
        for (key, why) in others.chain(origin.excludes.iter().copied()) {
            if let Some(field) = section.peek(key) {
                let problem = format!("no {key} beside {beside}: {why}");
                field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
            }
        }
        if !origin.generates
            && let Some(field) = section.peek("unique_prompts")
            && matches!(field.node.value, Written::Bool(true))
        {
            let what = if origin.key == "prompt" { "is one fixed text" } else { "says what the prompts are" };
            let problem = format!("{} {what}, so prompts cannot differ", origin.key);
            field.mistake(Mistake::new(MistakeKind::Conflict, problem));
        }
    }
    if section.peek("shared_prefix").is_some()
        && let Some(field) = section.peek("random_digits")
    {
        let problem = "no random_digits beside shared_prefix: no prompt would begin as another does";
        field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
    if section.peek("batch").or_else(|| section.peek("query_tokens")).is_some()
        && let Some(field) = section.peek("images")
    {
        let problem = "no images beside batch or query_tokens: pictures go with one prompt";
        field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
}

fn tokenizer(field: &Field<'_>) -> Option<TokenizerChoice> {
    let text = field.text()?;
    match text.as_str() {
        "auto" => Some(TokenizerChoice::Auto),
        "server" => Some(TokenizerChoice::Server),
        "bundled" => Some(TokenizerChoice::Bundled),
        path if path.contains('/') || path.contains('.') => field.file().map(TokenizerChoice::File),
        word => {
            field.unknown_word(word, &["auto", "server", "bundled", "path/to/tokenizer.json"]);
            None
        }
    }
}
