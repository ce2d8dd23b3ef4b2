//! `plimsoll run --ui`: the live page beside a sweep, and sweeps that are started from it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use serde_json::Value;

use super::run::{RunArgs, announce, once, watch_signals};
use super::source::{Planned, text};
use super::{Exit, Failure, chain, say_err};
use crate::experiment::{ExperimentError, Load, Mistakes};
use crate::load::Control;
use crate::plan::{Cell, Plan};
use crate::ui::{ADDRESS, Board, Field, FormMistake, Live, Open, Order, Phase, Place, Site, Starter, TOKEN};
use crate::units;

/// Arguments of the live page.
#[derive(Debug, Clone, Args)]
pub(super) struct PageArgs {
    /// Serve a live page, at 127.0.0.1:8089 unless told otherwise (port 0: any free one).
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = ADDRESS, help_heading = PAGE)]
    ui: Option<String>,
    /// Token of the page, which then asks for it; PLIMSOLL_UI_TOKEN is read too, and the list of
    /// processes doesn't show that. One is made up where the address is not loopback.
    #[arg(long, value_name = "TOKEN", requires = "ui", help_heading = PAGE)]
    ui_token: Option<String>,
    /// Start nothing before it is told so from the page; then the page stays, and can start another.
    #[arg(long, requires = "ui", help_heading = PAGE)]
    wait: bool,
    /// The page stays after the end, until Ctrl-C.
    #[arg(long, requires = "ui", help_heading = PAGE)]
    ui_keep: bool,
}

const PAGE: &str = "Live page";

/// How often a wait looks whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(100);

impl PageArgs {
    /// Whether there is to be a page.
    ///
    /// # Errors
    /// Usage: what it is to listen on is no address.
    pub(super) fn is_wanted(&self) -> Result<bool, Failure> {
        Ok(self.place()?.is_some())
    }

    fn place(&self) -> Result<Option<Place>, Failure> {
        self.ui.as_deref().map(|addr| place(addr, self.ui_token.as_deref())).transpose()
    }
}

/// Where a page is to be served: `ADDR:PORT`, `ADDR` or `PORT`.
///
/// # Errors
/// Usage: it is no address.
pub(super) fn place(addr: &str, token: Option<&str>) -> Result<Place, Failure> {
    let port = 8089;
    let named = addr.replacen("localhost", "127.0.0.1", usize::from(addr.starts_with("localhost")));
    let parsed = named
        .parse::<SocketAddr>()
        .or_else(|_| named.parse::<IpAddr>().map(|ip| (ip, port).into()))
        .or_else(|_| named.trim_start_matches(':').parse::<u16>().map(|p| (Ipv4Addr::LOCALHOST, p).into()));
    let addr = parsed.map_err(|_| {
        Failure::usage(anyhow!(
            "--ui {addr}: that is no address: use {ADDRESS}, a port, or 0.0.0.0:{port} for all of this machine's. \
             The experiment file comes before --ui"
        ))
    })?;
    let token = token.map(str::to_owned).or_else(|| std::env::var(TOKEN).ok().filter(|t| !t.is_empty()));
    Ok(Place { addr, token })
}

/// Say where the page is; on the terminal alone, as the address may have a token in it.
pub(super) fn say_where(what: &str, page: &Open, given: bool) {
    let url = page.url();
    // Who gave the token knows it, and this may go into a log.
    match url.split_once("?token=").filter(|_| given) {
        Some((place, _)) => say_err(&format!("{what}: {place}?token=… (the token that was given)")),
        None => say_err(&format!("{what}: {url}")),
    }
    if !page.addr().ip().is_loopback() {
        say_err("it can be reached from other machines, and what they send and see is not encrypted");
    }
}

/// A sweep that is to run: with the arguments as the form has changed them.
type Asked = (RunArgs, Planned);

/// Sweeps with a live page.
pub(super) fn run(args: &RunArgs, control: &Control) -> Result<Exit, Failure> {
    let Some(place) = args.page.place()? else { return Err(anyhow!("there is no page").into()) };
    let planned = args.source.plan()?;
    watch_signals(control, announce)?;
    let keep = args.page.wait || args.page.ui_keep;
    let (ask, asked) = mpsc::sync_channel::<Asked>(1);
    let own: Arc<OnceLock<Arc<Live>>> = Arc::default();
    let axes = planned.experiment.grids.iter().flat_map(|grid| &grid.axes).map(|axis| axis.path.clone());
    let start = keep.then(|| starter((args.clone(), axes.collect()), ask, Arc::clone(&own)));
    let board = Board::new(Phase::Ready, &planned.experiment.name, &target(&planned.plan));
    let live = Live::new(board, control.clone(), form(&planned.plan), start);
    let _ = own.set(Arc::clone(&live));
    let open = Open::new(Site::Live(Arc::clone(&live)), &place).map_err(Failure::usage)?;
    say_where("live page", &open, place.token.is_some());
    let mut next = (!args.page.wait).then(|| (args.clone(), planned));
    let mut last = Ok(Exit::Fine);
    loop {
        let (args, planned) = match next.take() {
            Some(first) => {
                live.begin(&first.1.experiment.name, &target(&first.1.plan));
                first
            }
            None => match wait(&asked, control) {
                Some(asked) => asked,
                None => return last,
            },
        };
        last = once(&args, planned, control, Some(&live));
        tell_end(&live, &last);
        if !keep || (control.finish() && !live.was_stopped()) {
            return last;
        }
        if let Err(failure) = &last {
            say_err(&format!("error: {}", chain(&failure.error)));
        }
        control.reset();
        say_err(&format!("the page stays at {}: Ctrl-C ends it", open.addr()));
    }
}

/// What the page is to be told of the end.
fn tell_end(live: &Live, ended: &Result<Exit, Failure>) {
    let (phase, problem) = match ended {
        Ok(Exit::Interrupted) => (Phase::Interrupted, None),
        Ok(Exit::Fine) => (Phase::Finished, None),
        Ok(Exit::GateFailed) => (Phase::Finished, Some("the gate failed".to_owned())),
        Ok(Exit::Inconclusive) => (Phase::Finished, Some("the comparison is inconclusive".to_owned())),
        Ok(_) if live.board().is_whole() => {
            (Phase::Finished, Some("the measurement is invalid: the log and the terminal say why".to_owned()))
        }
        Ok(_) => (Phase::Failed, Some("the terminal says what was wrong".to_owned())),
        Err(failure) => (Phase::Failed, Some(chain(&failure.error))),
    };
    live.end(phase, problem);
}

/// The next sweep that the page asks for; `None`: Ctrl-C came first.
fn wait(asked: &mpsc::Receiver<Asked>, control: &Control) -> Option<Asked> {
    loop {
        if control.finish() {
            return None;
        }
        match asked.recv_timeout(LOOK) {
            Ok(asked) => return Some(asked),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Checks a form by planning with it, and hands the plan to the thread that runs sweeps. `axes`: what
/// the file's grid has as axes.
fn starter(
    (args, axes): (RunArgs, BTreeSet<String>),
    ask: mpsc::SyncSender<Asked>,
    live: Arc<OnceLock<Arc<Live>>>,
) -> Starter {
    Box::new(move |order: &Order| {
        let mut args = args.clone();
        args.source.add_last(sets(order, &axes));
        let planned = args.source.plan().map_err(|failure| mistakes(&failure, order))?;
        let busy = || vec![FormMistake { key: String::new(), text: "a sweep runs already".to_owned() }];
        let Some(live) = live.get() else { return Err(busy()) };
        let (name, target) = (planned.experiment.name.clone(), target(&planned.plan));
        // Before the sweep can say anything itself.
        live.begin(&name, &target);
        ask.try_send((args, planned)).map_err(|_| {
            live.end(Phase::Failed, Some("no sweep can be started any more".to_owned()));
            busy()
        })
    })
}

/// What was filled in, as `--set`. A number or a list is itself; the target's address is text, and so
/// is a time; an axis of the grid stays one.
fn sets(order: &Order, axes: &BTreeSet<String>) -> Vec<String> {
    let set = |(key, value): (&String, &String)| {
        let value = value.trim().trim_matches(&['[', ']'][..]);
        let value = match key.as_str() {
            "target.url" => text(value),
            _ => value.to_owned(),
        };
        match key.strip_prefix("load.") {
            Some(short) if axes.contains(key) => format!("grid.{short}=[{value}]"),
            None if axes.contains(key) => format!("grid.\"{key}\"=[{value}]"),
            _ if value.contains(',') => format!("{key}=[{value}]"),
            _ => format!("{key}={value}"),
        }
    };
    order.iter().filter(|(_, value)| !value.trim().is_empty()).map(set).collect()
}

/// The mistakes of a form, each at its field where it has one.
fn mistakes(failure: &Failure, order: &Order) -> Vec<FormMistake> {
    let error = &failure.error;
    let found = error.downcast_ref::<Mistakes>().or_else(|| match error.downcast_ref::<ExperimentError>() {
        Some(ExperimentError::Mistakes(found)) => Some(found),
        _ => None,
    });
    let Some(Mistakes(found)) = found else {
        return vec![FormMistake { key: String::new(), text: chain(error) }];
    };
    let of = |mistake: &crate::experiment::Mistake| {
        // `grid.users` is the form's `load.users`.
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let exact = order.keys().find(|key| **key == mistake.key);
        let near = || order.keys().find(|key| last(key) == last(&mistake.key));
        let key = exact.or_else(near).cloned().unwrap_or_default();
        FormMistake { key, text: mistake.sentence() }
    };
    found.iter().map(of).collect()
}

/// The form, filled in with what the plan has.
fn form(plan: &Plan) -> Vec<Field> {
    let field = |key, label, hint, read: fn(&Cell) -> Option<String>| {
        // Each once, in their order.
        let mut seen = BTreeSet::new();
        let values: Vec<String> =
            plan.cells.iter().filter_map(read).filter(|value| seen.insert(value.clone())).collect();
        Field { key, label, value: values.join(", "), hint }
    };
    vec![
        field(
            "load.users",
            "Users",
            "a number, or several: 1, 4, 16; users wait for their answers",
            |cell| cell.factors.get("load.users").and_then(Value::as_u64).map(|users| users.to_string()),
        ),
        field("load.spawn_rate", "Spawn rate", "users that start per second", |cell| {
            match cell.settings.load {
                Load::Closed { users } if !cell.settings.cell.ramp.is_zero() => {
                    let rate = f64::from(users) / cell.settings.cell.ramp.as_secs_f64();
                    Some(format!("{}", (rate * 1000.0).round() / 1000.0))
                }
                _ => None,
            }
        }),
        field(
            "load.qps",
            "Requests per second",
            "an open loop: requests come at this rate, answered or not",
            |cell| cell.factors.get("load.qps").and_then(Value::as_f64).map(|rate| rate.to_string()),
        ),
        field("cell.duration", "Duration of each cell", "such as 30s or 5m", |cell| {
            cell.settings.cell.duration.map(units::format_duration)
        }),
        field(
            "target.url",
            "Target URL",
            "such as http://127.0.0.1:8000, or sim: for the simulator",
            |cell| Some(cell.settings.target.url.clone()),
        ),
    ]
}

/// Whom a plan asks, without what is secret in an address.
fn target(plan: &Plan) -> String {
    let first = plan.cells.first().map(|cell| cell.settings.target.url.clone()).unwrap_or_default();
    crate::store::without_credentials(&first).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_their_usual_forms() {
        let of = |addr: &str| place(addr, Some("0123456789abcdef")).map(|place| place.addr.to_string());
        for (addr, is) in [
            (ADDRESS, "127.0.0.1:8089"),
            ("9000", "127.0.0.1:9000"),
            (":9000", "127.0.0.1:9000"),
            ("0.0.0.0", "0.0.0.0:8089"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:9000", "[::1]:9000"),
        ] {
            assert_eq!(of(addr).unwrap(), is);
        }
        let error = of("my.toml").unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.error.to_string().contains("comes before --ui"), "{}", error.error);
    }

    #[test]
    fn a_form_is_sets_and_axes_stay_axes() {
        let order: Order = [
            ("load.users", "4"),
            ("load.qps", "1, 2"),
            ("cell.duration", " 30s "),
            ("target.url", "http://h:1"),
            ("load.spawn_rate", ""),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let axes = BTreeSet::from(["load.users".to_owned()]);
        assert_eq!(
            sets(&order, &axes),
            ["cell.duration=30s", "load.qps=[1, 2]", "grid.users=[4]", "target.url=http://h:1"]
        );
    }
}
