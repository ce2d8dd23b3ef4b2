//! Conversations: sessions of several turns, each of which goes on with the answers to those
//! before it.

use std::time::Duration;

use super::source::{Content, Source};
use super::texts::{Key, Made};
use super::{Request, lengths, random};
use crate::experiment::Pause;
use crate::provider::{Role, Turn};

/// Where prompts stand alone, every session has one turn.
impl Source {
    /// Whether requests are turns of conversations.
    #[must_use]
    pub const fn sessions(&self) -> bool {
        matches!(self.content, Content::Talks(_) | Content::Sessions(_))
    }

    /// How many turns session number `session` has; at least 1.
    #[must_use]
    pub fn session_len(&self, session: u64) -> u32 {
        match &self.content {
            Content::Talks(talks) => u32::try_from(talks.talk(session).turns.len()).unwrap_or(u32::MAX),
            Content::Sessions(turns) => turns.draw(self.seed, "turns", session),
            _ => 1,
        }
    }

    /// The pause before turn `turn` (from 0) of a session: none before the first.
    #[must_use]
    pub fn think(&self, session: u64, turn: u32) -> Duration {
        let think: Option<Pause> = match &self.content {
            Content::Talks(_) => self.workload.conversations.as_ref().and_then(|c| c.think),
            Content::Sessions(_) => self.workload.session.as_ref().and_then(|s| s.think),
            _ => None,
        };
        let Some(think) = think.filter(|_| turn > 0) else { return Duration::ZERO };
        lengths::pause(think, &mut random::stream(&of_turn("think", turn), self.seed, "", session))
    }

    /// Turn `turn` (from 0) of session number `session`, as arrival `seq`. `answers` are the
    /// server's to the turns before it; where there is none, or an empty one, the file's answer
    /// stands in, and of generated conversations one of the asked length.
    ///
    /// # Panics
    /// A turn beyond the session's last is its last.
    #[must_use]
    pub fn turn(&self, session: u64, turn: u32, seq: u64, answers: &[String]) -> Request {
        if !self.sessions() {
            return self.request(seq);
        }
        let turn = turn.min(self.session_len(session) - 1);
        let mut history = Vec::new();
        let mut asked = 0_u32;
        let mut counted = 0_u32;
        let mut add = |wanted: u32, tokens: u32| {
            asked = asked.saturating_add(wanted);
            counted = counted.saturating_add(tokens);
        };
        if let Content::Talks(talks) = &self.content {
            let system = talks.talk(session).system.clone();
            let tokens =
                self.tokenizer.overhead() + system.as_ref().map_or(0, |text| self.tokenizer.count(text));
            add(tokens, tokens);
            history.extend(system.map(|text| Turn { role: Role::System, text }));
        }
        for before in 0..turn {
            let (wanted, made) = self.said(session, before);
            add(wanted, made.tokens);
            history.push(Turn { role: Role::User, text: made.text });
            let real = answers.get(before as usize).filter(|answer| !answer.is_empty()).cloned();
            let text = real.unwrap_or_else(|| self.recorded(session, before));
            let tokens = self.tokenizer.count(&text);
            add(tokens, tokens);
            history.push(Turn { role: Role::Assistant, text });
        }
        let (wanted, mut last) = self.said(session, turn);
        add(wanted, last.tokens);
        if let Content::Talks(_) = &self.content {
            let first = history.first_mut().map_or(&mut last.text, |turn| &mut turn.text);
            // The same in every turn: it is other conversations that must not be met in a cache.
            *first = self.texts.numbered(first, session);
            let tokens = self.texts.digit_tokens(session);
            add(tokens, tokens);
        }
        let request = Request {
            prompt: last.text,
            history,
            prompt_tokens_asked: asked,
            prompt_tokens_counted: Some(counted),
            max_tokens: self.turn_output(session, turn),
            ..Request::default()
        };
        self.finish(request, seq)
    }

    /// What the user says in a turn, and how long that was to be.
    fn said(&self, session: u64, turn: u32) -> (u32, Made) {
        if let Content::Talks(talks) = &self.content {
            let text = self.texts.around(&talks.talk(session).turns[turn as usize].prompt, turn == 0);
            let tokens = self.tokenizer.count(&text);
            return (tokens, Made { text, tokens });
        }
        let asked = self.prompt_tokens.draw(self.seed, &of_turn("prompt_tokens", turn), session);
        let kind = of_turn("text", turn);
        (asked, self.texts.generate(&Key { opens: turn == 0, ..Key::new(&kind, session) }, asked))
    }

    /// What stands in for a turn's answer.
    fn recorded(&self, session: u64, turn: u32) -> String {
        if let Content::Talks(talks) = &self.content {
            return talks.talk(session).turns[turn as usize].answer.clone();
        }
        let words = self.turn_output(session, turn) as usize;
        let mut text = String::new();
        let mut rng = self.texts.stream(&of_turn("answer", turn), session);
        self.tokenizer.words().push(&mut text, words, &mut rng);
        text
    }

    /// Output length asked for in a turn.
    fn turn_output(&self, session: u64, turn: u32) -> u32 {
        if let Content::Talks(talks) = &self.content
            && self.workload.conversations.as_ref().is_some_and(|c| c.recorded_lengths)
        {
            return self.tokenizer.count(&talks.talk(session).turns[turn as usize].answer).max(1);
        }
        self.max_tokens.draw(self.seed, &of_turn("max_tokens", turn), session)
    }
}

/// A purpose of randomness of its own for each turn; the first has that of single requests.
fn of_turn(purpose: &str, turn: u32) -> String {
    if turn == 0 { purpose.to_owned() } else { format!("{purpose} of turn {turn}") }
}
