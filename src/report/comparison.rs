//! A comparison's page and figures.

use std::path::Path;

use super::{ReportError, Written, page, write_page};
use crate::chart::{Chart, Compared, of_comparison};

/// Write `index.html` and a PNG per figure into `out`, which is made if need be. Each file
/// appears whole or not at all; other files there, such as `comparison.json`, stay.
///
/// # Errors
/// When a file cannot be written or a figure cannot be drawn.
pub fn write(compared: &Compared<'_>, out: &Path) -> Result<Written, ReportError> {
    let charts = of_comparison(compared);
    let page = page::of_comparison(compared, &charts)?;
    write_page(&page, &charts.iter().collect::<Vec<&Chart>>(), out)
}
