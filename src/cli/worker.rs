//! `plimsoll worker`: drives load for runs that are begun elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;

use super::{Exit, Failure, say_err};
use crate::experiment::TOKEN_VARIABLE;
use crate::fleet::{self, FleetError, Machine, Token, Told};
use crate::load::{Allowed, Control};
use crate::store::{self, Calibrated};

/// Arguments of `worker`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll worker                                       on 127.0.0.1:5557, for runs begun on this machine
  PLIMSOLL_WORKER_TOKEN=… plimsoll worker --listen 0.0.0.0:5557
  plimsoll run my.toml --workers 10.0.0.7:5557,10.0.0.8:5557

It takes one run after another, one at a time, until Ctrl-C. Keys of the server under test come from
its own environment, data sets from its own files.")]
pub struct WorkerArgs {
    /// Address to listen on. Beyond loopback a token is needed: who can reach a worker can have it send
    /// load.
    #[arg(long, default_value = "127.0.0.1:5557", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Environment variable with the token, the same here and where runs are begun.
    #[arg(long, default_value = TOKEN_VARIABLE, value_name = "NAME")]
    token_env: String,
}

/// Serve until Ctrl-C.
pub fn run(args: &WorkerArgs) -> Result<Exit, Failure> {
    let control = Control::default();
    super::run::watch_signals(&control, |_| ())?;
    let machine = Machine {
        allowed: Allowed::of_this_process(),
        ceiling: Calibrated::find().ceiling(),
        environment: store::environment(serde_json::Value::Null),
    };
    let token = Token::of_variable(&args.token_env);
    let place = (args.listen, args.token_env.as_str());
    let tell = Arc::new(|told| say_err(&in_words(&told)));
    fleet::serve(place, token, machine, &control, tell).map_err(|error| match error {
        usage @ (FleetError::Open { .. } | FleetError::Listen { .. }) => Failure::usage(usage),
        other => other.into(),
    })?;
    Ok(Exit::Fine)
}

fn in_words(told: &Told) -> String {
    match told {
        Told::Listening(at) => format!("worker at {at}; Ctrl-C ends it"),
        Told::TakenIn(peer) => format!("at work for {peer}"),
        Told::Turned(peer, reason) => format!("{peer} was turned away: {reason}"),
        Told::Cell { number, cores, of } => {
            let all = if cores == of { "all".to_owned() } else { format!("{cores} of {of}") };
            format!("cell {number}: {all} load cores are here")
        }
        Told::Left(peer, reason) => format!("{peer} has left: {reason}"),
    }
}
