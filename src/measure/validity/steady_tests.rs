use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::record::EndedBy;

fn window(seconds: u64) -> Window {
    Window { start_us: 1_000_000, end_us: 1_000_000 + seconds * 1_000_000, ended_by: EndedBy::Duration }
}

/// A first-come queue with `servers` places, Poisson arrivals, and services (TTFT after the
/// wait, then 64 chunks evenly) of a gamma distribution with shape 4. Load is `before` up to
/// the window and `inside` from there on, as a share of what the servers can do.
struct Queue {
    servers: usize,
    service_s: f64,
    before: f64,
    inside: f64,
    seconds: u64,
}

impl Queue {
    /// What a cell would hand over of it, after thirty services of warm-up.
    fn run(&self, rng: &mut ChaCha8Rng) -> (Window, Vec<Tick>, BySending, f64) {
        let window = window(self.seconds);
        let warm = 30.0 * self.service_s;
        let mut exponential = || -(-((rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64)).ln_1p();
        let mut ticks: Vec<Tick> = (0..self.seconds * 10)
            .map(|i| Tick { t_us: window.start_us + i * TICK_US, ..Tick::default() })
            .collect();
        let mut ttft = BySending::new(window);
        let mut free = vec![0.0f64; self.servers];
        let (mut now, mut answers, mut n) = (0.0, 0.0, 0u32);
        loop {
            let load = if now < warm { self.before } else { self.inside };
            now += exponential() * self.service_s / (load * self.servers as f64);
            let at = now - warm;
            if at >= self.seconds as f64 {
                break;
            }
            let place = free.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
            let start = place.max(now);
            let service = (0..4).map(|_| exponential()).sum::<f64>() * self.service_s / 4.0;
            *place = start + service;
            let (start, end) = (start - warm, start - warm + service);
            if at >= 0.0 {
                ttft.take(window.start_us + (at * 1e6) as u64, (start - at) * 1e3 + 10.0);
                answers += service;
                n += 1;
            }
            let first = (at.max(0.0) * 10.0) as usize;
            for tick in ticks
                .iter_mut()
                .skip(first)
                .take_while(|t| ((t.t_us - window.start_us + TICK_US) as f64) < end * 1e6)
            {
                tick.in_flight += 1;
            }
            for chunk in 1..=64 {
                let t = start + service * f64::from(chunk) / 64.0;
                if t >= 0.0
                    && let Some(tick) = ticks.get_mut((t * 10.0) as usize)
                {
                    tick.chunks += 1;
                }
            }
        }
        (window, ticks, ttft, answers / f64::from(n.max(1)))
    }

    /// Of `times` windows: the share in which `not_steady` fires, in percent.
    fn fires(&self, times: u32) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(42);
        let fired = (0..times)
            .filter(|_| {
                let (window, ticks, ttft, answer_s) = self.run(&mut rng);
                steadiness(&window, &ticks, &ttft, Some(answer_s)).is_some_and(|s| s.shift > 3.0)
            })
            .count();
        100.0 * fired as f64 / f64::from(times)
    }
}

/// The rates in docs/methods.md are of 500 to 1000 windows each; these few hold them roughly.
#[test]
fn steady_queues_seldom_fire_and_short_windows_never() {
    for (servers, service_s) in [(8, 0.4), (32, 0.4), (32, 2.0)] {
        for (load, most) in [(0.5, 1.0), (0.85, 6.0), (0.95, 15.0)] {
            for seconds in [5, 10, 30] {
                let queue = Queue { servers, service_s, before: load, inside: load, seconds };
                let rate = queue.fires(if seconds > 10 { 30 } else { 80 });
                println!("{servers} places, {service_s} s, load {load}, {seconds} s: {rate:.1} %");
                assert!(
                    rate <= if seconds < 10 { 0.0 } else { most },
                    "{servers} {service_s} {load} {seconds}: {rate}"
                );
            }
        }
    }
}

#[test]
fn what_piles_up_all_the_time_is_not_steady() {
    for (load, at_least) in [(1.3, 90.0), (1.6, 95.0)] {
        let queue = Queue { servers: 32, service_s: 0.4, before: 0.8, inside: load, seconds: 30 };
        let rate = queue.fires(40);
        println!("load {load}: {rate:.1} %");
        assert!(rate >= at_least, "{load}: {rate}");
    }
}

#[test]
fn a_beginning_is_told_in_seconds_and_is_no_alarm() {
    // 20 s; in flight falls from 60 to 10 over the first four.
    let window = window(20);
    let tick = |i: u64| Tick {
        t_us: window.start_us + i * TICK_US,
        in_flight: u32::try_from(10 + 60u64.saturating_sub(i * 3 / 2) + i % 3).unwrap(),
        chunks: 100,
        ..Tick::default()
    };
    let ticks: Vec<Tick> = (0..200).map(tick).collect();
    let found = steadiness(&window, &ticks, &BySending::new(window), Some(0.5)).unwrap();
    assert!((3.0..=4.5).contains(&found.cut_s), "{found:?}");
    assert_eq!(found.shift, 0.0);
}

#[test]
fn batches_are_in_the_order_of_sending_whatever_the_order_of_records() {
    let window = window(10);
    let sent = |i: u64| window.start_us + i * 500_000;
    let (mut forth, mut back) = (BySending::new(window), BySending::new(window));
    for i in 0..20u64 {
        forth.take(sent(i), i as f64);
        back.take(sent(19 - i), (19 - i) as f64);
    }
    let series = forth.batches();
    assert_eq!(series.means, [2.0, 7.0, 12.0, 17.0]);
    assert_eq!(back.batches().means, series.means);
    let starts: Vec<f64> = series.starts.iter().map(|s| (s * 10.0).round() / 10.0).collect();
    assert_eq!(starts, [0.0, 2.5, 5.0, 7.5]);
    // Late ones are the window's last, and an empty window is no matter.
    forth.take(u64::MAX, 3.0);
    assert_eq!(forth.bins[BINS - 1], (3.0, 1));
    let empty = Window { start_us: 5, end_us: 5, ended_by: EndedBy::Interrupt };
    BySending::new(empty).take(5, 1.0);
}

#[test]
fn short_windows_and_long_answers_are_not_judged() {
    let level = |seconds: u64| {
        let window = window(seconds);
        let ticks: Vec<Tick> = (0..seconds * 10)
            .map(|i| Tick { t_us: window.start_us + i * TICK_US, in_flight: 5, ..Tick::default() })
            .collect();
        move |e2e| steadiness(&window, &ticks, &BySending::new(window), e2e)
    };
    assert_eq!(level(9)(Some(0.1)), None);
    assert_eq!(level(10)(None), None);
    assert_eq!(level(10)(Some(1.1)), None);
    assert_eq!(level(10)(Some(1.0)).map(|s| (s.cut_s, s.shift)), Some((0.0, 0.0)));
}
