//! Displays: they watch events and decide nothing.
//!
//! Bars and lines go to standard error, so that standard output stays for results; `json`
//! goes to standard output, one event per line.

mod bar;
mod plain;
mod text;
mod tui;

use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::Arc;

use crate::event::{Event, Watcher};
use crate::record::RequestRecord;
pub use tui::{restore, tell};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// [`Mode::Bar`] on a terminal, else [`Mode::Plain`].
    #[default]
    Auto,
    /// Bars and live lines that are redrawn in place; [`Mode::Plain`] where standard error
    /// is no terminal, which can't redraw.
    Bar,
    /// A screen of figures over time; [`Mode::Plain`] where standard error is no terminal.
    Tui,
    /// A line every ten seconds.
    Plain,
    /// Every event as a line of JSON on standard output.
    Json,
    /// Nothing.
    None,
}

impl Mode {
    /// All modes, as `--progress` lists them.
    pub const ALL: [Self; 6] = [Self::Auto, Self::Bar, Self::Tui, Self::Plain, Self::Json, Self::None];

    /// The word for it on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bar => "bar",
            Self::Tui => "tui",
            Self::Plain => "plain",
            Self::Json => "json",
            Self::None => "none",
        }
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(word: &str) -> Result<Self, UnknownMode> {
        Self::ALL.into_iter().find(|m| m.name() == word).ok_or_else(|| UnknownMode(word.to_owned()))
    }
}

/// A word that is no [`Mode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no progress mode {0:?}: use auto, bar, tui, plain, json or none")]
pub struct UnknownMode(String);

/// What Ctrl-C does, for displays that hear keys themselves.
pub type Press = Arc<dyn Fn() + Send + Sync>;

/// A display for `mode`; `press` is what it does when a person wants the sweep to end.
#[must_use]
pub fn watcher(mode: Mode, press: Press) -> Box<dyn Watcher> {
    match mode {
        Mode::Tui if io::stderr().is_terminal() => match tui::Tui::new(press) {
            Ok(screen) => Box::new(screen),
            Err(error) => {
                eprintln!("note: no screen can be put up ({error}); progress is shown as lines");
                Box::new(plain::Plain::new(io::stderr()))
            }
        },
        Mode::Auto | Mode::Bar if io::stderr().is_terminal() => Box::new(bar::Bars::new()),
        Mode::Auto | Mode::Bar | Mode::Tui | Mode::Plain => Box::new(plain::Plain::new(io::stderr())),
        Mode::Json => Box::new(Json { out: io::stdout() }),
        Mode::None => Box::new(Silent),
    }
}

/// Answers of a cell that are shown where the experiment doesn't say how many to keep.
const SHOWN: u32 = 100;

/// `inner`, which also shows the answers of each cell.
#[must_use]
pub fn with_answers(inner: Box<dyn Watcher>) -> Box<dyn Watcher> {
    Box::new(WithAnswers { inner })
}

struct WithAnswers {
    inner: Box<dyn Watcher>,
}

impl Watcher for WithAnswers {
    fn on(&mut self, event: &Event<'_>) {
        self.inner.on(event);
    }

    fn ended(&mut self, requests: &[RequestRecord]) {
        self.inner.ended(requests);
    }

    fn answers(&self) -> Option<u32> {
        Some(SHOWN)
    }
}

struct Silent;

impl Watcher for Silent {
    fn on(&mut self, _: &Event<'_>) {}
}

struct Json<W> {
    out: W,
}

impl<W: Write> Watcher for Json<W> {
    /// A reader that went away must not end the sweep: errors are dropped.
    fn on(&mut self, event: &Event<'_>) {
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            let _ = self.out.write_all(&line).and_then(|()| self.out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{cell, summary};

    #[test]
    fn every_mode_has_its_word() {
        for mode in Mode::ALL {
            assert_eq!(mode.name().parse(), Ok(mode));
        }
        let error = "bars".parse::<Mode>().unwrap_err().to_string();
        assert!(error.contains("bars") && error.contains("plain"), "{error}");
    }

    #[test]
    fn json_is_an_event_per_line() {
        let mut json = Json { out: Vec::new() };
        json.on(&Event::Notice { text: "two\nlines" });
        json.on(&Event::Live(text::tests::live(30.0)));
        json.on(&Event::CellFinished { cell: &cell(0), summary: &summary(0) });
        let text = String::from_utf8(json.out).unwrap();
        let events: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names: Vec<_> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["notice", "live", "cell_finished"]);
        assert_eq!(events[1]["in_flight"], 20);
        assert_eq!(events[1]["stage"], "measure");
    }

    #[test]
    fn a_reader_that_went_away_does_not_end_the_sweep() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::BrokenPipe))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut json, mut plain) = (Json { out: Gone }, plain::Plain::new(Gone));
        json.on(&Event::Notice { text: "x" });
        plain.on(&Event::Notice { text: "x" });
        assert!(json.out.write(b"x").is_err(), "the writer does refuse");
    }
}
