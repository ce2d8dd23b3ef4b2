//! `plimsoll ui`: past runs in a browser.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::compare::{Format, conclude, own_gate};
use super::page::{place, say_where};
use super::run::watch_signals;
use super::{Exit, Failure, chain};
use crate::analysis::RunData;
use crate::analysis::compare::compare_with;
use crate::load::Control;
use crate::report;
use crate::ui::{ADDRESS, Open, Shelf, Site};

/// Arguments of `ui`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  plimsoll ui\n  plimsoll ui 127.0.0.1:0 --runs old/runs --reports old/reports\n\n\
                        Nothing is changed by it but that reports that are missing are made. Ctrl-C ends it."
)]
pub struct UiArgs {
    /// Where the page is served (port 0: any free one).
    #[arg(value_name = "ADDR", default_value = ADDRESS)]
    addr: String,
    /// Where the runs lie.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs: PathBuf,
    /// Where reports lie, and go.
    #[arg(long, default_value = "reports", value_name = "DIR")]
    reports: PathBuf,
    /// Token of the page, which then asks for it; PLIMSOLL_UI_TOKEN is read too. One is made up
    /// where the address is not loopback.
    #[arg(long, value_name = "TOKEN")]
    ui_token: Option<String>,
}

/// Serve until Ctrl-C.
pub fn run(args: &UiArgs) -> Result<Exit, Failure> {
    let place = place(&args.addr, args.ui_token.as_deref())?;
    let control = Control::default();
    watch_signals(&control, |_| {})?;
    let reports = args.reports.clone();
    let compare = move |a: &std::path::Path, b: &std::path::Path| {
        compared(a, b, &reports).map_err(|failure| chain(&failure.error))
    };
    let shelf = Shelf::new(&args.runs, &args.reports, Box::new(compare));
    let open = Open::new(Site::Shelf(shelf.into()), &place).map_err(Failure::usage)?;
    say_where("past runs", &open, place.token.is_some());
    while !control.finish() {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(Exit::Fine)
}

/// Write the comparison of two runs, and give its directory.
fn compared(a: &std::path::Path, b: &std::path::Path, reports: &std::path::Path) -> Result<PathBuf, Failure> {
    let (baseline, candidate) = (RunData::load_figures(a)?, RunData::load_figures(b)?);
    let gate = own_gate(&candidate)?;
    let noise = super::noise::of_runs(&baseline, &candidate);
    let comparison = compare_with(&baseline, &candidate, &gate, noise.as_ref());
    // What it says is for the page alone.
    conclude(&comparison, (&baseline, &candidate), Format::Terminal, Some(reports), |_| {})?;
    Ok(reports.join(report::compare::directory(&comparison)))
}
