//! A run on paper: figures as PNG, one page that works offline, a summary for the terminal.

mod palette;
pub mod png;
