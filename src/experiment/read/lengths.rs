//! Distributions of lengths: `prompt_tokens`, `max_tokens` and their like.

use crate::experiment::content::LengthFile;
use crate::experiment::length_table::MAX_TOKENS;
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::settings::{LengthShape, Lengths};
use crate::experiment::tree::Value as Written;

const SHAPES: [(&str, LengthShape); 6] = [
    ("constant", LengthShape::Constant),
    ("uniform", LengthShape::Uniform),
    ("normal", LengthShape::Normal),
    ("exponential", LengthShape::Exponential),
    ("lognormal", LengthShape::Lognormal),
    ("empirical", LengthShape::Empirical),
];

/// Relative width where none is given.
const USUAL: f64 = 0.3;

/// A distribution of lengths in tokens.
pub(super) fn read(field: &Field<'_>) -> Option<Lengths> {
    read_up_to(field, MAX_TOKENS, "tokens")
}

/// An integer, or `{ mean, distribution, range | width, min, cap, jitter }`, or
/// `{ file, column, weight, … }`, of what `unit` says.
pub(super) fn read_up_to(field: &Field<'_>, most: u32, unit: &str) -> Option<Lengths> {
    if !field.is_table() {
        return match field.node.value {
            Written::Int(_) | Written::Float(_) | Written::Str(_) => {
                field.u32(1, most).map(Lengths::constant)
            }
            _ => {
                field.wrong_type(&format!("a number of {unit}, or {{ mean, distribution, range, cap }}"));
                None
            }
        };
    }
    let section = field.section();
    let file = section.get("file");
    let lengths = match &file {
        Some(file) => empirical(&section, file),
        None => drawn(&section, most, unit),
    };
    let jitter = section.get("jitter");
    let cap_field = section.get("cap");
    let cap = cap_field.as_ref().and_then(|f| f.u32(1, most));
    let min_field = section.get("min");
    let min = min_field.as_ref().and_then(|f| f.u32(1, most));
    let jitter = jitter.and_then(|f| f.number_in("0 to 1", |x| (0.0..=1.0).contains(&x))).unwrap_or(0.0);
    section.done();
    let lengths = Lengths { cap, min: min.filter(|min| *min > 1), jitter, ..lengths? };
    let conflict = |field: &Option<Field<'_>>, found: Option<u32>, problem: String| {
        if let (Some(field), Some(found)) = (field, found) {
            field.mistake(Mistake::new(MistakeKind::Conflict, problem).found(found.to_string()));
        }
    };
    let constant = lengths.shape == LengthShape::Constant;
    if constant && cap.is_some_and(|cap| cap < lengths.mean) {
        conflict(&cap_field, cap, format!("below the constant length {}", lengths.mean));
    } else if constant && min.is_some_and(|min| min > lengths.mean) {
        conflict(&min_field, min, format!("above the constant length {}", lengths.mean));
    } else if let (Some(low), Some(high)) = (min, cap)
        && low > high
    {
        conflict(&min_field, min, format!("above the cap {high}"));
    }
    Some(lengths)
}

/// What a file gives.
fn empirical(section: &Section<'_>, file: &Field<'_>) -> Option<Lengths> {
    if let Some(field) = section.get("distribution")
        && field.word(&SHAPES).is_some_and(|shape| shape != LengthShape::Empirical)
    {
        let problem = "the file is the distribution, which is then \"empirical\"";
        field.mistake(Mistake::new(MistakeKind::Conflict, problem).found(field.node.describe()));
    }
    for key in ["mean", "range", "width"] {
        if let Some(field) = section.get(key) {
            let problem = "has no effect: the file says how long and how wide";
            field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
        }
    }
    let text = |key| section.get(key).map(|f: Field<'_>| f.text());
    let (column, weight) = (text("column"), text("weight"));
    // A column that can't be read is a mistake already.
    let (column, weight) =
        (column.map_or(Some(None), |c| c.map(Some))?, weight.map_or(Some(None), |w| w.map(Some))?);
    let from = LengthFile { file: file.data_file()?, column, weight };
    match section.reader.mean_length(&from) {
        Ok(mean) => Some(Lengths { file: Some(from), ..Lengths::shaped(LengthShape::Empirical, mean, 0.0) }),
        Err(problem) => {
            file.bad(problem);
            None
        }
    }
}

/// What is drawn from a formula.
fn drawn(section: &Section<'_>, most: u32, unit: &str) -> Option<Lengths> {
    let shape_field = section.get("distribution");
    let shape = shape_field.as_ref().map(|f| f.word(&SHAPES));
    let mean = section.get("mean");
    for key in ["column", "weight"] {
        if let Some(field) = section.get(key) {
            let mistake = Mistake::new(MistakeKind::Conflict, "has no effect without a file of lengths");
            field.key_mistake(mistake.for_want_of("file"));
        }
    }
    let (range, width) = (section.get("range"), section.get("width"));
    if let (Some(field), Some(Some(LengthShape::Empirical))) = (&shape_field, shape) {
        let mistake = Mistake::new(MistakeKind::Conflict, "wants a file of lengths");
        field.mistake(mistake.for_want_of("file").allowed("file = \"lengths.csv\""));
        return None;
    }
    if mean.is_none() {
        let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed(format!("a number of {unit}"));
        section.reader.add(section.origin, section.key("mean"), mistake);
    }
    let mean = mean.and_then(|f| f.u32(1, most));
    let (mean, shape) = (mean?, shape.unwrap_or(Some(LengthShape::Constant))?);
    Some(Lengths::shaped(shape, mean, relative_width(range.as_ref(), width.as_ref(), shape, mean)))
}

/// Width of a distribution relative to its mean, however it was given; 0 where it has none.
fn relative_width(
    range: Option<&Field<'_>>,
    width: Option<&Field<'_>>,
    shape: LengthShape,
    mean: u32,
) -> f64 {
    let (most, allowed) = match shape {
        LengthShape::Uniform => (1.0, "more than 0, at most 1 (1: from 1 token to twice the mean)"),
        LengthShape::Normal => (3.0, "more than 0, at most 3 (the standard deviation over the mean)"),
        LengthShape::Lognormal => (10.0, "more than 0, at most 10 (the standard deviation over the mean)"),
        LengthShape::Constant | LengthShape::Exponential | LengthShape::Empirical => {
            for field in [range, width].into_iter().flatten() {
                let problem = format!(
                    "has no effect: only the distributions \"uniform\", \"normal\" and \"lognormal\" have a {}",
                    field.name()
                );
                field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
            }
            return 0.0;
        }
    };
    match (range, width) {
        (_, Some(field)) if range.is_some() => {
            let problem = "range and width say the same, relative to the mean and in tokens: not both";
            field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
            USUAL
        }
        (Some(field), _) => field.number_in(allowed, |x| x > 0.0 && x <= most).unwrap_or(USUAL),
        (None, Some(field)) => {
            let most = (f64::from(mean) * most).min(f64::from(MAX_TOKENS)) as u32;
            field.u32(1, most).map_or(USUAL, |width| f64::from(width) / f64::from(mean))
        }
        (None, None) => USUAL,
    }
}
