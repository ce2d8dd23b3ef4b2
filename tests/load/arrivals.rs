//! Arrivals as theory has them: the schedule exactly, and at the server what came of it.
//!
//! The server here does next to nothing but look at the clock when a request has been read, so
//! that what is measured is this client. What keeps a request from arriving when it is due is
//! told apart: the *lag* until it is sent, which the client records of each and answers for, and
//! the *way* from there to the server, which no client sees.
//!
//! At 1,000 a second a debug build beside other work may not keep up. Then the cell has to say so
//! itself: arrivals are held to theory in every cell that its own verdict lets stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plimsoll::experiment::{Arrivals, Load};
use plimsoll::load::Schedule;
use plimsoll::measure::Verdict;
use plimsoll::record::Outcome;
use plimsoll::sim::now_ns;
use plimsoll::stats::{Moments, kolmogorov_smirnov, quantile};

use super::{MS, cell, run, summary};
use crate::rig::scripted::serve;

const ANSWER: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":8,"completion_tokens":1,"total_tokens":9}}"#;

/// When each request had been read, and its body, by its name.
type Log = BTreeMap<String, (u64, Vec<u8>)>;

/// The arrivals of a cell by their number; times in seconds since its epoch.
struct Seen {
    due_us: Vec<u64>,
    due: Vec<f64>,
    lag: Vec<f64>,
    way: Vec<f64>,
    bodies: Vec<Vec<u8>>,
    /// By its own verdict the client was too slow: the signals that made the cell invalid.
    too_slow: Vec<String>,
}

fn seen(arrivals: Arrivals, qps: f64, seconds: u64, threads: u32) -> Seen {
    let log: Arc<Mutex<Log>> = Arc::default();
    let writer = Arc::clone(&log);
    let server = serve(move |conn| {
        let now = now_ns();
        let name =
            conn.head.split("plimsoll-7-").nth(1).expect("a name").split("\r\n").next().expect("a name");
        let before = writer.lock().unwrap().insert(name.to_owned(), (now, conn.body.to_vec()));
        assert!(before.is_none(), "request {name} came twice");
        conn.raw(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len()));
        true
    });
    let mut cell = cell(Load::Open { qps, arrivals, max_in_flight: None });
    cell.settings.workload.stream = false;
    cell.settings.cell.duration = Some(Duration::from_secs(seconds));
    cell.settings.cell.drain = 60_000 * MS;
    cell.settings.client.threads = Some(threads);
    let (run, records) = run(&cell, server.address);
    assert!(records.iter().all(|r| r.outcome == Outcome::Ok), "{records:?}");
    let summary = summary(&cell, &run, &records);
    let counts = summary.counts;
    assert_eq!((counts.planned, counts.sent), (records.len() as u64, records.len() as u64));
    let mut log = log.lock().unwrap();
    assert_eq!(log.len(), records.len(), "at the server as many as here");
    let invalid = summary.validity.reasons.iter().filter(|r| r.verdict == Verdict::Invalid);
    let too_slow = invalid.map(|r| r.signal.clone()).collect();
    let mut seen = Seen { due_us: vec![], due: vec![], lag: vec![], way: vec![], bodies: vec![], too_slow };
    for r in &records {
        let (arrived_ns, body) = log.remove(&r.seq.to_string()).expect("its arrival");
        let sent = r.sent_us.expect("it was sent");
        let arrived = (arrived_ns as f64 - run.epoch_monotonic_ns as f64) / 1e9;
        seen.due_us.push(r.intended_us);
        seen.due.push(r.intended_us as f64 / 1e6);
        seen.lag.push((sent - r.intended_us) as f64 / 1e6);
        seen.way.push(arrived - sent as f64 / 1e6);
        seen.bodies.push(body);
    }
    seen
}

/// Gaps between times that follow one another.
fn gaps(times: &[f64]) -> Vec<f64> {
    times.windows(2).map(|w| w[1] - w[0]).collect()
}

/// Gaps between arrivals that follow one another, but for the tenth that were longest on their
/// way and the gaps on both sides of those: a server's thread that had to wait says nothing of
/// the client.
fn undisturbed_gaps(due: &[f64], way: &[f64]) -> Vec<f64> {
    let limit = at(way, 0.9);
    let kept = (1..due.len()).filter(|&k| way[k - 1] <= limit && way[k] <= limit);
    kept.map(|k| due[k] + way[k] - due[k - 1] - way[k - 1]).collect()
}

/// Index of dispersion of counts, variance over mean, in those of `bins` equal bins of
/// `0..seconds` that `disturbed` doesn't name, and how many those are. `None` when not half of
/// the bins are left.
fn dispersion(times: &[f64], seconds: f64, bins: usize, disturbed: &BTreeSet<usize>) -> Option<(f64, usize)> {
    let mut counts = vec![0.0; bins];
    for &at in times {
        if let Some(count) = counts.get_mut(bin_of(at, seconds, bins)) {
            *count += 1.0;
        }
    }
    let left: Vec<f64> = (0..bins).filter(|bin| !disturbed.contains(bin)).map(|bin| counts[bin]).collect();
    let counts = Moments::of(&left);
    (2 * left.len() >= bins)
        .then(|| (counts.std().expect("bins").powi(2) / counts.mean().expect("bins"), left.len()))
}

/// Due times are whole microseconds: with half of one more, none is between two bins.
fn bin_of(at: f64, seconds: f64, bins: usize) -> usize {
    ((at + 5e-7) / seconds * bins as f64) as usize
}

/// The bins that an arrival left or reached by a way of more than [`WAY_MS`]: it is counted where
/// it doesn't belong.
fn disturbed_bins(due: &[f64], way: &[f64], rate: &Rate) -> BTreeSet<usize> {
    let bin = |at: f64| bin_of(at, rate.seconds as f64, rate.bins).min(rate.bins - 1);
    let held_up = due.iter().zip(way).filter(|(_, way)| **way > WAY_MS / 1e3);
    let moved = held_up.map(|(due, way)| (bin(*due), bin(due + way))).filter(|(from, to)| from != to);
    moved.flat_map(|(from, to)| from..=to).collect()
}

fn at(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile(&sorted, q).expect("values")
}

/// The part of two-sided chance beyond three standard errors.
const CHANCE: f64 = 0.0027;
/// Median way from here to the server, in milliseconds: measured 0.1 to 0.6.
const WAY_MS: f64 = 5.0;
/// Standard deviation of the way, its longest tenth left out, in milliseconds: measured up to 0.3.
const WAY_SPREAD_MS: f64 = 2.0;
/// What ways of up to [`WAY_MS`] may add to the dispersion of counts: five arrivals of a hundred
/// at either end of every bin.
const WAY_DISPERSION: f64 = 0.5;

/// One rate: how long, and in how many bins arrivals are counted.
struct Rate {
    qps: f64,
    seconds: u64,
    bins: usize,
}

const RATES: [Rate; 3] = [
    Rate { qps: 10.0, seconds: 8, bins: 8 },
    Rate { qps: 100.0, seconds: 4, bins: 20 },
    Rate { qps: 1000.0, seconds: 3, bins: 30 },
];

/// A process that was seen, and how far the way may have moved its figures.
struct Process<'a> {
    times: &'a [f64],
    gaps: Vec<f64>,
    /// Of the gaps' CV; `None` where it would be as much as the whole.
    cv_noise: Option<f64>,
    dispersion_noise: f64,
    disturbed: BTreeSet<usize>,
}

/// What theory has of a kind of arrivals.
#[derive(Clone, Copy)]
struct Theory {
    cv: f64,
    /// Standard error of a sample's CV, times √n.
    cv_error: f64,
    /// Index of dispersion of counts, and what more there is of it in a bin of one arrival: in
    /// one of n, an n-th of that (of renewals, 1/6 + CV⁴/2 − a third of the third moment).
    idc: f64,
    idc_more: f64,
    poisson: bool,
}

/// Arrivals of which gap CV and dispersion of counts are both 0 or 1.
fn plain(expected: f64) -> Theory {
    Theory { cv: expected, cv_error: expected, idc: expected, idc_more: 0.0, poisson: expected > 0.0 }
}

/// Gaps of a gamma distribution of shape `a`: of its CV 1/√a a sample's variance is about
/// (1/2 + 1/2a)/an.
fn gamma(a: f64) -> Theory {
    let cv = 1.0 / a.sqrt();
    let idc_more = 1.0 / 6.0 + 0.5 / (a * a) - 2.0 / (3.0 * a * a);
    Theory { cv, cv_error: cv * (0.5 + 0.5 / a).sqrt(), idc: cv * cv, idc_more, poisson: false }
}

/// Gaps even between 0 and twice their mean.
fn uniform() -> Theory {
    let cv = 1.0 / 3f64.sqrt();
    let idc_more = 1.0 / 6.0 + 1.0 / 18.0;
    Theory { cv, cv_error: cv * (0.2 + cv * cv).sqrt(), idc: cv * cv, idc_more, poisson: false }
}

/// Hold it to theory: gap CV and dispersion of counts within three standard errors and the noise;
/// where it is a Poisson process, the times pass a Kolmogorov-Smirnov test.
fn theory(what: &str, rate: &Rate, expected: Theory, process: &Process<'_>) {
    let mut times = process.times.to_vec();
    times.sort_unstable_by(f64::total_cmp);
    let gaps = Moments::of(&process.gaps);
    let cv = gaps.std().expect("gaps") / gaps.mean().expect("gaps");
    let idc = dispersion(&times, rate.seconds as f64, rate.bins, &process.disturbed);
    let cv_error = 3.0 * expected.cv_error / (gaps.n() as f64).sqrt();
    let words = idc.map_or("not read".to_owned(), |(idc, _)| format!("{idc:.3}"));
    print!("  {what}: gap CV {cv:.3}, dispersion {words} ({} bins disturbed)", process.disturbed.len());
    if let Some(noise) = process.cv_noise {
        let off = (cv - expected.cv).abs();
        assert!(off <= cv_error + noise, "{what}: gap CV {cv}, ± {cv_error} ± {noise}");
    }
    if let Some((idc, bins)) = idc {
        // Of a Poisson process: √(2/(bins − 1)), and relative to it where counts are many.
        let within = 3.0 * expected.idc * (2.0 / (bins - 1) as f64).sqrt() + process.dispersion_noise;
        let expected = expected.idc + expected.idc_more * rate.bins as f64 / (rate.qps * rate.seconds as f64);
        assert!((idc - expected).abs() <= within, "{what}: dispersion {idc}, ± {within}");
    }
    if expected.poisson {
        // Of a Poisson process, so many given, the times are uniform.
        let test = kolmogorov_smirnov(&times, |t| (t / rate.seconds as f64).clamp(0.0, 1.0)).expect("times");
        print!(", KS D {:.4} p {:.3}", test.distance, test.p);
        assert!(test.p >= CHANCE, "{what}: KS p {}", test.p);
    }
    println!();
}

/// Of a schedule only rounding to microseconds moves anything.
fn without_noise(due: &[f64]) -> Process<'_> {
    Process {
        times: due,
        gaps: gaps(due),
        cv_noise: Some(1e-3),
        dispersion_noise: 0.01,
        disturbed: BTreeSet::new(),
    }
}

/// The schedule has no noise: it is held to theory exactly, and the cell to the schedule.
fn exact(rate: &Rate, arrivals: Arrivals, expected: Theory, seen: &Seen) {
    // The seed is that of `cell`.
    let end_us = rate.seconds * 1_000_000;
    let due: Vec<u64> =
        Schedule::new(42, rate.qps, arrivals, Duration::ZERO).take_while(|&t| t < end_us).collect();
    assert_eq!(seen.due_us, due);
    theory("due", rate, expected, &without_noise(&seen.due));
    if expected.poisson {
        let mut gaps = gaps(&seen.due);
        gaps.sort_unstable_by(f64::total_cmp);
        let test = kolmogorov_smirnov(&gaps, |gap| -(-gap * rate.qps).exp_m1()).expect("gaps");
        assert!(test.p >= CHANCE, "gaps are not exponential: {test:?}");
    }
}

/// A thousand a second are work: two such cells at once would only measure each other.
static FLOOD: Mutex<()> = Mutex::new(());

/// Rates at which any machine that runs the tests keeps up with a debug build.
const EASY: f64 = 100.0;
/// Cells at a higher rate until one is valid.
const TRIES: u32 = 3;

/// The arrivals of a cell that its client kept up with, if there was one in so many tries.
fn kept_up(arrivals: Arrivals, rate: &Rate, cores: u32) -> Seen {
    if rate.qps <= EASY {
        return seen(arrivals, rate.qps, rate.seconds, cores);
    }
    let _alone = FLOOD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut last = seen(arrivals, rate.qps, rate.seconds, cores);
    for _ in 1..TRIES {
        if last.too_slow.is_empty() {
            break;
        }
        last = seen(arrivals, rate.qps, rate.seconds, cores);
    }
    last
}

fn hold_to_theory(arrivals: Arrivals, expected: Theory, rates: &[Rate]) {
    for rate in rates {
        let one = kept_up(arrivals, rate, 1);
        let four = kept_up(arrivals, rate, 4);
        // Bit for bit, by number: when each is due, and what the server was sent.
        assert_eq!(one.due_us, four.due_us);
        assert_eq!(one.bodies, four.bodies);
        exact(rate, arrivals, expected, &one);
        for (cores, seen) in [(1, one), (4, four)] {
            println!("{arrivals:?} {}/s on {cores}: n {}", rate.qps, seen.due.len());
            at_the_server(rate, expected, &seen);
        }
    }
}

fn at_the_server(rate: &Rate, expected: Theory, seen: &Seen) {
    let ms = |seconds: &[f64], q| at(seconds, q) * 1e3;
    println!(
        "  lag p50 {:.2} p99 {:.2} ms, way p50 {:.2} p99 {:.2} ms",
        ms(&seen.lag, 0.5),
        ms(&seen.lag, 0.99),
        ms(&seen.way, 0.5),
        ms(&seen.way, 0.99),
    );
    assert!(ms(&seen.way, 0.0) >= 0.0, "arrived before it was sent");
    if rate.qps > EASY && !seen.too_slow.is_empty() {
        // Nothing but the client can be at fault with such a server, and it has said so.
        println!("  invalid by its own verdict: {:?}", seen.too_slow);
        return;
    }
    assert!(ms(&seen.way, 0.5) <= WAY_MS, "{} ms on the way in the median", ms(&seen.way, 0.5));
    // The lag is told of each send: what it explains is taken off, the way stays.
    let arrived: Vec<f64> = seen.due.iter().zip(&seen.way).map(|(due, way)| due + way).collect();
    // A gap has the noise of two ways; at a gap of a millisecond it would be all of it.
    let noise = std::f64::consts::SQRT_2 * WAY_SPREAD_MS / 1e3 * rate.qps;
    let process = Process {
        times: &arrived,
        gaps: undisturbed_gaps(&seen.due, &seen.way),
        cv_noise: Some(noise).filter(|noise| *noise < 0.9),
        dispersion_noise: WAY_DISPERSION,
        disturbed: disturbed_bins(&seen.due, &seen.way, rate),
    };
    theory("at the server", rate, expected, &process);
}

#[test]
fn constant_arrivals_are_even_at_the_server() {
    hold_to_theory(Arrivals::Constant, plain(0.0), &RATES);
}

#[test]
fn poisson_arrivals_are_poisson_at_the_server() {
    hold_to_theory(Arrivals::Poisson, plain(1.0), &RATES);
}

/// A rate that every machine keeps up with, in bins of which each holds many gaps.
const SHAPED: [Rate; 1] = [Rate { qps: 100.0, seconds: 6, bins: 20 }];

#[test]
fn bursty_gamma_arrivals_are_so_at_the_server() {
    hold_to_theory(Arrivals::Gamma { burstiness: 0.5 }, gamma(0.5), &SHAPED);
}

#[test]
fn even_gamma_arrivals_are_so_at_the_server() {
    hold_to_theory(Arrivals::Gamma { burstiness: 2.0 }, gamma(2.0), &SHAPED);
}

#[test]
fn uniform_gaps_are_so_at_the_server() {
    hold_to_theory(Arrivals::Uniform, uniform(), &SHAPED);
}

/// Eight at once, every half second: of 63 gaps seven are a period and the others nothing.
#[test]
fn bursts_arrive_as_bursts() {
    let rate = Rate { qps: 16.0, seconds: 4, bins: 16 };
    let arrivals = Arrivals::Burst { size: 8 };
    let (one, four) = (kept_up(arrivals, &rate, 1), kept_up(arrivals, &rate, 4));
    assert_eq!((&one.due_us, &one.bodies), (&four.due_us, &four.bodies));
    assert_eq!(one.due_us.len(), 64);
    for seen in [one, four] {
        assert!((0..).zip(&seen.due_us).all(|(k, due)| *due == k / 8 * 500_000));
        let m = Moments::of(&gaps(&seen.due));
        let cv = m.std().expect("gaps") / m.mean().expect("gaps");
        assert!((cv - (8.0f64 * 63.0 / 62.0).sqrt()).abs() < 1e-6, "{cv}");
        // Bins of half a period hold eight or none.
        let idc = dispersion(&seen.due, 4.0, 16, &BTreeSet::new()).expect("bins").0;
        assert!((idc - 64.0 / 15.0).abs() < 1e-9, "{idc}");
        let theory = Theory { cv, cv_error: cv, idc, idc_more: 0.0, poisson: false };
        at_the_server(&rate, theory, &seen);
        // Eight at once are at the server at once.
        let ends = |burst: &[f64]| (at(burst, 0.0), at(burst, 1.0));
        let spread: Vec<f64> = seen.way.chunks(8).map(ends).map(|(first, last)| last - first).collect();
        assert!(at(&spread, 0.5) * 1e3 <= 2.0 * WAY_MS, "{spread:?}");
    }
}

/// A few seconds' arrivals say little about a few hundredths; many minutes' do.
#[test]
fn schedules_are_what_they_are_called_to_a_hundredth() {
    let all = [
        (Arrivals::Poisson, plain(1.0)),
        (Arrivals::Constant, plain(0.0)),
        (Arrivals::Gamma { burstiness: 0.5 }, gamma(0.5)),
        (Arrivals::Gamma { burstiness: 2.0 }, gamma(2.0)),
        (Arrivals::Uniform, uniform()),
    ];
    for (arrivals, expected) in all {
        for (seed, qps) in [(0, 10.0), (1, 100.0), (2, 1000.0), (3, 100.0), (4, 100.0)] {
            let seconds = (90_000.0 / qps) as u64;
            let rate = Rate { qps, seconds, bins: 9_000 };
            let schedule = Schedule::new(seed, qps, arrivals, Duration::ZERO);
            let due: Vec<f64> =
                schedule.map(|us| us as f64 / 1e6).take_while(|&t| t < seconds as f64).collect();
            let what = format!("{arrivals:?} {qps}/s, seed {seed}");
            theory(&what, &rate, expected, &without_noise(&due));
        }
    }
}
