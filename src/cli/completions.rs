//! `plimsoll completions` and `plimsoll man`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use clap_complete::Shell;

use super::{Exit, Failure, say};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  plimsoll completions bash > ~/.local/share/bash-completion/completions/plimsoll"
)]
pub struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  plimsoll man | man -l -\n  plimsoll man --out ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Write one page per command into this directory instead of the main page to stdout.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Print the script.
pub fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "plimsoll", &mut script);
    say(&String::from_utf8_lossy(&script));
    Ok(Exit::Fine)
}

/// Write the pages.
pub fn man(args: &ManArgs, command: &clap::Command) -> Result<Exit, Failure> {
    match &args.out {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command.clone()).render(&mut page)?;
            say(&String::from_utf8_lossy(&page));
        }
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
            clap_mangen::generate_to(command.clone(), dir)
                .with_context(|| format!("cannot write to {}", dir.display()))?;
        }
    }
    Ok(Exit::Fine)
}
