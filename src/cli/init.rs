//! `plimsoll init`: a commented experiment file.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;

use super::{Exit, Failure, say, say_err};

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  plimsoll init                  writes experiment.toml\n  plimsoll init - | less         prints it"
)]
pub struct InitArgs {
    /// Where to write it; `-` prints it.
    #[arg(default_value = "experiment.toml")]
    file: PathBuf,
    /// Overwrite the file if it exists.
    #[arg(long)]
    force: bool,
}

/// Write the file; never over another unless told.
pub fn run(args: &InitArgs) -> Result<Exit, Failure> {
    let text = crate::experiment::template();
    if args.file.as_os_str() == "-" {
        say(&text);
        return Ok(Exit::Fine);
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    let options = if args.force { options.create(true).truncate(true) } else { options.create_new(true) };
    let mut file = match options.open(&args.file) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::usage(anyhow!(
                "{} exists already; name another file, or overwrite it with --force",
                args.file.display()
            )));
        }
        other => other.with_context(|| format!("cannot write {}", args.file.display()))?,
    };
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", args.file.display()))?;
    say_err(&format!("wrote {}; next: plimsoll plan {0}", args.file.display()));
    Ok(Exit::Fine)
}
