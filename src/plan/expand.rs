//! From a grid to its points: the cross-product, zipped axes as one, less what is excluded,
//! and more what is included; and the order in which they run.

use sha2::{Digest, Sha256};

use crate::experiment::{Grid, Mistake, MistakeKind, Order, Origin, Override, Reader};

use super::CellId;

/// One point of a grid: the values of its axes.
pub(super) struct Spot<'g> {
    pub values: Vec<&'g Override>,
    /// Where it is written: its last axis's value, or its line of `include`.
    pub origin: Origin,
}

/// Points of the cross-product, zipped axes counted once; `None` if there are too many to
/// count.
pub(super) fn product_size(grid: &Grid) -> Option<usize> {
    dimensions(grid).iter().try_fold(1_usize, |n, d| n.checked_mul(grid.axes[d[0]].values.len()))
}

/// Axes that vary together, in the order written; a zipped group stands where its first
/// axis does.
fn dimensions(grid: &Grid) -> Vec<Vec<usize>> {
    let mut dimensions: Vec<Vec<usize>> = Vec::new();
    for axis in 0..grid.axes.len() {
        match grid.zip.iter().find(|group| group.contains(&axis)) {
            Some(group) if group.iter().min() == Some(&axis) => {
                let mut group = group.clone();
                group.sort_unstable();
                dimensions.push(group);
            }
            Some(_) => {}
            None => dimensions.push(vec![axis]),
        }
    }
    dimensions
}

/// All points of a grid, as written: the first axis slowest, `include` last. An exclusion
/// that matches no point is a mistake.
pub(super) fn points<'g>(reader: &Reader<'_>, grid: &'g Grid) -> Vec<Spot<'g>> {
    let dimensions = dimensions(grid);
    let sizes: Vec<usize> = dimensions.iter().map(|d| grid.axes[d[0]].values.len()).collect();
    let mut used = vec![false; grid.exclude.len()];
    let mut spots = Vec::new();
    for number in 0..product_size(grid).unwrap_or(0) {
        let mut left = number;
        let mut at = vec![0; grid.axes.len()];
        for (dimension, size) in dimensions.iter().zip(&sizes).rev() {
            for axis in dimension {
                at[*axis] = left % size;
            }
            left /= size;
        }
        let values: Vec<&Override> = grid.axes.iter().zip(at).map(|(axis, i)| &axis.values[i]).collect();
        let mut excluded = false;
        for (pattern, used) in grid.exclude.iter().zip(&mut used) {
            if pattern.matches(&values) {
                *used = true;
                excluded = true;
            }
        }
        let origin = values.last().map_or(grid.origin, |v| v.node.origin);
        if !excluded {
            spots.push(Spot { values, origin });
        }
    }
    for (pattern, _) in grid.exclude.iter().zip(used).filter(|(_, used)| !used) {
        let mistake =
            Mistake::new(MistakeKind::BadValue, "excludes nothing: no cell has these values together");
        reader.add(pattern.origin, "grid.exclude", mistake);
    }
    for point in &grid.include {
        spots.push(Spot { values: point.values.iter().collect(), origin: point.origin });
    }
    spots
}

/// The order of `ids` and their repeats, as pairs of index and repeat (from 1).
pub(super) fn order(
    order: Order,
    ids: &[CellId],
    repeats: u32,
    seed: u64,
    grid_number: usize,
) -> Vec<(usize, u32)> {
    match order {
        Order::AsWritten => (0..ids.len()).flat_map(|i| (1..=repeats).map(move |r| (i, r))).collect(),
        Order::RepeatMajor => (1..=repeats).flat_map(|r| (0..ids.len()).map(move |i| (i, r))).collect(),
        Order::Shuffled => (1..=repeats)
            .flat_map(|r| {
                // Sorting by a hash is a shuffle that no generator's next version can change.
                let mut round: Vec<usize> = (0..ids.len()).collect();
                round.sort_by_cached_key(|i| {
                    Sha256::digest(format!("plimsoll order 1\n{seed}\n{grid_number}\n{r}\n{}\n", ids[*i]))
                });
                round.into_iter().map(move |i| (i, r))
            })
            .collect(),
    }
}
