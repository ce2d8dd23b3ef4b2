//! What a run has already, given out as it is: `csv`, `json`, `parquet`, `hlog`.

use serde_json::{Value, json};

use super::figures::{csv_bytes, json_bytes};
use super::public::public;
use super::{ExportError, File, Input, Measured};
use crate::store;

/// The rows of `summary.csv`, in plan order.
pub(super) fn csv(input: &Input) -> Result<Vec<File>, ExportError> {
    let rows = input.cells.iter().map(|m| store::row(&input.manifest, &m.cell, &m.stored));
    let bytes = csv_bytes(std::iter::once(store::columns()).chain(rows));
    Ok(vec![File { name: format!("{}.csv", input.manifest.run), bytes }])
}

/// Manifest, environment, and each cell as it was asked and as it came out.
pub(super) fn json(input: &Input) -> Result<Vec<File>, ExportError> {
    let cell = |m: &Measured| json!({ "cell": public(&m.cell), "summary": public(&m.stored) });
    let run = json!({
        "manifest": public(&input.manifest),
        "environment": public(&input.environment),
        "cells": input.cells.iter().map(cell).collect::<Vec<Value>>(),
    });
    Ok(vec![File { name: format!("{}.json", input.manifest.run), bytes: json_bytes(&run) }])
}

pub(super) fn parquet(input: &Input) -> Result<Vec<File>, ExportError> {
    input.cells.iter().map(|m| copy(m, store::RECORDS, "parquet")).collect()
}

pub(super) fn hlog(input: &Input) -> Result<Vec<File>, ExportError> {
    input.cells.iter().map(|m| copy(m, store::CHUNK_GAPS, "hlog")).collect()
}

fn copy(measured: &Measured, file: &'static str, extension: &str) -> Result<File, ExportError> {
    let path = measured.dir.join(file);
    if !path.exists() {
        return Err(measured.lacks(file));
    }
    let bytes = std::fs::read(&path).map_err(|source| ExportError::Io { path, source })?;
    Ok(File { name: format!("{}.{extension}", measured.stem()), bytes })
}
