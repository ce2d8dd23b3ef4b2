//! `[fleet]`: the machines that drive the load.

use crate::experiment::fleet::FleetSettings;
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::secret::is_env_name;

const ALLOWED: &str = "host:port, such as \"10.0.0.7:5557\"";

pub(crate) fn fleet(section: Section<'_>) -> FleetSettings {
    let usual = FleetSettings::default();
    let settings = FleetSettings {
        workers: section.get("workers").map(|f| workers(&f)).unwrap_or_default(),
        token_env: section.get("token_env").and_then(|f| variable(&f)).unwrap_or(usual.token_env),
    };
    section.done();
    settings
}

fn workers(field: &Field<'_>) -> Vec<String> {
    let items = field.items().unwrap_or_default().iter().enumerate();
    let named = |(i, node)| field.item(node, format!("{}[{}]", field.key(), i + 1));
    let read: Vec<String> = items.map(named).filter_map(|item| address(&item)).collect();
    if let Some(i) = (1..read.len()).find(|&i| read[..i].contains(&read[i])) {
        let mistake =
            Mistake::new(MistakeKind::BadValue, "names a worker twice").found(format!("{:?}", read[i]));
        field.mistake(mistake.allowed("each worker once"));
    }
    read
}

fn address(field: &Field<'_>) -> Option<String> {
    let text = field.str()?;
    let fits = text.rsplit_once(':').is_some_and(|(host, port)| {
        let plain = |c: char| !c.is_whitespace() && !"/@?#".contains(c);
        !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !fits {
        let mistake = Mistake::new(MistakeKind::BadValue, "not where a worker can listen");
        field.mistake(mistake.found(field.node.describe()).allowed(ALLOWED));
        return None;
    }
    Some(text.to_owned())
}

fn variable(field: &Field<'_>) -> Option<String> {
    let name = field.str()?;
    if !is_env_name(name) {
        // What stands there may be the token itself: it is not shown.
        let mistake = Mistake::new(MistakeKind::BadValue, "not the name of an environment variable");
        let allowed = "the variable that holds the token, such as \"PLIMSOLL_WORKER_TOKEN\"";
        field.mistake(mistake.allowed(allowed).hidden());
        return None;
    }
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::experiment::Experiment;
    use crate::plan;

    fn read(fleet: &str) -> Result<Experiment, String> {
        let text = format!("[target]\nurl = \"sim:\"\n[load]\nusers = 1\n[cell]\nduration = \"1s\"\n{fleet}");
        Experiment::parse(Path::new("f.toml"), &text, &[]).map_err(|m| m.to_string())
    }

    #[test]
    fn workers_are_named_and_change_no_cell() {
        let alone = read("").unwrap();
        assert_eq!(alone.fleet, FleetSettings::default());
        let two = read("[fleet]\nworkers = [\"a.example:5557\", \"[::1]:9\"]\ntoken_env = \"T\"\n").unwrap();
        assert_eq!(two.fleet.workers, ["a.example:5557", "[::1]:9"]);
        assert_eq!(two.fleet.token_env, "T");
        let hash = |experiment| plan::build(experiment).unwrap().experiment_hash;
        assert_eq!(hash(&alone), hash(&two), "a run may be resumed with other workers");
    }

    #[test]
    fn mistakes_name_their_key_and_what_is_allowed() {
        for (fleet, key, words) in [
            ("workers = [\"a\"]", "fleet.workers[1]", "host:port"),
            ("workers = [\"http://a:1\"]", "fleet.workers[1]", "host:port"),
            ("workers = [\"a:1\", \"a:1\"]", "fleet.workers", "twice"),
            ("worker = []", "fleet.worker", "workers"),
            ("token_env = \"s3cr3t!\"", "fleet.token_env", "environment variable"),
        ] {
            let error = read(&format!("[fleet]\n{fleet}\n")).unwrap_err();
            assert!(error.contains(key) && error.contains(words), "{error}");
            assert!(!error.contains("s3cr3t!"), "{error}");
        }
    }
}
