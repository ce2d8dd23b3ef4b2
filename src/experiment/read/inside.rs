//! Of `[observe]`: processes, GPUs, JSON addresses, limits.

use regex::Regex;

use super::server::address;
use super::target::headers;
use crate::experiment::inside::{
    GpusFrom, InsideSettings, JsonEndpoint, Limit, LimitOn, LimitUnit, NamedProcess, Pointer, ProcessAt,
    ProcessesFrom,
};
use crate::experiment::mistake::{Mistake, MistakeKind, nearest};
use crate::experiment::reader::{Field, Section};
use crate::experiment::tree::Value as Written;
use crate::units;

const PROCESSES: &str = "\"auto\", false, or names with where they are found: \
    { api = \"server\", worker = { command = \"…\" }, db = { port = 5432 }, other = { pid = 7 } }";
const GPUS: &str = "\"auto\", true, false, or a list of numbers such as [0, 1]";
const JSON_URL: &str = "a path at the target such as \"/memory\", http://… or https://…";

/// Reads its keys of the section; the others are another's.
pub(super) fn inside(section: &Section<'_>) -> InsideSettings {
    let usual = InsideSettings::default();
    InsideSettings {
        processes: section.get("processes").and_then(|f| processes(&f)).unwrap_or(usual.processes),
        gpus: section.get("gpus").and_then(|f| gpus(&f)).unwrap_or(usual.gpus),
        machine: section.get("machine").and_then(|f| f.bool()).unwrap_or(usual.machine),
        json: section.get("json").map(|f| json(&f)).unwrap_or_default(),
        limits: section.get("limits").map(|f| limits(&f.section())).unwrap_or_default(),
    }
}

fn processes(field: &Field<'_>) -> Option<ProcessesFrom> {
    match &field.node.value {
        Written::Str(word) if word == "auto" => Some(ProcessesFrom::Auto),
        Written::Bool(false) => Some(ProcessesFrom::Nobody),
        Written::Str(word) if word == "server" => Some(ProcessesFrom::These(vec![NamedProcess {
            name: "server".to_owned(),
            at: ProcessAt::Server,
        }])),
        Written::Table(_) => {
            let section = field.section();
            let named = |f: Field<'_>| {
                label(&f)?;
                Some(NamedProcess { name: f.name().to_owned(), at: process_at(&f)? })
            };
            Some(ProcessesFrom::These(section.entries().filter_map(named).collect()))
        }
        _ => {
            field.wrong_type(PROCESSES);
            None
        }
    }
}

/// A name that can label readings.
fn label(field: &Field<'_>) -> Option<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if field.name().is_empty() || !field.name().chars().all(fits) {
        let mistake = Mistake::new(MistakeKind::BadValue, "not a name for readings");
        field.key_mistake(mistake.allowed("letters, digits, hyphens, points and underscores"));
        return None;
    }
    Some(())
}

fn process_at(field: &Field<'_>) -> Option<ProcessAt> {
    if !field.is_table() {
        return field.word(&[("server", ())]).map(|()| ProcessAt::Server);
    }
    let section = field.section();
    let command = section.get("command").map(|f| pattern(&f).map(ProcessAt::Command));
    let pid = section.get("pid").map(|f| f.u32(1, 1 << 22).map(ProcessAt::Pid));
    let port = section.get("port").map(|f| f.u32(1, 65_535).map(|port| ProcessAt::Port(port as u16)));
    let all: Vec<Option<ProcessAt>> = [command, pid, port].into_iter().flatten().collect();
    let count = all.len();
    section.done();
    if count != 1 {
        let problem = if count == 0 { "says nowhere" } else { "says more than one place" };
        let mistake = Mistake::new(MistakeKind::Conflict, problem);
        field.mistake(mistake.allowed("one of command, pid, port; or \"server\""));
        return None;
    }
    all.into_iter().flatten().next()
}

fn pattern(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if let Err(error) = Regex::new(&text) {
        let last = error.to_string();
        let last = last.lines().last().unwrap_or_default().trim_start_matches("error: ");
        field.bad(format!("not a regular expression: {last}"));
        return None;
    }
    Some(text)
}

fn gpus(field: &Field<'_>) -> Option<GpusFrom> {
    match &field.node.value {
        Written::Str(word) if word == "auto" => Some(GpusFrom::Auto),
        Written::Bool(true) => Some(GpusFrom::All),
        Written::Bool(false) => Some(GpusFrom::None),
        Written::Array(items) => {
            let number = |(i, node)| field.item(node, format!("{}[{}]", field.key(), i + 1)).u32(0, 1023);
            let all: Vec<u32> = items.iter().enumerate().map(number).collect::<Option<_>>()?;
            Some(if all.is_empty() { GpusFrom::None } else { GpusFrom::These(all) })
        }
        _ => {
            field.wrong_type(GPUS);
            None
        }
    }
}

fn json(field: &Field<'_>) -> Vec<JsonEndpoint> {
    let section = field.section();
    section.entries().filter_map(|f| endpoint(&f)).collect()
}

fn endpoint(field: &Field<'_>) -> Option<JsonEndpoint> {
    label(field)?;
    let section = field.section();
    let url = section.get("url");
    let pointers = section.get("pointers");
    for (key, missing, allowed) in [
        ("url", url.is_none(), JSON_URL),
        ("pointers", pointers.is_none(), "{ server_memory_bytes = \"/memory/rss\" }"),
    ] {
        if missing {
            let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed(allowed);
            section.reader.add(section.origin, section.key(key), mistake);
        }
    }
    let headers = headers(&section.sub("headers"));
    let pointers = pointers.map(|f| {
        let all: Option<_> =
            f.section().entries().map(|f| Some((f.name().to_owned(), pointer(&f)?))).collect();
        all.unwrap_or_default()
    });
    let url = url.and_then(|f| address(&f, true, ("not where something can be asked", JSON_URL)));
    section.done();
    Some(JsonEndpoint { name: field.name().to_owned(), url: url?, headers, pointers: pointers? })
}

/// A pointer, or `{ pointer, scale }`.
fn pointer(field: &Field<'_>) -> Option<Pointer> {
    let name = field.name();
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b)) {
        let mistake = Mistake::new(MistakeKind::BadValue, "not a name of a reading");
        field.key_mistake(mistake.allowed("letters, digits and underscores"));
        return None;
    }
    let read = |field: &Field<'_>| {
        let text = field.str()?;
        if !text.is_empty() && !text.starts_with('/') {
            let mistake = Mistake::new(MistakeKind::BadValue, "not a JSON pointer");
            field.mistake(
                mistake.found(field.node.describe()).allowed("such as \"/memory/rss\" or \"/data/0/used\""),
            );
            return None;
        }
        Some(text.to_owned())
    };
    if !field.is_table() {
        return Some(Pointer { pointer: read(field)?, scale: 1.0 });
    }
    let section = field.section();
    let at = section.get("pointer");
    if at.is_none() {
        let mistake = Mistake::new(MistakeKind::Missing, "missing")
            .allowed("{ pointer = \"/memory/mb\", scale = 1e6 }");
        section.reader.add(section.origin, section.key("pointer"), mistake);
    }
    let scale = section.get("scale").and_then(|f| f.number_in("more than 0", |x| x > 0.0)).unwrap_or(1.0);
    section.done();
    Some(Pointer { pointer: read(&at?)?, scale })
}

fn limits(section: &Section<'_>) -> Vec<Limit> {
    let keys: Vec<&str> = LimitOn::ALL.iter().map(|on| on.key()).collect();
    let one = |field: Field<'_>| {
        let Some(on) = LimitOn::ALL.into_iter().find(|on| on.key() == field.name()) else {
            let near = nearest(field.name(), keys.iter().copied()).map(str::to_owned);
            field.unknown_key(near, keys.join(", "));
            return None;
        };
        let most = match on.unit() {
            LimitUnit::Bytes => bytes(&field)?,
            LimitUnit::Share => field.share()?,
            _ => field.number_in("more than 0", |x| x > 0.0)?,
        };
        Some(Limit { on, most })
    };
    section.entries().filter_map(one).collect()
}

fn bytes(field: &Field<'_>) -> Option<f64> {
    let Written::Str(text) = &field.node.value else {
        field.wrong_type("bytes with their unit, such as \"512MB\"");
        return None;
    };
    match units::parse_bytes(text) {
        Ok(bytes) => Some(bytes as f64),
        Err(_) => {
            field.bad("not a number of bytes; write \"512MB\" or \"1.5GiB\"");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::experiment::Experiment;

    fn read(observe: &str) -> Result<InsideSettings, String> {
        let text = format!(
            "[target]\nurl = \"sim:\"\n[load]\nusers = 1\n[cell]\nduration = \"1s\"\n[observe]\n{observe}"
        );
        let experiment = Experiment::parse(Path::new("f.toml"), &text, &[]).map_err(|m| m.to_string())?;
        Ok(experiment.observe.inside)
    }

    #[test]
    fn processes_and_gpus_are_named_in_several_ways() {
        assert_eq!(read("").unwrap(), InsideSettings::default());
        assert_eq!(read("processes = false\ngpus = []").unwrap().processes, ProcessesFrom::Nobody);
        let named = |name: &str, at| NamedProcess { name: name.into(), at };
        let read_all = read(
            "gpus = [0, 3]
            machine = false
            [observe.processes]
            api = \"server\"
            engine = { command = \"vllm.*EngineCore\" }
            front = { port = 8080 }
            other = { pid = 42 }",
        )
        .unwrap();
        assert_eq!(
            read_all.processes,
            ProcessesFrom::These(vec![
                named("api", ProcessAt::Server),
                named("engine", ProcessAt::Command("vllm.*EngineCore".into())),
                named("front", ProcessAt::Port(8080)),
                named("other", ProcessAt::Pid(42)),
            ])
        );
        assert_eq!((read_all.gpus, read_all.machine), (GpusFrom::These(vec![0, 3]), false));
        assert_eq!(read("gpus = true").unwrap().gpus, GpusFrom::All);
    }

    #[test]
    fn json_and_limits_have_their_units() {
        let inside = read(
            "[observe.json.api]
            url = \"/memory\"
            headers = { Authorization = \"env:TOKEN\" }
            pointers = { server_memory_bytes = { pointer = \"/rss_mb\", scale = 1e6 }, models = \"/models/0/n\" }
            [observe.limits]
            memory = \"512MB\"
            cpu = \"80%\"
            gpu = 0.9
            open_files = 1024",
        )
        .unwrap();
        let api = &inside.json[0];
        assert_eq!((api.name.as_str(), api.headers["Authorization"].as_str()), ("api", "env:TOKEN"));
        let memory = Pointer { pointer: "/rss_mb".into(), scale: 1e6 };
        assert_eq!((&api.pointers["server_memory_bytes"], api.pointers["models"].scale), (&memory, 1.0));
        let most: Vec<_> = inside.limits.iter().map(|l| (l.on, l.most)).collect();
        let want = [
            (LimitOn::Memory, 512e6),
            (LimitOn::Cpu, 0.8),
            (LimitOn::Gpu, 0.9),
            (LimitOn::OpenFiles, 1024.0),
        ];
        assert_eq!(most, want);
    }

    #[test]
    fn mistakes_name_their_key_and_what_is_allowed() {
        for (observe, key, words) in [
            ("processes = true", "observe.processes", "auto"),
            ("processes = { a = \"sever\" }", "observe.processes.a", "server"),
            ("processes = { a = {} }", "observe.processes.a", "command, pid, port"),
            ("processes = { a = { pid = 1, port = 2 } }", "observe.processes.a", "more than one"),
            ("processes = { a = { command = \"(\" } }", "observe.processes.a.command", "regular expression"),
            ("processes = { a = { prt = 2 } }", "observe.processes.a.prt", "port"),
            ("gpus = 1", "observe.gpus", "[0, 1]"),
            ("json = { a = { pointers = {} } }", "observe.json.a.url", "missing"),
            ("json = { a = { url = \"/x\" } }", "observe.json.a.pointers", "missing"),
            (
                "json = { a = { url = \"/\", pointers = { x = \"y\" } } }",
                "observe.json.a.pointers.x",
                "pointer",
            ),
            (
                "json = { a = { url = \"/\", pointers = {}, headers = { Cookie = \"c\" } } }",
                "observe.json.a.headers.Cookie",
                "secret",
            ),
            ("limits = { memory = 512 }", "observe.limits.memory", "512MB"),
            ("limits = { memory = \"much\" }", "observe.limits.memory", "512MB"),
            ("limits = { cpu = 80 }", "observe.limits.cpu", "0 to 1"),
            ("limits = { memry = \"1MB\" }", "observe.limits.memry", "memory"),
        ] {
            let text = read(observe).unwrap_err();
            assert!(text.contains(key) && text.contains(words), "{observe}: {text}");
        }
    }
}
