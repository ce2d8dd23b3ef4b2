//! A run on paper: figures as PNG, one page that works offline, a summary for the terminal.
//!
//! Everything here can be made again from `runs/`, on another machine.

pub mod capacity;
mod columns;
pub mod compare;
pub mod comparison;
pub mod contention;
pub mod findings;
mod groups;
pub mod history;
mod noise;
pub mod overlay;
pub mod page;
mod palette;
mod plotly;
pub mod png;
mod signs;
mod stages;
pub mod summary;
pub mod terminal;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::analysis::RunData;
use crate::chart::{self, Body, Chart};

/// Most time strips that are written as PNG; the page has them all.
pub const MAX_STRIP_FILES: usize = 60;

/// What [`write()`] left on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The page.
    pub page: PathBuf,
    /// The figures, in the order of the page.
    pub figures: Vec<PathBuf>,
    /// Time strips that are on the page only, because there are more than
    /// [`MAX_STRIP_FILES`].
    pub strips_left_out: usize,
}

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("cannot write {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("figure {id}: {source}")]
    Draw { id: String, source: png::DrawError },
    #[error("cannot make the page: {0}")]
    Page(#[from] minijinja::Error),
    #[error("cannot put the figures' data into the page: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot read the traced requests: {0}")]
    Records(#[from] crate::analysis::AnalysisError),
}

/// Write `index.html`, `summary.md` and a PNG per figure into `out`, which is made if need be. Each file
/// appears whole or not at all; files of an earlier report are replaced.
///
/// # Errors
/// When a file cannot be written or a figure cannot be drawn.
pub fn write(run: &RunData, out: &Path) -> Result<Written, ReportError> {
    let charts = chart::all(run);
    let (strips, others): (Vec<&Chart>, Vec<&Chart>) =
        charts.iter().partition(|c| matches!(c.body, Body::Strip(_)));
    std::fs::create_dir_all(out).map_err(|source| ReportError::Io { path: out.into(), source })?;
    summary::write(&summary::Summary::of(run), out)?;
    let strips_left_out = strips.len().saturating_sub(MAX_STRIP_FILES);
    let drawn: Vec<&Chart> = others.into_iter().chain(strips.into_iter().take(MAX_STRIP_FILES)).collect();
    Ok(Written { strips_left_out, ..write_page(&page::of_run(run, &charts)?, &drawn, out)? })
}

/// A page as `index.html`, and its figures beside it.
fn write_page(text: &str, charts: &[&Chart], out: &Path) -> Result<Written, ReportError> {
    std::fs::create_dir_all(out).map_err(|source| ReportError::Io { path: out.into(), source })?;
    let page = out.join("index.html");
    replace(&page, text.as_bytes())?;
    draw_all(charts, out)?;
    let figures = charts.iter().map(|c| file_of(out, c)).collect();
    Ok(Written { page, figures, strips_left_out: 0 })
}

fn file_of(out: &Path, chart: &Chart) -> PathBuf {
    out.join(format!("{}.png", chart.id))
}

/// Drawing is what takes time: one thread per core. The first error wins.
fn draw_all(charts: &[&Chart], out: &Path) -> Result<(), ReportError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(charts.len());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(chart) = charts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let drawn = png::render(chart)
                        .map_err(|source| ReportError::Draw { id: chart.id.clone(), source })
                        .and_then(|png| replace(&file_of(out, chart), &png));
                    if let Err(error) = drawn {
                        failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Write beside the file, then rename: a reader never sees half of it.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let failed = |source| ReportError::Io { path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let write = || {
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|source| {
        let _ = std::fs::remove_file(&beside);
        failed(source)
    })
}
