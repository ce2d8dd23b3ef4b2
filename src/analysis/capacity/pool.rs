//! Several runs of one experiment as one with more repeats.

use std::collections::BTreeSet;

use crate::analysis::RunData;

/// Puts runs together that are of the same experiment: cells with the same id become further
/// repeats of each other, renumbered after those of the run before. Others stay apart, in the
/// order given; why is told for each. A run may only be joined whose cells are the same and
/// whose repeats had the same lengths and due times where they had the same seed. A run that is
/// given twice counts once: one measurement is no surer for being read again.
#[must_use]
pub fn pool(runs: Vec<RunData>) -> (Vec<(RunData, Vec<String>)>, Vec<String>) {
    let mut out: Vec<(RunData, Vec<String>)> = Vec::new();
    let mut notes = Vec::new();
    for run in runs {
        if out.iter().any(|(_, ids)| ids.contains(&run.id)) {
            notes.push(format!("{} is given twice: it counts once.", run.id));
            continue;
        }
        let fits = out.iter().position(|(first, _)| differs(first, &run).is_none());
        match fits {
            Some(i) => {
                let (first, ids) = &mut out[i];
                notes.extend(same_requests(first, &run));
                ids.push(run.id.clone());
                join(first, run);
            }
            None => {
                if let Some(why) = out.first().and_then(|(first, _)| differs(first, &run)) {
                    notes.push(format!("{} is shown apart: {why}.", run.id));
                }
                let ids = vec![run.id.clone()];
                out.push((run, ids));
            }
        }
    }
    (out, notes)
}

/// Why two runs can't be taken together; `None` where they can.
fn differs(a: &RunData, b: &RunData) -> Option<String> {
    let ids = |run: &RunData| {
        let mut ids: Vec<String> = run.cells.iter().map(|c| c.cell.id.to_string()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    if ids(a) != ids(b) {
        return Some(format!("its cells are not those of {}", a.id));
    }
    for mine in &a.cells {
        let same =
            |c: &&crate::analysis::CellData| c.cell.id == mine.cell.id && c.cell.seed == mine.cell.seed;
        let hashes = b.cells.iter().find(same).and_then(|theirs| {
            Some((&mine.summary.as_ref()?.workload_hash, &theirs.summary.as_ref()?.workload_hash))
        });
        if hashes.is_some_and(|(x, y)| x != y) {
            return Some(format!("its lengths or due times are not those of {}", a.id));
        }
    }
    None
}

/// Repeats that sent the same requests at the same times are less apart than those of other seeds.
fn same_requests(a: &RunData, b: &RunData) -> Option<String> {
    let of = |run: &RunData| -> BTreeSet<(String, u64)> {
        run.cells.iter().map(|c| (c.cell.id.to_string(), c.cell.seed)).collect()
    };
    let same = of(a).intersection(&of(b)).count();
    (same > 0).then(|| {
        format!(
            "{} and {} sent the same requests in {same} of their cells: together they show how much the server varies, \
             and less than other arrivals would (give one another seed).",
            a.id, b.id
        )
    })
}

fn join(first: &mut RunData, other: RunData) {
    let repeats = first.cells.iter().map(|c| c.cell.repeat).max().unwrap_or(0);
    first.cells.extend(other.cells.into_iter().map(|mut data| {
        data.cell.repeat += repeats;
        data
    }));
    first.carries = std::sync::OnceLock::new();
}
