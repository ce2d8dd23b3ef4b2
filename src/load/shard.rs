//! One load core: its thread's runtime, its watch on the cell, and its timer canary.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use hdrhistogram::Histogram;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Mutex;

use super::clock::{Clock, thread_cpu_ns};
use super::closed::run_users;
use super::deal::Deal;
use super::feed::{Feed, Maker};
use super::flight::Core;
use super::http::Scratch;
use super::lanes::Dialers;
use super::machine::{Machine, Taken};
use super::open::pace;
use super::pin::Places;
use super::presence::Presence;
use super::schedule::{Schedule, Shard};
use super::tally::{Course, Done, Report, Tally, gap_histogram};
use super::think::Thinking;
use super::timer::Timer;
use super::window::Gate;
use super::{Control, Job, LoadError};
use crate::experiment::Load;
use crate::record::{EndedBy, RequestRecord};

/// Period of the canary, which is the core's watch as well.
const WATCH_US: u64 = 10_000;
/// Watches below which their p99 is just the worst of them: one hiccup, and no verdict.
const OVERSHOOTS: u64 = 100;
/// Watches between two reports to the calling thread.
const REPORT_EVERY: u64 = 10;

/// What one load core has to say at the end.
pub(super) struct Ledger {
    pub(super) course: Course,
    pub(super) core_cpu: Option<f64>,
    pub(super) chunks_per_s: Option<f64>,
    pub(super) requests_per_s: Option<f64>,
    pub(super) overshoot_p99_us: Option<u64>,
    pub(super) longest_stall_us: u64,
    /// From the one core that looks at the machine.
    pub(super) taken: Option<Taken>,
    pub(super) held_reports: u64,
    pub(super) body_waits: u64,
}

/// What a load core is started with.
pub(super) struct Start<'a> {
    pub(super) job: &'a Job<'a>,
    /// Its number among the load cores of this machine.
    pub(super) core: u32,
    /// Its place among all that drive the cell.
    pub(super) shard: Shard,
    pub(super) schedule: Option<Schedule>,
    pub(super) control: &'a Control,
    pub(super) dialers: Dialers,
    pub(super) reports: SyncSender<Report>,
    pub(super) feed: Feed,
    pub(super) places: Places,
    /// Says that this core is ready.
    pub(super) ready: SyncSender<()>,
    /// Brings the epoch once all cores are.
    pub(super) go: Receiver<(Clock, Arc<Gate>)>,
}

/// The thread's whole work.
pub(super) fn run(start: Start<'_>) -> Result<Ledger, LoadError> {
    let rank = start.shard.rank;
    let failed = |source: io::Error| LoadError::Thread { core: rank, source };
    let runtime =
        Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).map_err(failed)?;
    let Start { job, core: own, shard, schedule, control, dialers, reports, mut feed, places, ready, go } =
        start;
    places.take_load(own).map_err(failed)?;
    // That the first request is waited for here is no fault of its maker's.
    runtime.block_on(feed.stock_up(&Cell::new(0)));
    let _ = ready.send(());
    // Hung up, so that the count of the ready ends when the last core has come or failed.
    drop(ready);
    // No epoch: another core could not start, and its error is the one to tell.
    let Ok((clock, gate)) = go.recv() else { return Err(LoadError::Panicked { core: rank }) };
    let talks = job.parts.iter().any(|part| part.source.sessions());
    let talker = if talks { Some(Arc::new(std::sync::Mutex::new(Maker::new(job, &dialers)?))) } else { None };
    let core = Rc::new(Core {
        clock,
        gate,
        tally: RefCell::new(Tally::new(rank, reports)),
        rank,
        talker,
        failed: RefCell::new(None),
        limit: job.limit(),
        lanes: dialers.lanes(job),
        scratch: Scratch::new(),
        open: Cell::new(0),
        users: Cell::new(0),
        body_waits: Cell::new(0),
        starved: Cell::new(false),
        taken: Cell::new(0),
        held: Cell::new(0),
        panicked: Cell::new(false),
    });
    let watched =
        runtime.block_on(watch(Rc::clone(&core), job, (own, shard), schedule.clone(), control, feed));
    // Whatever still flies is dropped with its runtime, and so hands in its record.
    // A name that is still being looked up is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    let watched = watched.map_err(failed)?;
    if let Some(schedule) = schedule {
        drop_the_rest(&core, job, schedule, shard);
    }
    let core = Rc::into_inner(core).expect("every task that held the core is gone with the runtime");
    if let Some(error) = core.failed.take() {
        return Err(error);
    }
    if core.panicked.get() {
        return Err(LoadError::Panicked { core: rank });
    }
    let body_waits = core.body_waits.get();
    let tally = core.tally.into_inner();
    let held_reports = tally.held_reports;
    Ok(Ledger {
        course: tally.finish(),
        core_cpu: watched.cpu.share(),
        chunks_per_s: watched.cpu.per_second(|mark| mark.chunks),
        requests_per_s: watched.cpu.per_second(|mark| mark.ended),
        overshoot_p99_us: (watched.overshoot.len() >= OVERSHOOTS)
            .then(|| watched.overshoot.value_at_quantile(0.99)),
        longest_stall_us: watched.longest_stall_us,
        taken: watched.machine.map(Machine::finish),
        held_reports,
        body_waits,
    })
}

/// Arrivals due in time that never got as far as a request: those that the cap still held back
/// when the drain ran out, and those that were overdue when the cell was cut short.
fn drop_the_rest(core: &Rc<Core>, job: &Job<'_>, schedule: Schedule, shard: Shard) {
    let end = core.gate.end().min(core.clock.now_us());
    let deal = Deal::of(job);
    let rest = schedule.slice(shard).skip(core.taken.get() as usize).take_while(|(_, due)| *due < end);
    for (n, (seq, due)) in (0..).zip(rest) {
        // The first of them were seen to be due, and held back.
        let held = n < core.held.get();
        let lane = deal.part(seq);
        let (asked, max_tokens) = job.parts[lane].source.lengths(seq);
        let mut record = RequestRecord::blank(seq);
        record.shard = core.rank;
        record.phase = core.gate.phase(due);
        record.stage = core.gate.stage_name(due);
        record.intended_us = due;
        record.prompt_tokens_asked = asked;
        record.max_tokens = max_tokens;
        record.cap_blocked = held;
        if core.lanes[lane].talks {
            (record.session, record.turn) = (Some(seq), Some(0));
        }
        record.task.clone_from(&core.lanes[lane].task);
        record.endpoint.clone_from(&core.lanes[lane].endpoint);
        let mut tally = core.tally.borrow_mut();
        if !held {
            tally.due(due);
        }
        tally.record(Done { record, text: None, lane, kept: None });
    }
}

/// CPU time of this thread, and what it has done with it, at the window's two ends.
#[derive(Default)]
struct CpuMarks {
    first: Option<CpuMark>,
    last: Option<CpuMark>,
}

#[derive(Clone, Copy)]
struct CpuMark {
    t_us: u64,
    cpu_ns: u64,
    chunks: u64,
    /// Requests that ended, well or badly.
    ended: u64,
}

impl CpuMark {
    fn new(core: &Core, t_us: u64) -> Self {
        let totals = core.tally.borrow().totals;
        let ended = totals.completed + totals.failed;
        Self { t_us, cpu_ns: thread_cpu_ns(), chunks: totals.chunks, ended }
    }
}

impl CpuMarks {
    fn share(&self) -> Option<f64> {
        self.per_second(|mark| mark.cpu_ns).map(|ns| ns / 1e9)
    }

    /// How much of something there was in a second between the marks.
    fn per_second(&self, of: fn(&CpuMark) -> u64) -> Option<f64> {
        let (first, last) = (self.first?, self.last?);
        let us = last.t_us.checked_sub(first.t_us).filter(|&us| us > 0)?;
        Some((of(&last) - of(&first)) as f64 * 1e6 / us as f64)
    }
}

struct Watched {
    cpu: CpuMarks,
    overshoot: Histogram<u64>,
    longest_stall_us: u64,
    /// With the first core alone.
    machine: Option<Machine>,
}

/// Put the load on, and every 10 ms look at the clock: has the window ended, has someone
/// pressed Ctrl-C, is all at an end? How late that look comes is the canary's measure.
async fn watch(
    core: Rc<Core>,
    job: &Job<'_>,
    (own, shard): (u32, Shard),
    schedule: Option<Schedule>,
    control: &Control,
    feed: Feed,
) -> io::Result<Watched> {
    let settings = &job.cell.settings;
    let drain_us = settings.cell.drain.as_micros() as u64;
    let feed = Rc::new(Mutex::new(feed));
    let mut timer = Timer::new(core.clock)?;
    // Nothing is sent before time begins.
    timer.until(0).await?;
    let loader = match (settings.load, schedule, Presence::of(settings)) {
        (Load::Open { max_in_flight, .. }, Some(schedule), _) => {
            let cap = max_in_flight.map(|cap| shard.share(cap));
            tokio::task::spawn_local(pace(Rc::clone(&core), Rc::clone(&feed), schedule.slice(shard), cap))
        }
        (Load::Closed { .. }, _, Some(presence)) => {
            let thinking = settings.think.map(|think| Thinking { think, seed: job.cell.seed });
            let feed = Rc::clone(&feed);
            tokio::task::spawn_local(run_users(Rc::clone(&core), feed, shard, presence, thinking))
        }
        _ => unreachable!("an open loop has a schedule and a closed one has users"),
    };
    let mut watched = Watched {
        cpu: CpuMarks::default(),
        overshoot: gap_histogram(),
        longest_stall_us: 0,
        machine: (own == 0).then(Machine::new),
    };
    let mut next = WATCH_US;
    loop {
        timer.until(next).await?;
        let now = core.clock.now_us();
        if core.gate.contains(next) {
            watched.overshoot.saturating_record(now - next);
            let mark = CpuMark::new(&core, now);
            watched.cpu.first.get_or_insert(mark);
            watched.cpu.last = Some(mark);
        }
        if core.gate.opened(now) {
            // Of a stall that began before the window, the part within it.
            let stall = now - next.max(core.gate.start()).min(now);
            watched.longest_stall_us = watched.longest_stall_us.max(stall);
        }
        if control.finish() {
            core.gate.close(now, EndedBy::Interrupt);
        }
        let reports = (next / WATCH_US).is_multiple_of(REPORT_EVERY);
        if let Some(machine) = &mut watched.machine {
            machine.look(&core.gate, now, reports);
        }
        if reports {
            let mut tally = core.tally.borrow_mut();
            tally.advance(now);
            tally.report();
        }
        let end = core.gate.end();
        let idle = loader.is_finished() && core.open.get() == 0 && core.users.get() == 0;
        let over = now >= end || core.starved.get();
        if (idle && over) || core.panicked.get() || core.failed.borrow().is_some() {
            break;
        }
        if control.now() {
            core.gate.cut();
            break;
        }
        // Of a cell that was cut short before it measured anything, no answer is awaited.
        if now >= end.saturating_add(drain_us) || (now >= end && core.gate.never_opened()) {
            break;
        }
        // A late look is not made up for: the next one is at the next whole period.
        next = (now / WATCH_US + 1) * WATCH_US;
    }
    if loader.is_finished() {
        loader.await.map_err(io::Error::other)??;
    }
    Ok(watched)
}
