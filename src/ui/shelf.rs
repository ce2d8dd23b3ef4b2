//! Past runs in a browser: what there is, their reports, two of them compared, an experiment's history.
//!
//! Nothing is changed by looking, but for reports: those that are missing are made.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use hyper::StatusCode;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::reply::{self, Reply};
use crate::analysis::history;
use crate::analysis::{AnalysisError, RunData, RunInfo, list_runs};
use crate::experiment::Quantity;
use crate::report::{self, ReportError};
use crate::store::{MANIFEST, SUMMARY_CSV, StoreError};

/// Compares two runs, baseline first, and gives the directory of the page.
pub type Compare = Box<dyn Fn(&Path, &Path) -> Result<PathBuf, String> + Send + Sync>;

/// Runs on one page of the list: each is read for its headline.
const PER_PAGE: usize = 50;

/// What a history follows.
const FOLLOWED: [(&str, &str); 2] = [("ttft", "p95"), ("output_tps", "")];

/// Where runs and reports lie, and what is known of them already.
pub struct Shelf {
    runs: PathBuf,
    reports: PathBuf,
    compare: Compare,
    /// Headlines, each with the time of what it was made of.
    headlines: Mutex<HashMap<String, (SystemTime, Headline)>>,
}

/// What a run came to, in a sentence.
#[derive(Debug, Clone, Serialize)]
struct Headline {
    /// `good`, `so-so`, `bad` or `none`.
    tone: String,
    text: String,
}

/// A past run that can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error("the page can't be made: {0}")]
    Page(#[from] minijinja::Error),
    #[error("there is no run {0:?}")]
    NoRun(String),
    #[error("no run is of an experiment {0:?}")]
    NoExperiment(String),
    #[error("the runs can't be compared: {0}")]
    Compare(String),
}

/// A run in the list.
#[derive(Serialize)]
struct Listed {
    id: String,
    /// The id as a part of an address.
    to: String,
    name: String,
    target: String,
    started: String,
    status: &'static str,
    cells: usize,
    finished: usize,
    headline: Headline,
}

#[derive(Serialize)]
struct Page {
    version: &'static str,
    directory: String,
    runs: Vec<Listed>,
    total: usize,
    /// From 1.
    page: usize,
    pages: usize,
    unreadable: Vec<String>,
    experiments: Vec<Past>,
}

/// An experiment that has runs.
#[derive(Serialize)]
struct Past {
    name: String,
    to: String,
    runs: usize,
}

impl Shelf {
    #[must_use]
    pub fn new(runs: &Path, reports: &Path, compare: Compare) -> Self {
        Self { runs: runs.to_owned(), reports: reports.to_owned(), compare, headlines: Mutex::default() }
    }

    /// The answer to a request to look at something.
    pub(super) fn look(&self, path: &str, query: &HashMap<String, String>) -> Reply {
        let (_, first, rest) = match path.splitn(3, '/').collect::<Vec<_>>()[..] {
            [root, first] => (root, first, ""),
            [root, first, rest] => (root, first, rest),
            _ => ("", "", ""),
        };
        let of = |name: &str| query.get(name).map_or("", String::as_str);
        let made = match (first, rest) {
            ("", "") => self.list(of("page").parse().unwrap_or(1)).map(reply::html),
            ("shelf.js", "") => {
                return reply::lasting("text/javascript; charset=utf-8", include_str!("page/shelf.js"));
            }
            ("runs", id) => self.report_of(&decoded(id)),
            ("compare", "") => self.compared(of("a"), of("b")),
            ("history", name) => self.history(&decoded(name)),
            ("reports", rest) => return self.file(rest),
            ("api", "runs") => self
                .listed(of("page").parse().unwrap_or(1))
                .map(|page| reply::json(StatusCode::OK, &page.runs)),
            _ => return reply::refuse(StatusCode::NOT_FOUND, "there is no such page"),
        };
        made.unwrap_or_else(|error| {
            let status = match &error {
                ShelfError::NoRun(_) | ShelfError::NoExperiment(_) => StatusCode::NOT_FOUND,
                ShelfError::Compare(_) => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            self.trouble(status, &error)
        })
    }

    /// An error as a page, as a person has asked.
    fn trouble(&self, status: StatusCode, error: &ShelfError) -> Reply {
        let page = environment().and_then(|environment| {
            let context =
                serde_json::json!({ "text": error.to_string(), "version": env!("CARGO_PKG_VERSION") });
            environment.get_template("trouble.html")?.render(Serde(&context))
        });
        match page {
            Ok(text) => reply::whole(status, "text/html; charset=utf-8", text),
            Err(_) => reply::refuse(status, &error.to_string()),
        }
    }

    fn list(&self, page: usize) -> Result<String, ShelfError> {
        let page = self.listed(page)?;
        Ok(environment()?.get_template("shelf.html")?.render(Serde(&page))?)
    }

    fn listed(&self, page: usize) -> Result<Page, ShelfError> {
        let (mut all, unreadable) = list_runs(&self.runs)?;
        all.reverse();
        let (total, pages) = (all.len(), all.len().div_ceil(PER_PAGE).max(1));
        let page = page.clamp(1, pages);
        let runs = all.iter().skip((page - 1) * PER_PAGE).take(PER_PAGE).map(|info| self.row(info)).collect();
        let mut unreadable: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
        let (experiments, others) = history::experiments(&self.runs)?;
        unreadable.extend(others.iter().map(ToString::to_string));
        unreadable.sort();
        unreadable.dedup();
        let past = |e: history::PastExperiment| Past { to: encoded(&e.name), name: e.name, runs: e.runs };
        let experiments = experiments.into_iter().map(past).collect();
        let directory = self.runs.display().to_string();
        Ok(Page {
            version: env!("CARGO_PKG_VERSION"),
            directory,
            runs,
            total,
            page,
            pages,
            unreadable,
            experiments,
        })
    }

    fn row(&self, info: &RunInfo) -> Listed {
        let manifest = &info.manifest;
        Listed {
            id: manifest.run.clone(),
            to: encoded(&manifest.run),
            name: manifest.name.clone(),
            target: manifest.target.clone(),
            started: manifest.started_at.get(..16).unwrap_or(&manifest.started_at).replace('T', " "),
            status: manifest.status.name(),
            cells: info.cells,
            finished: info.finished,
            headline: self.headline(info),
        }
    }

    /// What a run came to, made anew where the run has changed.
    fn headline(&self, info: &RunInfo) -> Headline {
        let none = |text: &str| Headline { tone: "none".to_owned(), text: text.to_owned() };
        if info.finished == 0 {
            return none("nothing was measured");
        }
        let changed = changed(&info.path);
        let known = || self.headlines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, headline)) = known().get(&info.manifest.run).filter(|(at, _)| *at == changed) {
            return headline.clone();
        }
        let made = match RunData::load_figures(&info.path) {
            Ok(data) => {
                let (tone, text) = report::page::headline(&data);
                Headline { tone: tone.to_owned(), text }
            }
            Err(error) => none(&error.to_string()),
        };
        let mut known = known();
        // Bounded, whatever directory one was pointed at.
        if known.len() > 2000 {
            known.clear();
        }
        known.insert(info.manifest.run.clone(), (changed, made.clone()));
        made
    }

    /// The directory of a run, by its id: one that is listed, and no path.
    fn find(&self, id: &str) -> Result<PathBuf, ShelfError> {
        let plain = !id.is_empty() && !id.starts_with('.') && !id.contains(['/', '\\']);
        let path = self.runs.join(id);
        if plain && path.join(MANIFEST).is_file() { Ok(path) } else { Err(ShelfError::NoRun(id.to_owned())) }
    }

    /// To a run's report, which is made where there is none, or an older one.
    fn report_of(&self, id: &str) -> Result<Reply, ShelfError> {
        let run = self.find(id)?;
        let dir = self.reports.join(id);
        let made = std::fs::metadata(dir.join("index.html")).and_then(|file| file.modified());
        if made.map_or(true, |made| made < changed(&run)) {
            report::write(&RunData::load(&run)?, &dir)?;
        }
        Ok(reply::to(&format!("/reports/{}/index.html", encoded(id))))
    }

    fn compared(&self, baseline: &str, candidate: &str) -> Result<Reply, ShelfError> {
        let (a, b) = (self.find(baseline)?, self.find(candidate)?);
        let dir = (self.compare)(&a, &b).map_err(ShelfError::Compare)?;
        Ok(reply::to(&format!("/reports/{}/index.html", encoded(&name(&dir)))))
    }

    fn history(&self, name_of: &str) -> Result<Reply, ShelfError> {
        let (known, _) = history::experiments(&self.runs)?;
        if !known.iter().any(|one| one.name == name_of) {
            return Err(ShelfError::NoExperiment(name_of.to_owned()));
        }
        let quantities = FOLLOWED.map(|(metric, stat)| Quantity::new(metric, stat));
        let (past, _) = history::history(&self.runs, name_of, &quantities)?;
        let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let dir = format!("history-{}", name_of.chars().map(plain).collect::<String>());
        report::history::write(&past, &self.reports.join(&dir))?;
        Ok(reply::to(&format!("/reports/{}/index.html", encoded(&dir))))
    }

    /// A file of a report: `directory/name`, both names and no paths.
    fn file(&self, rest: &str) -> Reply {
        let Some((dir, name)) = rest.split_once('/') else {
            return reply::refuse(StatusCode::NOT_FOUND, "there is no such page");
        };
        let dir = decoded(dir);
        if dir.is_empty() || dir.starts_with('.') || dir.contains(['/', '\\']) {
            return reply::refuse(StatusCode::NOT_FOUND, "there is no such page");
        }
        reply::file(&self.reports.join(dir), name)
    }
}

/// When a run last gained a cell or changed its state.
fn changed(run: &Path) -> SystemTime {
    let at = |name: &str| std::fs::metadata(run.join(name)).and_then(|file| file.modified()).ok();
    at(MANIFEST).max(at(SUMMARY_CSV)).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn name(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// One part of an address, as it was meant.
fn decoded(part: &str) -> String {
    // `+` is a plus sign in a path.
    let text = format!("x={}", part.replace('+', "%2B"));
    url::form_urlencoded::parse(text.as_bytes()).next().map(|(_, text)| text.into_owned()).unwrap_or_default()
}

/// A name as one part of an address.
fn encoded(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("shelf.html", include_str!("page/shelf.html"))?;
    environment.add_template("trouble.html", include_str!("page/trouble.html"))?;
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_addresses_come_back() {
        for name in ["20260101T120000Z-a", "two words", "a+b", "ä%2F", "x&y=z"] {
            assert_eq!(decoded(&encoded(name)), name);
            assert!(!encoded(name).contains('/'));
        }
    }

    #[test]
    fn paths_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret.txt"), "x").unwrap();
        let reports = dir.path().join("reports");
        std::fs::create_dir_all(reports.join("a")).unwrap();
        std::fs::write(reports.join("a/index.html"), "y").unwrap();
        let shelf = Shelf::new(&dir.path().join("runs"), &reports, Box::new(|_, _| Err(String::new())));
        let status = |path: &str| shelf.look(path, &HashMap::new()).status();
        assert_eq!(status("/reports/a/index.html"), StatusCode::OK);
        for path in [
            "/reports/../secret.txt",
            "/reports/%2E%2E/secret.txt",
            "/reports/..%2F..%2Fsecret.txt/x.txt",
            "/reports/a/../../secret.txt",
            "/reports/a/..%2f..%2fsecret.txt",
            "/reports/a/.index.html",
            "/runs/..",
            "/runs/%2E%2E%2Fa",
            "/etc/passwd",
        ] {
            assert_eq!(status(path), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(status("/"), StatusCode::OK);
    }
}
