//! The thread that reads sources, and what it keeps.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::{ObserveError, Source};
use crate::exposition::{Common, Known, Merge};
use crate::record::{Observed, ObservedLook, ObservedSeries, Reading};

/// How long a cell waits for the first look, and for the last: after it a source is taken for
/// one that never comes back.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before the last look: what a server counts once an answer has gone out, it has counted then.
const SETTLE: Duration = Duration::from_millis(50);
/// Failures in a row after which a source is asked only now and then.
const FAILING: u32 = 3;
/// Now and then: every so many looks.
const NOW_AND_THEN: u64 = 10;
/// Changes that are kept of a cell at most, some 24 bytes each: a server of 5,000 series of which
/// a fifth change every second has come so far after two hours.
const MOST: usize = 8_000_000;

/// Watches cells, one after the other.
pub struct Observer {
    sources: Vec<Box<dyn Source>>,
    every: Duration,
}

/// A cell that is being watched.
pub struct Watch {
    log: Arc<Mutex<Log>>,
    stop: SyncSender<()>,
    ended: Receiver<Vec<Box<dyn Source>>>,
}

impl Observer {
    /// One that reads `sources`, one after the other, `every` so often.
    #[must_use]
    pub fn new(sources: Vec<Box<dyn Source>>, every: Duration) -> Self {
        Self { sources, every }
    }

    /// Begin to watch. Returns once each source has been read, or after some seconds; `None`
    /// where there is nothing to read, or no thread to be had.
    #[must_use]
    pub fn watch(self) -> Option<Watch> {
        if self.sources.is_empty() {
            return None;
        }
        let names = self.sources.iter().map(|source| source.name().to_owned()).collect();
        let log = Arc::new(Mutex::new(Log::new(names)));
        let (stop, stopped) = sync_channel(1);
        let (first, looked) = sync_channel(1);
        let (end, ended) = sync_channel(1);
        let theirs = Arc::clone(&log);
        let Self { mut sources, every } = self;
        thread::Builder::new()
            .name("plimsoll-observe".to_owned())
            .spawn(move || {
                look(&mut sources, &theirs, Ask::All);
                let _ = first.send(());
                let mut next = Instant::now() + every;
                loop {
                    match stopped.recv_timeout(next.saturating_duration_since(Instant::now())) {
                        Err(RecvTimeoutError::Timeout) => look(&mut sources, &theirs, Ask::Well),
                        Ok(()) => {
                            thread::sleep(SETTLE);
                            break look(&mut sources, &theirs, Ask::All);
                        }
                        // Nobody wants it any more.
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                    // What was missed while a source was slow is not made up for.
                    next = (next + every).max(Instant::now());
                }
                let _ = end.send(sources);
            })
            .ok()?;
        let _ = looked.recv_timeout(PATIENCE);
        Some(Watch { log, stop, ended })
    }
}

impl Watch {
    /// What the server said of itself at the last look, by [`Common::live`]'s names.
    #[must_use]
    pub fn now(&self) -> BTreeMap<String, f64> {
        lock(&self.log).now.clone()
    }

    /// Read everything once more and end. `epoch_ns` is the cell's epoch on `CLOCK_MONOTONIC`, in
    /// nanoseconds. Gives the sources back, for the next cell; none where one of them didn't come
    /// back in time.
    #[must_use]
    pub fn end(self, epoch_ns: u64) -> (Observed, Vec<Box<dyn Source>>) {
        let _ = self.stop.try_send(());
        let sources = self.ended.recv_timeout(PATIENCE);
        let mut log = lock(&self.log);
        let mut observed = log.take(epoch_ns);
        let sources = sources.unwrap_or_else(|gone| {
            if gone == RecvTimeoutError::Disconnected {
                observed.notes.push(
                    "what reads the server has broken down: nothing more was read in this cell".to_owned(),
                );
                return Vec::new();
            }
            let name = log.asked.map(|at| observed.sources[at].clone()).unwrap_or_default();
            observed.notes.push(format!(
                "{name} did not come back within {PATIENCE:?}: nothing more was read in this cell"
            ));
            Vec::new()
        });
        (observed, sources)
    }
}

/// Which sources a look is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    All,
    /// Those that don't fail, and the others now and then.
    Well,
}

fn look(sources: &mut [Box<dyn Source>], log: &Mutex<Log>, ask: Ask) {
    let cpu = nanoseconds(ClockId::ThreadCPUTime);
    for (at, source) in sources.iter_mut().enumerate() {
        if !lock(log).is_asked(at, ask) {
            continue;
        }
        let began = nanoseconds(ClockId::Monotonic);
        let read = source.read();
        let middle = began.midpoint(nanoseconds(ClockId::Monotonic));
        let mut log = lock(log);
        match read {
            Ok(readings) => log.told(at, middle, readings),
            Err(error) => log.failed(at, &error),
        }
    }
    let mut log = lock(log);
    log.looks_done += 1;
    log.now = log.live();
    log.asked = None;
    log.cpu_ns += nanoseconds(ClockId::ThreadCPUTime).saturating_sub(cpu);
}

/// What was read stays whole even where a source panicked.
fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanoseconds(id: ClockId) -> u64 {
    let t = clock_gettime(id);
    t.tv_sec.unsigned_abs() * 1_000_000_000 + t.tv_nsec.unsigned_abs()
}

/// What was read so far.
struct Log {
    sources: Vec<Fate>,
    /// When and which.
    looks: Vec<(u64, usize)>,
    series: Vec<Kept>,
    /// Place in `series`, by source, then by name and labels with a line break between.
    known: Vec<HashMap<String, usize>>,
    changes: usize,
    /// What is shown while the cell runs.
    now: BTreeMap<String, f64>,
    looks_done: u64,
    /// The source that is being read.
    asked: Option<usize>,
    cpu_ns: u64,
}

/// How a source fared.
struct Fate {
    name: String,
    read: u64,
    failed: u64,
    failed_in_row: u32,
    /// The first failure.
    why: Option<String>,
}

struct Kept {
    series: ObservedSeries,
    known: Option<&'static Known>,
    /// The last look in which it was told.
    seen: usize,
}

impl Log {
    fn new(names: Vec<String>) -> Self {
        let known = vec![HashMap::new(); names.len()];
        let fate = |name| Fate { name, read: 0, failed: 0, failed_in_row: 0, why: None };
        Self {
            sources: names.into_iter().map(fate).collect(),
            looks: Vec::new(),
            series: Vec::new(),
            known,
            changes: 0,
            now: BTreeMap::new(),
            looks_done: 0,
            asked: None,
            cpu_ns: 0,
        }
    }

    fn is_asked(&mut self, at: usize, ask: Ask) -> bool {
        let turn = self.looks_done.is_multiple_of(NOW_AND_THEN);
        let asked = ask == Ask::All || self.sources[at].failed_in_row < FAILING || turn;
        if asked {
            self.asked = Some(at);
        }
        asked
    }

    fn failed(&mut self, at: usize, error: &ObserveError) {
        let fate = &mut self.sources[at];
        fate.failed += 1;
        // What is too long now is so the next time, and costs most.
        let lasting = matches!(error, ObserveError::TooLong(_));
        fate.failed_in_row += if lasting { FAILING } else { 1 };
        fate.why.get_or_insert_with(|| error.to_string());
    }

    fn told(&mut self, at: usize, ns: u64, readings: Vec<Reading>) {
        let fate = &mut self.sources[at];
        fate.read += 1;
        fate.failed_in_row = 0;
        let look = self.looks.len();
        let before = self.looks.iter().rposition(|(_, source)| *source == at);
        self.looks.push((ns, at));
        let mut key = String::new();
        for Reading { name, labels, kind, value } in readings {
            key.clear();
            key.push_str(&name);
            key.push('\n');
            key.push_str(&labels);
            let place = match self.known[at].get(&key) {
                Some(place) => *place,
                None => {
                    let known = Known::find(&name, &labels).filter(|known| known.common.live().is_some());
                    let series = ObservedSeries { source: at, name, labels, kind, changes: Vec::new() };
                    self.series.push(Kept { series, known, seen: look });
                    self.known[at].insert(key.clone(), self.series.len() - 1);
                    self.series.len() - 1
                }
            };
            let kept = &mut self.series[place];
            kept.seen = look;
            // By bits: a NaN that stays is no change.
            let same = |last: &(usize, Option<f64>)| last.1.is_some_and(|v| v.to_bits() == value.to_bits());
            if !kept.series.changes.last().is_some_and(same) && self.changes < MOST {
                kept.series.changes.push((look, Some(value)));
                self.changes += 1;
            }
        }
        // What the source told the last time and now doesn't.
        if let Some(before) = before {
            for kept in self.series.iter_mut().filter(|k| k.series.source == at && k.seen == before) {
                kept.series.changes.push((look, None));
            }
        }
    }

    /// What every source said the last time that it said something, by common names.
    fn live(&self) -> BTreeMap<String, f64> {
        let mut all: BTreeMap<Common, Vec<f64>> = BTreeMap::new();
        for kept in &self.series {
            if let (Some(known), Some((_, Some(value)))) = (kept.known, kept.series.changes.last()) {
                all.entry(known.common).or_default().push(value * known.scale);
            }
        }
        let shown = |(common, values): (Common, Vec<f64>)| {
            let (name, scale) = common.live()?;
            let sum: f64 = values.iter().sum();
            let value = if common.merge() == Merge::Sum { sum } else { sum / values.len() as f64 };
            Some((name.to_owned(), value * scale))
        };
        all.into_iter().filter_map(shown).filter(|(_, value)| value.is_finite()).collect()
    }

    /// All of it, by the cell's clock.
    fn take(&mut self, epoch_ns: u64) -> Observed {
        let since = |ns: u64| (i128::from(ns) - i128::from(epoch_ns)) / 1000;
        let looks = std::mem::take(&mut self.looks);
        Observed {
            sources: self.sources.iter().map(|fate| fate.name.clone()).collect(),
            looks: looks
                .into_iter()
                .map(|(ns, source)| ObservedLook {
                    at_us: i64::try_from(since(ns)).unwrap_or(i64::MAX),
                    source,
                })
                .collect(),
            series: std::mem::take(&mut self.series).into_iter().map(|kept| kept.series).collect(),
            notes: self.notes(),
            cpu_us: self.cpu_ns / 1000,
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self
            .sources
            .iter()
            .filter_map(|fate| {
                let why = fate.why.as_ref()?;
                let Fate { name, read, failed, .. } = fate;
                Some(match read {
                    0 => format!("{name} could not be read: {why}"),
                    _ => format!("{name} could not be read {failed} of {} times: {why}", read + failed),
                })
            })
            .collect();
        if self.changes >= MOST {
            notes.push(format!("only the first {MOST} changes of all series are kept"));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells what a function makes of the number of the reading.
    struct Numbered<F>(&'static str, u32, F);

    impl<F: FnMut(u32) -> Result<Vec<Reading>, ObserveError> + Send> Source for Numbered<F> {
        fn name(&self) -> &str {
            self.0
        }
        fn read(&mut self) -> Result<Vec<Reading>, ObserveError> {
            self.1 += 1;
            (self.2)(self.1)
        }
    }

    fn source(
        name: &'static str,
        read: impl FnMut(u32) -> Result<Vec<Reading>, ObserveError> + Send + 'static,
    ) -> Box<dyn Source> {
        Box::new(Numbered(name, 0, read))
    }

    #[test]
    fn a_source_is_read_before_while_and_after() {
        let (told, tell) = sync_channel(100);
        let sources = vec![source("s", move |n| {
            let _ = told.send(n);
            let mut all =
                vec![Reading::counter("n", &[], f64::from(n)), Reading::gauge("same", &[], f64::NAN)];
            all.extend((n == 2).then(|| Reading::gauge("once", &[("a", "b")], 1.0)));
            Ok(all)
        })];
        let watch = Observer::new(sources, Duration::from_millis(5)).watch().unwrap();
        assert_eq!(tell.try_recv(), Ok(1), "it is read before the watch is handed over");
        while tell.recv().unwrap() < 4 {}
        let epoch = nanoseconds(ClockId::Monotonic);
        let (observed, sources) = watch.end(epoch);
        assert_eq!(sources.len(), 1);
        let looks = observed.looks.len();
        assert!(looks >= 5 && observed.looks.is_sorted_by_key(|l| l.at_us), "{:?}", observed.looks);
        assert!(observed.looks[0].at_us < 0 && observed.looks[looks - 1].at_us > 0, "{:?}", observed.looks);
        let of = |name: &str| observed.series.iter().find(|s| s.name == name).unwrap();
        let values: Vec<f64> = observed.values(of("n")).map(|(_, v)| v).collect();
        assert_eq!(values, (1..=looks).map(|n| n as f64).collect::<Vec<_>>());
        assert_eq!(of("same").changes.len(), 1);
        assert_eq!(observed.values(of("once")).count(), 1);
        assert_eq!(of("once").labels, "a=\"b\"");
        assert_eq!(observed.notes, [""; 0]);
        // The sources go on where they were.
        let (again, _) = Observer::new(sources, Duration::from_secs(100)).watch().unwrap().end(epoch);
        assert_eq!(again.looks.len(), 2);
    }

    #[test]
    fn what_fails_is_noted_once_and_asked_less() {
        let sources = vec![
            source("bad", |n| Err(ObserveError::Failed(format!("no {n}")))),
            source("good", |_| Ok(vec![Reading::gauge("x", &[], 1.0)])),
        ];
        let (done, wait) = sync_channel(1);
        let counted = source("third", move |n| {
            if n == 40 {
                let _ = done.send(());
            }
            if n == 2 { Err(ObserveError::Timeout(Duration::from_secs(1))) } else { Ok(Vec::new()) }
        });
        let all = sources.into_iter().chain([counted]).collect();
        let watch = Observer::new(all, Duration::from_millis(1)).watch().unwrap();
        wait.recv().unwrap();
        let (observed, _) = watch.end(0);
        let good = observed.looks.iter().filter(|l| l.source == 1).count();
        assert!(good >= 40, "{good}");
        assert_eq!(observed.notes[0], "bad could not be read: no 1");
        let third = format!("third could not be read 1 of {good} times: no answer within 1s");
        assert_eq!(observed.notes[1..], [third]);
    }

    #[test]
    fn what_servers_say_now_is_shown_while_a_cell_runs() {
        let tell = |running, kv| {
            source(if kv > 0.5 { "a" } else { "b" }, move |_| {
                Ok(vec![
                    Reading::gauge("vllm:num_requests_running", &[], running),
                    Reading::gauge("vllm:kv_cache_usage_perc", &[], kv),
                    Reading::counter("vllm:prompt_tokens_total", &[], 7.0),
                ])
            })
        };
        let watch =
            Observer::new(vec![tell(3.0, 0.75), tell(2.0, 0.25)], Duration::from_secs(100)).watch().unwrap();
        let want = [("kv_use".to_owned(), 50.0), ("running".to_owned(), 5.0)];
        assert_eq!(watch.now(), BTreeMap::from(want));
    }

    #[test]
    fn nothing_to_read_is_no_watch() {
        assert!(Observer::new(Vec::new(), Duration::from_secs(1)).watch().is_none());
    }
}
