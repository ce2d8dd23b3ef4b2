//! The walk itself: for each cell of an agenda prepare → drive → summarise → store → cool down.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bench::{self, Bench};
use super::hooks::{After, Runner};
use super::observing::Observing;
use super::{Ending, SweepError};
use crate::event::{Event, Look, Watcher};
use crate::experiment::{Cooldown, HookPoint, Target, Workload};
use crate::fleet::{Fleet, Task};
use crate::load::{self, Control, Job, JobPart};
use crate::measure::validity::{CONTAMINATED_NAME, DATA_AGAIN_NAME};
use crate::measure::{self, CellSummary, Verdict};
use crate::observe::Watch;
use crate::plan::Cell;
use crate::record::{Ceiling, CellRun, EndedBy, Traces};
use crate::server::{self, DiscoverError, Found, Idle, LaunchError};
use crate::store::{RunDir, Served};
use crate::workload::Source;
use url::Url;

/// What to say of a data set that was gone through more than once. Of conversations it isn't known
/// from the counts how many there were.
fn data_again(parts: &[JobPart], summary: &CellSummary) -> Option<String> {
    // In a mix each part has but its share of the arrivals.
    let [part] = parts else { return None };
    let asked = summary.counts.attempted + summary.counts.before_window;
    let lines = part.source.period().filter(|_| !part.source.sessions())?;
    (asked > lines).then(|| {
        format!(
            "the {lines} lines of the workload's file were asked {:.1} times each: a server that keeps what it made \
             of prompts answers the later ones sooner",
            asked as f64 / lines as f64
        )
    })
}

/// The cell as it is to be driven where answers are to be shown: it keeps `shown` of them, unless
/// the experiment says how many.
fn with_answers(cell: &Cell, shown: Option<u32>) -> Cow<'_, Cell> {
    let mut cell = Cow::Borrowed(cell);
    if let Some(shown) = shown
        && cell.settings.parts().all(|(_, workload)| workload.keep_answers == 0)
    {
        let settings = &mut cell.to_mut().settings;
        let parts = settings.parts.iter_mut().map(|part| &mut part.workload);
        for workload in parts.chain([&mut settings.workload]) {
            workload.keep_answers = shown;
        }
    }
    cell
}

/// What each part of a cell is sent by.
fn parts(salt: &str, cell: &Cell, found: &[Rc<Found>]) -> Result<Vec<JobPart>, SweepError> {
    let part = |((target, workload), found): ((&Target, &Workload), &Rc<Found>)| {
        let provider = found.provider(target).ok_or_else(|| SweepError::Api { api: found.api.clone() })?;
        let source = Source::open(workload.clone(), cell.seed, salt, Arc::clone(&found.tokenizer))?;
        let (provider, source) = (provider.into(), Arc::new(source));
        Ok(JobPart { endpoint: found.endpoint.clone(), provider, source })
    };
    cell.settings.parts().zip(found).map(part).collect()
}

/// Why a cell that a person skipped does not count.
const BY_HAND: &str = "a person skipped it while it ran";

/// How often a pause is looked at.
const PAUSE_LOOK: Duration = Duration::from_millis(50);

/// A cell whose turn it is.
pub(super) struct Turn {
    pub cell: Cell,
    /// How long it is expected to take, in seconds.
    pub expected_s: f64,
    /// Cells of the sweep, as far as is known.
    pub of: usize,
}

/// What a walk is to do, cell by cell: a plan that stands, or one that grows with what was
/// measured.
pub(super) trait Agenda {
    /// The next cell; `None`: there is no more to do. Asked before the server cools down from the
    /// cell before, which the last one needn't.
    fn next(&mut self, watcher: &mut dyn Watcher) -> Result<Option<Turn>, SweepError>;

    /// The run that keeps this cell.
    fn run(&self, turn: &Turn) -> &RunDir;

    /// A cell was measured and is kept.
    fn finished(&mut self, turn: &Turn, summary: &CellSummary) -> Result<(), SweepError>;

    /// A cell could not run, for this reason, and was passed over for good.
    fn passed_over(
        &mut self,
        _turn: &Turn,
        _reason: &str,
        _watcher: &mut dyn Watcher,
    ) -> Result<(), SweepError> {
        Ok(())
    }
}

/// Note in the run that a cell does not run, and tell it. `failed`: it was to, and could not.
pub(super) fn pass_over(
    run: &RunDir,
    cell: &Cell,
    (reason, failed): (&str, bool),
    watcher: &mut dyn Watcher,
) -> Result<(), SweepError> {
    run.skip_cell(cell, reason, failed)?;
    let text = format!("cell {} is skipped: {reason}", cell.index + 1);
    watcher.on(&Event::Notice { text: &text });
    Ok(())
}

/// One walk over the cells of an agenda.
pub(super) struct Walk<'a> {
    control: &'a Control,
    watcher: &'a mut dyn Watcher,
    bench: Bench,
    /// Cells in a row in which the server answered nothing.
    silent_in_row: u32,
    /// Cells that it finished.
    pub finished: usize,
    /// Cells that could not run.
    pub failed: usize,
    /// Why the server was not idle when the next cell began.
    contaminated: Option<String>,
    /// What a load core of this machine can do, if it was calibrated.
    ceiling: Option<Ceiling>,
    hooks: Option<Runner>,
    /// What is read of servers while cells run.
    observing: Option<Observing>,
    /// Share of the requests that bear the name of a trace.
    traced: f64,
    /// The workers that drive the load; `None`: this process does.
    fleet: Option<Fleet>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        control: &'a Control,
        watcher: &'a mut dyn Watcher,
        bench: Bench,
        ceiling: Option<Ceiling>,
    ) -> Self {
        Self {
            control,
            watcher,
            bench,
            silent_in_row: 0,
            finished: 0,
            failed: 0,
            contaminated: None,
            ceiling,
            hooks: None,
            observing: None,
            traced: 0.0,
            fleet: None,
        }
    }

    /// Run these hooks around each cell.
    pub(super) fn with_hooks(self, hooks: Runner) -> Self {
        Self { hooks: Some(hooks), ..self }
    }

    /// Have these workers drive the load.
    pub(super) fn with_fleet(self, fleet: Option<Fleet>) -> Self {
        Self { fleet, ..self }
    }

    /// Watch the servers of each cell by this.
    pub(super) fn observed_by(self, observing: Observing) -> Self {
        Self { observing: Some(observing), ..self }
    }

    /// Let this share of each cell's requests bear the name of a trace.
    pub(super) fn with_traced(self, traced: f64) -> Self {
        Self { traced, ..self }
    }

    /// Which requests of a cell are traced. Their names are no other cell's, repeat's or run's.
    fn traces(&self, run: &RunDir, cell: &Cell) -> Option<Traces> {
        let manifest = run.manifest();
        let (seed, repeat) = (cell.seed.to_string(), cell.repeat.to_string());
        Traces::new(self.traced, &[&manifest.run, &manifest.salt, &cell.id.0, &repeat, &seed])
    }

    /// The hooks at the end of the sweep; its server still runs.
    pub(super) fn after_sweep(&mut self, target: &Target, base: &Url) -> After {
        match &self.hooks {
            Some(hooks) => hooks.run(HookPoint::AfterSweep, (target, base), None, self.watcher),
            None => After::GoOn,
        }
    }

    /// The hooks of one cell.
    fn around(&mut self, point: HookPoint, turn: &Turn, found: &[Rc<Found>], run: &RunDir) -> After {
        let part = turn.cell.settings.parts().next().zip(found.first());
        match (&self.hooks, part) {
            (Some(hooks), Some(((target, _), found))) => {
                let cell = Some((&turn.cell, run.path()));
                hooks.run(point, (target, &found.endpoint.base), cell, self.watcher)
            }
            _ => After::GoOn,
        }
    }

    /// The watcher, for others to say something.
    pub(super) fn watcher(&mut self) -> &mut dyn Watcher {
        self.watcher
    }

    /// Walk the agenda to its end.
    pub(super) fn all(&mut self, agenda: &mut dyn Agenda) -> Result<Ending, SweepError> {
        let mut next = agenda.next(self.watcher)?;
        if next.is_some() {
            self.hold();
        }
        while let Some(turn) = next {
            if self.control.finish() {
                return Ok(Ending::Interrupted);
            }
            let cell = &turn.cell;
            let start = match self.bench.up(&cell.settings, self.watcher) {
                Ok(start) => start,
                Err(LaunchError::Stopped) => return Ok(Ending::Interrupted),
                Err(LaunchError::Failed(reason)) => {
                    self.pass_over(agenda, &turn, &reason)?;
                    next = agenda.next(self.watcher)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let found = match self.find(cell) {
                Err(SweepError::Discover(DiscoverError::Stopped)) => return Ok(Ending::Interrupted),
                other => other?,
            };
            match self.around(HookPoint::BeforeCell, &turn, &found, agenda.run(&turn)) {
                After::GoOn => {}
                After::Fail(reason) => {
                    self.pass_over(agenda, &turn, &reason)?;
                    next = agenda.next(self.watcher)?;
                    continue;
                }
                After::Stop(reason) => return Ok(Ending::Stopped { reason }),
                After::Interrupted => return Ok(Ending::Interrupted),
            }
            let measured = self.one(agenda.run(&turn), &turn, (&found, start))?;
            match &measured {
                Some((_, summary)) if summary.window.ended_by == EndedBy::Interrupt => {
                    return Ok(Ending::Interrupted);
                }
                Some((run, summary)) if summary.window.ended_by == EndedBy::WorkerLost => {
                    let reason = format!("a worker was lost: {}", run.client.lost_workers.join("; "));
                    return Ok(Ending::Stopped { reason });
                }
                Some((_, summary)) => {
                    self.finished += 1;
                    agenda.finished(&turn, summary)?;
                }
                None => self.pass_over(agenda, &turn, BY_HAND)?,
            }
            match self.around(HookPoint::AfterCell, &turn, &found, agenda.run(&turn)) {
                After::GoOn => {}
                After::Fail(reason) | After::Stop(reason) => return Ok(Ending::Stopped { reason }),
                After::Interrupted => return Ok(Ending::Interrupted),
            }
            if let Some((run, summary)) = &measured
                && let Some(reason) = self.dead(cell, run, summary)
            {
                return Ok(Ending::Stopped { reason });
            }
            next = agenda.next(self.watcher)?;
            if next.is_some() {
                self.hold();
                self.cool_down(cell, &found);
                // What the server was busy with before a pause says nothing of it after one.
                while self.hold() {
                    self.contaminated = None;
                    self.cool_down(cell, &found);
                }
            }
        }
        Ok(Ending::Finished)
    }

    fn pass_over(&mut self, agenda: &mut dyn Agenda, turn: &Turn, reason: &str) -> Result<(), SweepError> {
        pass_over(agenda.run(turn), &turn.cell, (reason, true), self.watcher)?;
        self.failed += 1;
        agenda.passed_over(turn, reason, self.watcher)
    }

    /// Wait while a person wants a pause before the next cell; whether there was one.
    fn hold(&mut self) -> bool {
        if !self.control.paused() || self.control.finish() {
            return false;
        }
        self.watcher.on(&Event::Notice { text: "paused by hand: the next cell waits" });
        let began = Instant::now();
        self.control.held_while(|control| {
            while control.paused() && !control.finish() {
                std::thread::sleep(PAUSE_LOOK);
            }
        });
        let text = format!("the sweep goes on, after a pause of {:.0} s", began.elapsed().as_secs_f64());
        self.watcher.on(&Event::Notice { text: &text });
        true
    }

    /// Drive one cell and keep what it gave. `None`: it was skipped by hand, so that it measured
    /// nothing; its records are kept as those of a cell that was interrupted.
    fn one(
        &mut self,
        keep: &RunDir,
        turn: &Turn,
        (found, start): (&[Rc<Found>], Option<u32>),
    ) -> Result<Option<(CellRun, CellSummary)>, SweepError> {
        let Turn { cell, expected_s, of } = turn;
        self.watcher.on(&Event::CellStarted { cell, of: *of, expected_s: *expected_s });
        let shown = self.watcher.answers();
        let asked = with_answers(cell, shown);
        let job = Job {
            cell: &asked,
            parts: parts(&keep.manifest().salt, cell, found)?,
            traces: self.traces(keep, cell),
        };
        let mut log = keep.begin_cell(cell)?;
        if let Some(observing) = &self.observing {
            observing.own_server(self.bench.group());
        }
        let watch = self.observing.as_mut().and_then(|o| o.begin(cell, found, self.watcher));
        let watcher = &mut *self.watcher;
        let control = self.control.of_cell(cell.index);
        let look = &mut |look: Look<'_>| match look {
            Look::Live(mut live) => {
                live.server = watch.as_ref().map(Watch::now).unwrap_or_default();
                watcher.on(&Event::Live(live));
            }
            Look::Ended(requests) => watcher.ended(requests),
        };
        let mut run = match &self.fleet {
            Some(fleet) => {
                let facts = found.iter().map(|found| found.facts()).collect();
                let task = Task { job: &job, salt: &keep.manifest().salt, facts };
                fleet.drive(&task, &mut log, &control, look)?
            }
            None => {
                let mut run = load::drive(&job, &mut log, &control, look)?;
                run.client.ceiling = self.ceiling;
                run
            }
        };
        if let (Some(observing), Some(watch)) = (&mut self.observing, watch) {
            run.observed = Some(observing.end(watch, run.epoch_monotonic_ns, self.watcher));
        }
        if let Some(why) = log.answers_refused() {
            let text = format!("not all answers of the cell could be kept: {why}");
            self.watcher.on(&Event::Notice { text: &text });
        }
        let log = log.seal()?;
        let mut summary = measure::summarise_walks(cell, &run, || log.records())?;
        summary.inside = self.observing.as_ref().and_then(|observing| observing.inside(&run, &summary));
        if let Some(text) = self.contaminated.take() {
            summary.validity.add(CONTAMINATED_NAME, Verdict::Warn, text);
        }
        if let Some(text) = data_again(&job.parts, &summary) {
            summary.validity.add(DATA_AGAIN_NAME, Verdict::Warn, text);
        }
        let (api, model) = bench::served(found);
        keep.commit_cell(cell, &log, &run, &summary, Served { api: &api, model: &model, start })?;
        let cut = summary.window.ended_by == EndedBy::Interrupt;
        if cut && self.control.skipped(cell.index) && !self.control.finish() {
            return Ok(None);
        }
        self.watcher.on(&Event::CellFinished { cell, summary: &summary });
        if shown.is_some() {
            match keep.answers(cell) {
                Ok(answers) => {
                    for answer in &answers {
                        self.watcher.on(&Event::Answer { cell_index: cell.index, answer });
                    }
                }
                // The cell is kept, and none the worse for it.
                Err(error) => {
                    let text = format!("its answers can't be shown: {error}");
                    self.watcher.on(&Event::Notice { text: &text });
                }
            }
        }
        Ok(Some((run, summary)))
    }

    /// Look for the cell's servers. One that can't be found now, after others were, is a
    /// failing cell and not the end: it is asked all the same, and its silence recorded.
    fn find(&mut self, cell: &Cell) -> Result<Vec<Rc<Found>>, SweepError> {
        self.bench.ready(&cell.settings, Some(cell.index + 1), self.watcher)
    }

    /// Why the sweep should stop: nothing was answered for several cells in a row, neither in
    /// the window nor outside of it.
    fn dead(&mut self, cell: &Cell, run: &CellRun, summary: &CellSummary) -> Option<String> {
        let answered = run.timeline.iter().any(|tick| tick.completed > 0 || tick.chunks > 0);
        let asked = run.timeline.iter().any(|tick| tick.sent > 0);
        self.silent_in_row = if answered || !asked { 0 } else { self.silent_in_row + 1 };
        let limit = cell.settings.client.dead_after;
        (self.silent_in_row >= limit).then(|| {
            let counts = &summary.counts;
            let mut last: Vec<String> = counts.errors.iter().map(|(c, n)| format!("{n} × {c}")).collect();
            if last.is_empty() {
                last.push("no answer in time".to_owned());
            }
            let row = if limit == 1 { "a whole cell".to_owned() } else { format!("{limit} cells in a row") };
            format!("no request was answered in {row} (last: {}); what was measured is kept", last.join(", "))
        })
    }

    /// Wait until every server of the cell is idle.
    fn cool_down(&mut self, cell: &Cell, found: &[Rc<Found>]) {
        let mut cooldown = cell.settings.cell.cooldown;
        let silent = self.silent_in_row > 0;
        if silent {
            // Nobody is there to become idle.
            cooldown = Cooldown { min: cooldown.min, max: cooldown.min };
        }
        self.watcher
            .on(&Event::CoolingDown { min_s: cooldown.min.as_secs_f64(), max_s: cooldown.max.as_secs_f64() });
        let began = Instant::now();
        let several = cell.settings.parts.iter().any(|part| part.endpoint.is_some());
        for server in bench::servers(found) {
            // Those that come later have been waited for with the first.
            let left = |d: Duration| d.saturating_sub(began.elapsed());
            let left = Cooldown { min: left(cooldown.min), max: left(cooldown.max) };
            let idle = server::wait_idle(server, &left, &|| self.control.finish());
            if let Idle::TimedOut { what, .. } = idle
                && !silent
            {
                let waited = began.elapsed().as_secs_f64();
                let which = if several { format!(" {}", server.endpoint.base) } else { String::new() };
                self.contaminated = Some(format!(
                    "the server{which} wasn't seen to be idle after {waited:.1} s of cooldown: {what}"
                ));
            }
        }
    }
}
