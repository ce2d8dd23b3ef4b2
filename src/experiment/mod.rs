//! The experiment: what one TOML file asks for, checked and with every default filled in.
//!
//! [`Experiment`] is the file; [`Settings`] is what one cell runs with. An axis of a grid is
//! a dotted path into the same document (`users` is short for `load.users`), so a cell's
//! settings are the document with that cell's values put in, read by the same reader.
//! Reading goes on after a mistake: all are told at once, each with its line.

mod canon;
mod capacity;
mod content;
mod fleet;
mod gate;
#[cfg(test)]
mod gate_tests;
mod grid;
mod hooks;
mod inside;
mod length_table;
#[cfg(test)]
mod load_tests;
mod mistake;
mod notify;
mod observe;
pub mod presets;
mod publish;
mod quantity;
mod range;
mod read;
mod reader;
mod repair;
mod scale;
mod search;
mod secret;
mod settings;
mod stages;
mod template;
#[cfg(test)]
mod tests;
mod tracing;
mod tree;
#[cfg(test)]
mod workload_tests;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use canon::canonical_json;
pub use capacity::{CapacitySettings, Flow, HEADROOM, slo_of_words};
pub use content::{
    Conversations, DataFile, Dataset, ImageSize, Images, LengthFile, Pause, Sessions, SharedLength,
    SharedPrefix, Shuffle, TraceFormat, TraceSettings,
};
pub use fleet::{FleetSettings, TOKEN_VARIABLE};
pub use gate::GateSettings;
pub use grid::{Axis, Grid, Order};
pub(crate) use grid::{Override, Point};
pub use hooks::{Expect, Hook, HookAction, HookPoint, Hooks, OnFailure};
pub use inside::{
    GpusFrom, InsideSettings, JsonEndpoint, Limit, LimitOn, LimitUnit, NamedProcess, Pointer, ProcessAt,
    ProcessesFrom,
};
pub(crate) use length_table::line_of;
pub use length_table::{LengthTable, LengthTableError, MAX_TOKENS};
pub(crate) use mistake::nearest;
pub use mistake::{Mistake, MistakeKind, Mistakes};
pub use notify::{End, Notify, Webhook, WebhookFormat};
pub use observe::{MetricsFrom, MetricsUrl, ObserveSettings};
pub use publish::{GrafanaSettings, OtlpEndpoint, OtlpSettings, PublishSettings, PushMethod, PushSettings};
pub use quantity::Quantity;
pub(crate) use reader::Reader;
pub use search::SearchRules;
pub use settings::{
    Arrivals, CellSettings, ClientSettings, Connections, Cooldown, Dns, ForceLength, Gate, HttpVersion,
    LengthShape, Lengths, Load, MAX_TOKENS_FIELDS, Part, Proxy, Ready, Recovery, RequestLimit,
    ServerSettings, ServerStop, Settings, Slo, SloRule, Stage, StopAfter, StopSignal, Target, Think, Tls,
    TokenizerChoice, Workload,
};
pub use template::template;
pub use tracing::Tracing;
pub(crate) use tree::{Node, Origin, Table};

use reader::{Field, Section};
use tree::Sources;

/// One experiment file, with its overrides.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Name of its runs; the file's own name where it gives none.
    pub name: String,
    pub description: Option<String>,
    /// Decides lengths, arrivals and everything random. 0 where the file gives none.
    pub seed: u64,
    /// Makes prompt texts differ between runs. `None`: new for each run.
    pub salt: Option<String>,
    pub report: ReportSettings,
    /// The traffic that is to be carried.
    pub capacity: CapacitySettings,
    /// `[compare]`, where there is one.
    pub compare: Option<GateSettings>,
    pub hooks: Hooks,
    /// The workers that drive the load; it changes no cell's identity.
    pub fleet: FleetSettings,
    pub observe: ObserveSettings,
    /// `[notify]`, where there is one. It changes nothing of what runs.
    pub notify: Option<Notify>,
    /// `[tracing]`, where there is one. It changes no cell's identity.
    pub tracing: Option<Tracing>,
    pub publish: PublishSettings,
    /// In the order written; empty for a file without a grid.
    pub grids: Vec<Grid>,
    /// The file's path, as it was given.
    pub path: PathBuf,
    /// The file's text, byte for byte.
    pub text: String,
    /// The `--set` overrides, as they were given.
    pub sets: Vec<String>,
    /// The document with the overrides, before any axis.
    base: Table,
    sources: Sources,
}

/// `[report]`: what is made of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReportSettings {
    /// Title of the page; the experiment's name where there is none.
    pub title: Option<String>,
    pub figures: Figures,
    /// Directory for the report; `reports/<run>` where there is none.
    pub out: Option<PathBuf>,
}

/// Which figures a report has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figures {
    /// All that the grid's axes call for.
    #[default]
    All,
    /// Those named.
    Only(Vec<String>),
}

/// Why an experiment could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    #[error("cannot read the experiment file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("cannot read the gate file {}: {source}", path.display())]
    UnreadableGate { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

impl Experiment {
    /// Reads and checks the file at `path`, with `--set` overrides.
    ///
    /// # Errors
    /// When the file cannot be read as UTF-8 text, or holds mistakes.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, ExperimentError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ExperimentError::Unreadable { path: path.to_owned(), source })?;
        Ok(Self::parse(path, &text, sets)?)
    }

    /// Checks `text`, the content of `path`. Each of `sets` is `key=value`: a dotted path or
    /// a short name, and a TOML value or plain text. `path` names the file in mistakes, and
    /// its directory is where relative paths start.
    ///
    /// # Errors
    /// Every mistake, in the order of the file.
    pub fn parse(path: &Path, text: &str, sets: &[String]) -> Result<Self, Mistakes> {
        let mut sources = Sources::new(path.display().to_string(), text.to_owned());
        let (mut base, syntax) = tree::parse(&sources);
        let mut set_mistakes = Vec::new();
        let mut set_paths = Vec::new();
        for set in sets {
            match apply_set(&mut base, &mut sources, set) {
                Ok(done) => set_paths.push(done),
                Err(mistake) => set_mistakes.push(*mistake),
            }
        }
        let reader = Reader::new(&sources, directory(path));
        reader.extend(set_mistakes);
        let experiment = head(&reader, &base, path);
        refuse_idle_sets(&reader, &experiment.grids, &set_paths);
        refuse_idle_load(&reader, &experiment.grids, &base);
        read::refuse_strange_axes(&reader, &base, &experiment.grids);
        probe(&reader, &base, &experiment.grids);
        let mut mistakes = reader.take();
        mistake::drop_echoes(&mut mistakes);
        // Where the text is not TOML, what else seems wrong on the line, or missing, may not be.
        if !syntax.is_empty() {
            mistakes.retain(|m| {
                m.kind != MistakeKind::Missing
                    && !syntax.iter().any(|s| (&s.file, s.line) == (&m.file, m.line))
            });
            mistakes.extend(syntax);
        }
        if !mistakes.is_empty() {
            return Err(Mistakes::collect(mistakes));
        }
        Ok(Self { text: text.to_owned(), sets: sets.to_vec(), base, sources, ..experiment })
    }

    /// A reader for this experiment's cells.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.sources, directory(&self.path))
    }

    /// Settings of the cell with these values, and the document that they were read from.
    pub(crate) fn settings(&self, reader: &Reader<'_>, values: &[&Override]) -> (Settings, Table) {
        let tree = with_values(reader, &self.base, values);
        (read::settings(reader, &tree), tree)
    }

    /// The value of a searched axis at another load than the first.
    pub(crate) fn at_load(&self, rules: &SearchRules, first: &Override, load: f64) -> Override {
        Override { node: search::load_node(rules, load, first.node.origin), ..first.clone() }
    }

    /// Where the load of a file without a grid is written, else its beginning.
    pub(crate) fn origin(&self) -> Origin {
        self.base.entry("load").map_or(Origin { source: 0, start: 0, end: 0 }, |e| e.key_origin)
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// The document with a cell's values in it, its times scaled.
fn with_values(reader: &Reader<'_>, base: &Table, values: &[&Override]) -> Table {
    let mut tree = base.clone();
    for value in values {
        if let Err(blocked) = tree.set(&value.parts, value.node.clone(), value.key_origin) {
            let problem = format!("{} is {}, not a table", blocked.at, blocked.found);
            let key = value.node.alias.as_deref().unwrap_or(&value.path);
            reader.add(value.key_origin, key, Mistake::new(MistakeKind::Conflict, problem));
        }
    }
    scale::apply(&mut tree);
    tree
}

/// Puts one `--set` into the document; gives its path and place.
fn apply_set(base: &mut Table, sources: &mut Sources, set: &str) -> Result<(String, Origin), Box<Mistake>> {
    let source = sources.add_set(set);
    let refuse = |mistake: Mistake, end: usize, key: &str| {
        Err(Box::new(mistake.placed(sources, Origin { source, start: 0, end }, key)))
    };
    let Some((key, _)) = set.split_once('=') else {
        let mistake = Mistake::new(MistakeKind::Syntax, "wants key=value").found(format!("{set:?}"));
        return refuse(mistake.allowed("such as cell.duration=10s or users=4"), set.len(), "");
    };
    let short = grid::SHORT.iter().find(|(short, _)| *short == key.trim()).map(|(_, full)| *full);
    let Some(parts) = tree::split_path(short.unwrap_or(key)) else {
        let mistake = Mistake::new(MistakeKind::Syntax, "not a dotted path").found(format!("{key:?}"));
        return refuse(mistake.allowed("such as cell.duration or target.model"), key.len(), "");
    };
    let path = tree::join_path(&parts);
    let node = tree::parse_set_value(sources, source, key.len() + 1)?;
    let key_origin = Origin { source, start: 0, end: key.len() };
    if let Err(blocked) = base.set(&parts, node, key_origin) {
        let problem = format!("{} is {}, not a table", blocked.at, blocked.found);
        return refuse(Mistake::new(MistakeKind::Conflict, problem), key.len(), &path);
    }
    Ok((path, key_origin))
}

/// What stands outside the sections of a cell; what it was read from is yet to come.
fn head(reader: &Reader<'_>, base: &Table, path: &Path) -> Experiment {
    let root = reader.root(base);
    let name = root.get("name").and_then(|f| run_name(&f)).unwrap_or_else(|| name_of(path));
    let description = root.get("description").and_then(|f| f.text());
    let seed = root.get("seed").and_then(|f| f.int(0, i64::MAX)).map_or(0, |n| n as u64);
    let salt = root.get("salt").and_then(|f| f.text());
    // Read again where it is applied, cell by cell.
    let allowed = format!("more than 0, at most {}", scale::MOST);
    let _ = root.get(scale::KEY).and_then(|f| f.number_in(&allowed, |x| x > 0.0 && x <= scale::MOST));
    for section in read::SECTIONS {
        let _ = root.get(section);
    }
    let grids = grids(&root, base);
    let report = report(root.sub("report"));
    let capacity = capacity::read(root.sub("capacity"), &CapacitySettings::default());
    let compare = root.get("compare").map(|f| read::compare(f.section()));
    let hooks = read::hooks(root.sub("hooks"));
    let fleet = read::fleet(root.sub("fleet"));
    let observe = read::observe(root.sub("observe"));
    let notify = root.get("notify").map(|f| read::notify(f.section()));
    let tracing = root.get("tracing").map(|f| read::tracing(f.section()));
    let publish = read::publish(root.sub("publish"));
    root.done();
    Experiment {
        name,
        description,
        seed,
        salt,
        report,
        capacity,
        compare,
        hooks,
        fleet,
        observe,
        notify,
        tracing,
        publish,
        grids,
        path: path.to_owned(),
        text: String::new(),
        sets: Vec::new(),
        base: Table::default(),
        sources: Sources::default(),
    }
}

/// The grids, and the searches among them.
fn grids(root: &Section<'_>, base: &Table) -> Vec<Grid> {
    let asked = search::read(root.sub("search"));
    let field = root.get("grid");
    let mut grids = field.as_ref().map(|f| grid::read(f, &asked)).unwrap_or_default();
    if let (None, Some((axis, place))) = (&field, &asked.axis) {
        grids.extend(grid::searched(axis, place, &asked));
    }
    let place = asked.axis.as_ref().map(|(_, place)| place).or(field.as_ref());
    if let Some(place) = place.filter(|_| grids.iter().any(|grid| grid.search.is_some())) {
        search::refuse_other_loads(place, base);
    }
    grids
}

/// A name that can be part of a directory's.
fn run_name(field: &Field<'_>) -> Option<String> {
    let name = field.text()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.len() > 64 || !name.chars().all(fits) || name.starts_with(['.', '-']) {
        let mistake = Mistake::new(MistakeKind::BadValue, "names the run's directory")
            .found(field.node.describe())
            .allowed(
                "up to 64 letters, digits, hyphens, points and underscores; the title goes to report.title",
            );
        field.mistake(mistake);
        return None;
    }
    Some(name)
}

fn name_of(path: &Path) -> String {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let plain: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let plain = plain.trim_start_matches(['.', '-']);
    if plain.is_empty() { "experiment".to_owned() } else { plain.chars().take(64).collect() }
}

fn report(section: Section<'_>) -> ReportSettings {
    let settings = ReportSettings {
        title: section.get("title").and_then(|f| f.text()),
        figures: section.get("figures").and_then(|f| figures(&f)).unwrap_or_default(),
        out: section.get("out").and_then(|f| f.text()).map(PathBuf::from),
    };
    section.done();
    settings
}

fn figures(field: &Field<'_>) -> Option<Figures> {
    if let tree::Value::Array(items) = &field.node.value {
        let named =
            |(i, node)| field.item(node, format!("{}[{}]", field.key(), i + 1)).str().map(str::to_owned);
        return items.iter().enumerate().map(named).collect::<Option<_>>().map(Figures::Only);
    }
    field.word(&[("all", ())]).map(|()| Figures::All)
}

/// A `--set` on an axis would do nothing: the axis has the last word.
fn refuse_idle_sets(reader: &Reader<'_>, grids: &[Grid], sets: &[(String, Origin)]) {
    for (path, origin) in sets {
        let hidden = |grid: &Grid| grid.axes.iter().any(|axis| axis.path == *path);
        if !grids.is_empty() && grids.iter().all(hidden) {
            let short = grid::SHORT.iter().find(|(_, full)| full == path);
            let name = short.map_or_else(|| format!("{path:?}"), |(short, _)| (*short).to_owned());
            let problem = "has no effect: it is an axis of the grid";
            let mistake = Mistake::new(MistakeKind::Conflict, problem);
            reader.add(*origin, path.clone(), mistake.allowed(format!("--set 'grid.{name}=[…]'")));
        }
    }
}

/// Arrivals are an open loop's, users who think or who are spawned a closed one's.
fn refuse_idle_load(reader: &Reader<'_>, grids: &[Grid], base: &Table) {
    let lookup = |key: &str| base.lookup(&["load".to_owned(), key.to_owned()]);
    let axis = |grid: &Grid| grid.axes.iter().any(|a| a.path == "load.qps");
    let included = |point: &Point| point.values.iter().any(|v| v.path == "load.qps");
    let staged = match base.lookup(&["stage".to_owned()]).map(|node| &node.value) {
        Some(tree::Value::Table(stages)) => stages.0.iter().any(
            |stage| matches!(&stage.node.value, tree::Value::Table(keys) if keys.entry("qps").is_some()),
        ),
        _ => false,
    };
    let always_open = lookup("qps").is_some()
        || lookup("burst").is_some()
        || staged
        || (!grids.is_empty() && grids.iter().all(axis));
    let ever_open = always_open || grids.iter().any(|grid| axis(grid) || grid.include.iter().any(included));
    let tell = |key: &str, mistake: Mistake| {
        if let Some(node) = lookup(key) {
            reader.add(node.origin, format!("load.{key}"), mistake);
        }
    };
    let idle = |problem: &str| Mistake::new(MistakeKind::Conflict, problem);
    if !ever_open {
        let problem = "has no effect without qps: a closed loop has no arrivals";
        tell("arrivals", idle(problem).for_want_of("qps"));
    }
    if always_open {
        for key in ["think", "spawn_rate"] {
            tell(key, idle("has no effect in an open loop, where no user waits for an answer"));
        }
    }
}

/// Reads so many cells that every value of every axis is read at least once.
fn probe(reader: &Reader<'_>, base: &Table, grids: &[Grid]) {
    if grids.is_empty() {
        read::settings(reader, &with_values(reader, base, &[]));
    }
    for grid in grids {
        let rounds = grid.axes.iter().map(|a| a.values.len()).max().unwrap_or(1);
        for round in 0..rounds {
            let values: Vec<&Override> =
                grid.axes.iter().filter_map(|a| a.values.get(round).or(a.values.last())).collect();
            // What is excluded need not make sense as a cell.
            reader.set_whole(!grid.exclude.iter().any(|point| point.matches(&values)));
            read::settings(reader, &with_values(reader, base, &values));
        }
        reader.set_whole(true);
        for point in &grid.include {
            let values: Vec<&Override> = point.values.iter().collect();
            read::settings(reader, &with_values(reader, base, &values));
        }
    }
}
