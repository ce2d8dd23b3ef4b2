//! What `[workload]` asks for beside generated prompts: data sets, conversations, shared
//! beginnings, pictures, traces.

use std::time::Duration;

use super::{LONGEST, lengths};
use crate::experiment::content::{
    Conversations, DataFile, Dataset, ImageSize, Images, PICTURES, Pause, Sessions, SharedLength,
    SharedPrefix, Shuffle, TraceFormat, TraceSettings,
};
use crate::experiment::length_table::MAX_TOKENS;
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::settings::Lengths;
use crate::experiment::tree::Value as Written;

/// Most entries that are taken of a file.
const MOST: i64 = 1_000_000_000;
/// Most turns of a conversation.
const MOST_TURNS: u32 = 10_000;
/// Largest edge of a picture, in pixels.
const LARGEST: u32 = 8192;

/// A table, or `file` alone in its short form.
fn section_of<'r>(field: &Field<'r>, wanted: &str) -> Option<Section<'r>> {
    if !field.is_table() {
        field.wrong_type(wanted);
        return None;
    }
    Some(field.section())
}

fn file(section: &Section<'_>) -> Option<DataFile> {
    let field = section.get("file");
    if field.is_none() {
        let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed("the path of a file");
        section.reader.add(section.origin, section.key("file"), mistake);
    }
    field.and_then(|f| f.data_file())
}

fn count(section: &Section<'_>, key: &'static str, min: i64) -> Option<u64> {
    section.get(key).and_then(|f| f.int(min, MOST)).map(i64::unsigned_abs)
}

/// `true`: by the cell's seed; a number: by that.
fn shuffle(section: &Section<'_>) -> Shuffle {
    let Some(field) = section.get("shuffle") else { return Shuffle::No };
    match &field.node.value {
        Written::Bool(true) => Shuffle::Cell,
        Written::Bool(false) => Shuffle::No,
        Written::Int(_) | Written::Float(_) => {
            field.int(0, i64::MAX).map_or(Shuffle::No, |seed| Shuffle::Seed(seed.unsigned_abs()))
        }
        _ => {
            field.wrong_type("true, false, or a number to shuffle by");
            Shuffle::No
        }
    }
}

pub(super) fn dataset(field: &Field<'_>) -> Option<Dataset> {
    let section = section_of(field, "a table: { file = \"prompts.jsonl\" }")?;
    let file = file(&section);
    let limit = count(&section, "limit", 1);
    let shuffle = shuffle(&section);
    let repeat = section.get("repeat").and_then(|f| f.bool()).unwrap_or(true);
    section.done();
    Some(Dataset { file: file?, limit, shuffle, repeat })
}

pub(super) fn conversations(field: &Field<'_>) -> Option<Conversations> {
    let section = section_of(field, "a table: { file = \"sharegpt.json\" }")?;
    let file = file(&section);
    let (min_turns, max_turns) = section.get("turns").map_or((1, None), |f| turn_limits(&f));
    let limit = count(&section, "limit", 1);
    let shuffle = shuffle(&section);
    let think = section.get("think").and_then(|f| pause(&f));
    let recorded_lengths = section.get("recorded_lengths").and_then(|f| f.bool()).unwrap_or(false);
    section.done();
    Some(Conversations { file: file?, min_turns, max_turns, limit, shuffle, think, recorded_lengths })
}

/// `{ min, max }`.
fn turn_limits(field: &Field<'_>) -> (u32, Option<u32>) {
    let Some(section) = section_of(field, "a table: { min = 2, max = 8 }") else { return (1, None) };
    let min = section.get("min").and_then(|f| f.u32(1, MOST_TURNS)).unwrap_or(1);
    let max_field = section.get("max");
    let max = max_field.as_ref().and_then(|f| f.u32(1, MOST_TURNS));
    section.done();
    if let (Some(field), Some(found)) = (&max_field, max)
        && found < min
    {
        let mistake = Mistake::new(MistakeKind::Conflict, format!("below min, which is {min}"));
        field.mistake(mistake.found(found.to_string()));
    }
    (min, max)
}

pub(super) fn session(field: &Field<'_>) -> Option<Sessions> {
    let section = section_of(field, "a table: { turns = 4 }")?;
    let turns = section.get("turns");
    if turns.is_none() {
        let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed("a number of turns");
        section.reader.add(section.origin, section.key("turns"), mistake);
    }
    let turns: Option<Lengths> = turns.and_then(|f| lengths::read_up_to(&f, MOST_TURNS, "turns"));
    let think = section.get("think").and_then(|f| pause(&f));
    section.done();
    Some(Sessions { turns: turns?, think })
}

/// A duration, `{ mean, distribution }` or `{ min, max }`.
fn pause(field: &Field<'_>) -> Option<Pause> {
    #[derive(Clone, Copy)]
    enum Shape {
        Constant,
        Uniform,
        Exponential,
    }
    const SHAPES: [(&str, Shape); 3] =
        [("constant", Shape::Constant), ("uniform", Shape::Uniform), ("exponential", Shape::Exponential)];
    let duration = |f: &Field<'_>| f.duration(Duration::ZERO, LONGEST);
    if !field.is_table() {
        return duration(field).map(|mean| Pause::Constant { mean });
    }
    let section = field.section();
    let (min, max, mean) = (section.get("min"), section.get("max"), section.get("mean"));
    let shape = section.get("distribution").map(|f| f.word(&SHAPES));
    let bounds = min.is_some() || max.is_some();
    let shape = shape.unwrap_or(Some(if bounds { Shape::Uniform } else { Shape::Constant }));
    let read = |field: Option<&Field<'_>>, key: &str| {
        if field.is_none() {
            let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed("a duration such as \"2s\"");
            section.reader.add(section.origin, section.key(key), mistake);
        }
        field.and_then(duration)
    };
    let idle = |field: Option<&Field<'_>>, why: &str| {
        if let Some(field) = field {
            field.key_mistake(Mistake::new(MistakeKind::Conflict, format!("has no effect: {why}")));
        }
    };
    let pause = match shape? {
        Shape::Uniform => {
            idle(mean.as_ref(), "a uniform pause is given by min and max");
            match (read(min.as_ref(), "min"), read(max.as_ref(), "max")) {
                (Some(low), Some(high)) if low > high => {
                    if let Some(field) = &max {
                        let mistake = Mistake::new(MistakeKind::Conflict, "below min");
                        field.mistake(mistake.found(field.node.describe()));
                    }
                    None
                }
                (Some(min), Some(max)) => Some(Pause::Uniform { min, max }),
                _ => None,
            }
        }
        other => {
            idle(min.as_ref(), "only a uniform pause has bounds");
            idle(max.as_ref(), "only a uniform pause has bounds");
            read(mean.as_ref(), "mean").map(|mean| match other {
                Shape::Exponential => Pause::Exponential { mean },
                Shape::Constant | Shape::Uniform => Pause::Constant { mean },
            })
        }
    };
    section.done();
    pause
}

pub(super) fn shared_prefix(field: &Field<'_>) -> Option<SharedPrefix> {
    let section = section_of(field, "a table: { tokens = 512 } or { share = 0.5 }")?;
    let (tokens, share) = (section.get("tokens"), section.get("share"));
    let groups = section.get("groups").and_then(|f| f.u32(1, 1_000_000)).unwrap_or(1);
    section.done();
    let length = match (&tokens, &share) {
        (Some(_), Some(share)) => {
            let problem = "tokens and share say the same: not both";
            share.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
            None
        }
        (Some(tokens), None) => tokens.u32(1, MAX_TOKENS).map(SharedLength::Tokens),
        (None, Some(share)) => match share.share()? {
            0.0 => {
                share.bad("nothing would be shared");
                None
            }
            share => Some(SharedLength::Share(share)),
        },
        (None, None) => {
            let mistake = Mistake::new(MistakeKind::Missing, "missing");
            let mistake = mistake.allowed("tokens = 512, or share = 0.5 of each prompt");
            field.reader.add(field.node.origin, format!("{}.tokens", field.key()), mistake);
            None
        }
    };
    Some(SharedPrefix { length: length?, groups })
}

pub(super) fn images(field: &Field<'_>) -> Option<Images> {
    let section = section_of(field, "a table: { width = 512, height = 512 }")?;
    let count = section.get("count").and_then(|f| f.u32(1, 100)).unwrap_or(1);
    let pool_field = section.get("pool");
    let pool = pool_field.as_ref().and_then(|f| f.u32(1, 1000)).unwrap_or(4);
    let edge = |key| section.get(key).map(|f: Field<'_>| (f.clone(), f.u32(1, LARGEST)));
    let (width, height) = (edge("width"), edge("height"));
    let (sizes, files) = (section.get("sizes"), section.get("files"));
    section.done();
    let fields =
        [width.as_ref().map(|w| &w.0), height.as_ref().map(|h| &h.0), sizes.as_ref(), files.as_ref()];
    let [w, h, s, f] = fields.map(|f| f.is_some());
    if usize::from(w || h) + usize::from(s) + usize::from(f) > 1 {
        let problem = "pictures have one width and height, or sizes, or files: only one of these";
        let last = fields.into_iter().flatten().last().unwrap_or(field);
        last.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
        return None;
    }
    if let (Some(field), true) = (&pool_field, f) {
        let problem = "has no effect: it says how many pictures are generated, and these are files";
        field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
    if let Some(files) = &files {
        let files = each(files, |item| picture(&item))?;
        return Some(Images { count, sizes: Vec::new(), pool: 0, files });
    }
    let sizes = match (&sizes, width, height) {
        (Some(sizes), ..) => each(sizes, |item| size(&item))?,
        (None, Some((_, width)), Some((_, height))) => vec![ImageSize { width: width?, height: height? }],
        (None, ..) => {
            let mistake = Mistake::new(MistakeKind::Missing, "pictures want a size");
            let allowed = "width and height, sizes = [\"512x512\"], or files = [\"a.png\"]";
            field.mistake(mistake.allowed(allowed));
            return None;
        }
    };
    Some(Images { count, sizes, pool, files: Vec::new() })
}

/// Every item of a list that is not empty.
fn each<'r, T>(field: &Field<'r>, read: impl Fn(Field<'r>) -> Option<T>) -> Option<Vec<T>> {
    let items = field.items()?;
    if items.is_empty() {
        field.bad("an empty list");
        return None;
    }
    let item = |(i, node)| read(field.item(node, format!("{}[{}]", field.key(), i + 1)));
    items.iter().enumerate().map(item).collect()
}

/// `"1024x768"`.
fn size(field: &Field<'_>) -> Option<ImageSize> {
    let text = field.str()?;
    let edge = |text: &str| text.trim().parse::<u32>().ok().filter(|n| (1..=LARGEST).contains(n));
    let size = text
        .split_once(['x', '×'])
        .and_then(|(width, height)| Some(ImageSize { width: edge(width)?, height: edge(height)? }));
    if size.is_none() {
        let mistake = Mistake::new(MistakeKind::BadValue, "not a picture's size");
        let allowed = format!("\"WIDTHxHEIGHT\" in pixels, each 1 to {LARGEST}");
        field.mistake(mistake.found(field.node.describe()).allowed(allowed));
    }
    size
}

fn picture(field: &Field<'_>) -> Option<DataFile> {
    let file = field.data_file()?;
    if file.media_type().is_none() {
        let mistake = Mistake::new(MistakeKind::BadValue, "not a picture, by its name");
        let endings: Vec<String> = PICTURES.iter().map(|(known, _)| format!(".{known}")).collect();
        field.mistake(mistake.found(field.node.describe()).allowed(endings.join(", ")));
        return None;
    }
    Some(file)
}

pub(super) fn trace(field: &Field<'_>) -> Option<TraceSettings> {
    let section = section_of(field, "a table: { file = \"trace.jsonl\" }")?;
    let file = file(&section);
    let format = section.get("format").and_then(|f| {
        let words = TraceFormat::ALL.map(|(name, format)| (name, Some(format)));
        let auto = [("auto", None)];
        f.word(&[&words[..], &auto[..]].concat())
    });
    let scale = section
        .get("scale")
        .and_then(|f| f.number_in("more than 0, at most 1000000", |x| x > 0.0 && x <= 1e6))
        .unwrap_or(1.0);
    let skip = count(&section, "skip", 0).unwrap_or(0);
    let limit = count(&section, "limit", 1);
    let times = section.get("times").and_then(|f| f.bool()).unwrap_or(true);
    section.done();
    Some(TraceSettings { file: file?, format: format.flatten(), scale, skip, limit, times })
}
