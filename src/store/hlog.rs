//! The histogram of chunk gaps as an interval log that HdrHistogram's own tools read.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};

use super::StoreError;
use crate::record::CellRun;

/// One interval: the measured window. Values are microseconds; times in the log count from
/// the cell's epoch.
pub(super) fn write(file: &mut File, path: &Path, run: &CellRun) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { action: "write", path: path.to_owned(), source };
    let epoch = SystemTime::from(run.started_at);
    let start = Duration::from_micros(run.window.start_us);
    let length = Duration::from_micros(run.window.end_us.saturating_sub(run.window.start_us));
    let mut out = BufWriter::new(file);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("gaps between content chunks of requests due in the window, in microseconds")
        .with_start_time(epoch)
        .with_base_time(epoch)
        .begin_log_with(&mut out, &mut serializer)
        .map_err(io)?;
    log.write_histogram(&run.chunk_gaps, start, length, Tag::new("chunk_gap")).map_err(|e| match e {
        IntervalLogWriterError::IoError(source) => io(source),
        other => StoreError::Encode { path: path.to_owned(), what: other.to_string() },
    })?;
    out.flush().map_err(io)
}
