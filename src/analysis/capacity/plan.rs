//! Replicas for a traffic, and what a million tokens cost.

use super::{Carried, FlowPlan, LimitState, Need, Plan, Shape, WhatIf};
use crate::analysis::grid::Loop;
use crate::analysis::text::tick;
use crate::experiment::{CapacitySettings, Flow};

/// The settings of a plan that a table can be made over; `traffic` is a factor on every peak.
pub const WHAT_IFS: [&str; 5] = ["growth", "headroom", "spares", "gpu-price", "traffic"];

/// Tables where none is asked for.
const USUAL: [(&str, [f64; 4]); 2] = [("growth", [0.0, 0.5, 1.0, 2.0]), ("headroom", [0.6, 0.7, 0.8, 0.9])];

/// A flow with the shape that it was matched to.
struct Matched {
    rps: f64,
    carried: Carried,
}

/// Replicas for `rps` requests per second in all, where one carries `replica_rps` and is to run
/// at the share `headroom` of it, before rounding up and spares.
#[must_use]
pub fn replicas(rps: f64, replica_rps: f64, headroom: f64) -> f64 {
    rps / (replica_rps * headroom)
}

/// What `settings` ask for, carried by `shapes`.
pub(super) fn plan(settings: &CapacitySettings, shapes: &[Shape], what_if: &[(String, Vec<f64>)]) -> Plan {
    let (mut refusals, mut cautions) = (Vec::new(), Vec::new());
    let mut flows = Vec::new();
    let mut matched = Vec::new();
    for flow in &settings.peak {
        let found = match_flow(flow, shapes);
        let shape = found.as_ref().ok().copied();
        let carried = shape.and_then(|i| shapes[i].carried);
        match (found, carried) {
            (Err(refusal), _) => refusals.push(refusal),
            (Ok(i), None) => refusals.push(no_limit(&shapes[i])),
            (Ok(i), Some(carried)) => {
                cautions.extend(setting_taken(&shapes[i], shapes).filter(|text| !cautions.contains(text)));
                caution(&shapes[i], carried, &mut cautions);
                matched.push(Matched { rps: flow.rps, carried });
            }
        }
        let alone = |c: Carried| replicas(flow.rps * (1.0 + settings.growth), c.rps, settings.headroom);
        flows.push(FlowPlan {
            rps: flow.rps,
            tokens: flow.tokens.map_or_else(String::new, in_words),
            shape,
            replica_rps: carried.map(|c| c.rps),
            replicas: carried.map(alone),
        });
    }
    let complete = refusals.is_empty() && !matched.is_empty();
    if complete {
        general_cautions(settings, &matched, &mut cautions);
    }
    let need = |s: &CapacitySettings, factor: f64| complete.then(|| need(s, &matched, factor));
    let tables = if what_if.is_empty() {
        USUAL.iter().map(|(key, values)| ((*key).to_owned(), values.to_vec())).collect()
    } else {
        what_if.to_vec()
    };
    let table = |(key, values): (String, Vec<f64>)| {
        let rows = values.into_iter().map(|v| {
            let (changed, factor) = changed(settings, &key, v);
            (v, need(&changed, factor))
        });
        WhatIf { rows: rows.collect(), key }
    };
    Plan {
        growth: settings.growth,
        headroom: settings.headroom,
        spares: settings.spares,
        gpus: settings.gpus,
        gpu_price_per_hour: settings.gpu_price_per_hour,
        currency: settings.currency.clone(),
        need: need(settings, 1.0),
        what_if: if complete { tables.into_iter().map(table).collect() } else { Vec::new() },
        flows,
        refusals,
        cautions,
    }
}

/// The settings with one of them changed, and the factor on the traffic.
fn changed(settings: &CapacitySettings, key: &str, value: f64) -> (CapacitySettings, f64) {
    let mut out = settings.clone();
    match key {
        "growth" => out.growth = value,
        "headroom" => out.headroom = value,
        "spares" => out.spares = value as u32,
        "gpu-price" => out.gpu_price_per_hour = Some(value),
        _ => return (out, value),
    }
    (out, 1.0)
}

fn in_words((prompt, output): (u32, u32)) -> String {
    format!("{} → {} tokens", tick(f64::from(prompt)), tick(f64::from(output)))
}

/// The shape that a flow is of: the one that carries most for sure, of an open loop first.
fn match_flow(flow: &Flow, shapes: &[Shape]) -> Result<usize, String> {
    let measured: Vec<&Shape> = shapes.iter().filter(|s| s.is_load).collect();
    let mut known: Vec<String> =
        measured.iter().map(|s| s.tokens.clone()).filter(|t| !t.is_empty()).collect();
    known.dedup();
    let list = || {
        let known = crate::analysis::text::list(&known, 8);
        if known.is_empty() { "none with a length that is known".to_owned() } else { known }
    };
    let wanted = |s: &Shape| match flow.tokens {
        None => true,
        Some((prompt, output)) => {
            s.prompt_tokens == Some(f64::from(prompt)) && s.output_tokens == Some(f64::from(output))
        }
    };
    if measured.is_empty() {
        return Err("Nothing can be planned: the run has no level of load.".to_owned());
    }
    if flow.tokens.is_none() && measured.iter().any(|s| s.tokens != measured[0].tokens) {
        return Err(format!(
            "Several workload shapes were measured: say which one {} req/s are of, such as `at 512/128`. Measured: {}.",
            tick(flow.rps),
            list()
        ));
    }
    let candidates = shapes.iter().enumerate().filter(|(_, s)| s.is_load && wanted(s));
    let rank = |s: &Shape| {
        let rps = s.carried.map_or(0.0, |c| c.rps);
        (s.carried.is_some(), s.kind == Loop::Open, rps)
    };
    let best = candidates.max_by(|(_, a), (_, b)| {
        let (a, b) = (rank(a), rank(b));
        (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2))
    });
    best.map(|(i, _)| i).ok_or_else(|| {
        let tokens = flow.tokens.map_or_else(String::new, in_words);
        format!("{tokens} was not measured, and nothing is guessed between shapes. Measured: {}.", list())
    })
}

fn no_limit(shape: &Shape) -> String {
    let at = if shape.tokens.is_empty() { String::new() } else { format!(" at {}", shape.tokens) };
    match shape.limit.state {
        LimitState::Below | LimitState::TooLow => {
            format!("No number of replicas{at}: no measured load is within the SLO.")
        }
        _ => format!("No number of replicas{at}: no level of load could be judged."),
    }
}

/// Which of several settings a flow is planned on.
fn setting_taken(shape: &Shape, all: &[Shape]) -> Option<String> {
    let same = all.iter().filter(|s| s.is_load && s.tokens == shape.tokens).count();
    (same > 1 && !shape.label.is_empty()).then(|| {
        format!("Planned on {}, which carries most of the {same} settings that were measured.", shape.label)
    })
}

/// What is to be kept in mind of one shape's capacity.
fn caution(shape: &Shape, carried: Carried, out: &mut Vec<String>) {
    let at = if shape.tokens.is_empty() { "here".to_owned() } else { format!("at {}", shape.tokens) };
    let mut say = |text: String| {
        if !out.contains(&text) {
            out.push(text);
        }
    };
    if !carried.sure {
        say(format!(
            "The capacity {at} is taken from figures alone: no level passes the SLO with confidence."
        ));
    }
    if shape.limit.state == LimitState::AtLeast {
        say(format!("No load that fails was measured {at}: fewer replicas may do."));
    }
    if shape.kind == Loop::Closed {
        say(format!(
            "The capacity {at} is what a closed loop completed: users wait for each other, real arrivals don't, so measure it with an open loop (qps) before you rely on it."
        ));
    }
}

fn general_cautions(settings: &CapacitySettings, matched: &[Matched], out: &mut Vec<String>) {
    if matched.len() > 1 {
        out.push(
            "A mix is taken to cost what its parts cost (1/C = Σ wᵢ/Cᵢ): check it with one mixed cell."
                .to_owned(),
        );
    }
    let prices = settings.gpu_price_per_hour.is_some();
    if prices && settings.gpus.is_none() {
        out.push("GPUs of a replica aren't given: one is taken.".to_owned());
    }
    if prices && matched.iter().any(|m| m.carried.output_tps.is_none()) {
        out.push("No cost of a million tokens: how many output tokens a request has isn't known.".to_owned());
    }
}

/// Replicas, GPUs and costs.
fn need(settings: &CapacitySettings, matched: &[Matched], factor: f64) -> Need {
    let grown = |m: &Matched| m.rps * factor * (1.0 + settings.growth);
    let exact: f64 = matched.iter().map(|m| replicas(grown(m), m.carried.rps, settings.headroom)).sum();
    // A hair above a whole number is the number.
    let replicas = ((exact - 1e-9).ceil().max(0.0) as u64).saturating_add(u64::from(settings.spares));
    let gpus = settings.gpus.unwrap_or(1.0);
    let price = settings.gpu_price_per_hour.map(|price| price * gpus);
    // Output tokens per second of the whole traffic, and replicas that are busy with it in full.
    let per_request = |m: &Matched| m.carried.output_tps.map(|tps| tps / m.carried.rps);
    let tokens: Option<f64> = matched.iter().map(|m| Some(per_request(m)? * grown(m))).sum();
    let tokens = tokens.filter(|t| *t > 0.0);
    let full: f64 = matched.iter().map(|m| grown(m) / m.carried.rps).sum();
    let per_million = |replicas: f64| {
        let (price, tokens) = (price?, tokens?);
        Some(price * replicas / 3600.0 / tokens * 1e6)
    };
    Need {
        replicas,
        exact,
        gpus: settings.gpus.map(|gpus| gpus * replicas as f64),
        cost_per_hour: price.map(|price| price * replicas as f64),
        cost_per_million_full: per_million(full),
        cost_per_million: per_million(replicas as f64),
    }
}
