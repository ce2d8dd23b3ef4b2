//! `plimsoll calibrate`, what is kept of it, and what cells make of it. A calibration belongs
//! to a machine: nothing here says how fast this one has to be.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use plimsoll::experiment::Experiment;
use plimsoll::load::{Control, Job, JobPart, drive};
use plimsoll::record::{Outcome, RecordSink, RequestRecord};
use plimsoll::store::Machine;
use plimsoll::workload::Source;
use plimsoll::{plan, provider, server, sim};
use serde_json::{Value, json};

const SMALL: &str = r#"
name = "small"
[target]
url = "sim:"
[workload]
prompt_tokens = 16
max_tokens = 20
[load]
users = 2
[cell]
duration = "1s"
cooldown = { min = "0s", max = "0s" }
[sim]
preset = "paced"
"#;

/// The binary under test, with a calibration file of its own.
fn plimsoll(dir: &Path, calibration: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(args)
        .current_dir(dir)
        .env("PLIMSOLL_CALIBRATION", calibration)
        .output()
        .unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn only(dir: &Path) -> PathBuf {
    let mut inside = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    let first = inside.next().unwrap();
    assert_eq!(inside.next(), None);
    first
}

/// Run the small experiment with this calibration: what the run says of the calibration,
/// and the cell's validity.
fn judged(dir: &Path, name: &str, calibration: &Value) -> (Value, Value) {
    let (file, out) = (dir.join(format!("{name}.json")), dir.join(name));
    std::fs::write(&file, calibration.to_string()).unwrap();
    let args = ["run", "small.toml", "--no-report", "--progress", "none", "--out", out.to_str().unwrap()];
    let output = plimsoll(dir, &file, &args);
    let run = only(&out);
    let cell = only(&run.join("cells"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(cell.join("summary.json").exists(), "{errors}");
    (
        read(&run.join("environment.json"))["calibration"].take(),
        read(&cell.join("summary.json"))["validity"].take(),
    )
}

fn fired(validity: &Value, signal: &str) -> Option<String> {
    let reasons = validity["reasons"].as_array().unwrap();
    reasons.iter().find(|r| r["signal"] == signal).map(|r| r["verdict"].as_str().unwrap().to_owned())
}

#[test]
fn what_is_measured_is_kept_and_cells_are_held_against_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("small.toml"), SMALL).unwrap();
    let kept = dir.join("new/calibration.json");
    let output = plimsoll(dir, &kept, &["calibrate", "--quick", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read(&kept), made);

    assert_eq!((&made["schema"], &made["quick"]), (&json!(1), &json!(true)));
    assert_eq!(made["machine"]["optimised_build"], !cfg!(debug_assertions));
    for kind in ["chunks", "paced_chunks", "requests"] {
        let [per_core, one_core] = ["per_core_s", "one_core_s"].map(|k| made[kind][k].as_f64().unwrap());
        // A core does in a second no more than in a second of CPU time, but for the jitter
        // with which the two clocks are read.
        assert!(one_core > 0.0 && one_core <= per_core * 1.05, "{kind}: {made}");
    }
    assert_eq!(made["connections"]["held"], 100, "{made}");
    assert!(made["connections"]["opened_s"].as_f64().unwrap() > 0.0);
    let lag = made["lag"].as_array().unwrap();
    let column = |key: &str| lag.iter().map(|at| at[key].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(column("rate"), [100.0, 1_000.0, 10_000.0]);
    for at in lag {
        assert!(at["sent_s"].as_f64().unwrap() <= at["rate"].as_f64().unwrap() * 1.01, "{at}");
        assert!(at["lag_p50_ms"].as_f64().unwrap() <= at["lag_p99_ms"].as_f64().unwrap(), "{at}");
        assert!(at["valid"].is_boolean());
    }

    let mut high = made.clone();
    (high["chunks"]["per_core_s"], high["requests"]["per_core_s"]) = (json!(1e9), json!(1e9));
    let (used, validity) = judged(dir, "high", &high);
    assert_eq!((&used["made_at"], &used["chunks_per_core_s"]), (&made["made_at"], &json!(1e9)));
    assert!(validity["signals"]["chunk_rate"].as_f64().unwrap() > 0.0, "{validity}");
    assert!(validity["signals"]["request_rate"].as_f64().unwrap() > 0.0);
    assert_eq!((fired(&validity, "chunk_rate"), fired(&validity, "request_rate")), (None, None));

    let mut low = made.clone();
    (low["chunks"]["per_core_s"], low["requests"]["per_core_s"]) = (json!(1.0), json!(0.1));
    let (_, validity) = judged(dir, "low", &low);
    assert_eq!(validity["verdict"], "invalid");
    for signal in ["chunk_rate", "request_rate"] {
        assert_eq!(fired(&validity, signal).as_deref(), Some("invalid"), "{validity}");
    }

    // The same low ceiling of another machine holds for nobody here.
    low["machine"]["cpu"] = json!("another");
    let (used, validity) = judged(dir, "other", &low);
    assert!(used["none"].as_str().unwrap().contains("made with another"), "{used}");
    assert_eq!(validity["signals"].get("chunk_rate"), None);
}

#[test]
fn a_run_that_is_gone_on_with_is_judged_by_the_calibration_it_was_begun_with() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("small.toml"), SMALL).unwrap();
    let calibration = |per_core_s: f64| {
        let rates = json!({ "per_core_s": per_core_s, "one_core_s": per_core_s, "all_cores_s": null });
        json!({
            "schema": 1, "made_at": "2026-01-01T00:00:00Z", "quick": true, "machine": Machine::here(),
            "chunks": rates, "paced_chunks": rates, "requests": rates,
            "connections": { "held": 1, "opened_s": 1.0 }, "lag": [],
        })
    };
    let (begun, before) = judged(dir, "runs", &calibration(1e9));
    assert_eq!(fired(&before, "chunk_rate"), None, "{before}");

    // One made anew in between has a ceiling that the cell would be far above.
    let run = only(&dir.join("runs"));
    std::fs::remove_dir_all(only(&run.join("cells"))).unwrap();
    let file = dir.join("runs.json");
    std::fs::write(&file, calibration(0.1).to_string()).unwrap();
    let args = ["run", "small.toml", "--no-report", "--progress", "none", "--resume", run.to_str().unwrap()];
    let output = plimsoll(dir, &file, &args);
    let summary = only(&run.join("cells")).join("summary.json");
    assert!(summary.exists(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = &read(&summary)["validity"];
    assert!(after["signals"]["chunk_rate"].as_f64().unwrap() < 0.5, "{after}");
    assert_eq!(read(&run.join("environment.json"))["calibration"], begun);
}

#[test]
fn without_a_place_to_keep_it_nothing_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["calibrate", "--quick"])
        .current_dir(dir.path())
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("PLIMSOLL_CALIBRATION"));
}

#[derive(Default)]
struct Kept(Vec<RequestRecord>);

impl RecordSink for Kept {
    fn write(&mut self, batch: &[RequestRecord]) -> std::io::Result<()> {
        self.0.extend_from_slice(batch);
        Ok(())
    }
}

/// In a flood nothing slows either side down: that is where counts would part.
#[test]
fn in_a_flood_the_client_counts_what_the_server_sent() {
    let text = "name = \"flood\"\n[target]\nurl = \"sim:\"\n[workload]\nprompt_tokens = 16\nmax_tokens = 700\n\
         tokenizer = \"bundled\"\nforce_length = \"always\"\n[load]\nusers = 6\n[cell]\nrequests = 40\n";
    let experiment = Experiment::parse(Path::new("flood.toml"), text, &[]).unwrap();
    let plan = plan::build(&experiment).unwrap();
    let cell = &plan.cells[0];
    let simulator =
        sim::Server::start(sim::Config::preset("flood").unwrap(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
    let found = server::discover(&cell.settings, simulator.url().parse().unwrap()).unwrap();
    let part = JobPart {
        endpoint: found.endpoint.clone(),
        provider: (provider::find("openai-chat").unwrap().build)(&plimsoll::provider::Options::default())
            .into(),
        source: Arc::new(Source::new(
            cell.settings.workload.clone(),
            cell.seed,
            "salt",
            Arc::clone(&found.tokenizer),
        )),
    };
    let job = Job { cell, parts: vec![part], traces: None };
    let mut kept = Kept::default();
    let run = drive(&job, &mut kept, &Control::default(), &mut |_| ()).unwrap();
    let mut truth = simulator.stop();
    // What was asked before the cell, to find out about the server, is not of it.
    truth.retain(|sent| sent.arrival_ns >= run.epoch_monotonic_ns);
    assert!(kept.0.len() >= 40 && kept.0.len() == truth.len(), "{} {}", kept.0.len(), truth.len());
    for record in &kept.0 {
        assert_eq!((record.outcome, record.chunks, record.output_tokens), (Outcome::Ok, 700, Some(700)));
    }
    for sent in &truth {
        assert_eq!((sent.outcome, sent.chunks, sent.output_tokens), (sim::TruthOutcome::Ok, 700, 700));
        let last = sent.last_token_ns.unwrap();
        assert!(sent.arrival_ns < last && last <= sent.end_ns);
    }
}
