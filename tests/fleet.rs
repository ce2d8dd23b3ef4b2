//! Load from several machines: two workers on loopback, and everything that can go wrong with them.

mod meeting;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use plimsoll::analysis::read_requests;
use plimsoll::record::{Outcome, Phase, RequestRecord};
use plimsoll::sim::{Config, Server};
use plimsoll::store::{RECORDS, RunDir, StoredCell, cell_dir};
use rustix::process::Signal;

use crate::rig::program::{Started, directory, find, only_run, plimsoll, stderr};
use crate::rig::worker::Worker;
use crate::rig::{simulator, wait_for};

/// A quick simulator of which every request is known.
fn server() -> Server {
    let knobs = [("step_base", "2ms"), ("step_per_seq", "0s")];
    simulator(&knobs.map(|(key, value)| (key.to_owned(), value.into())).into())
}

/// An experiment against `server`, with this load and these keys of `[cell]`.
fn experiment(server: &str, load: &str, cell: &str) -> String {
    format!(
        "name = \"several\"\nseed = 11\nsalt = \"s\"\n[target]\nurl = \"{server}\"\napi = \"openai-chat\"\n\
         model = \"auto\"\n[workload]\nprompt_tokens = {{ mean = 40, distribution = \"uniform\", range = 0.5 }}\n\
         max_tokens = {{ mean = 6, distribution = \"uniform\", range = 0.5 }}\n[load]\n{load}\n[cell]\n{cell}\n\
         warmup = \"300ms\"\ncooldown = {{ min = \"0s\", max = \"0s\" }}\n"
    )
}

fn workers(workers: &[&Worker]) -> String {
    workers.iter().map(|worker| worker.address.as_str()).collect::<Vec<_>>().join(",")
}

/// Arguments of a run of the directory's file by these workers.
fn by(workers: &str) -> [&str; 7] {
    ["run", "small.toml", "--no-report", "--progress", "none", "--workers", workers]
}

/// What the run in `dir` kept of its first cell.
fn kept(dir: &Path) -> (StoredCell, Vec<RequestRecord>) {
    let run = RunDir::open(&only_run(dir)).unwrap();
    let cell = &run.plan().cells[0];
    let mut records = read_requests(&run.path().join(cell_dir(cell)).join(RECORDS)).unwrap();
    records.sort_by_key(|record| record.seq);
    (run.summary(cell).unwrap().expect("a finished cell"), records)
}

/// Requests of a cell that the simulator saw, by number. Empty at the end of its process.
fn seen(server: Server) -> BTreeSet<u64> {
    let ids = server.stop().into_iter().filter_map(|truth| {
        truth.request_id.strip_prefix("plimsoll-0-").and_then(|seq| seq.parse::<u64>().ok())
    });
    let all: Vec<u64> = ids.collect();
    let unique: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(unique.len(), all.len(), "no request was sent twice");
    unique
}

/// What does not depend on who sends: number, due time, phase and lengths of each arrival.
fn arrivals(records: &[RequestRecord]) -> Vec<(u64, u64, Phase, u32, u32)> {
    records.iter().map(|r| (r.seq, r.intended_us, r.phase, r.prompt_tokens_asked, r.max_tokens)).collect()
}

/// The run's end may be 4 where this machine was too busy for its figures to be believed: what is
/// asked here holds anyway.
fn ran(dir: &Path, args: &[&str]) {
    let output = plimsoll(dir, args);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(&output));
    assert!(!stderr(&output).contains("error:"), "{}", stderr(&output));
}

#[test]
fn two_workers_send_together_what_one_client_would() {
    let server = server();
    let file = experiment(&server.url(), "qps = 60\narrivals = \"poisson\"", "duration = \"2s\"");
    let alone = directory(&file);
    ran(alone.path(), &["run", "small.toml", "--no-report", "--progress", "none"]);
    server.stop();

    // The same server again: the plan is by its URL.
    let server = Server::start(Config::from_knobs(&BTreeMap::new()).unwrap(), address_of(&file)).unwrap();
    let (one, two) = (Worker::start(&[]), Worker::start(&[]));
    let shared = directory(&file);
    ran(shared.path(), &by(&workers(&[&one, &two])));

    let (_, by_one) = kept(alone.path());
    let (cell, by_two) = kept(shared.path());
    assert_eq!(arrivals(&by_two), arrivals(&by_one));
    let cores: BTreeSet<u32> = by_two.iter().map(|record| record.shard).collect();
    assert_eq!(cores, BTreeSet::from([0, 1]));
    assert!(by_two.iter().all(|record| u64::from(record.shard) == record.seq % 2), "dealt out in turn");

    // Records, counts and the server's own log agree.
    let sent: BTreeSet<u64> = by_two.iter().filter(|r| r.sent_us.is_some()).map(|r| r.seq).collect();
    assert_eq!(sent, seen(server));
    let counts = &cell.summary.counts;
    let measured = by_two.iter().filter(|r| r.phase == Phase::Measure).count() as u64;
    assert_eq!((counts.planned, counts.attempted), (measured, measured));
    assert_eq!(
        counts.ok,
        by_two.iter().filter(|r| r.phase == Phase::Measure && r.outcome == Outcome::Ok).count() as u64
    );
    let signals = &cell.summary.validity.signals;
    assert_eq!(signals["workers_lost"], 0.0);
    assert!(signals["clock_doubt_ms"] >= 0.0, "{signals:?}");

    // Who drove it is known.
    let environment = RunDir::open(&only_run(shared.path())).unwrap().environment().unwrap();
    let named: Vec<&str> =
        environment["workers"].as_array().unwrap().iter().map(|w| w["worker"].as_str().unwrap()).collect();
    assert_eq!(named, [&one.address, &two.address]);
    assert!(environment["workers"][0]["environment"]["cores"].as_u64().unwrap() >= 1);
    // Each of them waits for the next.
    for worker in [&one, &two] {
        worker.says("has left");
    }
}

fn address_of(file: &str) -> std::net::SocketAddr {
    file.split("url = \"http://").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
}

#[test]
fn workers_whose_clocks_are_hours_apart_keep_one_schedule() {
    let Some(ahead) = Worker::ahead(10_000) else {
        eprintln!("skipped: no clock of its own can be given to a process here");
        return;
    };
    let server = server();
    let file = experiment(&server.url(), "qps = 40\narrivals = \"constant\"", "duration = \"2s\"");
    let worker = Worker::start(&[]);
    let dir = directory(&file);
    ran(dir.path(), &by(&workers(&[&worker, &ahead])));
    let (cell, records) = kept(dir.path());
    let due: Vec<u64> = records.iter().map(|record| record.intended_us).collect();
    assert!(due.iter().copied().eq((0..due.len() as u64).map(|k| k * 25_000)), "{due:?}");
    for record in &records {
        let lag = record.sent_us.expect("sent") - record.intended_us;
        assert!(lag < 60_000_000, "hours would show: {record:?}");
        assert!(record.first_token_us > record.sent_us, "{record:?}");
    }
    let doubt = cell.summary.validity.signals["clock_doubt_ms"];
    assert!(doubt > 0.0 && doubt < 5000.0, "{doubt}");
    assert_eq!(records.iter().map(|r| r.seq).collect::<BTreeSet<_>>(), seen(server));
}

#[test]
fn users_are_shared_out_and_a_number_of_requests_is_kept() {
    let server = server();
    let file = experiment(&server.url(), "users = 5", "requests = 60\nduration = \"60s\"");
    let (one, two) = (Worker::start(&[]), Worker::start(&[]));
    let dir = directory(&file);
    ran(dir.path(), &by(&workers(&[&one, &two])));
    let (cell, records) = kept(dir.path());

    let mut cores_of: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for record in &records {
        cores_of.entry(record.user.expect("a user's request")).or_default().insert(record.shard);
    }
    assert_eq!(cores_of.len(), 5, "{cores_of:?}");
    assert!(cores_of.iter().all(|(user, cores)| *cores == BTreeSet::from([user % 2])), "{cores_of:?}");

    // 36 for three users and 24 for two: whoever has sent its own first closes the window for both.
    let measured: Vec<&RequestRecord> = records.iter().filter(|r| r.phase == Phase::Measure).collect();
    let of = |core: u32| measured.iter().filter(|r| r.shard == core).count();
    assert!(of(0) <= 36 && of(1) <= 24, "{} and {}", of(0), of(1));
    assert!(of(0) == 36 || of(1) == 24, "{} and {}", of(0), of(1));
    assert_eq!(cell.summary.window.ended_by.name(), "requests");
    let end = cell.summary.window.end_us;
    assert!(measured.iter().all(|record| record.intended_us <= end));

    let sent: BTreeSet<u64> = records.iter().filter(|r| r.sent_us.is_some()).map(|r| r.seq).collect();
    assert_eq!(sent.len(), records.len());
    assert_eq!(sent, seen(server));
}

#[test]
fn a_worker_that_dies_makes_its_cell_invalid_and_the_run_goes_on_with_others() {
    let server = server();
    let file = experiment(&server.url(), "qps = 40", "duration = \"4s\"");
    let (one, mut two) = (Worker::start(&[]), Worker::start(&[]));
    let dir = directory(&file);
    let named = workers(&[&one, &two]);
    let run = Started::new(dir.path(), &by(&named), &[]);
    wait_for("records of the cell", || find(dir.path(), "records.jsonl"));
    two.signal(Signal::KILL);
    assert_eq!(two.end(), None);
    let output = run.output();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("a worker was lost") && said.contains(&two.address), "{said}");
    assert!(said.contains("--resume"), "{said}");
    let left =
        std::fs::read_to_string(find(dir.path(), "interrupted.json").expect("what was measured")).unwrap();
    assert!(
        left.contains("worker_lost") && left.contains("\"invalid\"") && left.contains(&two.address),
        "{left}"
    );

    // The other one is there for the rest, with one in the place of the lost.
    one.says("has left");
    let three = Worker::start(&[]);
    let run = only_run(dir.path());
    let named = workers(&[&one, &three]);
    let args = [&by(&named)[..], &["--resume", run.to_str().unwrap()]].concat();
    ran(dir.path(), &args);
    let (cell, records) = kept(dir.path());
    assert_eq!(cell.summary.validity.signals["workers_lost"], 0.0);
    assert_eq!(records.iter().map(|r| r.shard).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1]));
    assert!(find(dir.path(), "interrupted.json").is_none(), "the whole cell is in its place");
}

#[test]
fn ctrl_c_reaches_the_workers_and_twice_drops_what_is_in_flight() {
    // Answers that take longer than anybody waits.
    let knobs = [("step_base", "5s"), ("step_per_seq", "0s")];
    let server = simulator(&knobs.map(|(key, value)| (key.to_owned(), value.into())).into());
    let file = experiment(&server.url(), "qps = 20", "duration = \"100s\"\ndrain = \"100s\"")
        .replace("model = \"auto\"", "model = \"sim\"")
        .replace("[workload]", "[workload]\ntokenizer = \"bundled\"\nforce_length = \"always\"")
        .replace("max_tokens = {", "max_tokens = 50 # {");
    let (one, two) = (Worker::start(&[]), Worker::start(&[]));
    let dir = directory(&file);
    let named = workers(&[&one, &two]);
    let run = Started::new(dir.path(), &by(&named), &[]);
    for worker in [&one, &two] {
        worker.says("cell 1: 1 of 2 load cores are here");
    }
    wait_for("requests", || {
        (!server.truth().is_empty() || find(dir.path(), "records.jsonl").is_some()).then_some(())
    });
    std::thread::sleep(std::time::Duration::from_millis(800));
    run.signal(Signal::INT);
    std::thread::sleep(std::time::Duration::from_millis(200));
    run.signal(Signal::INT);
    let output = run.output();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("--resume"), "{said}");
    let left =
        std::fs::read_to_string(find(dir.path(), "interrupted.json").expect("what was measured")).unwrap();
    assert!(left.contains("\"interrupt\""), "{left}");
    let records = read_requests(&find(dir.path(), RECORDS).unwrap()).unwrap();
    let censored = records.iter().filter(|record| record.outcome == Outcome::Censored);
    let cores: BTreeSet<u32> = censored.map(|record| record.shard).collect();
    assert_eq!(cores, BTreeSet::from([0, 1]), "what was in flight at both is told of");
    for worker in [&one, &two] {
        worker.says("has left");
    }
}

#[test]
fn a_coordinator_that_is_killed_frees_its_workers() {
    let server = server();
    let file = experiment(&server.url(), "qps = 40", "duration = \"60s\"");
    let worker = Worker::start(&[]);
    let dir = directory(&file);
    let run = Started::new(dir.path(), &by(&worker.address), &[]);
    wait_for("records of the cell", || find(dir.path(), "records.jsonl"));
    // One run at a time.
    let other = directory(&file);
    let refused = plimsoll(other.path(), &by(&worker.address));
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("at work for another run"), "{}", stderr(&refused));
    assert!(!other.path().join("runs").exists(), "nothing was begun");

    run.signal(Signal::KILL);
    run.output();
    worker.says("has left");
    let quick = file.replace("duration = \"60s\"", "duration = \"500ms\"");
    let next = directory(&quick);
    ran(next.path(), &by(&worker.address));
    assert!(!kept(next.path()).1.is_empty());
}

#[test]
fn a_worker_that_is_stopped_says_so() {
    let server = server();
    let mut worker = Worker::start(&[]);
    let dir = directory(&experiment(&server.url(), "users = 2", "duration = \"60s\""));
    let run = Started::new(dir.path(), &by(&worker.address), &[]);
    wait_for("records of the cell", || find(dir.path(), "records.jsonl"));
    worker.signal(Signal::INT);
    assert_eq!(worker.end(), Some(0));
    let output = run.output();
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("it was stopped there"), "{}", stderr(&output));
}
