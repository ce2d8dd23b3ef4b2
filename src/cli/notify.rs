//! Who is told of a run's end, and what: the facts of `[notify]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Exit, Failure, chain, say_err};
use crate::analysis::RunData;
use crate::analysis::compare::Comparison;
use crate::experiment::{End, Experiment};
use crate::notify::{self, Message};
use crate::report::summary::{self, Summary};

/// What is known of a run at its end, as far as it came.
#[derive(Default)]
pub(super) struct Known {
    pub run: Option<PathBuf>,
    pub data: Option<RunData>,
    /// The page.
    pub page: Option<PathBuf>,
    pub comparison: Option<Comparison>,
    /// Why the sweep stopped by itself.
    pub stopped: Option<String>,
}

/// Tell of the end of a run, if the experiment says whom. What can't be told is said here, and
/// changes nothing.
pub(super) fn tell(experiment: &Experiment, known: &Known, end: &Result<Exit, Failure>) {
    let Some(notify) = &experiment.notify else { return };
    for problem in notify::tell(notify, &message(experiment, known, end)) {
        say_err(&format!("could not notify: {problem}"));
    }
}

fn message(experiment: &Experiment, known: &Known, end: &Result<Exit, Failure>) -> Message {
    let exit = match end {
        Ok(exit) => *exit,
        Err(failure) => failure.exit,
    };
    let error = end.as_ref().err().map(|failure| chain(&failure.error));
    let words = match (&error, &known.stopped, exit) {
        (Some(error), ..) => Some(format!("Failed: {error}")),
        (_, Some(reason), _) => Some(format!("Stopped: {reason}")),
        (.., exit) => exit_words(exit).map(str::to_owned),
    };
    let mut facts = BTreeMap::from([("NAME", experiment.name.clone())]);
    let path = |path: &PathBuf| path.display().to_string();
    facts.extend(known.run.as_ref().map(|run| ("RUN", path(run))));
    facts.extend(known.page.as_ref().map(|page| ("REPORT", path(page))));
    facts.extend(words.as_ref().map(|words| ("REASON", words.clone())));
    let summary = known.data.as_ref().map(|data| {
        let mut all = told(data, known);
        facts.insert("ID", all.run.clone());
        facts.insert("HEADLINE", all.headline.clone());
        if let Some(words) = &words {
            all = all.ended(words.clone(), exit != Exit::Fine);
        }
        (all.markdown(), all.slack())
    });
    if let Some(comparison) = &known.comparison {
        facts.insert("VERDICT", comparison.outcome.word().to_owned());
    }
    let (markdown, slack) = summary.unwrap_or_else(|| {
        // There is nothing but the error to tell.
        Summary::of_error(&experiment.name, words.as_deref().unwrap_or("It ended before anything ran."))
    });
    let end = match exit {
        Exit::Fine => End::Finish,
        Exit::Interrupted => End::Interrupt,
        _ => End::Failure,
    };
    Message { end, exit: exit as u8, facts, markdown, slack }
}

fn told(data: &RunData, known: &Known) -> Summary {
    let mut all = Summary::of(data);
    if let Some(comparison) = &known.comparison {
        all = all.compared(comparison);
    }
    if let Some(page) = &known.page {
        all = all.at(page);
    }
    all
}

/// Write the summary beside the page again, with the comparison's verdict in it.
pub(super) fn write_compared(known: &Known) -> Result<(), Failure> {
    if let (Some(data), Some(dir)) = (&known.data, known.page.as_ref().and_then(|page| page.parent())) {
        summary::write(&told(data, known), dir)?;
    }
    Ok(())
}

/// What an exit code means, where it isn't a matter of course.
const fn exit_words(exit: Exit) -> Option<&'static str> {
    Some(match exit {
        Exit::Fine => return None,
        Exit::GateFailed => "A gate failed (exit code 1).",
        Exit::Usage => "It could not run as it was asked to (exit code 2).",
        Exit::NotComparable => "It can't be compared with its baseline (exit code 3).",
        Exit::Invalid => "It can't be believed in full (exit code 4).",
        Exit::Inconclusive => "Whether it regressed can't be told (exit code 5).",
        Exit::Interrupted => "Interrupted: what was finished is kept, and the run can go on.",
    })
}
