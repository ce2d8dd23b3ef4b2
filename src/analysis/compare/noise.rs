//! How much two equal runs differ: what an A/A calibration of a server measured.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::draft::Scale;
use super::{Comparison, Row};
use crate::stats::Moments;
use crate::store::{self, StoreError};

/// Content of `noise.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Version of this form.
    pub schema: u32,
    /// The server that was asked: its URL without credentials, or `sim:`.
    pub server: String,
    /// The model, as the server knows it.
    pub model: String,
    /// When it was measured, RFC 3339.
    pub measured_at: String,
    /// One per metric and statistic.
    pub figures: Vec<NoiseOf>,
}

/// The noise of one figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseOf {
    /// As in `metrics::METRICS`.
    pub metric: String,
    /// As in `metrics::STATS`; empty for a scalar.
    pub stat: String,
    /// Standard deviation of ln(b/a) over pairs of equal repeats; of shares, of b − a.
    pub std: f64,
    /// Pairs that it was made of.
    pub pairs: u32,
}

impl Noise {
    /// Version that this program writes.
    pub const SCHEMA: u32 = 1;

    /// The noise of a figure; `None` where it was not measured.
    #[must_use]
    pub fn std(&self, metric: &str, stat: &str) -> Option<f64> {
        let found = self.figures.iter().find(|of| of.metric == metric && of.stat == stat)?;
        Some(found.std).filter(|std| std.is_finite() && *std >= 0.0)
    }

    /// The noise in comparisons of equal runs: over all their paired rows, figure by figure.
    /// Figures of fewer than two pairs are left out.
    #[must_use]
    pub fn of(comparisons: &[Comparison], server: &str, model: &str, measured_at: &str) -> Self {
        let mut found: BTreeMap<(String, String), Moments> = BTreeMap::new();
        for row in comparisons.iter().flat_map(|c| &c.rows).filter(|row| row.paired) {
            let moments = found.entry((row.metric.clone(), row.stat.clone())).or_default();
            differences(row).for_each(|d| moments.add(d));
        }
        let figures = found.into_iter().filter_map(|((metric, stat), moments)| {
            let pairs = u32::try_from(moments.n()).unwrap_or(u32::MAX);
            Some(NoiseOf { metric, stat, std: moments.std()?, pairs })
        });
        Self {
            schema: Self::SCHEMA,
            server: server.to_owned(),
            model: model.to_owned(),
            measured_at: measured_at.to_owned(),
            figures: figures.collect(),
        }
    }

    /// Reads `noise.json`.
    ///
    /// # Errors
    /// When it is not there or can't be understood, or a later version wrote it.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let noise: Self = store::read_json(path)?;
        if noise.schema > Self::SCHEMA {
            return Err(StoreError::NewerSchema {
                path: path.to_owned(),
                found: noise.schema,
                known: Self::SCHEMA,
            });
        }
        Ok(noise)
    }
}

/// ln(cand/base) of each pair, or the differences of shares. Pairs with a 0 have no ratio.
fn differences(row: &Row) -> impl Iterator<Item = f64> + '_ {
    let scale = if row.is_difference() { Scale::Difference } else { Scale::Log };
    let pairs = row.base_values.iter().zip(&row.cand_values);
    pairs.map(move |(base, cand)| scale.of(*cand) - scale.of(*base)).filter(|d| d.is_finite())
}
