//! The live page: what a sweep does while it does it, in a browser, and the past runs.
//!
//! A [`Board`] holds what is to be seen, in bounded memory; the [`Watch`] puts it there from the
//! thread that also writes records, and never waits for a reader while load is on. The server has a
//! thread of its own, with the lowest claim to a core. Who may ask what is decided by the guard:
//! names, origins and tokens are in `guard`.

mod board;
mod course;
mod events;
mod form;
mod guard;
mod live;
mod reply;
mod server;
mod shelf;
mod tally;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use board::{Board, Phase};
pub use form::{Field, FormMistake, Order};
pub use live::{Live, Starter};
pub use server::{Open, Site};
pub use shelf::{Compare, Shelf, ShelfError};
pub use watch::Watch;

/// Where the page is, unless one is told: as Locust's.
pub const ADDRESS: &str = "127.0.0.1:8089";

/// Name of the environment variable that holds the token of a page that is not on loopback.
pub const TOKEN: &str = "PLIMSOLL_UI_TOKEN";

/// Where a page is to be served, and to whom.
#[derive(Debug, Clone)]
pub struct Place {
    /// Port 0: any free one.
    pub addr: SocketAddr,
    /// The token that is asked for; one is made up for an address that is not loopback.
    pub token: Option<String>,
}

/// The page could not be served.
#[derive(Debug, thiserror::Error)]
pub enum UiError {
    #[error(
        "the page can't listen on {addr}: choose another address, such as --ui 127.0.0.1:0 for any free port"
    )]
    Bind { addr: SocketAddr, source: std::io::Error },
    #[error("the page's {what} can't be started")]
    Start { what: &'static str, source: std::io::Error },
    #[error("a token has at least {} letters, digits, or characters of - and _", guard::TOKEN_LENGTH)]
    Token,
    #[error("there is no report at {path}")]
    NoReport { path: PathBuf },
}
