use super::*;
use crate::experiment::LimitOn;
use crate::measure::SloStatus;
use crate::record::{EndedBy, ObservedLook, ReadingKind};

/// From second 2 to second 12.
fn window() -> Window {
    Window { start_us: 2_000_000, end_us: 12_000_000, ended_by: EndedBy::Duration }
}

/// Name, labels, and the value by the second.
type Made<'a> = (&'a str, &'a str, &'a dyn Fn(f64) -> f64);

/// A look a second from −1 s on; each series by a function of the second.
fn observed(series: &[Made<'_>]) -> Observed {
    let looks: Vec<ObservedLook> =
        (-1..=13).map(|s| ObservedLook { at_us: s * 1_000_000, source: 0 }).collect();
    let series = series
        .iter()
        .map(|(name, labels, value)| ObservedSeries {
            source: 0,
            name: (*name).to_owned(),
            labels: (*labels).to_owned(),
            kind: ReadingKind::Gauge,
            changes: looks.iter().enumerate().map(|(i, l)| (i, Some(value(l.at_us as f64 / 1e6)))).collect(),
        })
        .collect();
    Observed { sources: vec!["s".into()], looks, series, ..Observed::default() }
}

const SERVER: &str = "process=\"server\"";

fn memory(value: &dyn Fn(f64) -> f64) -> Growth {
    let observed = observed(&[(inside::MEMORY, SERVER, value)]);
    Inside::of(&observed, window(), None, &[]).unwrap().growth.remove(0)
}

/// As good as random, from −1 to 1.
fn noise(t: f64) -> f64 {
    (t * 12.9898).sin() * 43_758.547 % 1.0
}

#[test]
fn a_steady_rise_is_growth_and_nothing_else_is() {
    let leak = memory(&|t| 500e6 + 3e6 * t + 1e6 * noise(t));
    assert!(leak.grows, "{leak:?}");
    assert!((leak.per_hour / 3600.0 - 3e6).abs() < 5e5 && leak.to > leak.from, "{leak:?}");
    for (what, course) in [
        ("flat", &(|t| 500e6 + 5e6 * noise(t)) as &dyn Fn(f64) -> f64),
        ("it fills a cache and settles", &|t| 500e6 + 200e6 * (1.0 - (-t / 1.5).exp())),
        ("one step", &|t| if t < 6.0 { 500e6 } else { 700e6 }),
        ("collected now and then", &|t| 500e6 + 20e6 * (t % 4.0)),
        ("falling", &|t| 500e6 - 5e6 * t),
        ("too little to matter", &|t| 500e6 + 1e4 * t),
    ] {
        let growth = memory(course);
        assert!(!growth.grows, "{what}: {growth:?}");
    }
}

#[test]
fn walks_of_chance_are_seldom_called_growth() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(6);
    let mut sure_lines = 0;
    let alarms = (0..2000)
        .filter(|_| {
            let (mut at, mut means) = (0.0, Vec::new());
            for _ in 0..10 {
                let mut sum = 0.0;
                for _ in 0..20 {
                    at += random.random_range(-1.0..1.0);
                    sum += at;
                }
                means.push(sum / 20.0);
            }
            let at: Vec<f64> = (0..10).map(f64::from).collect();
            let line = crate::stats::regress(&at, &means).unwrap();
            sure_lines += u32::from(line.t > crate::stats::student_t_quantile(0.99, 8.0));
            grows(&means)
        })
        .count();
    // Neighbouring means share a little, so that it is two in a hundred: 40, give or take 6.3.
    assert!((15..=70).contains(&alarms), "{alarms}");
    // A line through them is sure in one of four.
    assert!((400..=600).contains(&sure_lines), "{sure_lines}");
    assert!(!grows(&[1.0, 2.0, 3.0]) && grows(&[1.0, 2.0, 3.0, 4.0]) && !grows(&[1.0; 9]));
}

#[test]
fn figures_are_of_the_window_and_of_before_and_after() {
    let observed = observed(&[
        (inside::CPU_CORES, SERVER, &|t| if t < 2.0 { 9.0 } else { 2.0 }),
        (inside::MEMORY, SERVER, &|t| if t == 5.0 { 900.0 } else { 100.0 + t }),
        (inside::STARTED, SERVER, &|t| if t < 7.0 { 1000.0 } else { 1000.9 }),
        ("vllm:num_requests_running", "", &|_| 1.0),
        ("models", "json=\"api\"", &|_| 3.0),
    ]);
    let inside = Inside::of(&observed, window(), None, &[]).unwrap();
    let of = |name: &'static str| inside.named(name).next().unwrap();
    assert_eq!((of(inside::CPU_CORES).mean, of(inside::CPU_CORES).max), (2.0, 2.0));
    let memory = of(inside::MEMORY);
    assert_eq!((memory.max, memory.before, memory.after), (900.0, Some(99.0), Some(113.0)));
    assert_eq!(of("models").mean, 3.0);
    assert_eq!(inside.figures.len(), 4, "a server's own metrics are another's");
    assert_eq!(inside.restarted, [""; 0], "the same process, by a clock that was corrected");
    assert_eq!((inside.energy_j, inside.energy_per_token_j), (None, None));
    assert_eq!(Inside::of(&Observed::default(), window(), None, &[]), None);
}

#[test]
fn one_that_was_started_again_is_told_and_not_judged() {
    let observed = observed(&[
        (inside::STARTED, SERVER, &|t| if t < 7.0 { 1000.0 } else { 1007.0 }),
        (inside::MEMORY, SERVER, &|t| 500e6 + 9e6 * t),
        (inside::MEMORY, "process=\"other\"", &|t| 500e6 + 9e6 * t),
    ]);
    let inside = Inside::of(&observed, window(), None, &[]).unwrap();
    assert_eq!(inside.restarted, [SERVER]);
    let judged: Vec<&str> = inside.growth.iter().map(|g| g.labels.as_str()).collect();
    assert_eq!(judged, ["process=\"other\""]);
}

#[test]
fn energy_is_the_counters_rise_over_the_window() {
    // 300 W and 100 W, for ten seconds: 4 kJ for 2,000 tokens.
    let both = observed(&[
        (inside::GPU_ENERGY, "gpu=\"0\"", &|t| 5000.0 + 300.0 * t),
        (inside::GPU_ENERGY, "gpu=\"1\"", &|t| 100.0 * (t + 1.0)),
    ]);
    let got = Inside::of(&both, window(), Some(2000.0), &[]).unwrap();
    assert!((got.energy_j.unwrap() - 4000.0).abs() < 1e-6, "{got:?}");
    assert!((got.energy_per_token_j.unwrap() - 2.0).abs() < 1e-9);
    assert_eq!(Inside::of(&both, window(), Some(0.0), &[]).unwrap().energy_per_token_j, None);
    let set_back = observed(&[(inside::GPU_ENERGY, "gpu=\"0\"", &|t| if t < 6.0 { 300.0 * t } else { t })]);
    assert_eq!(Inside::of(&set_back, window(), Some(1.0), &[]).unwrap().energy_j, None);
    // Between two looks on a line.
    let halves = Window { start_us: 2_500_000, end_us: 3_000_000, ..window() };
    assert_eq!(energy(&[(2_000_000, 10.0), (3_000_000, 20.0)], halves), Some(5.0));
    assert_eq!(energy(&[(2_600_000, 10.0), (3_000_000, 20.0)], halves), None, "not read around it");
}

#[test]
fn limits_are_of_the_worst_and_what_is_not_known_is_not_met() {
    let observed = observed(&[
        (inside::MEMORY, SERVER, &|_| 600e6),
        (inside::MEMORY, "process=\"small\"", &|_| 10e6),
        (inside::CPU_SHARE, SERVER, &|t| if t == 5.0 { 1.0 } else { 0.5 }),
    ]);
    let limit = |on, most| Limit { on, most };
    let limits = [
        limit(LimitOn::Memory, 512e6),
        limit(LimitOn::Cpu, 0.8),
        limit(LimitOn::Gpu, 0.9),
        limit(LimitOn::MemoryGrowth, 1e6),
    ];
    let verdicts = Inside::of(&observed, window(), None, &limits).unwrap().limits;
    let said: Vec<_> = verdicts.iter().map(|v| (v.value, v.status)).collect();
    use SloStatus::{Fail, Pass};
    assert_eq!(said, [(Some(600e6), Fail), (Some(0.55), Pass), (None, Fail), (Some(0.0), Pass)]);
    assert_eq!(verdicts[0].labels, SERVER);
    // Also where nothing was read at all.
    let none = Inside::of(&Observed::default(), window(), None, &limits[..1]).unwrap();
    assert_eq!(none.limits[0].status, Fail);
}

#[test]
fn whose_a_figure_is_can_be_read() {
    assert_eq!(whose(SERVER), "process server");
    assert_eq!(whose("gpu=\"0\",reason=\"power_cap\""), "GPU 0, reason power_cap");
    assert_eq!(whose(""), "");
}
