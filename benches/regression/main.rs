//! The proof by experiment of the regression gate: how often it fails where nothing changed, and
//! how often it finds what was planted.
//!
//! `cargo bench --bench regression`. Every comparison is of real runs: the simulator on a real
//! socket, five repeats of a cell on each side that take turns, `compare` with the default gate.
//! `docs/regression-proof.md` says what each figure means and what came of it.

mod judge;
mod measure;
mod table;
mod tail;

use std::path::PathBuf;
use std::process::ExitCode;

use measure::Size;

const HELP: &str = "\
cargo bench --bench regression -- [OPTIONS]

  --quick           8 comparisons of equal servers, 4 of each planted change: does it work at all
  --equal N         comparisons of equal servers (default 200)
  --planted N       groups, of the former, in which changes are planted as well (default 40)
  --seed N          seed of the first group, the others' follow (default 1)
  --workers N       groups that are measured side by side (default 8): fewer where cells are invalid
  --dir DIR         keep the runs here, and go on with what lies there (else in a temporary directory)
  --judge           measure nothing: judge what lies in --dir
  --markdown FILE   write the tables to FILE too";

struct Options {
    size: Size,
    dir: Option<PathBuf>,
    judge: bool,
    markdown: Option<PathBuf>,
}

impl Options {
    /// `None`: help was asked for, or cargo runs this as a test.
    fn read(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            size: Size { equal: 200, planted: 40, workers: 8, seed: 1 },
            dir: None,
            judge: false,
            markdown: None,
        };
        // What `cargo bench` adds; `cargo test --benches` doesn't, and must not wait for minutes.
        let mut bench = false;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            let number = |text: String| {
                text.parse::<usize>()
                    .ok()
                    .filter(|n| *n > 0)
                    .ok_or_else(|| format!("{arg} needs a number from 1"))
            };
            match arg.as_str() {
                "--bench" => bench = true,
                "--quick" => options.size = Size { equal: 8, planted: 4, ..options.size },
                "--equal" => options.size.equal = number(value()?)?,
                "--planted" => options.size.planted = number(value()?)?,
                "--seed" => options.size.seed = number(value()?)?,
                "--workers" => options.size.workers = number(value()?)?,
                "--dir" => options.dir = Some(value()?.into()),
                "--judge" => options.judge = true,
                "--markdown" => options.markdown = Some(value()?.into()),
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("there is no option {other}")),
            }
        }
        options.size.planted = options.size.planted.min(options.size.equal);
        if options.judge && options.dir.is_none() {
            return Err("--judge needs --dir DIR, where the runs lie".to_owned());
        }
        Ok(bench.then_some(options))
    }
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Whether what was to be shown is shown.
fn run(options: &Options) -> Result<bool, Error> {
    let temporary = if options.dir.is_none() { Some(tempfile::tempdir()?) } else { None };
    let named = options.dir.clone().or_else(|| temporary.as_ref().map(|dir| dir.path().to_owned()));
    let dir = named.ok_or("no directory")?;
    if !options.judge {
        measure::all(&dir, options.size)?;
    }
    let found = judge::all(&dir, options.size)?;
    let text = table::render(&found);
    println!("{text}");
    if let Some(path) = &options.markdown {
        std::fs::write(path, &text)?;
    }
    Ok(table::holds(&found))
}
