//! The machine that Plimsoll runs on, which is the server's where it is a neighbour: processors,
//! memory, network.

use std::time::Instant;

use super::proc::{self, Cpu};
use super::{ObserveError, Reading, Source};
use crate::record::inside::{MACHINE_CPU, MACHINE_MEMORY, MACHINE_RECEIVED, MACHINE_SENT};

/// See the module.
#[derive(Default)]
pub struct Machine {
    cpu: Option<Cpu>,
    /// When, bytes received and bytes sent.
    network: Option<(Instant, (u64, u64))>,
}

impl Source for Machine {
    fn name(&self) -> &'static str {
        "this machine"
    }

    /// # Errors
    /// When the system tells nothing.
    fn read(&mut self) -> Result<Vec<Reading>, ObserveError> {
        let mut all = Vec::new();
        let now = proc::cpu();
        if let (Some(then), Some(now)) = (std::mem::replace(&mut self.cpu, now), now)
            && now.all > then.all
        {
            let share = now.busy.saturating_sub(then.busy) as f64 / (now.all - then.all) as f64;
            all.push(Reading::gauge(MACHINE_CPU, &[], share.min(1.0)));
        }
        if let Some((taken, _)) = proc::memory() {
            all.push(Reading::gauge(MACHINE_MEMORY, &[], taken as f64));
        }
        let now = proc::network().map(|counts| (Instant::now(), counts));
        if let (Some((before, then)), Some((at, now))) = (std::mem::replace(&mut self.network, now), now) {
            let seconds = at.saturating_duration_since(before).as_secs_f64();
            // An interface that went away takes its counts with it.
            let rate = |then: u64, now: u64| {
                (seconds > 0.0).then(|| Some(now.checked_sub(then)? as f64 / seconds))?
            };
            let rates = [(MACHINE_RECEIVED, rate(then.0, now.0)), (MACHINE_SENT, rate(then.1, now.1))];
            all.extend(rates.into_iter().filter_map(|(name, value)| Some(Reading::gauge(name, &[], value?))));
        }
        if all.is_empty() && self.cpu.is_none() {
            return Err(ObserveError::Failed("this system has no /proc".to_owned()));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn shares_and_rates_come_from_the_second_look_on() {
        let mut machine = Machine::default();
        let first = machine.read().unwrap();
        assert!(first.iter().all(|r| r.name == MACHINE_MEMORY), "{first:?}");
        // Until the clock has ticked.
        let limit = Instant::now() + Duration::from_secs(60);
        let second = loop {
            std::thread::sleep(Duration::from_millis(50));
            let readings = machine.read().unwrap();
            if readings.iter().any(|r| r.name == MACHINE_CPU) {
                break readings;
            }
            assert!(Instant::now() < limit);
        };
        let of = |name: &str| second.iter().find(|r| r.name == name).map(|r| r.value);
        assert!((0.0..=1.0).contains(&of(MACHINE_CPU).unwrap()), "{second:?}");
        assert!(of(MACHINE_MEMORY).unwrap() > 1e7 && of(MACHINE_RECEIVED).unwrap() >= 0.0, "{second:?}");
    }
}
