//! What a workload asks for beside generated prompts: data sets, conversations, shared
//! beginnings, pictures, traces.
//!
//! Of a file only its path and its hash are kept: the content would make plans as large as the
//! data, and a file that changes after the plan was made has to be noticed.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::Lengths;

/// Whether a number is 0, its default.
pub(super) fn is_none_left<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Whether a number is 1, its default.
pub(super) fn is_one(value: &u32) -> bool {
    *value == 1
}

/// A file, as it was when the experiment was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DataFile {
    pub path: PathBuf,
    /// Of its content, in hexadecimal digits.
    pub sha256: String,
}

/// Endings of picture files, with their media types.
pub(super) const PICTURES: [(&str, &str); 5] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
];

impl DataFile {
    /// What kind of picture it is, by its name's ending.
    #[must_use]
    pub fn media_type(&self) -> Option<&'static str> {
        let ending = self.path.extension()?.to_string_lossy().to_lowercase();
        PICTURES.iter().find(|(known, _)| *known == ending).map(|(_, media_type)| *media_type)
    }
}

/// Where empirical lengths are from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LengthFile {
    #[serde(flatten)]
    pub file: DataFile,
    /// Column of a CSV that holds the lengths; `None` where lines are numbers.
    pub column: Option<String>,
    /// Column of a CSV that says how often each length is drawn, relative to the others.
    pub weight: Option<String>,
}

/// The order in which a file's entries are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shuffle {
    /// As they stand in the file.
    #[default]
    No,
    /// Drawn anew for each cell and repeat, by its seed.
    Cell,
    /// Drawn by this seed: the same in every cell.
    Seed(u64),
}

/// Prompts from a file, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    pub file: DataFile,
    /// Lines taken, after shuffling; `None`: all.
    pub limit: Option<u64>,
    pub shuffle: Shuffle,
    /// Begin again after the last line; `false`: the cell ends there.
    pub repeat: bool,
}

/// Conversations from a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversations {
    pub file: DataFile,
    /// Conversations with fewer turns are left out.
    pub min_turns: u32,
    /// Longer ones are cut after so many turns.
    pub max_turns: Option<u32>,
    /// Conversations taken, after shuffling; `None`: all.
    pub limit: Option<u64>,
    pub shuffle: Shuffle,
    /// The pause before each turn but the first.
    pub think: Option<Pause>,
    /// Ask for as many tokens as the file's answer has, instead of `max_tokens`.
    pub recorded_lengths: bool,
}

/// Conversations of generated turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    /// How many turns each has.
    pub turns: Lengths,
    /// The pause before each turn but the first.
    pub think: Option<Pause>,
}

/// A distribution of pauses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "distribution")]
pub enum Pause {
    Constant { mean: Duration },
    Uniform { min: Duration, max: Duration },
    Exponential { mean: Duration },
}

/// A beginning that prompts have in common.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SharedPrefix {
    pub length: SharedLength,
    /// How many different beginnings there are; each prompt has one of them, by the seed.
    pub groups: u32,
}

/// How long a shared beginning is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedLength {
    Tokens(u32),
    /// Of each prompt's length, more than 0, at most 1.
    Share(f64),
}

/// Pictures that go with each prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Images {
    /// So many with each request.
    pub count: u32,
    /// Sizes of the generated ones; each picture has one of them, by the seed. Empty where they
    /// come from files.
    pub sizes: Vec<ImageSize>,
    /// Different pictures generated of each size.
    pub pool: u32,
    /// Pictures taken from files instead.
    pub files: Vec<DataFile>,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSize {
    pub width: u32,
    pub height: u32,
}

/// A recorded load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceSettings {
    pub file: DataFile,
    /// `None`: told by the file's first line.
    pub format: Option<TraceFormat>,
    /// Times are multiplied by this: 0.5 is twice as fast. More than 0.
    pub scale: f64,
    /// Requests left out at the beginning.
    pub skip: u64,
    /// Requests taken after those; `None`: all.
    pub limit: Option<u64>,
    /// Requests are due when they came; `false`: only their lengths are repeated, under a load of
    /// its own.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub times: bool,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_yes(value: &bool) -> bool {
    *value
}

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceFormat {
    /// A JSON object a line: `timestamp` in ms, `input_length`, `output_length`, `hash_ids`.
    Mooncake,
    /// CSV: `Timestamp` in s, `Request tokens`, `Response tokens`.
    Burstgpt,
    /// A run's own records as CSV or as a JSON object a line.
    Records,
    /// CSV: `at_s`, `prompt_tokens`, `max_tokens`.
    Plain,
}

impl TraceFormat {
    /// Every format, by its word in files.
    pub const ALL: [(&'static str, Self); 4] = [
        ("mooncake", Self::Mooncake),
        ("burstgpt", Self::Burstgpt),
        ("records", Self::Records),
        ("plain", Self::Plain),
    ];

    /// The word for it in files and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}
