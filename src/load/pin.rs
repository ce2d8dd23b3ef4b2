//! Which processors the threads of a cell run on, where `client.pin` asks for it.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A place for every thread of a cell. Empty: nobody is moved.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// By load core: one processor each.
    load: Vec<CpuSet>,
    bodies: Option<CpuSet>,
}

impl Places {
    /// Of the processors that this process may use, one to each of `cores` load cores; the
    /// makers of bodies get the others, or all where none is left.
    ///
    /// # Errors
    /// When the system doesn't say which may be used.
    pub(super) fn apart(cores: u32) -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        Ok(Self::among(&(0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect::<Vec<_>>(), cores))
    }

    /// More cores than processors share them in turn.
    fn among(allowed: &[usize], cores: u32) -> Self {
        let taken: Vec<usize> = allowed.iter().copied().cycle().take(cores as usize).collect();
        let free: Vec<usize> = allowed.iter().copied().filter(|cpu| !taken.contains(cpu)).collect();
        Self {
            load: taken.iter().map(|&cpu| set(&[cpu])).collect(),
            bodies: Some(set(if free.is_empty() { allowed } else { &free })),
        }
    }

    /// Move the calling thread to the place of load core `rank`.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn take_load(&self, rank: u32) -> io::Result<()> {
        self.load.get(rank as usize).map_or(Ok(()), |place| Ok(sched_setaffinity(None, place)?))
    }

    /// Move the calling thread to where bodies are made.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn take_bodies(&self) -> io::Result<()> {
        self.bodies.as_ref().map_or(Ok(()), |place| Ok(sched_setaffinity(None, place)?))
    }
}

fn set(cpus: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu);
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(set: &CpuSet) -> Vec<usize> {
        (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
    }

    #[test]
    fn each_load_core_has_its_own_and_bodies_the_rest() {
        let places = Places::among(&[1, 3, 4, 9], 2);
        assert_eq!(places.load.iter().map(cpus).collect::<Vec<_>>(), [[1], [3]]);
        assert_eq!(cpus(places.bodies.as_ref().unwrap()), [4, 9]);
    }

    #[test]
    fn too_many_share_in_turn() {
        let places = Places::among(&[2, 5], 3);
        assert_eq!(places.load.iter().map(cpus).collect::<Vec<_>>(), [[2], [5], [2]]);
        assert_eq!(cpus(places.bodies.as_ref().unwrap()), [2, 5]);
    }

    #[test]
    fn a_thread_can_be_moved_to_its_place() {
        std::thread::spawn(|| {
            let places = Places::apart(1).unwrap();
            places.take_load(0).unwrap();
            let now = sched_getaffinity(None).unwrap();
            assert_eq!(cpus(&now), cpus(&places.load[0]));
            Places::default().take_load(0).unwrap();
            assert_eq!(sched_getaffinity(None).unwrap().count(), 1, "nobody is moved without being asked to");
        })
        .join()
        .unwrap();
    }
}
