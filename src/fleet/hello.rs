//! The handshake: same version, same token, and a key for the messages that follow.
//!
//! The worker speaks first. Each side says a number of its own and proves, by both numbers, that it
//! has the token, which itself is never sent.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::message::Machine;
use super::wire::{hear, hmac, same, say};
use super::{FleetError, PROTOCOL, VERSION};

/// For a whole handshake, at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters that a token has at least.
const LEAST: usize = 12;

/// The secret that workers and coordinators share; it may be empty where both are on loopback.
#[derive(Clone, Default)]
pub struct Token(Vec<u8>);

impl Token {
    /// What `variable` of the environment holds; empty where it is not set.
    #[must_use]
    pub fn of_variable(variable: &str) -> Self {
        Self::new(&std::env::var(variable).unwrap_or_default())
    }

    /// This text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().as_bytes().to_vec())
    }

    /// Whether it keeps strangers out.
    pub(super) fn is_secret(&self) -> bool {
        self.0.len() >= LEAST
    }

    /// Characters that one needs to.
    pub(super) const fn least() -> usize {
        LEAST
    }

    fn proof(&self, who: &str, numbers: [&str; 2]) -> [u8; 32] {
        hmac(&self.0, &[who.as_bytes(), b"|", numbers[0].as_bytes(), b"|", numbers[1].as_bytes()])
    }
}

/// Never its text.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "no token" } else { "a token" })
    }
}

/// The worker's first words.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    plimsoll: String,
    protocol: u32,
    number: String,
}

/// The coordinator's answer.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    plimsoll: String,
    protocol: u32,
    number: String,
    proof: String,
}

/// The worker's answer to that.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Welcome {
    TakenIn { proof: String, machine: Box<Machine> },
    WrongToken,
    Refused { reason: String },
}

/// Why a worker took nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Turned {
    #[error("it is another version of plimsoll")]
    Version,
    #[error("it has another token")]
    Token,
    #[error("a run is under way")]
    Busy,
}

fn number() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex(bytes: [u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Until when the handshake is waited for.
fn patiently(stream: &TcpStream) -> io::Result<Instant> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Instant::now() + PATIENCE)
}

/// What a version is called where two are told apart.
fn named(plimsoll: &str, protocol: u32) -> String {
    format!("{plimsoll} (protocol {protocol})")
}

/// The coordinator's part. Gives what the worker is, and the key for what follows.
///
/// # Errors
/// When it is another version, has another token, refuses, or is no worker.
pub(super) fn knock(
    stream: &mut TcpStream,
    address: &str,
    token: &Token,
) -> Result<(Machine, [u8; 32]), FleetError> {
    let address = || address.to_owned();
    let lost = |error: io::Error| FleetError::Unreachable {
        address: address(),
        reason: format!("it does not answer as a worker does ({error})"),
    };
    let until = patiently(stream).map_err(lost)?;
    let greeting: Greeting = hear(stream, until).map_err(lost)?;
    // Said even to another version, so that both sides can tell.
    let own = number();
    let numbers = [greeting.number.as_str(), own.as_str()];
    let hello = Hello {
        plimsoll: VERSION.to_owned(),
        protocol: PROTOCOL,
        number: own.clone(),
        proof: hex(token.proof("coordinator", numbers)),
    };
    let said = say(stream, &hello);
    if (greeting.plimsoll.as_str(), greeting.protocol) != (VERSION, PROTOCOL) {
        return Err(FleetError::Version {
            address: address(),
            theirs: named(&greeting.plimsoll, greeting.protocol),
            ours: named(VERSION, PROTOCOL),
        });
    }
    said.map_err(lost)?;
    match hear(stream, until).map_err(lost)? {
        Welcome::WrongToken => Err(FleetError::Token { address: address() }),
        Welcome::Refused { reason } => Err(FleetError::Refused { address: address(), reason }),
        Welcome::TakenIn { proof, .. }
            if !same(proof.as_bytes(), hex(token.proof("worker", numbers)).as_bytes()) =>
        {
            Err(FleetError::Token { address: address() })
        }
        Welcome::TakenIn { machine, .. } => Ok((*machine, token.proof("messages", numbers))),
    }
}

/// The worker's part. `take`: whether there is a place for another coordinator, asked once it has
/// proved who it is. Gives the key for what follows.
///
/// # Errors
/// When the other side is gone; [`Turned`] within when it was not taken in, and was told so.
pub(super) fn answer(
    stream: &mut TcpStream,
    token: &Token,
    machine: &Machine,
    take: impl FnOnce() -> bool,
) -> io::Result<Result<[u8; 32], Turned>> {
    let until = patiently(stream)?;
    let own = number();
    say(stream, &Greeting { plimsoll: VERSION.to_owned(), protocol: PROTOCOL, number: own.clone() })?;
    let hello: Hello = hear(stream, until)?;
    let theirs = named(&hello.plimsoll, hello.protocol);
    let turned = |stream: &mut TcpStream, why: Turned, word: Welcome| {
        say(stream, &word)?;
        Ok(Err(why))
    };
    if (hello.plimsoll.as_str(), hello.protocol) != (VERSION, PROTOCOL) {
        let reason = format!("it is plimsoll {}, and you are plimsoll {theirs}", named(VERSION, PROTOCOL));
        return turned(stream, Turned::Version, Welcome::Refused { reason });
    }
    let numbers = [own.as_str(), hello.number.as_str()];
    if !same(hello.proof.as_bytes(), hex(token.proof("coordinator", numbers)).as_bytes()) {
        return turned(stream, Turned::Token, Welcome::WrongToken);
    }
    if !take() {
        let reason = "it is at work for another run".to_owned();
        return turned(stream, Turned::Busy, Welcome::Refused { reason });
    }
    let proof = hex(token.proof("worker", numbers));
    say(stream, &Welcome::TakenIn { proof, machine: Box::new(machine.clone()) })?;
    Ok(Ok(token.proof("messages", numbers)))
}
