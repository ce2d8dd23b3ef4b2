//! A recorded load: when requests came, how long they were, and what they had in common.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::data::{self, DataError};
use super::messages::{describe, keys};
use crate::experiment::{MAX_TOKENS, TraceFormat, TraceSettings, line_of};

/// Tokens that one of [`TraceEntry::hash_ids`] stands for.
pub const BLOCK_TOKENS: usize = 512;

/// One request of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceEntry {
    /// When it is due, in microseconds after the first that was taken, by the asked time scale.
    pub at_us: u64,
    pub prompt_tokens: u32,
    pub max_tokens: u32,
    /// Blocks of the prompt, from its beginning: two prompts share the blocks that have the same
    /// id. What lies behind the last is the prompt's own.
    pub hash_ids: Vec<u64>,
}

/// A recorded load. Never empty; in the order in which requests are due.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    pub format: TraceFormat,
    pub entries: Vec<TraceEntry>,
    /// Requests left out because they have no prompt or no answer, as failed ones in BurstGPT.
    pub left_out: u64,
}

impl Trace {
    /// Reads the trace that an experiment names.
    ///
    /// # Errors
    /// When it can't be read, has changed since, or is not in the format that it should be in.
    pub fn read(settings: &TraceSettings) -> Result<Self, DataError> {
        let path = &settings.file.path;
        let text = data::text(&settings.file)?;
        let format = match settings.format {
            Some(format) => format,
            None => format_of(path, &text)?,
        };
        let mut seen = match (format, text.trim_start().starts_with('{')) {
            (TraceFormat::Mooncake, _) | (TraceFormat::Records, true) => from_lines(path, &text, format)?,
            _ => from_csv(path, &text, format)?,
        };
        let all = seen.len();
        seen.retain(|s| s.prompt_tokens > 0 && s.max_tokens > 0);
        let left_out = (all - seen.len()) as u64;
        seen.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let taken = seen.into_iter().skip(data::most(Some(settings.skip))).take(data::most(settings.limit));
        let mut first = None;
        let entries: Vec<TraceEntry> = taken
            .map(|s| {
                let after = s.at_s - *first.get_or_insert(s.at_s);
                let at_us = (after * 1e6 * settings.scale).round() as u64;
                TraceEntry {
                    at_us,
                    prompt_tokens: s.prompt_tokens,
                    max_tokens: s.max_tokens,
                    hash_ids: s.hash_ids,
                }
            })
            .collect();
        if entries.is_empty() {
            let found = match (all, left_out) {
                (0, _) => "there is no request in it".to_owned(),
                (n, 0) => format!("there are {n} requests in it, and skip leaves out all"),
                (n, empty) => {
                    format!("of its {n} requests {empty} have no tokens, and skip leaves out the rest")
                }
            };
            return Err(DataError::whole(path, found));
        }
        Ok(Self { format, entries, left_out })
    }

    /// The request that arrival `seq` repeats; after the last, the first again.
    #[must_use]
    pub fn entry(&self, seq: u64) -> &TraceEntry {
        &self.entries[(seq % self.len()) as usize]
    }

    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }
}

/// A request as a file has it.
struct Seen {
    at_s: f64,
    prompt_tokens: u32,
    max_tokens: u32,
    hash_ids: Vec<u64>,
}

/// What each format calls what; the first name that is there counts.
struct Names {
    at: &'static [&'static str],
    /// Of `at`, in a second.
    per_second: f64,
    prompt: &'static [&'static str],
    output: &'static [&'static str],
}

const MOONCAKE: Names = Names {
    at: &["timestamp", "created_time"],
    per_second: 1e3,
    prompt: &["input_length", "input_tokens"],
    output: &["output_length", "output_tokens"],
};
const BURSTGPT: Names =
    Names { at: &["Timestamp"], per_second: 1.0, prompt: &["Request tokens"], output: &["Response tokens"] };
const RECORDS: Names = Names {
    at: &["intended_us"],
    per_second: 1e6,
    prompt: &["prompt_tokens_asked"],
    output: &["max_tokens"],
};
const PLAIN: Names =
    Names { at: &["at_s"], per_second: 1.0, prompt: &["prompt_tokens"], output: &["max_tokens"] };

const fn names(format: TraceFormat) -> &'static Names {
    match format {
        TraceFormat::Mooncake => &MOONCAKE,
        TraceFormat::Burstgpt => &BURSTGPT,
        TraceFormat::Records => &RECORDS,
        TraceFormat::Plain => &PLAIN,
    }
}

/// The format that the first line is in.
fn format_of(path: &Path, text: &str) -> Result<TraceFormat, DataError> {
    let Some((number, first)) = data::lines(text).find(|(_, line)| !line.starts_with('#')) else {
        return Err(DataError::whole(path, "there is no request in it"));
    };
    let found: Vec<String> = match serde_json::from_str::<Value>(first) {
        Ok(Value::Object(object)) => object.keys().cloned().collect(),
        _ => header(first),
    };
    let json = first.starts_with('{');
    let fits = |(_, format): &(&str, TraceFormat)| {
        let Names { at, prompt, output, .. } = names(*format);
        let either = *format == TraceFormat::Records || json == (*format == TraceFormat::Mooncake);
        either
            && [at, prompt, output].iter().all(|keys| keys.iter().any(|key| found.iter().any(|f| f == key)))
    };
    let format = TraceFormat::ALL.iter().find(|candidate| fits(candidate)).map(|(_, format)| *format);
    format.ok_or_else(|| {
        let known = TraceFormat::ALL.map(|(name, format)| {
            let Names { at, prompt, output, .. } = names(format);
            format!("{name} ({}, {}, {})", at[0], prompt[0], output[0])
        });
        let found: Vec<String> = found.iter().take(12).map(|name| format!("{name:?}")).collect();
        let problem = format!("no known trace; found {}. Allowed: {}", found.join(", "), known.join(", "));
        DataError::at(path, number, problem)
    })
}

fn header(line: &str) -> Vec<String> {
    line.split(',').map(|name| name.trim().trim_matches('"').to_owned()).collect()
}

fn from_lines(path: &Path, text: &str, format: TraceFormat) -> Result<Vec<Seen>, DataError> {
    let names = names(format);
    let mut all = Vec::new();
    for (number, line) in data::lines(text) {
        let wrong = |problem: String| DataError::at(path, number, problem);
        let value: Value = serde_json::from_str(line).map_err(|e| wrong(format!("not JSON: {e}")))?;
        if format == TraceFormat::Records && value.get("phase").is_some_and(|phase| phase != "measure") {
            continue;
        }
        let find = |known: &'static [&'static str]| {
            let found = known.iter().find_map(|key| value.get(*key).map(|v| (*key, v)));
            found.ok_or_else(|| wrong(format!("no {}; found {}", known[0], keys(&value))))
        };
        let number = |known: &'static [&'static str]| -> Result<f64, DataError> {
            let (key, value) = find(known)?;
            let found = value.as_f64().filter(|x| x.is_finite() && *x >= 0.0);
            found.ok_or_else(|| wrong(format!("{key} is not a number, 0 or more; found {}", describe(value))))
        };
        let length = |known: &'static [&'static str]| length_of(number(known)?, known[0]).map_err(wrong);
        let hash_ids = match value.get("hash_ids") {
            None | Some(Value::Null) => Vec::new(),
            Some(ids) => hash_ids(ids).map_err(wrong)?,
        };
        all.push(Seen {
            at_s: number(names.at)? / names.per_second,
            prompt_tokens: length(names.prompt)?,
            max_tokens: length(names.output)?,
            hash_ids,
        });
    }
    Ok(all)
}

/// Numbers, or texts that stand for them.
fn hash_ids(ids: &Value) -> Result<Vec<u64>, String> {
    let id = |id: &Value| match id {
        Value::String(text) => {
            let hash = Sha256::digest(text);
            Some(hash[..8].iter().fold(0, |id, byte| id << 8 | u64::from(*byte)))
        }
        number => number.as_u64(),
    };
    let wrong = |found: &Value| format!("hash_ids is not a list of numbers; found {}", describe(found));
    let list = ids.as_array().ok_or_else(|| wrong(ids))?;
    list.iter().map(|found| id(found).ok_or_else(|| wrong(found))).collect()
}

fn from_csv(path: &Path, text: &str, format: TraceFormat) -> Result<Vec<Seen>, DataError> {
    let names = names(format);
    let broken = |e: csv::Error| {
        let place = e.position().map_or(1, |position| line_of(text, position));
        DataError::at(path, place, format!("not CSV: {e}"))
    };
    let mut reader =
        csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().map_err(broken)?.iter().map(str::to_owned).collect();
    let place = |known: &[&str]| {
        let found = header.iter().position(|name| known.contains(&name.as_str()));
        found.ok_or_else(|| {
            let found: Vec<String> = header.iter().take(12).map(|name| format!("{name:?}")).collect();
            let problem =
                format!("no column {:?} of a {} trace; found {}", known[0], format.name(), found.join(", "));
            DataError::at(path, 1, problem)
        })
    };
    let (at, prompt, output) = (place(names.at)?, place(names.prompt)?, place(names.output)?);
    let phase = header.iter().position(|name| name == "phase" && format == TraceFormat::Records);
    let mut all = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        if phase.is_some_and(|place| record.get(place) != Some("measure")) {
            continue;
        }
        let line = record.position().map_or(0, |position| line_of(text, position));
        let wrong = |problem: String| DataError::at(path, line, problem);
        let number = |place: usize| -> Result<f64, DataError> {
            let text = record.get(place).unwrap_or_default();
            let found = text.parse::<f64>().ok().filter(|x| x.is_finite() && *x >= 0.0);
            let key = &header[place];
            found.ok_or_else(|| wrong(format!("{key} is not a number, 0 or more; found {text:?}")))
        };
        let length = |place: usize| length_of(number(place)?, &header[place]).map_err(wrong);
        all.push(Seen {
            at_s: number(at)? / names.per_second,
            prompt_tokens: length(prompt)?,
            max_tokens: length(output)?,
            hash_ids: Vec::new(),
        });
    }
    Ok(all)
}

fn length_of(found: f64, key: &str) -> Result<u32, String> {
    if found.fract() == 0.0 && found <= f64::from(MAX_TOKENS) {
        return Ok(found as u32);
    }
    Err(format!("{key} is not a length; found {found}. Allowed: 0 to {MAX_TOKENS}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::DataFile;

    fn settings(file: DataFile) -> TraceSettings {
        TraceSettings { file, format: None, scale: 1.0, skip: 0, limit: None, times: true }
    }

    fn read(text: &str) -> Result<Trace, String> {
        let (_file, found) = data::written(text);
        Trace::read(&settings(found)).map_err(|e| e.to_string())
    }

    fn entry(at_us: u64, prompt_tokens: u32, max_tokens: u32, hash_ids: &[u64]) -> TraceEntry {
        TraceEntry { at_us, prompt_tokens, max_tokens, hash_ids: hash_ids.to_vec() }
    }

    const MOONCAKE_LINES: &str = concat!(
        "{\"timestamp\": 1000, \"input_length\": 1030, \"output_length\": 9, \"hash_ids\": [0, 1, 2]}\n",
        "{\"timestamp\": 1000.5, \"input_tokens\": 600, \"output_tokens\": 3, \"hash_ids\": [0, \"b\"]}\n",
        "\n{\"timestamp\": 3000, \"input_length\": 5, \"output_length\": 0}\n",
    );

    #[test]
    fn formats_are_told_by_their_first_line() {
        let trace = read(MOONCAKE_LINES).unwrap();
        assert_eq!((trace.format, trace.left_out), (TraceFormat::Mooncake, 1));
        assert_eq!(trace.entries[0], entry(0, 1030, 9, &[0, 1, 2]));
        assert_eq!((trace.entries[1].at_us, trace.entries[1].hash_ids.len()), (500, 2));

        let text = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                    5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,0,0,0,Conversation log\n\
                    47.5,GPT-4,417,276,693,API log\n";
        let trace = read(text).unwrap();
        assert_eq!((trace.format, trace.left_out), (TraceFormat::Burstgpt, 1));
        assert_eq!(trace.entries, [entry(0, 472, 18, &[]), entry(42_500_000, 417, 276, &[])]);

        let trace = read("at_s,prompt_tokens,max_tokens\n0.5,8,4\n0.25,9,5\n").unwrap();
        assert_eq!(trace.format, TraceFormat::Plain);
        assert_eq!(trace.entries, [entry(0, 9, 5, &[]), entry(250_000, 8, 4, &[])], "in order of time");

        let csv = "seq,phase,intended_us,prompt_tokens_asked,max_tokens\n0,warmup,10,7,2\n1,measure,30,8,4\n2,measure,50,9,5\n";
        let want = [entry(0, 8, 4, &[]), entry(20, 9, 5, &[])];
        let trace = read(csv).unwrap();
        assert_eq!((trace.format, &trace.entries[..]), (TraceFormat::Records, &want[..]));
        let mut lines = String::new();
        for (phase, at, asked) in [("ramp", 10, 7), ("measure", 30, 8), ("measure", 50, 9)] {
            let mut record = crate::record::RequestRecord::blank(0);
            (record.intended_us, record.prompt_tokens_asked) = (at, asked);
            record.max_tokens = asked - 4;
            let mut value = serde_json::to_value(&record).unwrap();
            value["phase"] = phase.into();
            lines += &format!("{value}\n");
        }
        let trace = read(&lines).unwrap();
        assert_eq!((trace.format, &trace.entries[..]), (TraceFormat::Records, &want[..]));
    }

    #[test]
    fn parts_of_a_trace_at_another_speed() {
        let text: String = (0..10).map(|n| format!("{n},10,{}\n", n + 1)).collect();
        let (_file, found) = data::written(&format!("at_s,prompt_tokens,max_tokens\n{text}"));
        let trace = |skip, limit, scale| {
            Trace::read(&TraceSettings { skip, limit, scale, ..settings(found.clone()) }).map(|t| t.entries)
        };
        let some = trace(4, Some(2), 0.25).unwrap();
        assert_eq!(some, [entry(0, 10, 5, &[]), entry(250_000, 10, 6, &[])]);
        let error = trace(10, None, 1.0).unwrap_err().to_string();
        assert!(error.ends_with("there are 10 requests in it, and skip leaves out all"), "{error}");
        let whole = Trace::read(&settings(found.clone())).unwrap();
        assert_eq!(whole.entry(13), &entry(3_000_000, 10, 4, &[]), "after the last, the first again");
    }

    #[test]
    fn mistakes_name_file_line_and_find() {
        let more = |line: &str| format!("{MOONCAKE_LINES}{line}\n");
        for (text, part) in [
            (more("{\"timestamp\": 1"), ":5: not JSON: "),
            (
                more("{\"timestamp\": 1, \"input_length\": 3}"),
                ":5: no output_length; found the keys \"timestamp\", ",
            ),
            (
                more("{\"timestamp\": \"a\", \"input_length\": 3, \"output_length\": 3}"),
                ":5: timestamp is not a number, 0 or more; found \"a\"",
            ),
            (
                more("{\"timestamp\": 1, \"input_length\": 1.5, \"output_length\": 3}"),
                ":5: input_length is not a length; found 1.5. Allowed: 0 to ",
            ),
            (
                more("{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 3, \"hash_ids\": [-1]}"),
                ":5: hash_ids is not a list of numbers; found -1",
            ),
            (
                "at_s,prompt_tokens,max_tokens\r\n1,2,3\r\n\r\n# later\r\n1,x,3\r\n".to_owned(),
                ":5: prompt_tokens is not a number, 0 or more; found \"x\"",
            ),
            ("at_s,prompt_tokens,max_tokens\n1,2,3\n1,2\n".to_owned(), ":3: not CSV: "),
            (
                "time,length\n1,2\n".to_owned(),
                ":1: no known trace; found \"time\", \"length\". Allowed: mooncake (timestamp, ",
            ),
            ("\n".to_owned(), ": there is no request in it"),
            ("at_s,prompt_tokens,max_tokens\n".to_owned(), ": there is no request in it"),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(part), "{error}");
        }
        let (_file, found) = data::written("at_s,prompt_tokens,max_tokens\n1,2,3\n");
        let wrong = TraceSettings { format: Some(TraceFormat::Burstgpt), ..settings(found) };
        let error = Trace::read(&wrong).unwrap_err().to_string();
        assert!(error.contains(":1: no column \"Timestamp\" of a burstgpt trace; found \"at_s\""), "{error}");
    }
}
