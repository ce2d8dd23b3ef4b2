//! Parquet files back to plain vectors. Only the wanted columns are read.

use std::fs::File;
use std::path::{Path, PathBuf};

use polars::prelude::*;
use polars_io::SerReader;
use polars_io::prelude::{FileMetadataRef, ParallelStrategy, ParquetReader};

use super::{AnalysisError, RequestPoint};
use crate::measure::ServerCourse;
use crate::record::{Outcome, Phase, RequestRecord, Tick, TokenSource};
use crate::store::StoreError;

/// Rows that are read at a time where not all are wanted.
const SLICE: usize = 1 << 14;

/// Columns of a file, a value per row. Names are those of [`RequestRecord`]'s fields.
pub struct Records {
    path: PathBuf,
    frame: DataFrame,
}

impl Records {
    /// Read `columns` of the Parquet file at `path`.
    ///
    /// # Errors
    /// When the file can't be read or lacks a column.
    pub fn read(path: &Path, columns: &[&str]) -> Result<Self, AnalysisError> {
        Self::load(path, Some(columns.iter().map(|c| (*c).to_owned()).collect()))
    }

    /// Read `columns`, and of `optional`, which runs of earlier versions lack, those that are there.
    pub(super) fn read_with(path: &Path, columns: &[&str], optional: &[&str]) -> Result<Self, AnalysisError> {
        let mut reader = ParquetReader::new(File::open(path).map_err(StoreError::io("open", path))?);
        let schema = reader.schema().map_err(|e| unreadable(path, &e))?;
        let there = optional.iter().filter(|column| schema.contains(column));
        let all: Vec<&str> = columns.iter().chain(there).copied().collect();
        Self::read(path, &all)
    }

    fn load(path: &Path, columns: Option<Vec<String>>) -> Result<Self, AnalysisError> {
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        let frame =
            ParquetReader::new(file).with_columns(columns).finish().map_err(|e| unreadable(path, &e))?;
        Ok(Self { path: path.to_owned(), frame })
    }

    /// `columns` of the rows from `start` on, [`SLICE`] at most; `metadata` is the file's own.
    fn slice(
        path: &Path,
        metadata: &FileMetadataRef,
        columns: &[&str],
        start: usize,
    ) -> Result<Self, AnalysisError> {
        let mut reader = ParquetReader::new(File::open(path).map_err(StoreError::io("open", path))?)
            .with_columns(Some(columns.iter().map(|c| (*c).to_owned()).collect()))
            // Cells are read side by side: a file is read by the thread that asks. Row groups
            // outside the slice are not touched.
            .read_parallel(ParallelStrategy::None)
            .with_slice(Some((start, SLICE)));
        reader.set_metadata(FileMetadataRef::clone(metadata));
        let frame = reader.finish().map_err(|e| unreadable(path, &e))?;
        Ok(Self { path: path.to_owned(), frame })
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frame.height()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A column of numbers, for drawing.
    ///
    /// # Errors
    /// When it wasn't read, or holds no numbers.
    pub fn numbers(&self, column: &str) -> Result<Vec<Option<f64>>, AnalysisError> {
        let cast = self.cast(column, &DataType::Float64)?;
        Ok(cast.f64().map_err(|e| self.wrong(column, &e))?.iter().collect())
    }

    /// A column of whole numbers, exactly.
    ///
    /// # Errors
    /// When it wasn't read, or holds no whole numbers.
    pub fn counts(&self, column: &str) -> Result<Vec<Option<u64>>, AnalysisError> {
        let cast = self.cast(column, &DataType::UInt64)?;
        Ok(cast.u64().map_err(|e| self.wrong(column, &e))?.iter().collect())
    }

    /// A column of words, such as `outcome` and `phase`.
    ///
    /// # Errors
    /// When it wasn't read, or holds no text.
    pub fn words(&self, column: &str) -> Result<Vec<Option<String>>, AnalysisError> {
        let found = self.column(column)?;
        let words = found.str().map_err(|e| self.wrong(column, &e))?;
        Ok(words.iter().map(|word| word.map(str::to_owned)).collect())
    }

    /// A column of yes and no, such as `cap_blocked`.
    ///
    /// # Errors
    /// When it wasn't read, or holds something else.
    pub fn flags(&self, column: &str) -> Result<Vec<Option<bool>>, AnalysisError> {
        let found = self.column(column)?;
        Ok(found.bool().map_err(|e| self.wrong(column, &e))?.iter().collect())
    }

    /// Milliseconds from column `from` to column `to`, both `_us`; `None` where either is.
    ///
    /// # Errors
    /// As [`Records::counts`].
    pub fn elapsed_ms(&self, from: &str, to: &str) -> Result<Vec<Option<f64>>, AnalysisError> {
        let (from, to) = (self.counts(from)?, self.counts(to)?);
        Ok(from.into_iter().zip(to).map(|(a, b)| Some((b? as f64 - a? as f64) / 1e3)).collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.frame.column(name).is_ok()
    }

    fn column(&self, name: &str) -> Result<&Column, AnalysisError> {
        self.frame.column(name).map_err(|e| self.wrong(name, &e))
    }

    /// Numbers only: polars would make text to numbers, and failures to nulls.
    fn cast(&self, name: &str, to: &DataType) -> Result<Column, AnalysisError> {
        let column = self.column(name)?;
        if !column.dtype().is_primitive_numeric() {
            let what = format!("it holds {}, not numbers", column.dtype());
            return Err(AnalysisError::Column { path: self.path.clone(), column: name.to_owned(), what });
        }
        column.strict_cast(to).map_err(|e| self.wrong(name, &e))
    }

    fn wrong(&self, column: &str, error: &PolarsError) -> AnalysisError {
        AnalysisError::Column { path: self.path.clone(), column: column.to_owned(), what: error.to_string() }
    }

    fn invalid(&self, column: &str, what: &str) -> AnalysisError {
        AnalysisError::Column { path: self.path.clone(), column: column.to_owned(), what: what.to_owned() }
    }

    // Columns in which every row has a value.

    fn all<T>(&self, column: &str, values: Vec<Option<T>>) -> Result<Vec<T>, AnalysisError> {
        values.into_iter().map(|v| v.ok_or_else(|| self.invalid(column, "a value is missing"))).collect()
    }

    fn all_counts(&self, column: &str) -> Result<Vec<u64>, AnalysisError> {
        self.all(column, self.counts(column)?)
    }

    fn small(&self, column: &str) -> Result<Vec<Option<u32>>, AnalysisError> {
        let narrow = |n: u64| u32::try_from(n).map_err(|_| self.invalid(column, "a number is too large"));
        self.counts(column)?.into_iter().map(|n| n.map(narrow).transpose()).collect()
    }

    fn all_small(&self, column: &str) -> Result<Vec<u32>, AnalysisError> {
        self.all(column, self.small(column)?)
    }

    fn parsed<T>(
        &self,
        column: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<Option<T>>, AnalysisError> {
        let parse = |word: String| {
            parse(&word).ok_or_else(|| self.invalid(column, &format!("unknown word {word:?}")))
        };
        self.words(column)?.into_iter().map(|word| word.map(parse).transpose()).collect()
    }
}

fn unreadable(path: &Path, error: &PolarsError) -> AnalysisError {
    AnalysisError::Parquet { path: path.to_owned(), what: error.to_string() }
}

/// At most `most` requests of a `records.parquet` for a picture of the cell over time: every
/// n-th in the order in which they ended, and the first that was sent, sorted by their sending.
/// The file is read piece by piece.
///
/// # Errors
/// When the file can't be read or isn't one of records.
pub fn read_points(path: &Path, most: usize) -> Result<Vec<RequestPoint>, AnalysisError> {
    let mut reader = ParquetReader::new(File::open(path).map_err(StoreError::io("open", path))?);
    let metadata = reader.get_metadata().map_err(|e| unreadable(path, &e))?.clone();
    let mut columns = PointColumns::NAMES.to_vec();
    // Runs of earlier versions lack it.
    columns
        .extend(reader.schema().map_err(|e| unreadable(path, &e))?.contains("choices").then_some("choices"));
    let rows = metadata.num_rows;
    let most = most.min(rows);
    // One place is kept for the first that was sent: it may have ended late.
    let every = if most < rows { most.saturating_sub(1) } else { most };
    let mut wanted = (0..every).map(|k| k * rows / every).peekable();
    let mut points = Vec::with_capacity(most);
    let mut first: Option<(u64, RequestPoint)> = None;
    let mut first_taken = true;
    for start in (0..rows).step_by(SLICE) {
        let slice = Records::slice(path, &metadata, &columns, start)?;
        let columns = PointColumns::of(&slice)?;
        let earliest =
            columns.earliest().filter(|(t, _)| first.as_ref().is_none_or(|(before, _)| t < before));
        if let Some((t, i)) = earliest {
            first = Some((t, columns.point(i)));
            first_taken = false;
        }
        while let Some(row) = wanted.next_if(|row| *row < start + slice.len()) {
            points.push(columns.point(row - start));
            first_taken |= earliest.is_some_and(|(_, i)| i == row - start);
        }
    }
    points.extend(first.filter(|_| !first_taken && points.len() < most).map(|(_, point)| point));
    points.sort_by(|a, b| a.sent_s.total_cmp(&b.sent_s));
    Ok(points)
}

/// What a [`RequestPoint`] is made of. A point is made of the rows that are wanted, never of all.
struct PointColumns {
    intended_us: UInt64Chunked,
    sent_us: UInt64Chunked,
    first_token_us: UInt64Chunked,
    last_token_us: UInt64Chunked,
    output_tokens: UInt32Chunked,
    asked: UInt32Chunked,
    counted: UInt32Chunked,
    told: UInt32Chunked,
    choices: Option<UInt32Chunked>,
    outcome: StringChunked,
}

impl PointColumns {
    const NAMES: [&str; 9] = [
        "intended_us",
        "sent_us",
        "first_token_us",
        "last_token_us",
        "output_tokens",
        "prompt_tokens_asked",
        "prompt_tokens_counted",
        "prompt_tokens",
        "outcome",
    ];

    fn of(r: &Records) -> Result<Self, AnalysisError> {
        let times = |name: &str| {
            let cast = r.cast(name, &DataType::UInt64)?;
            cast.u64().cloned().map_err(|e| r.wrong(name, &e))
        };
        let counts = |name: &str| {
            let cast = r.cast(name, &DataType::UInt32)?;
            cast.u32().cloned().map_err(|e| r.wrong(name, &e))
        };
        let whole = |name: &str, nulls: usize| {
            if nulls == 0 { Ok(()) } else { Err(r.invalid(name, "a value is missing")) }
        };
        let (intended_us, asked) = (times("intended_us")?, counts("prompt_tokens_asked")?);
        whole("intended_us", intended_us.null_count())?;
        whole("prompt_tokens_asked", asked.null_count())?;
        let outcome = r.column("outcome")?.str().map_err(|e| r.wrong("outcome", &e))?.clone();
        Ok(Self {
            intended_us,
            sent_us: times("sent_us")?,
            first_token_us: times("first_token_us")?,
            last_token_us: times("last_token_us")?,
            output_tokens: counts("output_tokens")?,
            asked,
            counted: counts("prompt_tokens_counted")?,
            told: counts("prompt_tokens")?,
            choices: r.has("choices").then(|| counts("choices")).transpose()?,
            outcome,
        })
    }

    /// The first that was sent: when, and its row.
    fn earliest(&self) -> Option<(u64, usize)> {
        self.sent_us.iter().enumerate().filter_map(|(i, sent)| Some((sent?, i))).min()
    }

    fn point(&self, i: usize) -> RequestPoint {
        let elapsed_ms = |from: Option<u64>, to: Option<u64>| Some((to? as f64 - from? as f64) / 1e3);
        let (intended, sent) = (self.intended_us.get(i), self.sent_us.get(i));
        let (first, last) = (self.first_token_us.get(i), self.last_token_us.get(i));
        let several = self.choices.as_ref().is_some_and(|choices| choices.get(i).is_some());
        RequestPoint {
            sent_s: sent.or(intended).unwrap_or(0) as f64 / 1e6,
            ttft_ms: elapsed_ms(intended, first),
            e2e_ms: elapsed_ms(intended, last),
            lag_ms: elapsed_ms(intended, sent),
            tpot_ms: elapsed_ms(first, last)
                .zip(self.output_tokens.get(i).filter(|n| *n > 1 && !several))
                .map(|(ms, n)| ms / f64::from(n - 1)),
            prompt_tokens: self.told.get(i).or(self.counted.get(i)).or(self.asked.get(i)),
            ok: self.outcome.get(i) == Some(Outcome::Ok.name()),
        }
    }
}

/// All records of a `records.parquet`, as they were measured. Takes memory for every
/// request: [`Records::read`] is the way to a few columns.
///
/// # Errors
/// When the file can't be read or isn't one of records.
pub fn read_requests(path: &Path) -> Result<Vec<RequestRecord>, AnalysisError> {
    let r = Records::load(path, None)?;
    let mut requests = required_fields(&r)?;
    fill(&mut requests, r.small("user")?, |q, v| q.user = v);
    fill(&mut requests, r.counts("sent_us")?, |q, v| q.sent_us = v);
    fill(&mut requests, r.counts("headers_us")?, |q, v| q.headers_us = v);
    fill(&mut requests, r.counts("first_token_us")?, |q, v| q.first_token_us = v);
    fill(&mut requests, r.counts("first_visible_us")?, |q, v| q.first_visible_us = v);
    fill(&mut requests, r.counts("second_chunk_us")?, |q, v| q.second_chunk_us = v);
    fill(&mut requests, r.counts("last_token_us")?, |q, v| q.last_token_us = v);
    fill(&mut requests, r.counts("end_us")?, |q, v| q.end_us = v);
    fill(&mut requests, r.small("prompt_tokens_counted")?, |q, v| q.prompt_tokens_counted = v);
    fill(&mut requests, r.small("prompt_tokens")?, |q, v| q.prompt_tokens = v);
    fill(&mut requests, r.small("output_tokens")?, |q, v| q.output_tokens = v);
    fill(&mut requests, r.small("cached_tokens")?, |q, v| q.cached_tokens = v);
    fill(&mut requests, r.parsed("token_source", token_source)?, |q, v| q.token_source = v);
    fill(&mut requests, r.counts("max_gap_us")?, |q, v| q.max_gap_us = v);
    let status = r.small("status")?.into_iter().map(|s| s.and_then(|s| u16::try_from(s).ok()));
    fill(&mut requests, status, |q, v| q.status = v);
    fill(&mut requests, r.words("finish_reason")?, |q, v| q.finish_reason = v);
    fill(&mut requests, r.words("error_class")?, |q, v| q.error_class = v);
    fill(&mut requests, r.words("detail")?, |q, v| q.detail = v);
    // Runs of earlier versions lack these.
    if r.has("task") {
        fill(&mut requests, r.words("task")?, |q, v| q.task = v);
        fill(&mut requests, r.words("endpoint")?, |q, v| q.endpoint = v);
        fill(&mut requests, r.words("stage")?, |q, v| q.stage = v);
        fill(&mut requests, r.counts("session")?, |q, v| q.session = v);
        fill(&mut requests, r.small("turn")?, |q, v| q.turn = v);
        fill(&mut requests, r.counts("server_ttft_us")?, |q, v| q.server_ttft_us = v);
        fill(&mut requests, r.counts("server_e2e_us")?, |q, v| q.server_e2e_us = v);
    }
    if r.has("choices") {
        fill(&mut requests, r.small("choices")?, |q, v| q.choices = v);
    }
    if r.has("trace_id") {
        fill(&mut requests, r.words("trace_id")?, |q, v| q.trace_id = v);
    }
    Ok(requests)
}

fn fill<T>(
    requests: &mut [RequestRecord],
    values: impl IntoIterator<Item = T>,
    set: impl Fn(&mut RequestRecord, T),
) {
    for (request, value) in requests.iter_mut().zip(values) {
        set(request, value);
    }
}

/// The fields that every record has; all others are `None` yet.
fn required_fields(r: &Records) -> Result<Vec<RequestRecord>, AnalysisError> {
    let (seq, shard, phases) = (r.all_counts("seq")?, r.all_small("shard")?, r.parsed("phase", phase)?);
    let phases = r.all("phase", phases)?;
    let intended = r.all_counts("intended_us")?;
    let (asked, max_tokens) = (r.all_small("prompt_tokens_asked")?, r.all_small("max_tokens")?);
    let (chunks, in_window) = (r.all_small("chunks")?, r.all_small("chunks_in_window")?);
    let (bytes, retries) = (r.all_counts("bytes")?, r.all_small("retries")?);
    let blocked = r.all("cap_blocked", r.flags("cap_blocked")?)?;
    let outcomes = r.all("outcome", r.parsed("outcome", outcome)?)?;
    Ok((0..r.len())
        .map(|i| RequestRecord {
            shard: shard[i],
            phase: phases[i],
            intended_us: intended[i],
            prompt_tokens_asked: asked[i],
            max_tokens: max_tokens[i],
            chunks: chunks[i],
            chunks_in_window: in_window[i],
            bytes: bytes[i],
            retries: retries[i],
            cap_blocked: blocked[i],
            outcome: outcomes[i],
            ..RequestRecord::blank(seq[i])
        })
        .collect())
}

/// A cell's `timeline.parquet`.
///
/// # Errors
/// When the file can't be read or isn't a time line.
pub fn read_timeline(path: &Path) -> Result<Vec<Tick>, AnalysisError> {
    let r = Records::load(path, None)?;
    let (t_us, max_lag_us) = (r.all_counts("t_us")?, r.all_counts("max_lag_us")?);
    let (in_flight, due, sent) = (r.all_small("in_flight")?, r.all_small("due")?, r.all_small("sent")?);
    let (completed, failed, chunks) =
        (r.all_small("completed")?, r.all_small("failed")?, r.all_small("chunks")?);
    Ok((0..r.len())
        .map(|i| Tick {
            t_us: t_us[i],
            in_flight: in_flight[i],
            due: due[i],
            sent: sent[i],
            completed: completed[i],
            failed: failed[i],
            chunks: chunks[i],
            max_lag_us: max_lag_us[i],
        })
        .collect())
}

/// The server's figures over the time of a cell, from its `server.parquet`.
///
/// # Errors
/// When the file can't be read or lacks a column.
pub fn read_server(path: &Path) -> Result<Vec<ServerCourse>, AnalysisError> {
    let r = Records::load(path, None)?;
    let figures = r.all("figure", r.words("figure")?)?;
    let (times, values) = (r.all("at_us", r.numbers("at_us")?)?, r.all("value", r.numbers("value")?)?);
    let mut courses: Vec<ServerCourse> = Vec::new();
    for ((figure, at), value) in figures.into_iter().zip(times).zip(values) {
        // Microseconds of a cell are whole numbers that a float holds exactly.
        let at = at as i64;
        match courses.last_mut().filter(|course| course.figure == figure) {
            Some(course) => course.points.push((at, value)),
            None => courses.push(ServerCourse { figure, points: vec![(at, value)] }),
        }
    }
    Ok(courses)
}

fn phase(word: &str) -> Option<Phase> {
    match word {
        "ramp" => Some(Phase::Ramp),
        "warmup" => Some(Phase::Warmup),
        "measure" => Some(Phase::Measure),
        _ => None,
    }
}

fn outcome(word: &str) -> Option<Outcome> {
    Outcome::ALL.into_iter().find(|o| o.name() == word)
}

fn token_source(word: &str) -> Option<TokenSource> {
    [TokenSource::Usage, TokenSource::Tokenizer, TokenSource::Chunks].into_iter().find(|s| s.name() == word)
}
