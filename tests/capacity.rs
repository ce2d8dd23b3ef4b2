//! `plimsoll capacity` on a real run of the simulator: what is read from its requests, and what
//! the command says, takes and refuses.

use serde_json::Value;

use crate::rig::program::{SMALL, only_run, plimsoll, stderr, stdout};

#[test]
fn a_run_says_what_it_carries_and_what_a_traffic_needs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
    let ran = plimsoll(dir.path(), &["run", "small.toml"]);
    let run = only_run(dir.path());
    let run = run.to_str().unwrap();
    // A limit that nothing exceeds: what the machine does meanwhile has no say.
    let asked = ["capacity", run, "--slo", "ttft_p50<=10m", "--slo", "e2e_mean<=20m"];
    let plan = ["--load", "5 req/s; growth 20%; spares 1; gpu-price 2.5", "--what-if", "spares=0,2"];
    let output = plimsoll(dir.path(), &[&asked[..], &plan[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}\n{}", stderr(&output), stderr(&ran));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let capacity = &json["runs"][0]["capacity"];
    let shape = &capacity["shapes"][0];
    assert_eq!(shape["limit"]["state"], "at_least", "{shape:#}");
    let judged = |level: &&Value| !level["met"].is_null();
    let level = shape["levels"].as_array().unwrap().iter().find(judged).unwrap();
    let rule = &level["rules"][0];
    assert_eq!((&rule["method"], &rule["violations"]), (&"requests".into(), &0.into()), "{rule:#}");
    let n = rule["requests"].as_f64().unwrap();
    let n_eff = rule["n_eff"].as_f64().unwrap();
    assert!(n >= 1.0 && (1.0..=n).contains(&n_eff), "{rule:#}");
    assert!(level["window"][1].as_f64() > level["window"][0].as_f64());
    let rows = capacity["plan"]["what_if"][0]["rows"].as_array().unwrap();
    let replicas: Vec<u64> = rows.iter().map(|r| r[1]["replicas"].as_u64().unwrap()).collect();
    assert_eq!(replicas[1] - replicas[0], 2, "two spares more");
    assert!(json["runs"][0]["answers"][0].as_str().unwrap().contains("eets the SLO"));
    let text = stdout(&plimsoll(dir.path(), &[&asked[..], &plan[..]].concat()));
    for word in ["eets the SLO", "verdict", "For 5 req/s, grown by 20 %", "if spares is"] {
        assert!(text.contains(word), "{word:?} in\n{text}");
    }
    // Nothing can be as fast as that; a run that is given twice is no surer for it, and counts once.
    let none = ["capacity", run, run, "--slo", "ttft_p50<=1us", "--json"];
    let json: Value = serde_json::from_slice(&plimsoll(dir.path(), &none).stdout).unwrap();
    assert_eq!(json["runs"].as_array().unwrap().len(), 1);
    let shape = &json["runs"][0]["capacity"]["shapes"][0];
    assert_eq!(shape["limit"]["state"], "below");
    assert_eq!(json["runs"][0]["capacity"]["runs"].as_array().unwrap().len(), 1);
    // Without its records a run still has its figures.
    for entry in std::fs::read_dir(std::path::Path::new(run).join("cells")).unwrap() {
        std::fs::remove_file(entry.unwrap().path().join("records.parquet")).unwrap();
    }
    let json: Value =
        serde_json::from_slice(&plimsoll(dir.path(), &[&asked[..], &["--json"]].concat()).stdout).unwrap();
    let levels = json["runs"][0]["capacity"]["shapes"][0]["levels"].as_array().unwrap();
    let level = levels.iter().find(judged).unwrap();
    assert_ne!(level["rules"][0]["method"], "requests", "there are none to count");
}

#[test]
fn what_cannot_be_read_exits_2_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    for (args, told) in [
        (&["--slo", "lm-good"][..], "llm-good"),
        (&["--slo", "ttft_p95>=1s"], "ttft_p95<=1s"),
        (&["--what-if", "grwth=1"], "growth"),
        (&["--what-if", "headroom=2"], "headroom can't be"),
    ] {
        let output = plimsoll(dir.path(), &[&["capacity", "nowhere"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(told), "{args:?}: {}", stderr(&output));
    }
    let output = plimsoll(dir.path(), &["capacity", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("nowhere"), "{}", stderr(&output));
}
