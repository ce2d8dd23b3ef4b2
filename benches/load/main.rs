//! The proof table: what a run costs and how true it is, taken on the program as it ships.
//!
//! `cargo bench --bench load`, with names of rows after `--` for those alone. Server and client
//! are processes of their own, each on its core, and this program links neither: it reads CPU
//! time and memory from the kernel. `docs/performance.md` says what each row means.

mod client;
mod latency;
mod peers;
mod process;
mod rows;
mod server;
mod table;
mod yardstick;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use peers::PEERS;
use rows::{Bench, ROWS, Row};
use table::Taken;

const HELP: &str = "\
cargo bench --bench load -- [ROW]... [OPTIONS]

  --peers          run oha, wrk and aiperf too, where they are installed (on PATH or in $PLIMSOLL_PEERS)
                   ($PLIMSOLL_PEER_TOKENIZER: a directory with a tokenizer for aiperf)
  --repeats N      take each row so many times; the median counts (default 3)
  --json FILE      write every value to FILE
  --program FILE   measure this build of plimsoll rather than the one just made
  --unpinned       leave server and client on all cores
  --keep           keep what the runs left

Rows (* only when named):";

struct Options {
    rows: Vec<&'static Row>,
    peers: bool,
    repeats: usize,
    json: Option<PathBuf>,
    program: PathBuf,
    pinned: bool,
    keep: bool,
}

impl Options {
    /// `None`: help was asked for, or cargo runs this as a test.
    fn read(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_plimsoll"));
        let mut options = Self {
            rows: Vec::new(),
            peers: false,
            repeats: 3,
            json: None,
            program,
            pinned: true,
            keep: false,
        };
        // What `cargo bench` adds; `cargo test --benches` doesn't, and must not wait for minutes.
        let mut bench = false;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--bench" => bench = true,
                "--peers" => options.peers = true,
                "--unpinned" => options.pinned = false,
                "--keep" => options.keep = true,
                "--repeats" => {
                    options.repeats =
                        value()?.parse().ok().filter(|n| *n > 0).ok_or("--repeats needs a number from 1")?;
                }
                "--json" => options.json = Some(value()?.into()),
                "--program" => options.program = value()?.into(),
                "--help" | "-h" => return Ok(None),
                name => {
                    let row = ROWS.iter().find(|r| r.name == name);
                    options.rows.push(row.ok_or_else(|| format!("no row or option is called {name}"))?);
                }
            }
        }
        if options.rows.is_empty() {
            options.rows = ROWS.iter().filter(|r| !r.slow).collect();
        }
        Ok(bench.then_some(options))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let yardstick = match arguments.first().map(String::as_str) {
        Some(yardstick::DISCARD) => Some(yardstick::discard(&arguments[1..])),
        Some(yardstick::BARE_TIMER) => Some(yardstick::bare_timer(&arguments[1..])),
        _ => None,
    };
    if let Some(done) = yardstick {
        return done.map_or_else(
            |error| {
                eprintln!("{error}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    match Options::read(arguments.into_iter()) {
        Ok(Some(options)) => match run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            println!("{HELP}");
            ROWS.iter()
                .for_each(|r| println!("  {:<8}{} {}", r.name, if r.slow { '*' } else { ' ' }, r.help));
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprintln!("{wrong}; see cargo bench --bench load -- --help");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let mut dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    dir.disable_cleanup(options.keep);
    let pinned = options.pinned && process::cores()?.len() > 1;
    let bench = Bench::new(options.program.clone(), dir.path(), pinned);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{}, load average before the first row: {}",
        if pinned { "server and client pinned to a core each" } else { "unpinned" },
        load.split(' ').take(3).collect::<Vec<_>>().join(" ")
    );
    table::print_header();
    let mut taken = Vec::new();
    for row in &options.rows {
        match take(row, options, &bench) {
            Ok(row) => {
                row.print();
                taken.push(row.json());
            }
            Err(error) => {
                println!("{:<30} failed: {error}", row.name);
                taken.push(serde_json::json!({ "row": row.name, "failed": error.to_string() }));
            }
        }
    }
    if let Some(file) = &options.json {
        let all = serde_json::json!({ "pinned": pinned, "load_average": load.trim(), "rows": taken });
        std::fs::write(file, format!("{all:#}\n"))?;
    }
    Ok(())
}

fn take(row: &'static Row, options: &Options, bench: &Bench) -> io::Result<Taken> {
    let repeats = (0..options.repeats).map(|_| (row.take)(bench)).collect::<io::Result<_>>()?;
    let peers = match row.peer_load {
        Some(load) if options.peers => PEERS.iter().map(|p| (p.name, p.take(&load(), bench))).collect(),
        _ => Vec::new(),
    };
    Ok(Taken { row, repeats, peers })
}
