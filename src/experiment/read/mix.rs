//! `[task.NAME]`, `[endpoint.NAME]` and `[mix]`: several tasks and servers within one cell. Each
//! task at each endpoint is a part; it is read from the document with its own tables laid over
//! `[target]`, `[workload]` and `[sim]`, by the readers of those sections, so that every key
//! works there and every mistake is told with its own line.

use std::sync::Arc;

use super::{sim, target, workload};
use crate::experiment::grid::{Grid, Override};
use crate::experiment::mistake::{Mistake, MistakeKind, nearest};
use crate::experiment::reader::{Field, Reader, Section};
use crate::experiment::settings::{Arrivals, Load, Part, Settings};
use crate::experiment::tree::{Entry, Node, Origin, Table, Value as Written};

/// Most parts of a mix: tasks times endpoints.
const MOST_PARTS: usize = 256;
/// Longest name of a task or endpoint.
const LONGEST_NAME: usize = 64;
/// Greatest weight.
const HEAVIEST: f64 = 1e9;
/// What stands for every task, or every endpoint.
const ALL: &str = "all";
/// Tables of which a part may give some keys and keep the others. Any other value of a part
/// takes the place of the one below it.
const MERGED: [&str; 3] = ["headers", "extra_body", "tls"];
/// Keys of a workload that exclude others: a part that gives the first has no use for what the
/// workload below it says of the others.
const EXCLUDES: [(&str, &[&str]); 8] = [
    (
        "prompt",
        &[
            "prompt_tokens",
            "prefix",
            "suffix",
            "query_tokens",
            "shared_prefix",
            "unique_prompts",
            "dataset",
            "conversations",
            "session",
            "trace",
        ],
    ),
    (
        "dataset",
        &[
            "prompt",
            "conversations",
            "session",
            "trace",
            "prompt_tokens",
            "batch",
            "query_tokens",
            "shared_prefix",
            "unique_prompts",
        ],
    ),
    (
        "conversations",
        &[
            "prompt",
            "dataset",
            "session",
            "trace",
            "prompt_tokens",
            "batch",
            "query_tokens",
            "shared_prefix",
            "images",
            "unique_prompts",
        ],
    ),
    ("session", &["prompt", "dataset", "conversations", "trace", "batch", "query_tokens", "images"]),
    (
        "trace",
        &[
            "prompt",
            "dataset",
            "conversations",
            "session",
            "prompt_tokens",
            "max_tokens",
            "batch",
            "query_tokens",
            "shared_prefix",
            "random_digits",
        ],
    ),
    ("prompt_tokens", &["prompt", "dataset", "conversations", "trace"]),
    ("prefix", &["prompt"]),
    ("suffix", &["prompt"]),
];

/// What a cell takes of the mix.
pub(super) struct Mix {
    /// Empty where nothing is mixed.
    pub parts: Vec<Part>,
    /// Their share of the whole mix, by weight.
    pub share: f64,
}

/// One task or endpoint, as written.
struct Member<'r> {
    name: &'r str,
    weight: f64,
    origin: Origin,
    layers: Vec<Layer>,
}

/// What is laid over one section.
struct Layer {
    section: &'static str,
    origin: Origin,
    entries: Vec<Entry>,
}

/// Reads the parts of `tree`, the whole document.
pub(super) fn read(root: &Section<'_>, tree: &Table) -> Mix {
    let tasks = members(root, "task", task);
    let endpoints = members(root, "endpoint", endpoint);
    let mix = root.sub("mix");
    let some_tasks = chosen(&mix, "tasks", "task", &tasks);
    let some_endpoints = chosen(&mix, "endpoints", "endpoint", &endpoints);
    mix.done();
    let count = tasks.len().max(1) * endpoints.len().max(1);
    if count > MOST_PARTS {
        let origin = root.get("task").map_or(root.origin, |f| f.key_origin);
        let mistake = Mistake::new(MistakeKind::TooMany, format!("{count} tasks at endpoints"));
        root.reader.add(origin, "task", mistake.allowed(MOST_PARTS.to_string()));
        return Mix { parts: Vec::new(), share: 1.0 };
    }
    if tasks.is_empty() && endpoints.is_empty() {
        return Mix { parts: Vec::new(), share: 1.0 };
    }
    let mut parts = Vec::new();
    // Those that a cell leaves out are read as well: their mistakes are mistakes all the same.
    for (t, task) in either(&tasks) {
        for (e, endpoint) in either(&endpoints) {
            let part = read_part(root.reader, tree, (task, endpoint));
            if some_tasks[t] && some_endpoints[e] {
                parts.extend(part);
            }
        }
    }
    Mix { parts, share: share(&tasks, &some_tasks) * share(&endpoints, &some_endpoints) }
}

/// Each member with its number; where there is none, nobody, once.
fn either<'a, 'r>(members: &'a [Member<'r>]) -> impl Iterator<Item = (usize, Option<&'a Member<'r>>)> {
    let nobody = members.is_empty().then_some((0, None));
    members.iter().enumerate().map(|(i, m)| (i, Some(m))).chain(nobody)
}

/// The weight of those chosen over that of all.
fn share(members: &[Member<'_>], chosen: &[bool]) -> f64 {
    let all: f64 = members.iter().map(|m| m.weight).sum();
    let some: f64 = members.iter().zip(chosen).filter(|(_, c)| **c).map(|(m, _)| m.weight).sum();
    if members.is_empty() || chosen.iter().all(|c| *c) { 1.0 } else { some / all }
}

fn members<'r>(
    root: &Section<'r>,
    key: &'static str,
    read: fn(&Field<'r>) -> (f64, Vec<Layer>),
) -> Vec<Member<'r>> {
    let section = root.sub(key);
    let mut found = Vec::new();
    for field in section.entries() {
        if !is_name(field.name()) {
            let mistake = Mistake::new(MistakeKind::BadValue, format!("not the name of a {key}"));
            let allowed = format!("up to {LONGEST_NAME} letters, digits, - and _; not \"{ALL}\"");
            field.key_mistake(mistake.found(format!("{:?}", field.name())).allowed(allowed));
        } else if field.table().is_some() {
            let (weight, layers) = read(&field);
            found.push(Member { name: field.name(), weight, origin: field.key_origin, layers });
        }
    }
    found
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= LONGEST_NAME && name != ALL && name.chars().all(fits)
}

fn weight(section: &Section<'_>) -> f64 {
    let field = section.get("weight");
    field
        .and_then(|f| f.number_in("more than 0, at most 1000000000", |w| w > 0.0 && w <= HEAVIEST))
        .unwrap_or(1.0)
}

/// `[task.NAME]`: a weight, and tables over `[workload]` and `[target]`.
fn task(field: &Field<'_>) -> (f64, Vec<Layer>) {
    let section = field.section();
    let weight = weight(&section);
    let layers = ["workload", "target"].into_iter().filter_map(|key| layer(&section, key)).collect();
    section.done();
    (weight, layers)
}

/// `[endpoint.NAME]`: a weight, tables over `[workload]` and `[sim]`, and the keys of `[target]`.
fn endpoint(field: &Field<'_>) -> (f64, Vec<Layer>) {
    const OWN: [&str; 3] = ["weight", "workload", "sim"];
    let section = field.section();
    let weight = weight(&section);
    let mut layers: Vec<Layer> =
        ["workload", "sim"].into_iter().filter_map(|key| layer(&section, key)).collect();
    let all = field.table().into_iter().flat_map(|table| &table.0);
    let entries = all.filter(|e| !OWN.contains(&e.key.as_str())).map(|e| named(e, field.key())).collect();
    layers.push(Layer { section: "target", origin: field.key_origin, entries });
    (weight, layers)
}

fn layer(section: &Section<'_>, key: &'static str) -> Option<Layer> {
    let field = section.get(key)?;
    let entries = field.table()?.0.iter().map(|e| named(e, field.key())).collect();
    Some(Layer { section: key, origin: field.key_origin, entries })
}

/// An entry that knows the path by which it was written, for it is read as another section's.
fn named(entry: &Entry, parent: &str) -> Entry {
    let mut entry = entry.clone();
    let alias = entry.node.alias.get_or_insert_with(|| Arc::from(format!("{parent}.{}", entry.key))).clone();
    if let Written::Table(table) = &mut entry.node.value {
        for inner in &mut table.0 {
            *inner = named(inner, &alias);
        }
    }
    entry
}

/// Which members take part, by `mix.tasks` or `mix.endpoints`.
fn chosen(mix: &Section<'_>, key: &'static str, what: &str, members: &[Member<'_>]) -> Vec<bool> {
    let all = vec![true; members.len().max(1)];
    let Some(field) = mix.get(key) else { return all };
    if members.is_empty() {
        let mistake = Mistake::new(MistakeKind::Conflict, format!("has no effect without any [{what}.NAME]"));
        field.key_mistake(mistake);
        return all;
    }
    let place = |name: &str| members.iter().position(|m| m.name == name);
    let names: Vec<&str> = members.iter().map(|m| m.name).collect();
    let mut some = vec![false; members.len()];
    match &field.node.value {
        Written::Str(word) if word == ALL => return all,
        Written::Str(name) => match place(name) {
            Some(i) => some[i] = true,
            None => {
                let words: Vec<&str> = names.iter().copied().chain([ALL]).collect();
                field.unknown_word(name, &words);
            }
        },
        Written::Array(items) if !items.is_empty() => {
            for (i, node) in items.iter().enumerate() {
                let item = field.item(node, format!("{}[{}]", field.key(), i + 1));
                let Some(name) = item.str() else { continue };
                match place(name) {
                    Some(at) if some[at] => {
                        item.mistake(Mistake::new(
                            MistakeKind::Duplicate,
                            format!("{name:?} is there twice"),
                        ));
                    }
                    Some(at) => some[at] = true,
                    None => item.unknown_word(name, &names),
                }
            }
        }
        Written::Array(_) => field.bad(format!("names no {what}")),
        _ => field.wrong_type(&format!("\"{ALL}\", the name of one {what}, or a list of names")),
    }
    some
}

/// One task at one endpoint. The endpoint's tables are laid over the document's sections, and
/// the task's over those: what is asked decides more than whom. `None`: it has no address, which
/// is told here, or where `[target]` is read.
fn read_part(
    reader: &Reader<'_>,
    tree: &Table,
    (task, endpoint): (Option<&Member<'_>>, Option<&Member<'_>>),
) -> Option<Part> {
    let below = tree.0.iter().filter(|e| ["target", "workload", "sim"].contains(&e.key.as_str()));
    let mut laid = Table(below.cloned().collect());
    for layer in [endpoint, task].into_iter().flatten().flat_map(|member| &member.layers) {
        lay(&mut laid, layer);
    }
    if laid.lookup(&url_path()).is_none() {
        if let Some(origin) = lent_url(tree).and(endpoint.or(task)).map(|m| m.origin) {
            let key = match (endpoint, task) {
                (Some(endpoint), _) => format!("endpoint.{}.url", endpoint.name),
                (None, task) => format!("task.{}.target.url", task.map_or("", |t| t.name)),
            };
            let mistake = Mistake::new(MistakeKind::Missing, "missing, as [target] has none");
            reader.add(origin, key, mistake.allowed("a URL such as \"http://127.0.0.1:8000\", or \"sim:\""));
        }
        return None;
    }
    let root = reader.root(&laid);
    let target = target::read(root.sub("target"));
    let mut workload = workload::read(root.sub("workload"));
    // What [workload] says for all need not make sense for each: only a part's own keys are told of.
    let mut own = Table::default();
    for layer in [endpoint, task].into_iter().flatten().flat_map(|member| &member.layers) {
        lay(&mut own, layer);
    }
    let own = reader.root(&own);
    target::hold_to_api(&own.sub("target"), &own.sub("workload"), &target, &mut workload);
    let own_sim = endpoint.is_some_and(|e| e.layers.iter().any(|layer| layer.section == "sim"));
    Some(Part {
        task: task.map(|t| t.name.to_owned()),
        endpoint: endpoint.map(|e| e.name.to_owned()),
        weight: task.map_or(1.0, |t| t.weight) * endpoint.map_or(1.0, |e| e.weight),
        target,
        workload,
        sim: own_sim.then(|| sim(&root.sub("sim"))),
    })
}

/// Lays a part's keys over a section of the document.
fn lay(tree: &mut Table, layer: &Layer) {
    let at = tree.0.iter().position(|e| e.key == layer.section).unwrap_or_else(|| {
        let node = Node { value: Written::Table(Table::default()), origin: layer.origin, alias: None };
        tree.0.push(Entry { key: layer.section.to_owned(), key_origin: layer.origin, node });
        tree.0.len() - 1
    });
    // A section that is no table is told where it is read.
    let Written::Table(below) = &mut tree.0[at].node.value else { return };
    if layer.section == "workload" {
        for (key, excluded) in EXCLUDES {
            if layer.entries.iter().any(|e| e.key == key) {
                below.0.retain(|e| !excluded.contains(&e.key.as_str()));
            }
        }
    }
    for entry in &layer.entries {
        put(below, entry, MERGED.contains(&entry.key.as_str()));
    }
}

fn put(table: &mut Table, entry: &Entry, merged: bool) {
    let Some(there) = table.0.iter_mut().find(|e| e.key == entry.key) else {
        table.0.push(entry.clone());
        return;
    };
    match (&mut there.node.value, &entry.node.value) {
        (Written::Table(below), Written::Table(above)) if merged => {
            above.0.iter().for_each(|entry| put(below, entry, false));
        }
        _ => *there = entry.clone(),
    }
}

fn url_path() -> [String; 2] {
    ["target".to_owned(), "url".to_owned()]
}

/// The document with a URL in `[target]`, where only its endpoints or tasks have one: there it
/// is not missed. `None`: it needs none, or there is none.
pub(super) fn with_url(tree: &Table) -> Option<Table> {
    if tree.lookup(&url_path()).is_some() {
        return None;
    }
    let entry = lent_url(tree)?;
    let mut tree = tree.clone();
    let blocked = tree.set(&url_path(), entry.node, entry.key_origin);
    blocked.is_ok().then_some(tree)
}

/// The first URL that an endpoint has, or a task.
fn lent_url(tree: &Table) -> Option<Entry> {
    let members = |key: &str| match tree.entry(key).map(|e| &e.node.value) {
        Some(Written::Table(table)) => table.0.as_slice(),
        _ => &[],
    };
    let inner = |node: &Node, key: &str, parent: String| match &node.value {
        Written::Table(table) => table.entry(key).map(|found| named(found, &parent)),
        _ => None,
    };
    let of_endpoints =
        members("endpoint").iter().find_map(|e| inner(&e.node, "url", format!("endpoint.{}", e.key)));
    of_endpoints.or_else(|| {
        members("task").iter().find_map(|e| {
            let parent = format!("task.{}", e.key);
            inner(&inner(&e.node, "target", parent)?.node, "url", format!("task.{}.target", e.key))
        })
    })
}

/// A cell that has only a part of the mix has that part of its load, so that each endpoint alone
/// compares with all of them together.
pub(super) fn take_share(settings: &mut Settings, share: f64) {
    if share >= 1.0 {
        return;
    }
    let some = |n: u32| ((f64::from(n) * share).round() as u32).max(1);
    let closed = matches!(settings.load, Load::Closed { .. });
    match &mut settings.load {
        Load::Closed { users } => *users = some(*users),
        Load::Open { qps, arrivals, max_in_flight } => {
            let whole = *qps;
            *qps *= share;
            *max_in_flight = max_in_flight.map(some);
            if let Arrivals::Burst { size } = arrivals {
                // As many at once as there are users: the period stays.
                let all = f64::from(*size);
                *size = some(*size);
                *qps = whole * f64::from(*size) / all;
            }
        }
    }
    for stage in &mut settings.stages {
        stage.level = if closed { (stage.level * share).round().max(1.0) } else { stage.level * share };
    }
}

/// An axis of a task or an endpoint that the document doesn't have would bring it into being: it
/// is a slip of the pen.
pub(crate) fn refuse_strange_axes(reader: &Reader<'_>, base: &Table, grids: &[Grid]) {
    let axes = grids.iter().flat_map(|g| g.axes.iter().filter_map(|a| a.values.first()));
    let included = grids.iter().flat_map(|g| &g.include).flat_map(|p| &p.values);
    for value in axes.chain(included) {
        refuse_strange(reader, base, value);
    }
}

fn refuse_strange(reader: &Reader<'_>, base: &Table, value: &Override) {
    let [section, name, ..] = value.parts.as_slice() else { return };
    if !["task", "endpoint"].contains(&section.as_str()) || base.lookup(&value.parts[..2]).is_some() {
        return;
    }
    let there: Vec<&str> = match base.entry(section).map(|e| &e.node.value) {
        Some(Written::Table(table)) => table.0.iter().map(|e| e.key.as_str()).collect(),
        _ => Vec::new(),
    };
    let near = nearest(name, there.iter().copied());
    let mistake = Mistake::new(MistakeKind::UnknownKey, format!("there is no [{section}.{name}]"));
    let allowed = if there.is_empty() { format!("none, as there is no {section}") } else { there.join(", ") };
    let key = value.node.alias.as_deref().unwrap_or(&value.path);
    reader.add(value.key_origin, key, mistake.nearest(near).allowed(allowed));
}
