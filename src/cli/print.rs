//! Results on standard output.

use std::io::{self, Write};

/// Print `text`, whole. A reader that has read enough (`… | head`) is no error, and no
/// reason to panic, as `print!` would.
///
/// # Errors
/// When standard output can't be written for another reason.
pub(super) fn out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
