//! What it takes to read runs back: `plimsoll report` and `plimsoll compare`, wall time and peak
//! memory, on runs as large as wanted.
//!
//! `cargo bench --bench analysis -- --cells 1000 --requests 10000`. The runs are written first, by
//! the program's own store, and are not timed; the commands are processes of their own, as built
//! for this bench. `docs/performance.md` has the figures.

mod generate;
#[allow(dead_code, reason = "shared with the bench of the load side, which pins and interrupts")]
#[path = "../load/process.rs"]
mod process;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use process::{Place, Usage, measure};

/// What a command may take at most.
const MOST_SECONDS: f64 = 60.0;
const MOST_KB: u64 = 4 << 20;

const USAGE: &str = "\
cargo bench --bench analysis -- [--cells N] [--requests N] [--dir DIR] [--keep] [--only report|compare]
  --cells N      cells of each of the two runs, repeats counted; rounded up to a whole grid (default 40)
  --requests N   requests of each cell (default 1000)
  --dir DIR      where the runs go (default: a new directory for temporary files)
  --keep         leave the runs there; with --dir, what lies there from before is taken as it is
  --only NAME    this command alone";

/// What the command line asks for.
struct Asked {
    cells: usize,
    requests: u64,
    dir: Option<PathBuf>,
    keep: bool,
    only: Option<String>,
}

impl Asked {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self { cells: 40, requests: 1000, dir: None, keep: false, only: None };
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
            let number = |text: String| match text.parse::<u64>() {
                Ok(n) if (1..=1_000_000).contains(&n) => Ok(n),
                _ => Err(format!("{text:?} is not a number from 1 to 1000000\n{USAGE}")),
            };
            match arg.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--cells" => asked.cells = usize::try_from(number(value()?)?).unwrap_or(usize::MAX),
                "--requests" => asked.requests = number(value()?)?,
                "--dir" => asked.dir = Some(value()?.into()),
                "--keep" => asked.keep = true,
                "--only" => asked.only = Some(value()?),
                _ => return Err(format!("{arg} is not known\n{USAGE}")),
            }
        }
        match asked.only.as_deref() {
            None | Some("report" | "compare") => Ok(asked),
            Some(other) => Err(format!("--only {other}: report or compare\n{USAGE}")),
        }
    }
}

fn main() -> ExitCode {
    let done = Asked::parse(std::env::args().skip(1)).map_err(Into::into).and_then(|asked| bench(&asked));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every command kept within its limits.
fn bench(asked: &Asked) -> Result<bool, Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = asked.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let runs = generate::pair(&dir, asked.cells, asked.requests)?;
    let out = tempfile::tempdir_in(&dir)?;
    println!(
        "{:<8} {:>8} {:>8} {:>10}   limits {MOST_SECONDS} s, {} MB",
        "command",
        "wall s",
        "CPU s",
        "peak MB",
        MOST_KB >> 10
    );
    let mut held = true;
    for name in ["report", "compare"].into_iter().filter(|n| asked.only.as_deref().is_none_or(|o| o == *n)) {
        let usage = command(name, &runs, out.path())?;
        let within = usage.wall_s <= MOST_SECONDS && usage.peak_kb <= MOST_KB;
        held &= within;
        println!(
            "{name:<8} {:>8.1} {:>8.1} {:>10}   {}",
            usage.wall_s,
            usage.cpu_s,
            usage.peak_kb >> 10,
            if within { "holds" } else { "MISSED" }
        );
    }
    written(out.path())?;
    if asked.keep {
        println!("kept: {} and {}", runs[0].display(), runs[1].display());
        let _ = temporary.keep();
    } else if asked.dir.is_some() {
        runs.iter().try_for_each(std::fs::remove_dir_all)?;
    }
    Ok(held)
}

/// Run one command on the runs. A comparison ends with what it found.
fn command(name: &str, runs: &[PathBuf; 2], out: &Path) -> Result<Usage, Box<dyn Error>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.current_dir(out).arg(name).arg(&runs[0]);
    if name == "compare" {
        command.arg(&runs[1]);
    } else {
        command.arg("--out").arg(out.join("reports"));
    }
    let usage = measure(&mut command, Place::Anywhere, |_| {})?;
    let fine: &[i32] = if name == "compare" { &[0, 1, 5] } else { &[0] };
    match usage.status.code() {
        Some(code) if fine.contains(&code) => Ok(usage),
        _ => Err(format!("plimsoll {name} ended with {}: {}", usage.status, usage.stderr).into()),
    }
}

/// Tell how large the pages are and how many figures there are.
fn written(dir: &Path) -> std::io::Result<()> {
    let (mut figures, mut bytes) = (0u32, 0);
    let mut below = vec![dir.to_owned()];
    while let Some(dir) = below.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            match path.extension().and_then(|e| e.to_str()) {
                _ if path.is_dir() => below.push(path),
                Some("html") => println!("{:.1} MB {}", path.metadata()?.len() as f64 / 1e6, path.display()),
                Some("png") => (figures, bytes) = (figures + 1, bytes + path.metadata()?.len()),
                _ => {}
            }
        }
    }
    println!("{figures} figures of {:.1} MB", bytes as f64 / 1e6);
    Ok(())
}

/// Say how long something took that is no result.
fn told<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    println!("{what}: {:.0} s", began.elapsed().as_secs_f64());
    done
}
