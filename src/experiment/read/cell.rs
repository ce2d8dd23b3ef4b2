//! `[load]` and `[cell]`: how much load, and for how long.

use std::time::Duration;

use super::LONGEST;
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::settings::{Arrivals, CellSettings, Cooldown, Load};
use crate::experiment::tree::Value as Written;

/// Most closed-loop users, and most requests in flight.
const MAX_USERS: u32 = 1_000_000;
/// Highest rate, in requests per second.
const MAX_QPS: f64 = 1_000_000.0;
/// A millisecond: what is shorter can't be measured over the network.
const SHORT: Duration = Duration::from_millis(1);

const ARRIVALS: [(&str, Arrivals); 2] = [("poisson", Arrivals::Poisson), ("constant", Arrivals::Constant)];

/// `users` alone is closed loop; `qps` is open loop, and `users` beside it caps what is in
/// flight.
pub(super) fn load(root: &Section<'_>) -> Load {
    let section = root.sub("load");
    let users_field = section.get("users");
    let users = users_field.as_ref().and_then(|f| f.u32(1, MAX_USERS));
    let qps_field = section.get("qps");
    let qps = qps_field
        .as_ref()
        .and_then(|f| f.number_in("more than 0, at most 1000000", |x| x > 0.0 && x <= MAX_QPS));
    let arrivals = section.get("arrivals").and_then(|f| arrivals(&f)).unwrap_or(Arrivals::Poisson);
    if users_field.is_none() && qps_field.is_none() && root.reader.whole() {
        let mistake = Mistake::new(MistakeKind::Missing, "no load")
            .allowed("users = … (closed loop) or qps = … (open loop), in [load] or [grid]");
        root.reader.add(section.origin, "load", mistake);
    }
    section.done();
    match qps {
        Some(qps) => Load::Open { qps, arrivals, max_in_flight: users },
        None => Load::Closed { users: users.unwrap_or(1) },
    }
}

fn arrivals(field: &Field<'_>) -> Option<Arrivals> {
    // What some call the gaps' distribution, others call the process.
    if matches!(&field.node.value, Written::Str(word) if word == "exponential") {
        field.unknown_word_near(&ARRIVALS.map(|(word, _)| word), Some("poisson"));
        return None;
    }
    field.word(&ARRIVALS)
}

pub(super) fn read(section: Section<'_>) -> CellSettings {
    let time = |key, min| section.get(key).and_then(|f: Field<'_>| f.duration(min, LONGEST));
    let requests = section.get("requests").and_then(|f| f.int(1, 1_000_000_000)).map(|n| n as u64);
    let duration = time("duration", SHORT);
    let settings = CellSettings {
        // Without either, a minute: long enough for a p95 at one request a second.
        duration: duration.or(requests.is_none().then_some(Duration::from_secs(60))),
        requests,
        warmup: time("warmup", Duration::ZERO).unwrap_or(Duration::from_secs(5)),
        ramp: time("ramp", Duration::ZERO).unwrap_or(Duration::ZERO),
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
