//! `plimsoll export`: a run in the formats of others.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;

use super::{Exit, Failure, say, say_err};
use crate::export::{self, ExportError, FORMATS, File, Format, Input};
use crate::store;

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  plimsoll export runs/20260101T120000Z-capacity --format csv --out -\n  \
                  plimsoll export runs/20260101T120000Z-capacity --format vllm --cell 3 --out result.json\n  \
                  plimsoll export runs/20260101T120000Z-capacity --format locust-stats --out results\n  \
                  plimsoll export --list"
)]
pub struct ExportArgs {
    /// Run directory.
    #[arg(required_unless_present = "list", value_name = "RUN")]
    run: Option<PathBuf>,
    /// Format; --list tells what each is.
    #[arg(long, short, required_unless_present = "list", value_name = "FORMAT",
          value_parser = clap::builder::PossibleValuesParser::new(FORMATS.iter().map(|f| f.name)))]
    format: Option<String>,
    /// Only the cell with this `cell_index` of summary.csv, which counts from 0.
    #[arg(long, value_name = "N")]
    cell: Option<u32>,
    /// A file, or a directory for several; `-` prints it. Without it, files get the format's
    /// own names in the current directory.
    #[arg(long, short, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Overwrite files that exist.
    #[arg(long)]
    force: bool,
    /// List the formats.
    #[arg(long)]
    list: bool,
}

/// Make the files, then write them: none if one of them exists already.
pub fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    if args.list {
        list();
        return Ok(Exit::Fine);
    }
    let (Some(run), Some(name)) = (&args.run, &args.format) else {
        return Err(Failure::usage(anyhow!("name a run and a --format; --list tells the formats")));
    };
    let format: &Format =
        export::format(name).ok_or_else(|| Failure::usage(anyhow!("there is no format {name:?}")))?;
    let input = Input::load(run, args.cell).map_err(failure)?;
    let files = (format.write)(&input).map_err(failure)?;
    match args.out.as_deref() {
        Some(out) if out.as_os_str() == "-" => print(&files),
        out => write(&files, out, args.force),
    }
}

fn failure(error: ExportError) -> Failure {
    if error.is_usage() { Failure::usage(error) } else { Failure::from(error) }
}

fn list() {
    for format in FORMATS {
        say(&format!("{}\n    {}\n    {}\n", format.name, format.help, format.files));
    }
}

fn print(files: &[File]) -> Result<Exit, Failure> {
    let [file] = files else {
        let names: Vec<&str> = files.iter().map(|f| f.name.as_str()).collect();
        return Err(Failure::usage(anyhow!(
            "these are {} files and don't fit into one stream: {}; choose one with --cell, or name a directory with --out",
            files.len(),
            names.join(", ")
        )));
    };
    // A reader that has gone away is no error.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&file.bytes).and_then(|()| out.flush());
    Ok(Exit::Fine)
}

fn write(files: &[File], out: Option<&Path>, force: bool) -> Result<Exit, Failure> {
    let targets: Vec<PathBuf> = match (out, files) {
        (Some(path), [_]) if !path.is_dir() && !ends_as_directory(path) => vec![path.to_owned()],
        (out, files) => {
            let dir = out.unwrap_or(Path::new(""));
            files.iter().map(|file| dir.join(&file.name)).collect()
        }
    };
    if let Some(there) = targets.iter().find(|path| path.exists()).filter(|_| !force) {
        let there = there.display();
        return Err(Failure::usage(anyhow!(
            "{there} exists already; choose another place with --out, or overwrite it with --force"
        )));
    }
    for (file, target) in files.iter().zip(&targets) {
        if let Some(dir) = target.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        store::write_file(target, &file.bytes)?;
        say_err(&format!("wrote {}", target.display()));
    }
    Ok(Exit::Fine)
}

/// `results/`: a directory that isn't there yet.
fn ends_as_directory(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().ends_with(std::path::is_separator)
}
