//! What endpoints cost each other, in plain words.

use crate::analysis::words::{metric_name, value_with_unit};
use crate::analysis::{Apart, Change, Contention, RunData, Standing, contention};
use crate::chart::{figure, list, upper_first};
use crate::metrics::{Unit, metric};

/// A sentence or two for each endpoint that was measured alone and beside others, and one for
/// the throughput in all; empty for a run without such cells.
#[must_use]
pub fn sentences(run: &RunData) -> Vec<String> {
    contention(run).iter().flat_map(of_one).collect()
}

fn of_one(found: &Contention) -> Vec<String> {
    let with = if found.label.is_empty() { String::new() } else { format!("With {}: ", found.label) };
    let mut out: Vec<String> =
        found.endpoints.iter().map(|endpoint| format!("{with}{}", endpoint_text(endpoint))).collect();
    if let Some(sum) = &found.output {
        out.push(upper_first(&format!(
            "{with}together they put out {} tok/s, {} of the {} tok/s that they put out one at a time.",
            figure(sum.together),
            times(sum),
            figure(sum.alone)
        )));
    }
    if found.closed {
        out.push(
            "In a closed loop users who wait at one endpoint are missing at the others, so that each is not asked \
             the same alone and together; with qps it is."
                .to_owned(),
        );
    }
    out
}

/// `thinker: TTFT p50 ×2.40 [2.10, 2.80] when flash runs beside it (234 ms against 98.0 ms alone), …`.
fn endpoint_text(endpoint: &Apart) -> String {
    let beside = list(&endpoint.beside, 5);
    let verb = if endpoint.beside.len() == 1 { "runs" } else { "run" };
    let mut parts = Vec::new();
    for (i, change) in endpoint.changes.iter().enumerate() {
        let when = if i == 0 { format!(" when {beside} {verb} beside it") } else { String::new() };
        let alone = if i == 0 { " alone" } else { "" };
        let values = format!(
            "{} against {}{alone}",
            value_with_unit(change.metric, change.together),
            value_with_unit(change.metric, change.alone)
        );
        parts.push(match is_share(change) {
            true => format!("{}{when} {values}", metric_name(change.metric, change.stat)),
            false => {
                format!("{} {}{when} ({values})", metric_name(change.metric, change.stat), times(change))
            }
        });
    }
    let repeats = endpoint.changes.iter().map(|c| c.repeats).max().unwrap_or(0);
    let verdict = match endpoint.standing {
        Standing::Contended => format!("That is contention: more than chance over {repeats} repeats."),
        Standing::NotShown => format!("No contention beyond chance shows in {repeats} repeats."),
        Standing::Unverified => "One repeat: no interval.".to_owned(),
    };
    format!("{}: {}. {verdict}", endpoint.name, parts.join(", "))
}

fn is_share(change: &Change) -> bool {
    metric(change.metric).is_some_and(|m| m.unit == Unit::Ratio)
}

/// `×2.40 [2.10, 2.80]`.
fn times(change: &Change) -> String {
    match change.interval {
        Some((low, high)) => format!("×{} [{}, {}]", figure(change.effect), figure(low), figure(high)),
        None => format!("×{}", figure(change.effect)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(metric: &'static str, stat: &'static str, alone: f64, together: f64) -> Change {
        let (effect, interval, p) = (together / alone, Some((2.1, 2.8)), Some(0.01));
        Change { metric, stat, alone, together, effect, interval, p, repeats: 5 }
    }

    #[test]
    fn sentences_read_as_people_say_them() {
        let thinker = Apart {
            name: "thinker".to_owned(),
            beside: vec!["flash".to_owned()],
            changes: vec![
                change("ttft", "p50", 97.5, 234.0),
                Change { effect: 0.01, ..change("error_rate", "", 0.0, 0.01) },
            ],
            standing: Standing::Contended,
        };
        let output = Some(Change { interval: None, ..change("output_tps", "", 1350.0, 961.0) });
        let label = "qps=10".to_owned();
        let found = Contention { label, closed: true, endpoints: vec![thinker], output };
        let text = of_one(&found);
        assert_eq!(
            text[0],
            "With qps=10: thinker: TTFT p50 ×2.40 [2.10, 2.80] when flash runs beside it (234 ms against 97.5 ms \
             alone), error rate 1.00 % against 0 %. That is contention: more than chance over 5 repeats."
        );
        assert_eq!(
            text[1],
            "With qps=10: together they put out 961 tok/s, ×0.712 of the 1,350 tok/s that they put out one at a time."
        );
        assert!(text[2].starts_with("In a closed loop"), "{text:?}");
    }
}
