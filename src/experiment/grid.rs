//! `[grid]`: the axes along which an experiment is repeated.

use std::sync::Arc;

use serde::Serialize;

use super::canon::canonical_json;
use super::mistake::{Mistake, MistakeKind, nearest};
use super::read::{self, OPEN_SECTIONS, SECTIONS};
use super::reader::{Field, Reader, Section};
use super::search::{self, SearchRules};
use super::tree::{Node, Origin, Table, Value, join_path, split_path};
use super::{range, tree::Sources};

/// Short names of axes, with the settings that they stand for.
pub(crate) const SHORT: [(&str, &str); 6] = [
    ("users", "load.users"),
    ("qps", "load.qps"),
    ("prompt_tokens", "workload.prompt_tokens"),
    ("max_tokens", "workload.max_tokens"),
    ("tasks", "mix.tasks"),
    ("endpoints", "mix.endpoints"),
];

/// Keys of a grid that are no axes.
const OWN: [&str; 8] = ["repeats", "order", "zip", "exclude", "include", "name", "search", "prune"];

/// In which order a grid's cells run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Cell by cell, each with all its repeats in a row.
    AsWritten,
    /// All cells once, then all again for the next repeat.
    RepeatMajor,
    /// As repeat-major, but each round in its own order, drawn from the seed.
    Shuffled,
}

const ORDERS: [(&str, Order); 3] =
    [("as-written", Order::AsWritten), ("repeat-major", Order::RepeatMajor), ("shuffled", Order::Shuffled)];

/// One grid.
#[derive(Debug, Clone)]
pub struct Grid {
    pub name: Option<String>,
    /// Times that each cell runs, at least 1.
    pub repeats: u32,
    pub order: Order,
    /// Whether the file says so: then cells keep it, however often a server restarts.
    pub ordered: bool,
    /// In the order written; the first varies slowest.
    pub axes: Vec<Axis>,
    /// Axes that go together, as indices into `axes`.
    pub(crate) zip: Vec<Vec<usize>>,
    pub(crate) exclude: Vec<Point>,
    pub(crate) include: Vec<Point>,
    /// How its load is searched; the axis then holds the load that the search starts with.
    pub search: Option<SearchRules>,
    /// Skip cells that are heavier than a hopeless one.
    pub prune: bool,
    pub(crate) origin: Origin,
}

/// One axis: a setting and its values.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Dotted path, such as `load.users`.
    pub path: String,
    pub(crate) values: Vec<Override>,
}

impl Axis {
    /// An axis with one value.
    pub(super) fn of_one(parts: Vec<String>, node: Node, key_origin: Origin) -> Self {
        let path = join_path(&parts);
        Self { path: path.clone(), values: vec![Override { path, parts, node, key_origin }] }
    }
}

/// A value put into the document at a path.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    pub path: String,
    pub parts: Vec<String>,
    pub node: Node,
    pub key_origin: Origin,
}

impl Override {
    /// The value in its canonical form.
    pub(crate) fn canonical(&self) -> String {
        canonical_json(&self.node.json())
    }
}

/// Some values together: a cell of a grid, or what `exclude` and `include` list.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub values: Vec<Override>,
    pub origin: Origin,
}

impl Point {
    /// Whether every value of this one is also in `cell`.
    pub(crate) fn matches(&self, cell: &[&Override]) -> bool {
        self.values
            .iter()
            .all(|own| cell.iter().any(|v| v.path == own.path && v.canonical() == own.canonical()))
    }
}

/// The parts of an axis's path, for a short name or a dotted path of a setting.
pub(crate) fn setting_path(key: &str) -> Option<Vec<String>> {
    let full = SHORT.iter().find(|(short, _)| *short == key).map_or(key, |(_, full)| full);
    let parts = split_path(full)?;
    (parts.len() > 1 && SECTIONS.contains(&parts[0].as_str())).then_some(parts)
}

/// `[grid]`, or every `[[grid]]`.
pub(super) fn read(field: &Field<'_>, asked: &search::Asked<'_>) -> Vec<Grid> {
    match &field.node.value {
        Value::Table(_) => vec![grid(field.section(), asked)],
        Value::Array(items) if items.iter().all(|i| matches!(i.value, Value::Table(_))) => {
            let named = |(i, node)| grid(field.item(node, format!("grid[{}]", i + 1)).section(), asked);
            let grids: Vec<Grid> = items.iter().enumerate().map(named).collect();
            refuse_equal_names(field, &grids);
            grids
        }
        _ => {
            field.wrong_type("a table: [grid], or several [[grid]]");
            Vec::new()
        }
    }
}

/// The grid of a file that has none, searched along an axis.
pub(super) fn searched(axis: &'static str, place: &Field<'_>, asked: &search::Asked<'_>) -> Option<Grid> {
    let mut axes = Vec::new();
    let rules = search::apply(asked, axis, place, &mut axes)?;
    Some(Grid {
        name: None,
        repeats: 1,
        order: Order::AsWritten,
        ordered: false,
        axes,
        zip: Vec::new(),
        exclude: Vec::new(),
        include: Vec::new(),
        search: Some(rules),
        prune: false,
        origin: place.key_origin,
    })
}

fn grid(section: Section<'_>, asked: &search::Asked<'_>) -> Grid {
    let own_search = section.get("search");
    let zip = section.get("zip");
    let exclude = section.get("exclude");
    let include = section.get("include");
    let mut grid = Grid {
        name: section.get("name").and_then(|f| f.text()),
        repeats: section.get("repeats").and_then(|f| f.u32(1, 1000)).unwrap_or(1),
        order: section.get("order").and_then(|f| f.word(&ORDERS)).unwrap_or(Order::AsWritten),
        ordered: section.peek("order").is_some(),
        axes: Vec::new(),
        zip: Vec::new(),
        exclude: Vec::new(),
        include: Vec::new(),
        search: None,
        prune: section.get("prune").and_then(|f| f.bool()).unwrap_or(false),
        origin: section.origin,
    };
    for field in section.entries().filter(|f| !OWN.contains(&f.name())) {
        axis(&field, &mut grid.axes);
    }
    if let Some(field) = section.get("prune").filter(|_| grid.prune) {
        let load = |axis: &Axis| matches!(axis.path.as_str(), "load.users" | "load.qps");
        if !grid.axes.iter().any(load) {
            let mistake = Mistake::new(MistakeKind::Conflict, "has no effect without an axis of load");
            field.mistake(mistake.allowed("users = [1, 4, 16] or qps = [2, 8] in the same grid"));
        }
    }
    if let Some(field) = zip {
        grid.zip = read_zip(&field, &grid.axes);
    }
    refuse_equal_values(section.reader, &grid);
    if let Some(field) = exclude {
        grid.exclude = points(&field, |key, field| excluded_axis(key, field, &grid.axes));
        refuse_strange_values(section.reader, &grid);
    }
    if let Some(field) = include {
        grid.include = points(&field, |key, field| setting_path(key).or_else(|| unknown(key, field)));
    }
    if let Some(axis) = repeated_path(&grid.axes) {
        let mistake = Mistake::new(MistakeKind::Duplicate, format!("{} is an axis twice", axis.path));
        section.reader.add(axis.values[0].key_origin, section.key(&axis.path), mistake);
    }
    let own = own_search.as_ref().and_then(|field| Some((search::word(field)?, field)));
    if let Some((axis, place)) = own.or(asked.axis.as_ref().map(|(axis, field)| (*axis, field))) {
        make_searched(&section, &mut grid, asked, axis, place, own_search.is_some());
    }
    grid
}

/// Turns the axis of the load into a searched one. `own`: the grid itself asks for it, and what
/// has no effect beside it is a mistake.
fn make_searched(
    section: &Section<'_>,
    grid: &mut Grid,
    asked: &search::Asked<'_>,
    axis: &'static str,
    place: &Field<'_>,
    own: bool,
) {
    let conflict = |key: &str, problem: &str| {
        if let Some(field) = section.peek(key) {
            field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
        }
    };
    if own {
        conflict("repeats", "has no effect beside search, which repeats what it is in doubt of");
        conflict("prune", "has no effect beside search, which tries no hopeless load");
        conflict("order", "has no effect beside search: what was measured says what comes next");
    }
    conflict("include", "no cells to add beside search");
    let zipped = grid.zip.iter().flatten().any(|at| grid.axes[*at].path == axis);
    if zipped {
        conflict("zip", "the axis that is searched goes with no other");
        return;
    }
    // Which loads there are is the search's to say.
    grid.exclude.retain(|point| point.values.iter().all(|value| value.path != axis));
    (grid.repeats, grid.order, grid.prune) = (1, Order::AsWritten, false);
    let before = grid.axes.len();
    grid.search = search::apply(asked, axis, place, &mut grid.axes);
    if grid.axes.len() > before {
        // It came first: the others moved.
        grid.zip.iter_mut().flatten().for_each(|at| *at += 1);
    }
}

fn refuse_equal_names(field: &Field<'_>, grids: &[Grid]) {
    for (i, grid) in grids.iter().enumerate() {
        if grid.name.is_some() && grids[..i].iter().any(|other| other.name == grid.name) {
            let mistake = Mistake::new(MistakeKind::Duplicate, "two grids have this name");
            let name = grid.name.as_deref().unwrap_or_default();
            field.reader.add(
                grid.origin,
                format!("grid[{}].name", i + 1),
                mistake.found(format!("{name:?}")),
            );
        }
    }
}

fn repeated_path(axes: &[Axis]) -> Option<&Axis> {
    axes.iter().enumerate().find(|(i, a)| axes[..*i].iter().any(|b| b.path == a.path)).map(|(_, a)| a)
}

/// Reads one axis. A table named as a section holds axes without their quotes:
/// `target.model = [...]`.
fn axis(field: &Field<'_>, axes: &mut Vec<Axis>) {
    if SECTIONS.contains(&field.name()) && field.is_table() {
        nested(field, &[field.name().to_owned()], axes);
        return;
    }
    match setting_path(field.name()) {
        Some(parts) => axes.extend(values(field, parts)),
        None => {
            unknown(field.name(), field);
        }
    }
}

fn nested(field: &Field<'_>, path: &[String], axes: &mut Vec<Axis>) {
    for inner in field.section().entries() {
        let mut parts = path.to_vec();
        parts.push(inner.name().to_owned());
        if inner.is_table() && !range::is_range(&inner) {
            nested(&inner, &parts, axes);
        } else {
            axes.extend(values(&inner, parts));
        }
    }
}

/// A list of values, a range, or a single value.
fn values(field: &Field<'_>, parts: Vec<String>) -> Option<Axis> {
    let path = join_path(&parts);
    let alias: Arc<str> = Arc::from(field.key());
    let nodes = match &field.node.value {
        Value::Array(items) if items.is_empty() => {
            field.bad("an axis needs at least one value");
            return None;
        }
        Value::Array(items) => items.clone(),
        _ if range::is_range(field) => range::read(field, &path)?,
        _ => vec![field.node.clone()],
    };
    let values = nodes.into_iter().map(|node| Override {
        path: path.clone(),
        parts: parts.clone(),
        node: Node { alias: Some(Arc::clone(&alias)), ..node },
        key_origin: field.key_origin,
    });
    Some(Axis { path: path.clone(), values: values.collect() })
}

/// The mistake of a key that is no axis. Always `None`.
fn unknown(key: &str, field: &Field<'_>) -> Option<Vec<String>> {
    let names: Vec<&str> = SHORT.iter().map(|(short, _)| *short).chain(OWN).collect();
    let near = home_of(key).or_else(|| nearest(key, names.iter().copied()).map(str::to_owned));
    let allowed =
        format!("{}; or a setting by its path in quotes, such as \"target.model\"", names.join(", "));
    field.key_mistake(Mistake::new(MistakeKind::UnknownKey, "unknown key").nearest(near).allowed(allowed));
    None
}

/// The full path of a setting whose section was left out: `temperature`.
pub(super) fn home_of(key: &str) -> Option<String> {
    if let Some((_, full)) = SHORT.iter().find(|(short, _)| *short == key) {
        return Some((*full).to_owned());
    }
    let origin = Origin { source: 0, start: 0, end: 0 };
    let sources = Sources::new(String::new(), String::new());
    SECTIONS.iter().filter(|s| !OPEN_SECTIONS.contains(s)).find_map(|section| {
        let path = [(*section).to_owned(), key.to_owned()];
        let mut tree = Table::default();
        let node = Node { value: Value::Bool(true), origin, alias: None };
        tree.set(&path, node, origin).ok()?;
        let reader = Reader::seeking(&sources);
        read::settings(&reader, &tree);
        let path = join_path(&path);
        let known = !reader.take().iter().any(|m| m.kind == MistakeKind::UnknownKey && m.key == path);
        known.then_some(path)
    })
}

fn read_zip(field: &Field<'_>, axes: &[Axis]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (i, node) in field.items().unwrap_or_default().iter().enumerate() {
        let group = field.item(node, format!("{}[{}]", field.key(), i + 1));
        let before = field.reader.mistakes();
        let members = zip_group(&group, axes);
        if field.reader.mistakes() > before {
            continue;
        }
        let twice = members
            .iter()
            .enumerate()
            .find(|(at, m)| members[..*at].contains(m) || groups.iter().any(|g| g.contains(m)));
        if let Some((_, axis)) = twice {
            group.bad(format!("{} is zipped twice", axes[*axis].path));
            continue;
        }
        if members.len() < 2 {
            group.bad("zip wants at least two axes");
            continue;
        }
        let lengths: Vec<usize> = members.iter().map(|m| axes[*m].values.len()).collect();
        if lengths.windows(2).any(|w| w[0] != w[1]) {
            let each = members.iter().zip(&lengths).map(|(m, n)| format!("{} has {n}", axes[*m].path));
            let problem =
                format!("zipped axes need equally many values: {}", each.collect::<Vec<_>>().join(", "));
            group.mistake(Mistake::new(MistakeKind::Conflict, problem));
            continue;
        }
        groups.push(members);
    }
    groups
}

fn zip_group(group: &Field<'_>, axes: &[Axis]) -> Vec<usize> {
    let Some(items) = group.items() else { return Vec::new() };
    let member = |(i, node)| {
        let name = group.item(node, format!("{}[{}]", group.key(), i + 1));
        let text = name.str()?;
        let parts = excluded_axis(text, &name, axes)?;
        axes.iter().position(|a| a.path == join_path(&parts))
    };
    items.iter().enumerate().filter_map(member).collect()
}

/// The path of `key` if it is an axis of this grid.
fn excluded_axis(key: &str, field: &Field<'_>, axes: &[Axis]) -> Option<Vec<String>> {
    let parts = setting_path(key);
    if let Some(parts) = parts.filter(|p| axes.iter().any(|a| a.path == join_path(p))) {
        return Some(parts);
    }
    let short =
        |path: &str| SHORT.iter().find(|(_, full)| *full == path).map(|(short, _)| (*short).to_owned());
    let names: Vec<String> =
        axes.iter().map(|a| short(&a.path).unwrap_or_else(|| format!("{:?}", a.path))).collect();
    let near = nearest(key, names.iter().map(String::as_str));
    let mistake = Mistake::new(MistakeKind::UnknownKey, format!("{key:?} is not an axis of this grid"));
    // Where the axis itself is misspelt, or its values can't be read, that is told there.
    let mistake = match SHORT.iter().find(|(short, full)| *short == key || *full == key) {
        Some((short, _)) => mistake.for_want_of(short),
        None => mistake,
    };
    let allowed = if names.is_empty() { "nothing, as it has no axes".to_owned() } else { names.join(", ") };
    field.key_mistake(mistake.nearest(near).allowed(allowed));
    None
}

/// A list of tables of values.
fn points(field: &Field<'_>, path_of: impl Fn(&str, &Field<'_>) -> Option<Vec<String>>) -> Vec<Point> {
    let mut points = Vec::new();
    for (i, node) in field.items().unwrap_or_default().iter().enumerate() {
        let item = field.item(node, format!("{}[{}]", field.key(), i + 1));
        let Some(table) = item.table() else { continue };
        if table.0.is_empty() {
            item.bad("empty");
            continue;
        }
        let mut point = Point { values: Vec::new(), origin: node.origin };
        for entry in item.section().entries() {
            let Some(parts) = path_of(entry.name(), &entry) else { continue };
            let node = Node { alias: Some(Arc::from(entry.key())), ..entry.node.clone() };
            point.values.push(Override {
                path: join_path(&parts),
                parts,
                node,
                key_origin: entry.key_origin,
            });
        }
        if point.values.len() == table.0.len() {
            points.push(point);
        }
    }
    points
}

/// An axis with the same value twice makes the same cells twice, unless it is zipped.
fn refuse_equal_values(reader: &Reader<'_>, grid: &Grid) {
    for (i, axis) in grid.axes.iter().enumerate() {
        if grid.zip.iter().any(|group| group.contains(&i)) {
            continue;
        }
        let texts: Vec<String> = axis.values.iter().map(Override::canonical).collect();
        for (at, value) in axis.values.iter().enumerate() {
            let Some(first) = texts[..at].iter().position(|t| *t == texts[at]) else { continue };
            let key = value.node.alias.as_deref().unwrap_or(&axis.path);
            let first = reader.sources.name_place(axis.values[first].node.origin);
            let problem = format!("the value {} is there twice, first on {first}", texts[at]);
            reader.add(value.node.origin, key, Mistake::new(MistakeKind::Duplicate, problem));
        }
    }
}

/// A value that its axis does not have excludes nothing.
fn refuse_strange_values(reader: &Reader<'_>, grid: &Grid) {
    for value in grid.exclude.iter().flat_map(|point| &point.values) {
        let Some(axis) = grid.axes.iter().find(|a| a.path == value.path) else { continue };
        let known: Vec<String> = axis.values.iter().map(Override::canonical).collect();
        if !known.contains(&value.canonical()) {
            let mistake = Mistake::new(MistakeKind::BadValue, "excludes nothing: the axis has no such value")
                .found(value.node.describe())
                .allowed(known.join(", "));
            reader.add(value.node.origin, value.node.alias.as_deref().unwrap_or(&value.path), mistake);
        }
    }
}
