//! The coordinator: hands out the shares of each cell, and takes in what comes of them.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use url::Url;

use super::hello::Token;
use super::member::{Heard, Member};
use super::message::{CellJob, ToCoordinator, ToWorker};
use super::offset::Offset;
use super::{FleetError, PULSE};
use crate::event::Look;
use crate::experiment::{Settings, Target, Workload};
use crate::load::{self, Control, Gatherer, Job, MachineRun, News, Share, monotonic_ns, shares};
use crate::plan::Cell;
use crate::record::{Ceiling, CellRun, EndedBy, RecordSink};
use crate::server::{self, Facts};

/// Messages that wait to be taken in; what workers say beyond them waits with the workers.
const HEARD: usize = 256;
/// From all workers being ready to the epoch, so that each knows of it in time.
const LEAD: Duration = Duration::from_millis(250);
/// Between two looks at what was pressed and at what is to be shown.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A worker that was told to drop everything, and has not after this, is lost.
const DROPPING: Duration = Duration::from_secs(15);

/// What is to be driven.
pub struct Task<'a> {
    /// As for [`load::drive`].
    pub job: &'a Job<'a>,
    /// Of the run; makes prompts differ between runs.
    pub salt: &'a str,
    /// Of the servers, by part of the cell.
    pub facts: Vec<Facts>,
}

/// The workers of a run, connected. They are let go when it is dropped.
pub struct Fleet {
    members: Vec<Member>,
    heard: Receiver<(usize, Heard)>,
    /// Those that are lost, each of which is heard of once.
    gone: Mutex<Vec<(usize, String)>>,
    /// Hung up, it ends the signs of life.
    _pulse: Sender<()>,
}

/// A worker's part in the cell that runs.
struct Part {
    share: Share,
    /// Its clock against ours, before the cell.
    offset: Offset,
    /// `None` until it has ended.
    run: Option<MachineRun>,
}

impl Fleet {
    /// Connect to the workers at these addresses, each `host:port`.
    ///
    /// # Errors
    /// When one can't be reached, is another version, has another token, or is named twice.
    pub fn connect(addresses: &[String], token: &Token) -> Result<Self, FleetError> {
        let mut seen = BTreeSet::new();
        if let Some(twice) = addresses.iter().find(|address| !seen.insert(address.as_str())) {
            return Err(FleetError::Twice {
                address: twice.clone(),
                why: "one worker is one machine".to_owned(),
            });
        }
        let (hears, heard) = sync_channel(HEARD);
        let connected = addresses
            .iter()
            .enumerate()
            .map(|(number, address)| Member::connect(address, number, token, hears.clone()));
        let members = connected.collect::<Result<Vec<_>, _>>()?;
        let (pulse, stopped) = channel::<()>();
        let senders: Vec<_> = members.iter().map(|member| Arc::clone(&member.sender)).collect();
        thread::Builder::new()
            .name("pulse".to_owned())
            .spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PULSE) {
                    for sender in &senders {
                        let ping = ToWorker::Ping { sent_ns: monotonic_ns() };
                        // One that is gone is told of by whoever reads.
                        let _ = sender.lock().unwrap_or_else(PoisonError::into_inner).send(&ping);
                    }
                }
            })
            .map_err(FleetError::Thread)?;
        Ok(Self { members, heard, gone: Mutex::default(), _pulse: pulse })
    }

    /// What the workers are, for the run's record.
    #[must_use]
    pub fn note(&self) -> Value {
        let one =
            |member: &Member| json!({ "worker": member.address, "environment": member.machine.environment });
        self.members.iter().map(one).collect()
    }

    /// Hold the cells against what each worker's machine allows, by its share of them. Gives what is
    /// no mistake, but should be known.
    ///
    /// # Errors
    /// When a worker can't reach the simulator, or its machine can't carry its share of a cell.
    pub fn preflight(&self, cells: &[&Cell]) -> Result<Vec<String>, FleetError> {
        let simulated = |settings: &Settings| settings.parts().any(|(target, _)| target.is_sim());
        if let Some(abroad) = self.members.iter().find(|member| !member.is_here)
            && cells.iter().any(|cell| simulated(&cell.settings))
        {
            return Err(FleetError::SimulatorAbroad { address: abroad.address.clone() });
        }
        let mut remarks: Vec<String> = self.at_home(cells).into_iter().chain(self.idle(cells)).collect();
        for (number, member) in self.members.iter().enumerate() {
            let scaled = |cell: &&Cell| {
                let share = self.shares(&cell.settings)[number];
                (share.ranks > 0).then(|| Cell { settings: share.scaled(&cell.settings), ..(*cell).clone() })
            };
            let scaled: Vec<Cell> = cells.iter().filter_map(scaled).collect();
            let found = load::preflight(&scaled.iter().collect::<Vec<_>>(), &member.machine.allowed);
            let (beyond, at_risk): (Vec<_>, Vec<_>) = found.into_iter().partition(|finding| finding.certain);
            if !beyond.is_empty() {
                let reason: Vec<String> = beyond.into_iter().map(|finding| finding.text).collect();
                return Err(FleetError::Beyond {
                    address: member.address.clone(),
                    reason: reason.join("\n"),
                });
            }
            remarks
                .extend(at_risk.iter().map(|finding| format!("worker {}: {}", member.address, finding.text)));
        }
        Ok(remarks)
    }

    /// A target on loopback is another one on each machine.
    fn at_home(&self, cells: &[&Cell]) -> Option<String> {
        let here = |target: &&Target| Url::parse(&target.url).is_ok_and(|url| server::is_loopback(&url));
        let target = cells.iter().flat_map(|cell| cell.settings.parts()).map(|(t, _)| t).find(here)?;
        let abroad = self.members.iter().find(|member| !member.is_here)?;
        Some(format!(
            "{} is on whatever machine asks it: the worker {} will ask its own",
            target.url, abroad.address
        ))
    }

    /// Cells that some workers have no part in.
    fn idle(&self, cells: &[&Cell]) -> Option<String> {
        let at_work =
            |cell: &&Cell| self.shares(&cell.settings).iter().filter(|share| share.ranks > 0).count();
        let all = self.members.len();
        let fewer: Vec<&&Cell> = cells.iter().filter(|cell| at_work(cell) < all).collect();
        let first = fewer.first()?;
        let more = if fewer.len() > 1 { format!(" (and {} more)", fewer.len() - 1) } else { String::new() };
        Some(format!(
            "cell {}{more} is driven by {} of {all} workers: it has too little to share out",
            first.index + 1,
            at_work(first)
        ))
    }

    /// See to it that every worker has the files and the keys that the cells need.
    ///
    /// # Errors
    /// The first thing that one of them lacks.
    pub fn look_at_files(&self, cells: &[&Cell]) -> Result<(), FleetError> {
        let mut asked: Vec<(Target, Workload)> = Vec::new();
        for (target, workload) in cells.iter().flat_map(|cell| cell.settings.parts()) {
            if !asked.iter().any(|(t, w)| t == target && w == workload) {
                asked.push((target.clone(), workload.clone()));
            }
        }
        for member in &self.members {
            member.send(&ToWorker::Look { asked: asked.clone() })?;
        }
        for _ in &self.members {
            let (number, message) = self.next()?;
            if let ToCoordinator::Looked { mistake: Some(reason) } = message {
                return Err(FleetError::Beyond { address: self.members[number].address.clone(), reason });
            }
        }
        Ok(())
    }

    fn shares(&self, settings: &Settings) -> Vec<Share> {
        let processors: Vec<u32> = self.members.iter().map(|m| m.machine.allowed.processors).collect();
        shares(settings, &processors)
    }

    /// The next message of a worker; outside of a cell one that is lost is an error.
    fn next(&self) -> Result<(usize, ToCoordinator), FleetError> {
        match self.heard.recv() {
            Ok((number, Heard::Message(message))) => Ok((number, message)),
            Ok((number, Heard::Lost(reason))) => Err(self.note_lost(number, reason)),
            // Every reader says so before it ends.
            Err(_) => Err(self.members[0].lost("its reader has ended".to_owned())),
        }
    }

    /// Remember that a worker is gone.
    fn note_lost(&self, number: usize, reason: String) -> FleetError {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).push((number, reason.clone()));
        self.members[number].lost(reason)
    }

    /// Run one cell on the workers: [`load::drive`] in everything else.
    ///
    /// A worker that is lost while the cell runs closes it for all: what the others measured is in the
    /// cell, and [`ClientHealth::lost_workers`](crate::record::ClientHealth) says who is not.
    ///
    /// # Errors
    /// When a worker is lost before the cell has begun, or can't do its work.
    pub fn drive(
        &self,
        task: &Task<'_>,
        sink: &mut dyn RecordSink,
        control: &Control,
        look: &mut dyn FnMut(Look<'_>),
    ) -> Result<CellRun, FleetError> {
        // What a worker that is gone was told, nobody would answer.
        if let Some((number, reason)) = self.gone.lock().unwrap_or_else(PoisonError::into_inner).first() {
            return Err(self.members[*number].lost(reason.clone()));
        }
        let mut parts = self.prepare(task)?;
        let cores = parts.iter().flatten().map(|part| part.share.ranks).sum();
        let epoch_ns = monotonic_ns() + LEAD.as_nanos() as u64;
        for (member, part) in self.at_work(&parts) {
            member.send(&ToWorker::Start { epoch_ns: part.offset.there(epoch_ns) })?;
        }
        let mut gatherer = Gatherer::new(task.job, (cores, epoch_ns), sink, look)?;
        let lost = self.gather(&mut gatherer, &mut parts, control)?;
        let doubt_us = self.clock_doubt(&parts);
        let ceiling = self.ceiling(&parts);
        let addresses = self.members.iter().map(|member| &member.address);
        for (address, part) in addresses.zip(&mut parts) {
            if let Some(part) = part
                && let Some(mut run) = part.run.take()
            {
                run.client.core_worker = vec![address.clone(); part.share.ranks as usize];
                gatherer.ended(run);
            }
        }
        let mut run = gatherer.finish(lost);
        run.client.clock_doubt_us = doubt_us;
        run.client.ceiling = ceiling;
        Ok(run)
    }

    /// Hand out the shares, and wait until every worker that has one is ready.
    fn prepare(&self, task: &Task<'_>) -> Result<Vec<Option<Part>>, FleetError> {
        // What was said since the last cell can only be that someone has gone.
        while let Ok((number, heard)) = self.heard.try_recv() {
            if let Heard::Lost(reason) = heard {
                return Err(self.note_lost(number, reason));
            }
        }
        let cell = task.job.cell;
        let mut parts = Vec::new();
        for (member, share) in self.members.iter().zip(self.shares(&cell.settings)) {
            if share.ranks == 0 {
                parts.push(None);
                continue;
            }
            let mut cell = cell.clone();
            // How the server is started is nothing to them.
            cell.settings.server = None;
            let (salt, facts) = (task.salt.to_owned(), task.facts.clone());
            let job = CellJob { cell, salt, facts, share, traces: task.job.traces };
            member.send(&ToWorker::Prepare(Box::new(job)))?;
            parts.push(Some(share));
        }
        let mut waiting: BTreeSet<usize> = (0..parts.len()).filter(|&n| parts[n].is_some()).collect();
        while !waiting.is_empty() {
            let (number, message) = self.next()?;
            match message {
                ToCoordinator::Ready => drop(waiting.remove(&number)),
                ToCoordinator::Failed { reason } => return Err(self.failed(number, reason)),
                _ => {}
            }
        }
        // Last of all, so that the clocks have no time to drift before the cell.
        let with_clock = |(member, share): (&Member, Option<Share>)| {
            share.map(|share| Ok(Part { share, offset: member.compare_clocks()?, run: None })).transpose()
        };
        self.members.iter().zip(parts).map(with_clock).collect()
    }

    /// The workers that have a share.
    fn at_work<'a>(&'a self, parts: &'a [Option<Part>]) -> impl Iterator<Item = (&'a Member, &'a Part)> {
        self.members.iter().zip(parts).filter_map(|(member, part)| Some((member, part.as_ref()?)))
    }

    fn failed(&self, number: usize, reason: String) -> FleetError {
        FleetError::Failed { address: self.members[number].address.clone(), reason }
    }

    /// Take in what the workers say until each has ended or is lost. Gives those that were lost, with
    /// the reasons.
    fn gather(
        &self,
        gatherer: &mut Gatherer<'_>,
        parts: &mut [Option<Part>],
        control: &Control,
    ) -> Result<Vec<String>, FleetError> {
        let mut open: BTreeSet<usize> = (0..parts.len()).filter(|&n| parts[n].is_some()).collect();
        let (mut pressed, mut dropping): (u8, Option<Instant>) = (0, None);
        let mut lost = Vec::new();
        while !open.is_empty() {
            match self.heard.recv_timeout(LOOK_EVERY) {
                Ok((number, Heard::Message(message))) => match message {
                    ToCoordinator::News(News::Batch(batch)) => gatherer.take(batch),
                    ToCoordinator::News(News::Closed { at_us, by }) => gatherer.close(Some(at_us), by),
                    ToCoordinator::Ended(run) => {
                        open.remove(&number);
                        if let Some(part) = &mut parts[number] {
                            part.run = Some(*run);
                        }
                    }
                    // What the others measured is kept.
                    ToCoordinator::Failed { reason } => {
                        open.remove(&number);
                        lost.push(self.failed(number, reason).to_string());
                        gatherer.close(None, EndedBy::WorkerLost);
                    }
                    _ => {}
                },
                Ok((number, Heard::Lost(reason))) => {
                    let _ = self.note_lost(number, reason.clone());
                    if open.remove(&number) {
                        lost.push(format!("{}: {reason}", self.members[number].address));
                        gatherer.close(None, EndedBy::WorkerLost);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            gatherer.look();
            // One that can't be told is lost, which is heard of it.
            for order in gatherer.orders() {
                for &number in &open {
                    let _ = self.members[number].send(&ToWorker::Order(order));
                }
            }
            while pressed < u8::from(control.finish()) + u8::from(control.now()) {
                pressed += 1;
                for &number in &open {
                    let _ = self.members[number].send(&ToWorker::Press);
                }
            }
            if control.now() && dropping.get_or_insert_with(Instant::now).elapsed() > DROPPING {
                lost.extend(
                    open.iter().map(|&n| {
                        format!("{}: it went on when it was told to stop", self.members[n].address)
                    }),
                );
                break;
            }
        }
        Ok(lost)
    }

    /// How far the clocks of two workers may have been apart, in microseconds, at most; `None` where
    /// only one was at work.
    fn clock_doubt(&self, parts: &[Option<Part>]) -> Option<u64> {
        let doubt = |(member, part): (&Member, &Part)| {
            let after = part.run.as_ref().and_then(|_| member.compare_clocks().ok());
            part.offset.doubt_until(after)
        };
        let mut doubts: Vec<u64> = self.at_work(parts).map(doubt).collect();
        doubts.sort_unstable_by(|a, b| b.cmp(a));
        let [first, second, ..] = doubts[..] else { return None };
        Some(first.saturating_add(second).div_ceil(1000))
    }

    /// What any load core at work can do; `None` unless every worker was calibrated.
    fn ceiling(&self, parts: &[Option<Part>]) -> Option<Ceiling> {
        let ceilings: Option<Vec<Ceiling>> =
            self.at_work(parts).map(|(member, _)| member.machine.ceiling).collect();
        ceilings?.into_iter().reduce(|a, b| Ceiling {
            chunks_per_s: a.chunks_per_s.min(b.chunks_per_s),
            requests_per_s: a.requests_per_s.min(b.requests_per_s),
        })
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in &self.members {
            member.sender.lock().unwrap_or_else(PoisonError::into_inner).hang_up();
        }
    }
}
