//! One machine's part of a cell that several drive: of all load cores a range, and what that
//! came to.

use serde::{Deserialize, Serialize};

use super::crew::{self, Ended, split};
use super::schedule::Shard;
use super::tally::Course;
use super::window::Gate;
use crate::experiment::{Arrivals, Load, Settings};
use crate::record::{ClientHealth, EndedBy, Window};

/// The load cores of one machine among all that drive a cell. The schedule's arrivals (or the users)
/// are dealt out to all of them in turn, so that what the machines send together is the cell's load,
/// whoever sends what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Rank of its first load core.
    pub first: u32,
    /// Its load cores.
    pub ranks: u32,
    /// Load cores of all machines.
    pub of: u32,
    /// Closed-loop requests of the window that it may send; `None`: no limit.
    pub tickets: Option<u64>,
}

impl Share {
    /// One machine does it all.
    pub(super) const fn whole(cores: u32) -> Self {
        Self { first: 0, ranks: cores, of: cores, tickets: None }
    }

    /// The place of one of its load cores, counted from 0.
    pub(super) const fn shard(&self, core: u32) -> Shard {
        Shard { rank: self.first + core, size: self.of }
    }

    /// Of `total` users or slots those of its load cores.
    fn part(&self, total: u32) -> u32 {
        (0..self.ranks).map(|core| self.shard(core).share(total)).sum()
    }

    /// Settings that ask of one machine what this share of `settings` does: for what it needs of the
    /// machine, not to be run.
    #[must_use]
    pub fn scaled(&self, settings: &Settings) -> Settings {
        let mut settings = settings.clone();
        let share = f64::from(self.ranks) / f64::from(self.of.max(1));
        settings.load = match settings.load {
            Load::Closed { users } => Load::Closed { users: self.part(users) },
            Load::Open { qps, arrivals, max_in_flight } => Load::Open {
                qps: qps * share,
                arrivals: match arrivals {
                    Arrivals::Burst { size } => Arrivals::Burst { size: self.part(size) },
                    other => other,
                },
                max_in_flight: max_in_flight.map(|cap| self.part(cap)),
            },
        };
        let closed = matches!(settings.load, Load::Closed { .. });
        for stage in &mut settings.stages {
            stage.level = if closed { f64::from(self.part(stage.level as u32)) } else { stage.level * share };
        }
        settings.cell.requests = settings.cell.requests.map(|n| (n as f64 * share).ceil() as u64);
        // The simulator is with whoever hands out the shares.
        let targets = settings.parts.iter_mut().map(|part| &mut part.target).chain([&mut settings.target]);
        for target in targets.filter(|target| target.is_sim()) {
            target.url = "http://127.0.0.1".to_owned();
        }
        settings
    }
}

/// The shares of machines with so many processors in a cell, in their order. A machine for which
/// there are no users or slots left has a share without load cores.
#[must_use]
pub fn shares(settings: &Settings, machines: &[u32]) -> Vec<Share> {
    let cores = crew::cores_of_several(settings, machines);
    let of = cores.iter().sum();
    let firsts = cores.iter().scan(0, |next, &ranks| {
        let first = *next;
        *next += ranks;
        Some(first)
    });
    let mut shares: Vec<Share> =
        firsts.zip(&cores).map(|(first, &ranks)| Share { first, ranks, of, tickets: None }).collect();
    if let (Load::Closed { users }, Some(requests)) = (settings.peak_load(), settings.cell.requests) {
        let users: Vec<u64> = shares.iter().map(|share| u64::from(share.part(users))).collect();
        for (share, tickets) in shares.iter_mut().zip(split(requests, &users)) {
            share.tickets = Some(tickets);
        }
    }
    shares
}

/// What one machine's part of a cell came to, beside its records.
#[derive(Debug, Serialize, Deserialize)]
pub struct MachineRun {
    pub(super) course: Course,
    /// How it fared.
    pub client: ClientHealth,
    /// As it had it.
    pub window: Window,
}

impl MachineRun {
    pub(super) fn of(ended: Ended, gate: &Gate) -> Self {
        let mut course = Course::empty();
        let mut client = ClientHealth::default();
        for ledger in ended.ledgers {
            course.merge(ledger.course);
            client.core_cpu.extend(ledger.core_cpu);
            client.core_chunks_per_s.extend(ledger.chunks_per_s);
            client.core_requests_per_s.extend(ledger.requests_per_s);
            client.timer_overshoot_p99_us.extend(ledger.overshoot_p99_us);
            client.longest_stall_us.push(ledger.longest_stall_us);
            if let Some(taken) = ledger.taken {
                client.throttled_us = taken.throttled_us;
                client.wall_step_us = taken.wall_step_us;
                client.suspended_us = taken.suspended_us;
            }
            client.held_reports += ledger.held_reports;
            client.body_waits += ledger.body_waits;
        }
        Self { course, client, window: gate.window(ended.clock.now_us()) }
    }
}

/// The window over all machines: from the first that opened it to the last that closed it, which are
/// the same where nothing closed it early. `None` without machines.
pub(super) fn window_of(parts: &[MachineRun]) -> Option<Window> {
    let windows = || parts.iter().map(|part| part.window);
    let rank = |by: EndedBy| match by {
        EndedBy::Duration => 0,
        EndedBy::Requests => 1,
        EndedBy::Unanswered => 2,
        EndedBy::WorkerLost => 3,
        EndedBy::Interrupt => 4,
    };
    Some(Window {
        start_us: windows().map(|w| w.start_us).min()?,
        end_us: windows().map(|w| w.end_us).max()?,
        ended_by: windows().map(|w| w.ended_by).max_by_key(|by| rank(*by))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;
    use crate::plan;
    use std::path::Path;

    fn settings(load: &str) -> Settings {
        let text = format!("[target]\nurl = \"http://127.0.0.1:1\"\n{load}\n");
        let experiment = Experiment::parse(Path::new("f.toml"), &text, &[]).unwrap_or_else(|e| panic!("{e}"));
        plan::build(&experiment).unwrap().cells.remove(0).settings
    }

    fn ranks(settings: &Settings, machines: &[u32]) -> Vec<(u32, u32)> {
        shares(settings, machines).iter().map(|share| (share.first, share.ranks)).collect()
    }

    #[test]
    fn every_machine_has_load_cores_by_its_processors_and_no_two_the_same() {
        let open = settings("[load]\nqps = 2000\n[cell]\nduration = \"1s\"");
        assert_eq!(ranks(&open, &[8, 8]), [(0, 4), (4, 4)], "eight are needed");
        assert_eq!(ranks(&open, &[2, 6]), [(0, 2), (2, 6)]);
        let little = settings("[load]\nqps = 1\n[cell]\nduration = \"1s\"");
        assert_eq!(ranks(&little, &[8, 8, 8]), [(0, 1), (1, 1), (2, 1)], "one each, at least");
        let threads = settings("[load]\nqps = 1\n[client]\nthreads = 3\n[cell]\nduration = \"1s\"");
        assert_eq!(ranks(&threads, &[1, 16]), [(0, 3), (3, 3)], "set for each machine");
        for share in shares(&open, &[8, 8]) {
            assert_eq!((share.of, share.tickets), (8, None));
        }
    }

    #[test]
    fn what_is_too_little_for_all_leaves_some_without() {
        let one = settings("[load]\nusers = 1\n[cell]\nduration = \"1s\"");
        assert_eq!(ranks(&one, &[4, 4]), [(0, 1), (1, 0)]);
        let capped = settings("[load]\nqps = 900\nusers = 2\n[cell]\nduration = \"1s\"");
        assert_eq!(ranks(&capped, &[4, 4, 4]), [(0, 1), (1, 1), (2, 0)]);
        // Each load core has the same share of every burst.
        let burst = settings("[load]\nusers = 9\nburst = \"1s\"\n[cell]\nduration = \"3s\"");
        let shared = ranks(&burst, &[4, 4]);
        assert!(shared.iter().map(|(_, ranks)| ranks).sum::<u32>() == 1, "{shared:?}");
    }

    #[test]
    fn requests_of_users_are_shared_out_to_the_last() {
        for (users, requests, machines) in [(5, 60, 2), (7, 100, 3), (64, 65, 2), (300, 1000, 4), (9, 3, 2)] {
            let settings = settings(&format!("[load]\nusers = {users}\n[cell]\nrequests = {requests}"));
            let shares = shares(&settings, &vec![4; machines]);
            let tickets: Vec<u64> = shares.iter().map(|share| share.tickets.unwrap()).collect();
            assert_eq!(tickets.iter().sum::<u64>(), requests, "{tickets:?}");
            assert!(shares.iter().all(|share| (share.ranks > 0) == (share.tickets > Some(0))), "{shares:?}");
            let users_of: u32 = shares.iter().map(|share| share.part(users)).sum();
            assert_eq!(users_of, users);
        }
    }

    #[test]
    fn a_share_asks_of_its_machine_what_it_drives() {
        let settings = settings("[load]\nqps = 100\nusers = 10\n[cell]\nrequests = 50");
        let share = Share { first: 0, ranks: 1, of: 4, tickets: None };
        let scaled = share.scaled(&settings);
        let Load::Open { qps, max_in_flight, .. } = scaled.load else { panic!("an open loop") };
        assert_eq!((qps, max_in_flight, scaled.cell.requests), (25.0, Some(3), Some(13)));
    }

    #[test]
    fn the_window_is_from_the_first_that_opens_to_the_last_that_closes() {
        let part = |start_us, end_us, ended_by| MachineRun {
            course: Course::empty(),
            client: ClientHealth::default(),
            window: Window { start_us, end_us, ended_by },
        };
        assert_eq!(window_of(&[]), None);
        let window = window_of(&[part(10, 90, EndedBy::Duration), part(10, 80, EndedBy::Requests)]);
        assert_eq!(window, Some(Window { start_us: 10, end_us: 90, ended_by: EndedBy::Requests }));
    }

    #[test]
    fn what_a_machine_hands_over_comes_as_it_was() {
        let mut course = Course::empty();
        course.gaps.record(1234).unwrap();
        course.gaps.record(99).unwrap();
        let client = ClientHealth { core_cpu: vec![0.25], throttled_us: Some(7), ..ClientHealth::default() };
        let window = Window { start_us: 1, end_us: 2, ended_by: EndedBy::WorkerLost };
        let text = serde_json::to_string(&MachineRun { course, client, window }).unwrap();
        let mut read: MachineRun = serde_json::from_str(&text).unwrap();
        assert_eq!((read.client.core_cpu.as_slice(), read.window), (&[0.25][..], window));
        assert_eq!((read.course.gaps.len(), read.course.gaps.max()), (2, 1234));
        // It can be added to others.
        let mut sum = Course::empty();
        sum.merge(std::mem::replace(&mut read.course, Course::empty()));
        assert_eq!(sum.gaps.len(), 2);
    }
}
