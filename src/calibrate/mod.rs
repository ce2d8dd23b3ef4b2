//! What this machine's client can do at most, found against the simulator by the clock.
//!
//! The simulator shares the machine, so rates as they went are lower bounds. What a load
//! core can do is therefore taken per second of its own CPU time: chunks in the window over
//! the CPU time of the load core's thread in it, the median of the repeats. That figure
//! doesn't depend on who else had the processor meanwhile, only on what the work costs.

mod bench;

use bench::{Ask, Bench, Measured};

use crate::experiment::Mistakes;
use crate::load::{Control, LoadError};
use crate::measure::validity::SIGNALS;
use crate::server::DiscoverError;
use crate::sim::SimError;
use crate::stats::quantile;
use crate::store::{Calibration, Connections, LagAt, Machine, Rates};

/// Rates of the open loop, in requests per second, until one is more than the client can do.
const LAG_RATES: [u32; 7] = [100, 1_000, 10_000, 20_000, 40_000, 80_000, 160_000];
/// Lag is told up to here whether the client can do it or not; with `--quick`, no further.
const LAG_ALWAYS: u32 = 10_000;
/// Streams in flood per load core: enough that one is always ready.
const FLOODS: u32 = 8;
/// Streams that come one chunk to a read.
const PACED: u32 = 64;

/// The machine could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    #[error(transparent)]
    Sim(#[from] SimError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    #[error(transparent)]
    Plan(#[from] Mistakes),
    #[error(
        "{what}: {ok} requests were answered and {failed} failed, against a server that never fails: is the machine out of open files or ports?"
    )]
    Failed { what: &'static str, ok: u64, failed: u64 },
    #[error("{what}: no load core ran long enough to be measured: is the machine stopped or overloaded?")]
    Unmeasured { what: &'static str },
    #[error("interrupted: nothing was kept")]
    Interrupted,
}

/// How thorough it is to be.
struct Size {
    repeats: u32,
    /// Of a window and of its warm-up, in milliseconds.
    window_ms: u32,
    warmup_ms: u32,
    /// Streams to hold.
    held: u32,
    quick: bool,
}

/// Measure this machine: about 45 s, or 15 s if `quick`. `step` is told what comes next.
///
/// # Errors
/// When a measurement fails, or `control` has been pressed.
pub fn calibrate(
    quick: bool,
    control: &Control,
    step: &mut dyn FnMut(&str),
) -> Result<Calibration, CalibrateError> {
    let size = if quick {
        Size { repeats: 1, window_ms: 800, warmup_ms: 200, held: 100, quick }
    } else {
        Size { repeats: 2, window_ms: 3_000, warmup_ms: 500, held: 1_000, quick }
    };
    let machine = Machine::here();
    let flood = Bench::new("0s", "0s", control)?;
    step("streams in flood");
    let streams = "prompt_tokens = 16\nmax_tokens = 2000";
    let chunks = rates(&flood, &size, &machine, "streams in flood", FLOODS, streams, Of::Chunks)?;
    step("short answers");
    let short = "prompt_tokens = 16\nmax_tokens = 80\nstream = false";
    let requests = rates(&flood, &size, &machine, "short answers", FLOODS, short, Of::Requests)?;
    step("one chunk to a read");
    let paced = Bench::new("0s", "10ms", control)?;
    let one = Machine { cores: 1, ..machine.clone() };
    let few = "prompt_tokens = 16\nmax_tokens = 100";
    let paced_chunks = rates(&paced, &size, &one, "one chunk to a read", PACED, few, Of::Chunks)?;
    drop(paced);
    step("streams held");
    let connections = connections(&size, control)?;
    let mut lag = Vec::new();
    for rate in LAG_RATES {
        if rate > LAG_ALWAYS && (quick || lag.last().is_some_and(|at: &LagAt| !at.valid)) {
            break;
        }
        step(&format!("lag at {rate} sends per second"));
        lag.push(lag_at(&flood, &size, rate)?);
    }
    Ok(Calibration {
        schema: Calibration::SCHEMA,
        made_at: jiff::Timestamp::now().to_string(),
        quick,
        machine,
        chunks,
        paced_chunks,
        requests,
        connections,
        lag,
    })
}

/// What is counted.
#[derive(Clone, Copy)]
enum Of {
    Chunks,
    Requests,
}

impl Of {
    /// Events per second, of each load core.
    fn rates(self, measured: &Measured) -> &[f64] {
        let client = &measured.run.client;
        match self {
            Self::Chunks => &client.core_chunks_per_s,
            Self::Requests => &client.core_requests_per_s,
        }
    }
}

fn rates(
    bench: &Bench<'_>,
    size: &Size,
    machine: &Machine,
    what: &'static str,
    users_per_core: u32,
    workload: &str,
    of: Of,
) -> Result<Rates, CalibrateError> {
    let ask = |cores: u32| Ask {
        what,
        text: format!(
            "[workload]\n{workload}\ntokenizer = \"bundled\"\nforce_length = \"always\"\n\
             [load]\nusers = {}\n[client]\nthreads = {cores}\n[cell]\nwarmup = \"{}ms\"\nduration = \"{}ms\"\n",
            users_per_core * cores,
            size.warmup_ms,
            size.window_ms
        ),
    };
    let (mut per_core, mut one_core) = (Vec::new(), Vec::new());
    for _ in 0..size.repeats {
        let measured = bench.measure(&ask(1))?;
        let (rate, share) = (of.rates(&measured).first(), measured.run.client.core_cpu.first());
        let (Some(&rate), Some(&share)) = (rate, share) else {
            return Err(CalibrateError::Unmeasured { what });
        };
        if rate <= 0.0 || share <= 0.0 {
            return Err(CalibrateError::Unmeasured { what });
        }
        per_core.push(rate / share);
        one_core.push(rate);
    }
    let all_cores_s = if machine.cores > 1 {
        Some(of.rates(&bench.measure(&ask(machine.cores))?).iter().sum())
    } else {
        None
    };
    Ok(Rates { per_core_s: median(per_core), one_core_s: median(one_core), all_cores_s })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    quantile(&values, 0.5).unwrap_or(0.0)
}

/// Open as many streams as are asked for at once; none gets a token before all are open.
fn connections(size: &Size, control: &Control) -> Result<Connections, CalibrateError> {
    const WHAT: &str = "streams held";
    let bench = Bench::new(if size.quick { "1s" } else { "3s" }, "0s", control)?;
    let ask = Ask {
        what: WHAT,
        text: format!(
            "[workload]\nprompt_tokens = 16\nmax_tokens = 4\ntokenizer = \"bundled\"\nforce_length = \"always\"\n\
             [load]\nusers = {0}\n[client]\nthreads = 1\n[cell]\nwarmup = \"0s\"\nrequests = {0}\nduration = \"30s\"\n",
            size.held
        ),
    };
    let measured = bench.measure(&ask)?;
    let held = measured.run.timeline.iter().map(|tick| tick.in_flight).max().unwrap_or(0);
    let times = measured.seen.first_sent_us.zip(measured.seen.last_headers_us);
    let us = times.map_or(0, |(first, last)| last.saturating_sub(first));
    if us == 0 {
        return Err(CalibrateError::Unmeasured { what: WHAT });
    }
    Ok(Connections { held, opened_s: measured.seen.ok as f64 / (us as f64 / 1e6) })
}

fn lag_at(bench: &Bench<'_>, size: &Size, rate: u32) -> Result<LagAt, CalibrateError> {
    const WHAT: &str = "lag";
    // A timer's p99 is not read from less than a second of it.
    let window_ms = size.window_ms.clamp(1_100, 2_000);
    let ask = Ask {
        what: WHAT,
        text: format!(
            "[workload]\nprompt_tokens = 16\nmax_tokens = 1\nstream = false\ntokenizer = \"bundled\"\nforce_length = \"always\"\n\
             [load]\nqps = {rate}\narrivals = \"constant\"\nusers = 1000\n\
             [cell]\nwarmup = \"{}ms\"\nduration = \"{window_ms}ms\"\n",
            size.warmup_ms
        ),
    };
    let Measured { run, mut seen } = bench.measure(&ask)?;
    seen.lags_ms.sort_unstable_by(f64::total_cmp);
    let at = |q| quantile(&seen.lags_ms, q).ok_or(CalibrateError::Unmeasured { what: WHAT });
    let lag_p99_ms = at(0.99)?;
    let sent = seen.lags_ms.len() as f64;
    let enough =
        run.planned.is_none_or(|planned| sent >= planned as f64 * (1.0 - invalid_past("sent_off_plan")));
    Ok(LagAt {
        rate: f64::from(rate),
        sent_s: sent / run.window.seconds(),
        lag_p50_ms: at(0.5)?,
        lag_p99_ms,
        canary_p99_ms: run.client.timer_overshoot_p99_us.iter().max().map(|&us| us as f64 / 1000.0),
        valid: enough && lag_p99_ms <= invalid_past("lag_p99_ms"),
    })
}

/// Past what a signal makes a cell invalid, where answers take no time.
fn invalid_past(name: &str) -> f64 {
    SIGNALS
        .iter()
        .find(|signal| signal.name == name)
        .and_then(|signal| signal.invalid.value(0.0, 0.0))
        .expect("the table of signals has it, with a limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_cells() {
        assert!((invalid_past("lag_p99_ms") - 50.0).abs() < 1e-9);
        assert!((invalid_past("sent_off_plan") - 0.02).abs() < 1e-9);
        assert!((median(vec![3.0, 1.0]) - 2.0).abs() < 1e-9);
        assert!(LAG_RATES.is_sorted() && LAG_RATES.contains(&LAG_ALWAYS));
    }
}
