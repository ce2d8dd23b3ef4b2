//! `plimsoll calibrate`: what this machine's client can do at most. With `--server`, how much equal
//! runs differ: see `noise`.

use std::fmt::Write as _;

use anyhow::anyhow;
use clap::Args;

use super::{Exit, Failure, say, say_err};
use crate::calibrate::{CalibrateError, calibrate};
use crate::load::Control;
use crate::store::{CALIBRATION_VARIABLE, Calibration, Rates, calibration_path};

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll calibrate            about 45 s; nothing else should run meanwhile
  plimsoll calibrate --quick    about 15 s, and rougher
  plimsoll calibrate --json
  plimsoll calibrate --server my.toml --pairs 8    the noise of this server and client

The result is kept in $PLIMSOLL_CALIBRATION, else plimsoll/calibration.json under $XDG_CACHE_HOME or
~/.cache. Runs on this machine by the same build read it: a cell whose load comes near the ceiling
says so. What --server finds is kept beside it, in noise/, and in noise.json of the first of its two
runs: later comparisons of runs of the same experiment against the same server and model take no
margin below twice the noise.")]
pub struct CalibrateArgs {
    /// Short windows, once each.
    #[arg(long, conflicts_with = "server")]
    quick: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    noise: super::noise::NoiseArgs,
}

/// Measure, print, keep.
pub fn run(args: &CalibrateArgs) -> Result<Exit, Failure> {
    if let Some(done) = super::noise::run(&args.noise, args.json) {
        return done;
    }
    let path = calibration_path().ok_or_else(|| {
        Failure::usage(anyhow!("no place to keep the result: set {CALIBRATION_VARIABLE} or HOME"))
    })?;
    let control = Control::default();
    super::run::watch_signals(&control, |_| ())?;
    let found = match calibrate(args.quick, &control, &mut |step| say_err(&format!("{step} …"))) {
        Ok(found) => found,
        Err(error @ CalibrateError::Interrupted) => {
            return Err(Failure { exit: Exit::Interrupted, error: error.into() });
        }
        Err(error) => return Err(error.into()),
    };
    found.write(&path)?;
    if args.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&found)?));
    } else {
        say(&table(&found));
    }
    say_err(&format!("kept in {}", path.display()));
    Ok(Exit::Fine)
}

fn table(found: &Calibration) -> String {
    let machine = &found.machine;
    let build = if machine.optimised_build { "release" } else { "debug" };
    let mut text = format!("{}, {} cores, {build} build\n\n", machine.cpu, machine.cores);
    let mut line = |name: &str, cells: [String; 3]| {
        let [a, b, c] = cells;
        let _ = writeln!(text, "{name:<28}{a:>16}{b:>16}{c:>16}");
    };
    line("", ["per CPU-second".into(), "one core".into(), "all cores".into()]);
    let row =
        |r: &Rates| [count(r.per_core_s), count(r.one_core_s), r.all_cores_s.map_or_else(String::new, count)];
    line("chunks/s, in flood", row(&found.chunks));
    line("chunks/s, one to a read", row(&found.paced_chunks));
    line("requests/s, not streamed", row(&found.requests));
    let _ = writeln!(
        text,
        "\n{} streams open at once, opened at {}/s\n",
        found.connections.held,
        count(found.connections.opened_s)
    );
    let _ = writeln!(
        text,
        "{:>10}{:>12}{:>14}{:>14}{:>16}",
        "sends/s", "sent/s", "lag p50 ms", "lag p99 ms", "canary p99 ms"
    );
    for at in &found.lag {
        let canary = at.canary_p99_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
        let _ = writeln!(
            text,
            "{:>10}{:>12}{:>14.2}{:>14.2}{canary:>16}{}",
            count(at.rate),
            count(at.sent_s),
            at.lag_p50_ms,
            at.lag_p99_ms,
            if at.valid { "" } else { "  too much" }
        );
    }
    let held = found.lag.iter().filter(|at| at.valid).map(|at| at.rate).fold(0.0, f64::max);
    let _ = writeln!(
        text,
        "\nUp to {}/s requests went out on time; a cell that asks for more would be marked invalid.",
        count(held)
    );
    text.push_str(
        "\nPer CPU-second is a load core's ceiling, which cells are held against. The other figures are lower bounds:\n\
         the simulator ran on the same machine.\n",
    );
    text
}

/// Three digits are as many as such a figure bears.
fn count(value: f64) -> String {
    let scale = 10f64.powf(value.abs().max(1.0).log10().floor() - 2.0).max(1.0);
    let digits = format!("{:.0}", (value / scale).round() * scale);
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_three_digits() {
        let texts = [0.0, 7.4, 123.4, 1_234.0, 1_236_000.0].map(count);
        assert_eq!(texts, ["0", "7", "123", "1,230", "1,240,000"]);
    }
}
