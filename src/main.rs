//! The binary: everything it does is in the library's [`plimsoll::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    plimsoll::cli::main()
}
