//! `plimsoll capacity`: what a server carries within an SLO, and what a traffic needs.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::{Exit, Failure, say};
use crate::analysis::RunData;
use crate::analysis::capacity::{self, Capacity, Options, WHAT_IFS};
use crate::experiment::{CapacitySettings, nearest, slo_of_words};
use crate::report;

/// Arguments of `capacity`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  plimsoll capacity runs/20260101T120000Z-capacity\n  \
                  plimsoll capacity runs/20260101T120000Z-capacity --slo chat --slo 'ttft_p95<=500ms'\n  \
                  plimsoll capacity runs/20260101T120000Z-capacity --what-if growth=0,0.5,1 \\\n      \
                  --load '12 req/s at 512/128, 3 req/s at 2048/256; growth 20%; headroom 0.75; spares 1; gpu-price 2.5'")]
pub struct CapacityArgs {
    /// Run directories. Runs of the same cells count as further repeats of each other.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Judge by this instead of the run's own SLO: a preset's name, or a limit such as
    /// `ttft_p95<=500ms`. May be given several times.
    #[arg(long, value_name = "PRESET|LIMIT")]
    slo: Vec<String>,
    /// The traffic to plan for: parts with a rate and a shape, then settings.
    #[arg(long, value_name = "SPEC")]
    load: Option<String>,
    /// A table of the plan over values of growth, headroom, spares, gpu-price or traffic.
    #[arg(long, value_name = "KEY=VALUES")]
    what_if: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Read the runs, put together what belongs together, and say what they carry.
pub fn run(args: &CapacityArgs) -> Result<Exit, Failure> {
    let slo = match args.slo.as_slice() {
        [] => None,
        words => Some((words.to_vec(), slo_of_words(words).map_err(Failure::usage)?)),
    };
    let what_if = args.what_if.iter().map(|w| what_if(w)).collect::<Result<Vec<_>, _>>()?;
    let runs = args.runs.iter().map(|p| RunData::load_figures(p)).collect::<Result<Vec<_>, _>>();
    let (pooled, apart) = capacity::pool(runs.map_err(Failure::usage)?);
    let mut found = Vec::new();
    for (run, ids) in &pooled {
        let traffic = traffic(args.load.as_deref(), run)?;
        let options = Options { slo: slo.clone(), traffic, what_if: what_if.clone() };
        let mut one = capacity::capacity(run, &options);
        one.runs.clone_from(ids);
        if !what_if.is_empty() && one.plan.is_none() {
            one.notes.push("--what-if has no effect without a traffic: give one with --load.".to_owned());
        }
        found.push((run.name.clone(), one));
    }
    if args.json {
        let rows: Vec<_> = found
            .iter()
            .map(|(name, c)| json!({"name": name, "answers": capacity::answers(c), "capacity": c}))
            .collect();
        say(&format!("{:#}\n", json!({"runs": rows, "apart": apart})));
    } else {
        let texts: Vec<String> = found.iter().map(|(name, c)| report::capacity::summary(c, name)).collect();
        say(&texts.join("\n"));
        apart.iter().for_each(|note| say(&format!("\n{note}\n")));
    }
    Ok(exit(&found))
}

/// Where no level of any run could be judged, nothing trustworthy was measured.
fn exit(found: &[(String, Capacity)]) -> Exit {
    let judged = |c: &Capacity| c.shapes.iter().flat_map(|s| &s.levels).any(|l| l.met.is_some());
    if found.iter().any(|(_, c)| judged(c)) { Exit::Fine } else { Exit::Invalid }
}

/// The line's traffic; what it leaves out is as in the run's own `[capacity]`.
fn traffic(line: Option<&str>, run: &RunData) -> Result<Option<CapacitySettings>, Failure> {
    let Some(line) = line else { return Ok(None) };
    let own = capacity::own_traffic(run, &mut Vec::new()).unwrap_or_default();
    let read = CapacitySettings::of_line(line, &own).map_err(Failure::usage)?;
    if read.peak.is_empty() {
        return Err(Failure::usage(anyhow!(
            "--load {line:?} has no traffic, such as `12 req/s at 512/128`, and the run has none of its own"
        )));
    }
    Ok(Some(read))
}

/// `growth=0,0.5,1`
fn what_if(text: &str) -> Result<(String, Vec<f64>), Failure> {
    let wrong = |what: String| Failure::usage(anyhow!("--what-if {text:?}: {what}"));
    let keys = WHAT_IFS.join(", ");
    let Some((key, values)) = text.split_once('=') else {
        return Err(wrong(format!("wants a key and values, such as growth=0,0.5,1; keys: {keys}")));
    };
    let key = key.trim();
    if !WHAT_IFS.contains(&key) {
        let near = nearest(key, WHAT_IFS);
        let hint = near.map_or_else(|| ".".to_owned(), |n| format!("; did you mean {n:?}?"));
        return Err(wrong(format!("there is no key {key:?}{hint} Keys: {keys}")));
    }
    let number = |v: &str| {
        let v = v.trim();
        match v.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map(|p| p / 100.0),
            None => v.parse(),
        }
    };
    let fits = |v: &f64| match key {
        "headroom" => *v > 0.0 && *v <= 1.0,
        "spares" => *v >= 0.0 && v.fract() == 0.0 && *v <= 10_000.0,
        _ => *v >= 0.0 && v.is_finite(),
    };
    let values: Vec<f64> = values
        .split(',')
        .map(|v| number(v).ok().filter(fits).ok_or_else(|| wrong(format!("{key} can't be {:?}", v.trim()))))
        .collect::<Result<_, _>>()?;
    Ok((key.to_owned(), values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ifs_are_read_and_refused_with_a_reason() {
        let (key, values) = what_if("growth = 0, 50%, 1").unwrap();
        assert_eq!((key.as_str(), values.as_slice()), ("growth", &[0.0, 0.5, 1.0][..]));
        for (text, told) in [
            ("growth", "such as growth=0,0.5,1"),
            ("grwth=1", "did you mean \"growth\"?"),
            ("headroom=0", "headroom can't be \"0\""),
            ("spares=1.5", "spares can't be \"1.5\""),
            ("gpu-price=-1", "gpu-price can't be \"-1\""),
        ] {
            let error = what_if(text).unwrap_err().error.to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
