//! What a trace makes of a cell's load: its rate, and how long the cell takes.

use std::time::Duration;

use crate::experiment::{Arrivals, Load, Settings, TraceSettings};
use crate::units::format_duration;
use crate::workload::{DataError, Trace};

/// The last request of a trace is due just before its window closes.
const AFTER_THE_LAST: Duration = Duration::from_millis(1);

/// A trace that no cell can be made of.
#[derive(Debug, thiserror::Error)]
pub(super) enum TraceError {
    #[error(transparent)]
    Unread(#[from] DataError),
    #[error(
        "the last request of the trace is due after {}, within the warm-up of {}: nothing would be measured",
        format_duration(*last),
        format_duration(*warmup)
    )]
    AllWarmUp { warmup: Duration, last: Duration },
}

/// What is known of traces already: a grid names the same one in every cell, and reading it takes
/// as long as it is. Their requests, and when the last one is due.
#[derive(Default)]
pub(super) struct Traces(Vec<(TraceSettings, usize, Duration)>);

impl Traces {
    fn of(&mut self, asked: &TraceSettings) -> Result<(usize, Duration), DataError> {
        if let Some((_, requests, last)) = self.0.iter().find(|(known, ..)| known == asked) {
            return Ok((*requests, *last));
        }
        let trace = Trace::read(asked)?;
        let (requests, last_us) = (trace.entries.len(), trace.entries.last().map_or(0, |entry| entry.at_us));
        let last = Duration::from_micros(last_us);
        self.0.push((asked.clone(), requests, last));
        Ok((requests, last))
    }
}

/// Fills in what a cell that repeats a trace has to know of it; leaves others alone.
///
/// # Errors
/// When the trace can't be read, or ends before it is measured.
pub(super) fn fit(settings: &mut Settings, traces: &mut Traces) -> Result<(), TraceError> {
    let Load::Open { qps, arrivals: Arrivals::Trace, .. } = &mut settings.load else { return Ok(()) };
    let Some(asked) = &settings.workload.trace else { return Ok(()) };
    let (requests, last) = traces.of(asked)?;
    *qps = mean_rate(requests, last);
    let warmup = settings.cell.warmup;
    if warmup > last {
        return Err(TraceError::AllWarmUp { warmup, last });
    }
    let rest = last - warmup + AFTER_THE_LAST;
    match &mut settings.cell.duration {
        Some(duration) => *duration = rest.min(*duration),
        None if settings.cell.requests.is_none() => settings.cell.duration = Some(rest),
        None => {}
    }
    Ok(())
}

/// Requests per second: as many gaps as lie between them, over the time that these take.
fn mean_rate(requests: usize, last: Duration) -> f64 {
    let gaps = requests.saturating_sub(1) as f64;
    if gaps > 0.0 && !last.is_zero() { gaps / last.as_secs_f64() } else { requests.max(1) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_gaps() {
        assert!((mean_rate(11, Duration::from_secs(5)) - 2.0).abs() < 1e-12);
        assert!((mean_rate(1, Duration::ZERO) - 1.0).abs() < 1e-12);
        assert!((mean_rate(7, Duration::ZERO) - 7.0).abs() < 1e-12, "all at once");
    }
}
