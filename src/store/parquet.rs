//! Records and time lines as Parquet.

use std::fs::File;
use std::path::Path;

use polars::prelude::*;
use polars_io::parquet::write::{BatchedWriter, ParquetCompression, ParquetWriter};

use super::{SealedLog, StoreError};
use crate::measure::Tick;
use crate::record::{Phase, RequestRecord};

/// Rows of a row group: what is in memory at a time.
const ROW_GROUP: usize = 50_000;

/// Write all records of `log`.
pub(super) fn write_records(file: &mut File, path: &Path, log: &SealedLog) -> Result<(), StoreError> {
    let fail = |e| StoreError::polars("write", path, e);
    let mut writer = writer(file, &records_frame(&[]).map_err(fail)?).map_err(fail)?;
    let mut batch = Vec::new();
    for record in log.records()? {
        batch.push(record?);
        if batch.len() == ROW_GROUP {
            writer.write_batch(&records_frame(&batch).map_err(fail)?).map_err(fail)?;
            batch.clear();
        }
    }
    if !batch.is_empty() {
        writer.write_batch(&records_frame(&batch).map_err(fail)?).map_err(fail)?;
    }
    writer.finish().map(drop).map_err(fail)
}

/// Write a cell's time line.
pub(super) fn write_timeline(file: &mut File, path: &Path, ticks: &[Tick]) -> Result<(), StoreError> {
    let fail = |e| StoreError::polars("write", path, e);
    let frame = timeline_frame(ticks).map_err(fail)?;
    let mut writer = writer(file, &frame).map_err(fail)?;
    if frame.height() > 0 {
        writer.write_batch(&frame).map_err(fail)?;
    }
    writer.finish().map(drop).map_err(fail)
}

fn writer<'f>(file: &'f mut File, like: &DataFrame) -> PolarsResult<BatchedWriter<&'f mut File>> {
    ParquetWriter::new(file)
        .with_compression(ParquetCompression::Zstd(None))
        .with_row_group_size(Some(ROW_GROUP))
        .batched(like.schema())
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

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Ramp => "ramp",
        Phase::Warmup => "warmup",
        Phase::Measure => "measure",
    }
}
