//! Waits until the server has nothing in hand, so that one cell doesn't load the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use super::ask::Asker;
use super::{Found, probe};
use crate::experiment::Cooldown;
use crate::exposition;
use crate::provider::{Provider, WireRequest};

/// Signs of idleness in a row that are believed.
const IN_A_ROW: u32 = 3;
/// A probe's time to first token over the idle server's, at most.
const FACTOR: f64 = 1.2;
/// What timers and schedulers add to a short time without any load.
const SLACK: Duration = Duration::from_millis(5);

/// How a server shows that it is idle.
pub(super) enum IdleSign {
    /// Its gauges, at this address.
    Gauges(Url),
    /// A small request is as fast as it was before the run.
    FirstToken { idle: Duration, url: Url, request: WireRequest, provider: Arc<dyn Provider> },
    /// None that is worth its cost.
    None,
}

/// How a cooldown ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idle {
    /// The server showed that it was idle, or took a small request as fast as when it was.
    Idle { waited: Duration },
    /// The server shows no sign of idleness: only the shortest wait was kept.
    NoGauges { waited: Duration },
    /// Still not idle after the longest wait; `what` says what was seen last.
    TimedOut { waited: Duration, what: String },
    /// Nobody takes connections there any more: nobody is there to become idle.
    Gone { waited: Duration },
    /// `stop` said so.
    Stopped { waited: Duration },
}

/// Pauses of the wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two looks at the server.
    pub look: Duration,
    /// Between two looks at `stop`.
    pub stop: Duration,
}

const PACE: Pace = Pace { look: Duration::from_millis(500), stop: Duration::from_millis(20) };

/// Wait at least `cooldown.min`, then until the server is idle (three looks in a row, half
/// a second apart), at most until `cooldown.max`. The client's own requests must have ended.
/// `stop` is asked about fifty times a second.
pub fn wait_idle(found: &Found, cooldown: &Cooldown, stop: &dyn Fn() -> bool) -> Idle {
    wait(&found.asker, &found.idle, cooldown, stop, PACE)
}

pub(super) fn wait(
    asker: &Asker,
    sign: &IdleSign,
    cooldown: &Cooldown,
    stop: &dyn Fn() -> bool,
    pace: Pace,
) -> Idle {
    let began = Instant::now();
    let pause = |until: Instant| {
        while !stop() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(pace.stop));
        }
        false
    };
    if !pause(began + cooldown.min) {
        return Idle::Stopped { waited: began.elapsed() };
    }
    if matches!(sign, IdleSign::None) {
        return Idle::NoGauges { waited: began.elapsed() };
    }
    let (mut in_a_row, mut refused_in_a_row) = (0, 0);
    loop {
        let mut refused = false;
        let busy = look(asker, sign, &mut refused);
        in_a_row = if busy.is_none() { in_a_row + 1 } else { 0 };
        let waited = began.elapsed();
        refused_in_a_row = if refused { refused_in_a_row + 1 } else { 0 };
        if refused_in_a_row == IN_A_ROW {
            return Idle::Gone { waited };
        }
        if in_a_row == IN_A_ROW {
            return Idle::Idle { waited };
        }
        if waited >= cooldown.max {
            let what = busy.unwrap_or_else(|| "idle, but not yet for long enough to be sure".to_owned());
            return Idle::TimedOut { waited, what };
        }
        let next = (Instant::now() + pace.look).min(began + cooldown.max.max(cooldown.min));
        if !pause(next) {
            return Idle::Stopped { waited: began.elapsed() };
        }
    }
}

/// Requests that a text says are running or waiting.
fn in_hand(metrics: &[u8]) -> Option<f64> {
    exposition::in_hand(&exposition::parse(&String::from_utf8_lossy(metrics)).readings)
}

/// What the server is busy with; `None` when it looks idle. Notes whether nobody takes a
/// connection.
fn look(asker: &Asker, sign: &IdleSign, refused: &mut bool) -> Option<String> {
    match sign {
        IdleSign::Gauges(url) => match asker.get(url) {
            Ok(answer) if answer.is_ok() => match in_hand(&answer.body) {
                Some(0.0) => None,
                Some(n) => Some(format!("{n} requests running or waiting")),
                None => Some("no gauge of running requests in /metrics any more".to_owned()),
            },
            Ok(answer) => Some(format!("/metrics answers HTTP {}", answer.status)),
            Err(e) => {
                *refused = e.is_refused();
                Some(format!("/metrics cannot be read: {}", e.words(url).0))
            }
        },
        IdleSign::FirstToken { idle, url, request, provider } => {
            let Some(ttft) = probe::time_to_first(asker, url, request, provider.as_ref()) else {
                return Some("a small request failed".to_owned());
            };
            (ttft > idle.mul_f64(FACTOR) + SLACK)
                .then(|| format!("a small request took {ttft:.1?} to its first token, {idle:.1?} when idle"))
        }
        IdleSign::None => None,
    }
}
