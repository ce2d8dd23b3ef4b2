//! `[load]` and `[cell]`: how much load, and for how long.

use std::time::Duration;

use super::LONGEST;
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::settings::{Arrivals, CellSettings, Cooldown, Load, Stage, Think};
use crate::experiment::tree::Value as Written;

/// Most closed-loop users, and most requests in flight.
pub(super) const MAX_USERS: u32 = 1_000_000;
/// Highest rate, in requests per second.
const MAX_QPS: f64 = 1_000_000.0;
/// A millisecond: what is shorter can't be measured over the network.
pub(super) const SHORT: Duration = Duration::from_millis(1);

/// What `arrivals` may say, and which of them `burstiness` goes with.
const ARRIVALS: [(&str, Spacing); 4] = [
    ("poisson", Spacing::Plain(Arrivals::Poisson)),
    ("constant", Spacing::Plain(Arrivals::Constant)),
    ("gamma", Spacing::Gamma),
    ("uniform", Spacing::Plain(Arrivals::Uniform)),
];

#[derive(Clone, Copy)]
enum Spacing {
    Plain(Arrivals),
    Gamma,
}

/// `users` alone is closed loop; `qps` is open loop, and `users` beside it caps what is in
/// flight; `users` with `burst` is an open loop of volleys. Where `[load]` gives no level,
/// that of the first stage stands for it. A trace brings its own: how much the plan finds out.
pub(super) fn load(root: &Section<'_>, first_stage: Option<Load>, by_trace: bool) -> Load {
    let section = root.sub("load");
    let users_field = section.get("users");
    let users = users_field.as_ref().and_then(|f| f.u32(1, MAX_USERS));
    let qps_field = section.get("qps");
    let qps = qps_field.as_ref().and_then(rate);
    let arrivals_field = section.get("arrivals");
    let arrivals = arrivals(&section, arrivals_field.as_ref());
    let burst = section.get("burst");
    let (none, bursts) = (users_field.is_none() && qps_field.is_none(), burst.is_some());
    if by_trace {
        for field in [&qps_field, &arrivals_field, &burst].into_iter().flatten() {
            let problem =
                format!("no {} beside workload.trace, which says when requests are due", field.name());
            let mistake = Mistake::new(MistakeKind::Conflict, problem);
            field.key_mistake(mistake.allowed("workload.trace.times = false, for its lengths alone"));
        }
        let _ = (section.get("think"), section.get("spawn_rate"));
        section.done();
        return Load::Open { qps: 1.0, arrivals: Arrivals::Trace, max_in_flight: users };
    }
    if none && first_stage.is_none() && root.reader.whole() {
        let mistake = Mistake::new(MistakeKind::Missing, "no load")
            .allowed("users = … (closed loop) or qps = … (open loop), in [load] or [grid]");
        root.reader.add(section.origin, "load", mistake);
    }
    if let Some(field) = &burst {
        let conflict = |problem: &str| field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
        if qps_field.is_some() {
            conflict("no qps beside burst: users and the time between two bursts say the rate");
        }
        if arrivals_field.is_some() {
            conflict("no arrivals beside burst, which says when requests are due");
        }
        if users_field.is_none() && root.reader.whole() {
            conflict("wants users: how many requests are due at once");
        }
    }
    let period = burst.and_then(|f| f.duration(SHORT, LONGEST));
    // Asked for here, read elsewhere.
    let _ = (section.get("think"), section.get("spawn_rate"));
    section.done();
    match (qps, period, users) {
        (Some(qps), ..) => Load::Open { qps, arrivals, max_in_flight: users },
        (None, Some(period), Some(size)) => Load::Open {
            qps: f64::from(size) / period.as_secs_f64(),
            arrivals: Arrivals::Burst { size },
            max_in_flight: Some(size),
        },
        (None, None, None) if none && !bursts => match first_stage {
            Some(Load::Open { qps, .. }) => Load::Open { qps, arrivals, max_in_flight: None },
            first => first.unwrap_or(Load::Closed { users: 1 }),
        },
        _ => Load::Closed { users: users.unwrap_or(1) },
    }
}

/// A rate in requests per second.
pub(super) fn rate(field: &Field<'_>) -> Option<f64> {
    field.number_in("more than 0, at most 1000000", |x| x > 0.0 && x <= MAX_QPS)
}

fn arrivals(section: &Section<'_>, field: Option<&Field<'_>>) -> Arrivals {
    let spacing = field.and_then(spacing);
    let burstiness_field = section.get("burstiness");
    let burstiness = burstiness_field
        .as_ref()
        .and_then(|f| f.number_in("0.01 to 1000 (1: as poisson)", |x| (0.01..=1000.0).contains(&x)));
    match (spacing, &burstiness_field) {
        (Some(Spacing::Gamma), None) if section.reader.whole() => {
            let mistake = Mistake::new(MistakeKind::Missing, "gamma wants a burstiness")
                .allowed("burstiness = 0.5, or another number: 1 is poisson, less is burstier");
            section.reader.add(section.origin, section.key("burstiness"), mistake);
        }
        (Some(Spacing::Plain(_)), Some(burstiness)) => idle_burstiness(burstiness),
        // An unknown word is told already.
        (None, Some(burstiness)) if field.is_none() => idle_burstiness(burstiness),
        _ => {}
    }
    match spacing {
        Some(Spacing::Gamma) => Arrivals::Gamma { burstiness: burstiness.unwrap_or(1.0) },
        Some(Spacing::Plain(arrivals)) => arrivals,
        None => Arrivals::Poisson,
    }
}

fn idle_burstiness(field: &Field<'_>) {
    let problem = "has no effect: only arrivals = \"gamma\" have a burstiness";
    field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
}

fn spacing(field: &Field<'_>) -> Option<Spacing> {
    // What some call the gaps' distribution, others call the process.
    if matches!(&field.node.value, Written::Str(word) if word == "exponential") {
        field.unknown_word_near(&ARRIVALS.map(|(word, _)| word), Some("poisson"));
        return None;
    }
    field.word(&ARRIVALS)
}

/// `think`: a duration, or a table with a distribution.
pub(super) fn think(root: &Section<'_>) -> Option<Think> {
    let field = root.sub("load").get("think")?;
    if !field.is_table() {
        return field.duration(Duration::ZERO, LONGEST).and_then(constant);
    }
    let section = field.section();
    let shapes = [section.get("constant"), section.get("uniform"), section.get("exponential")];
    let max_field = section.get("max");
    let max = max_field.as_ref().and_then(|f| f.duration(SHORT, LONGEST));
    section.done();
    let [constant_field, uniform, exponential] = shapes;
    let given = [&constant_field, &uniform, &exponential].into_iter().flatten().count();
    if given != 1 {
        let mistake = Mistake::new(MistakeKind::Conflict, "wants one distribution");
        field.mistake(mistake.allowed(
            "\"1s\", { uniform = [\"1s\", \"3s\"] }, { exponential = \"2s\", max = \"10s\" } or { constant = \"1s\" }",
        ));
        return None;
    }
    if let (Some(max), None) = (&max_field, &exponential) {
        let problem = "has no effect: only an exponential think time needs a limit";
        max.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
    if let Some(field) = constant_field {
        return field.duration(Duration::ZERO, LONGEST).and_then(constant);
    }
    if let Some(field) = uniform {
        return between(&field);
    }
    let mean = exponential?.duration(SHORT, LONGEST)?;
    Some(Think::Exponential { mean, max })
}

/// No time at all is what there is without the key.
fn constant(time: Duration) -> Option<Think> {
    (!time.is_zero()).then_some(Think::Constant(time))
}

fn between(field: &Field<'_>) -> Option<Think> {
    let items = field.items()?;
    let [from, to] = items else {
        field.bad("wants two durations: the shortest and the longest");
        return None;
    };
    let read = |node, i| field.item(node, format!("{}[{i}]", field.key())).duration(Duration::ZERO, LONGEST);
    let (from, to) = (read(from, 1)?, read(to, 2)?);
    if to <= from {
        field.bad("the longest must be longer than the shortest");
        return None;
    }
    Some(Think::Uniform(from, to))
}

/// `spawn_rate`: the ramp over which `users` start at so many a second. `None` without the
/// key, and in an open loop, which has no users to start.
fn spawn_ramp(root: &Section<'_>, first: Load) -> Option<Duration> {
    let field = root.sub("load").get("spawn_rate")?;
    let rate = rate(&field)?;
    if root.sub("cell").get("ramp").is_some() {
        let problem = "beside cell.ramp: both say how fast users start";
        field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
        return None;
    }
    let Load::Closed { users } = first else { return None };
    let ramp = Duration::from_secs_f64(f64::from(users) / rate);
    if ramp > LONGEST {
        field.bad(format!("{users} users would take longer than a week to start"));
        return None;
    }
    Some(ramp)
}

/// `first`: the load that the cell begins with. The stages, if there are any, say how long the
/// window is.
/// `ends`: the workload has but so many requests, of which a warm-up would take the first.
pub(super) fn read(root: &Section<'_>, first: Load, stages: &[Stage], ends: bool) -> CellSettings {
    let section = root.sub("cell");
    let time = |key, min| section.get(key).and_then(|f: Field<'_>| f.duration(min, LONGEST));
    let requests = section.get("requests").and_then(|f| f.int(1, 1_000_000_000)).map(|n| n as u64);
    let duration = time("duration", SHORT);
    if !stages.is_empty() {
        for field in ["duration", "requests"].into_iter().filter_map(|key| section.get(key)) {
            let problem = "no such key beside stages: the window is as long as they are together";
            field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
        }
    }
    // A trace is as long as it is, which the plan finds out, and is measured from its first request.
    let by_trace = matches!(first, Load::Open { arrivals: Arrivals::Trace, .. });
    let warmup = time("warmup", Duration::ZERO);
    let ramp_field = section.get("ramp");
    if let (true, Some(field)) = (by_trace, &ramp_field) {
        let problem = "no ramp beside workload.trace, which says when requests are due";
        field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
    let spawn = spawn_ramp(root, first);
    let staged = (!stages.is_empty()).then(|| stages.iter().map(|stage| stage.duration).sum());
    let settings = CellSettings {
        // Without either, a minute: long enough for a p95 at one request a second.
        duration: staged
            .or(duration)
            .or((requests.is_none() && !by_trace).then_some(Duration::from_secs(60))),
        requests,
        warmup: warmup.unwrap_or(if by_trace || ends { Duration::ZERO } else { Duration::from_secs(5) }),
        ramp: ramp_field
            .and_then(|f| f.duration(Duration::ZERO, LONGEST))
            .or(spawn)
            .unwrap_or(Duration::ZERO),
        drain: time("drain", Duration::ZERO).unwrap_or(Duration::from_secs(30)),
        cooldown: cooldown(&section),
    };
    section.done();
    settings
}

/// `{ min, max }`, or one duration: the minimum.
fn cooldown(section: &Section<'_>) -> Cooldown {
    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(60);
    let Some(field) = section.get("cooldown") else { return Cooldown { min: MIN, max: MAX } };
    if !field.is_table() {
        let min = field.duration(Duration::ZERO, LONGEST).unwrap_or(MIN);
        return Cooldown { min, max: MAX.max(min) };
    }
    let inner = field.section();
    let min = inner.get("min").and_then(|f| f.duration(Duration::ZERO, LONGEST));
    let max_field = inner.get("max");
    let max = max_field.as_ref().and_then(|f| f.duration(Duration::ZERO, LONGEST));
    inner.done();
    if let (Some(min), Some(max), Some(field)) = (min, max, &max_field)
        && max < min
    {
        field.mistake(Mistake::new(MistakeKind::Conflict, "below min").found(field.node.describe()));
    }
    let low = min.unwrap_or_else(|| MIN.min(max.unwrap_or(MIN)));
    Cooldown { min: low, max: max.unwrap_or_else(|| MAX.max(low)) }
}
