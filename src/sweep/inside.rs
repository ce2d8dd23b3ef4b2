//! What is read inside the servers while cells run: their processes, their machine where it is
//! this one, its GPUs, and what they tell as JSON.

use std::rc::Rc;

use regex::Regex;

use super::observing::{Address, named};
use crate::experiment::{
    GpusFrom, JsonEndpoint, MetricsUrl, NamedProcess, ObserveSettings, ProcessAt, ProcessesFrom,
};
use crate::observe::{Find, Gpus, Json, Machine, OwnServer, Processes, Source};
use crate::plan::Cell;
use crate::server::{Found, is_loopback};

type Sources = Vec<Box<dyn Source>>;

/// Add what is to be read for a cell, and what a person should know of it. `own`: the server
/// that we started.
pub(super) fn add(
    settings: &ObserveSettings,
    (cell, found): (&Cell, &[Rc<Found>]),
    own: &OwnServer,
    (sources, remarks): (&mut Sources, &mut Vec<String>),
) {
    let inside = &settings.inside;
    let ports = ports(cell, found);
    let here = own.group().is_some() || !ports.is_empty();
    match &inside.processes {
        ProcessesFrom::Nobody => {}
        ProcessesFrom::Auto if own.group().is_some() => {
            sources.push(Box::new(Processes::new("server", Find::Group(own.clone()), true)));
        }
        ProcessesFrom::Auto => {
            for port in &ports {
                let name = if ports.len() == 1 { "server".to_owned() } else { format!("server-{port}") };
                sources.push(Box::new(Processes::new(&name, Find::Port(*port), false)));
            }
        }
        ProcessesFrom::These(names) => {
            for NamedProcess { name, at } in names {
                match find(at, own) {
                    Ok(find) => sources.push(Box::new(Processes::new(name, find, true))),
                    Err(why) => remarks.push(format!("observe.processes.{name}: {why}")),
                }
            }
        }
    }
    let asked = |wanted| Box::new(Gpus::asked(wanted)) as Box<dyn Source>;
    match &inside.gpus {
        GpusFrom::None => {}
        // Those of this machine say nothing of a server elsewhere.
        GpusFrom::Auto => {
            let gpus = if here { Gpus::all() } else { None };
            sources.extend(gpus.map(|gpus| Box::new(gpus) as Box<dyn Source>));
        }
        GpusFrom::All => sources.push(asked(None)),
        GpusFrom::These(wanted) => sources.push(asked(Some(wanted.clone()))),
    }
    if inside.machine && here {
        sources.push(Box::new(Machine::default()));
    }
    let first = cell.settings.parts().map(|(target, _)| target).zip(found).next();
    for JsonEndpoint { name, url, headers, pointers } in &inside.json {
        let Some((target, found)) = first else { continue };
        let wanted = MetricsUrl { url: url.clone(), headers: headers.clone() };
        let source = named(target, found, &wanted).and_then(|Address { target, url, own, headers }| {
            Json::new(name, target, (url, own), headers, pointers.clone(), settings.timeout)
                .map_err(|e| e.to_string())
        });
        match source {
            Ok(source) => sources.push(Box::new(source)),
            Err(why) => remarks.push(format!("observe.json.{name}: {why}")),
        }
    }
}

fn find(at: &ProcessAt, own: &OwnServer) -> Result<Find, String> {
    Ok(match at {
        ProcessAt::Pid(pid) => Find::Pid(*pid),
        ProcessAt::Port(port) => Find::Port(*port),
        ProcessAt::Command(pattern) => Find::Command(Regex::new(pattern).map_err(|e| e.to_string())?),
        ProcessAt::Server if own.group().is_some() => Find::Group(own.clone()),
        ProcessAt::Server => {
            return Err("no server was started here: name its port, its pid or its command".to_owned());
        }
    })
}

/// Ports of this machine at which the cell's servers listen, those of our own simulators left
/// out: they are in this process.
fn ports(cell: &Cell, found: &[Rc<Found>]) -> Vec<u16> {
    let mut ports = Vec::new();
    for ((target, _), found) in cell.settings.parts().zip(found) {
        let base = &found.endpoint.base;
        let port = base.port_or_known_default().filter(|_| !target.is_sim() && is_loopback(base));
        ports.extend(port.filter(|port| !ports.contains(port)));
    }
    ports
}
