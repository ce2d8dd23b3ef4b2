//! Records and time lines as Parquet.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use polars::prelude::*;
use polars_io::parquet::write::{BatchedWriter, ParquetCompression, ParquetWriter};

use super::{SealedLog, StoreError};
use crate::measure::ServerCourse;
use crate::record::{Observed, Phase, RequestRecord, Tick};

/// Rows of a row group: what is in memory at a time.
const ROW_GROUP: usize = 1 << 14;

/// Write all records of `log`.
pub(super) fn write_records(file: &mut File, path: &Path, log: &SealedLog) -> Result<(), StoreError> {
    let mut out = Out::new(file, path, records_frame(&[]))?;
    let mut batch = Vec::new();
    for record in log.records()? {
        batch.push(record?);
        if batch.len() == ROW_GROUP {
            out.write(records_frame(&batch))?;
            batch.clear();
        }
    }
    out.write(records_frame(&batch))?;
    out.finish()
}

/// Write a cell's time line.
pub(super) fn write_timeline(file: &mut File, path: &Path, ticks: &[Tick]) -> Result<(), StoreError> {
    let mut out = Out::new(file, path, timeline_frame(&[]))?;
    for part in ticks.chunks(ROW_GROUP) {
        out.write(timeline_frame(part))?;
    }
    out.finish()
}

/// Write all that was read of the server: a row for each value, series by series.
pub(super) fn write_observed(file: &mut File, path: &Path, observed: &Observed) -> Result<(), StoreError> {
    let mut out = Out::new(file, path, observed_frame(&[]))?;
    let mut rows: Vec<ObservedRow<'_>> = Vec::with_capacity(ROW_GROUP);
    for series in &observed.series {
        let source = observed.sources.get(series.source).map_or("", String::as_str);
        let (name, labels, kind) = (series.name.as_str(), series.labels.as_str(), series.kind.name());
        for (at_us, value) in observed.values(series) {
            rows.push(ObservedRow { at_us, source, name, labels, kind, value });
            if rows.len() == ROW_GROUP {
                out.write(observed_frame(&rows))?;
                rows.clear();
            }
        }
    }
    out.write(observed_frame(&rows))?;
    out.finish()
}

/// One value of one series.
struct ObservedRow<'a> {
    at_us: i64,
    source: &'a str,
    name: &'a str,
    labels: &'a str,
    kind: &'static str,
    value: f64,
}

/// Write the server's figures over time.
pub(super) fn write_server(file: &mut File, path: &Path, courses: &[ServerCourse]) -> Result<(), StoreError> {
    let mut out = Out::new(file, path, server_frame(&[]))?;
    for course in courses {
        let rows: Vec<(&str, i64, f64)> =
            course.points.iter().map(|(at_us, value)| (course.figure.as_str(), *at_us, *value)).collect();
        for part in rows.chunks(ROW_GROUP) {
            out.write(server_frame(part))?;
        }
    }
    out.finish()
}

/// A Parquet file that is being written.
struct Out<'f> {
    writer: BatchedWriter<Watched<'f>>,
    path: &'f Path,
    refused: Arc<OnceLock<io::Error>>,
}

impl<'f> Out<'f> {
    fn new(file: &'f mut File, path: &'f Path, like: PolarsResult<DataFrame>) -> Result<Self, StoreError> {
        let refused = Arc::new(OnceLock::new());
        let watched = Watched { file, refused: Arc::clone(&refused) };
        let writer = like.and_then(|like| {
            ParquetWriter::new(watched)
                .with_compression(ParquetCompression::Zstd(None))
                .with_row_group_size(Some(ROW_GROUP))
                .batched(like.schema())
        });
        match writer {
            Ok(writer) => Ok(Self { writer, path, refused }),
            Err(error) => Err(failure(path, &refused, &error)),
        }
    }

    fn write(&mut self, frame: PolarsResult<DataFrame>) -> Result<(), StoreError> {
        frame
            .and_then(|frame| if frame.height() == 0 { Ok(()) } else { self.writer.write_batch(&frame) })
            .map_err(|e| failure(self.path, &self.refused, &e))
    }

    fn finish(self) -> Result<(), StoreError> {
        self.writer.finish().map(drop).map_err(|e| failure(self.path, &self.refused, &e))
    }
}

/// Remembers what the operating system said: polars passes a full disk on as a malformed
/// file.
struct Watched<'f> {
    file: &'f mut File,
    refused: Arc<OnceLock<io::Error>>,
}

impl Watched<'_> {
    fn keep<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|e| {
            // Only the first refusal says why.
            let _ = self.refused.set(io::Error::new(e.kind(), e.to_string()));
        })
    }
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.file.write(bytes);
        self.keep(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.flush();
        self.keep(result)
    }
}

fn failure(path: &Path, refused: &OnceLock<io::Error>, error: &PolarsError) -> StoreError {
    match refused.get() {
        Some(e) => StoreError::io("write", path)(io::Error::new(e.kind(), e.to_string())),
        None => StoreError::Encode { path: path.to_owned(), what: error.to_string() },
    }
}

/// One column, a value per item. Only types that need no further feature of polars.
macro_rules! column {
    ($rows:expr, $name:literal, |$row:ident| $value:expr, $type:ty) => {
        Column::new($name.into(), $rows.iter().map(|$row| $value).collect::<Vec<$type>>())
    };
}

fn records_frame(rows: &[RequestRecord]) -> PolarsResult<DataFrame> {
    let columns = vec![
        column!(rows, "seq", |r| r.seq, u64),
        column!(rows, "user", |r| r.user, Option<u32>),
        column!(rows, "shard", |r| r.shard, u32),
        column!(rows, "phase", |r| phase(r.phase), &str),
        column!(rows, "intended_us", |r| r.intended_us, u64),
        column!(rows, "sent_us", |r| r.sent_us, Option<u64>),
        column!(rows, "headers_us", |r| r.headers_us, Option<u64>),
        column!(rows, "first_token_us", |r| r.first_token_us, Option<u64>),
        column!(rows, "first_visible_us", |r| r.first_visible_us, Option<u64>),
        column!(rows, "second_chunk_us", |r| r.second_chunk_us, Option<u64>),
        column!(rows, "last_token_us", |r| r.last_token_us, Option<u64>),
        column!(rows, "end_us", |r| r.end_us, Option<u64>),
        column!(rows, "prompt_tokens_asked", |r| r.prompt_tokens_asked, u32),
        column!(rows, "prompt_tokens_counted", |r| r.prompt_tokens_counted, Option<u32>),
        column!(rows, "prompt_tokens", |r| r.prompt_tokens, Option<u32>),
        column!(rows, "max_tokens", |r| r.max_tokens, u32),
        column!(rows, "output_tokens", |r| r.output_tokens, Option<u32>),
        column!(rows, "cached_tokens", |r| r.cached_tokens, Option<u32>),
        column!(rows, "token_source", |r| r.token_source.map(|s| s.name()), Option<&str>),
        column!(rows, "chunks", |r| r.chunks, u32),
        column!(rows, "chunks_in_window", |r| r.chunks_in_window, u32),
        column!(rows, "max_gap_us", |r| r.max_gap_us, Option<u64>),
        column!(rows, "bytes", |r| r.bytes, u64),
        column!(rows, "status", |r| r.status.map(u32::from), Option<u32>),
        column!(rows, "finish_reason", |r| r.finish_reason.as_deref(), Option<&str>),
        column!(rows, "retries", |r| r.retries, u32),
        column!(rows, "cap_blocked", |r| r.cap_blocked, bool),
        column!(rows, "outcome", |r| r.outcome.name(), &str),
        column!(rows, "error_class", |r| r.error_class.as_deref(), Option<&str>),
        column!(rows, "detail", |r| r.detail.as_deref(), Option<&str>),
        column!(rows, "task", |r| r.task.as_deref(), Option<&str>),
        column!(rows, "endpoint", |r| r.endpoint.as_deref(), Option<&str>),
        column!(rows, "stage", |r| r.stage.as_deref(), Option<&str>),
        column!(rows, "session", |r| r.session, Option<u64>),
        column!(rows, "turn", |r| r.turn, Option<u32>),
        column!(rows, "server_ttft_us", |r| r.server_ttft_us, Option<u64>),
        column!(rows, "server_e2e_us", |r| r.server_e2e_us, Option<u64>),
        column!(rows, "choices", |r| r.choices, Option<u32>),
        column!(rows, "trace_id", |r| r.trace_id.as_deref(), Option<&str>),
    ];
    DataFrame::new(rows.len(), columns)
}

fn timeline_frame(ticks: &[Tick]) -> PolarsResult<DataFrame> {
    let columns = vec![
        column!(ticks, "t_us", |t| t.t_us, u64),
        column!(ticks, "in_flight", |t| t.in_flight, u32),
        column!(ticks, "due", |t| t.due, u32),
        column!(ticks, "sent", |t| t.sent, u32),
        column!(ticks, "completed", |t| t.completed, u32),
        column!(ticks, "failed", |t| t.failed, u32),
        column!(ticks, "chunks", |t| t.chunks, u32),
        column!(ticks, "max_lag_us", |t| t.max_lag_us, u64),
    ];
    DataFrame::new(ticks.len(), columns)
}

fn observed_frame(rows: &[ObservedRow<'_>]) -> PolarsResult<DataFrame> {
    let columns = vec![
        column!(rows, "at_us", |r| r.at_us, i64),
        column!(rows, "source", |r| r.source, &str),
        column!(rows, "name", |r| r.name, &str),
        column!(rows, "labels", |r| r.labels, &str),
        column!(rows, "kind", |r| r.kind, &str),
        column!(rows, "value", |r| r.value, f64),
    ];
    DataFrame::new(rows.len(), columns)
}

fn server_frame(rows: &[(&str, i64, f64)]) -> PolarsResult<DataFrame> {
    let columns = vec![
        column!(rows, "figure", |r| r.0, &str),
        column!(rows, "at_us", |r| r.1, i64),
        column!(rows, "value", |r| r.2, f64),
    ];
    DataFrame::new(rows.len(), columns)
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Ramp => "ramp",
        Phase::Warmup => "warmup",
        Phase::Measure => "measure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/dev/full` takes no byte, as a full disk.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_as_one() {
        let mut file = File::options().write(true).open("/dev/full").unwrap();
        let path = Path::new("/dev/full");
        let error = write_timeline(&mut file, path, &[Tick::default()]).unwrap_err();
        assert!(
            matches!(&error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
    }
}
