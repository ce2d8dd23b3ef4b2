//! `[compare]` and gate files.

use std::path::Path;

use super::*;

fn gate(text: &str) -> GateSettings {
    GateSettings::parse(Path::new("gate.toml"), text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn mistakes(text: &str) -> String {
    GateSettings::parse(Path::new("gate.toml"), text).expect_err("a mistake").to_string()
}

#[test]
fn an_empty_gate_has_the_defaults() {
    let gate = gate("");
    assert_eq!(gate, GateSettings::default());
    assert_eq!((gate.alpha, gate.q, gate.min_repeats, gate.strict), (0.05, 0.1, 5, false));
    assert!(!gate.has_rules());
}

#[test]
fn every_key_is_read_alike_in_a_file_and_in_a_section() {
    let text = "baseline = \"main\"\nprimary = [\"ttft_p95\", \"output_tps\", \"ttft_p95\"]\nalpha = 0.01\nq = 0.2\n\
                margin.ttft_p95 = 0.1\nmargin.output_tps = \"2%\"\nlimit.ttft_p95 = 1.2\nlimit.output_tps = 0.9\n\
                max.ttft_p95 = \"800ms\"\nmax.error_rate = \"1%\"\nmin.output_tps = 100\nmin_repeats = 8\nstrict = true\n";
    let gate = gate(text);
    let keys = |map: &std::collections::BTreeMap<Quantity, f64>| {
        map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(gate.baseline.as_deref(), Some("main"));
    let primary = gate.primary.as_ref().unwrap();
    assert_eq!(primary.iter().map(Quantity::to_string).collect::<Vec<_>>(), ["ttft_p95", "output_tps"]);
    assert_eq!(keys(&gate.margin), ["output_tps=0.02", "ttft_p95=0.1"]);
    assert_eq!(keys(&gate.limit), ["output_tps=0.9", "ttft_p95=1.2"]);
    assert_eq!(keys(&gate.max), ["error_rate=0.01", "ttft_p95=800"]);
    assert_eq!(keys(&gate.min), ["output_tps=100"]);
    assert_eq!((gate.alpha, gate.q, gate.min_repeats, gate.strict), (0.01, 0.2, 8, true));

    let file = format!("[target]\nurl = \"sim:\"\n[load]\nusers = 1\n[compare]\n{text}");
    let whole = Experiment::parse(Path::new("x.toml"), &file, &[]).unwrap_or_else(|m| panic!("{m}"));
    assert_eq!(whole.compare, Some(gate.clone()));
    let sets = ["compare.alpha=0.02".to_owned(), "users=2".to_owned()];
    let section = GateSettings::of_experiment(Path::new("x.toml"), &file, &sets).unwrap().unwrap();
    assert_eq!(section, GateSettings { alpha: 0.02, ..gate });
    assert_eq!(GateSettings::of_experiment(Path::new("x.toml"), "[load]\nusers = 1", &[]).unwrap(), None);
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_the_nearest_name() {
    for (text, wanted) in [
        ("alpa = 0.1", &["gate.toml:1: alpa: unknown key", "did you mean \"alpha\"?"][..]),
        ("alpha = 2", &["alpha: out of range", "at most 0.5"]),
        ("primary = []", &["names no figure"]),
        (
            "\nprimary = [\"ttft_95\"]",
            &["gate.toml:2: primary[1]: no such figure; found \"ttft_95\"", "\"ttft_p95\""],
        ),
        ("primary = [\"in_flight_mean\"]", &["no such figure"]),
        ("margin.tttf_p95 = 0.1", &["margin.tttf_p95: unknown key", "did you mean \"ttft_p95\"?"]),
        ("margin.ttft = 0.1", &["did you mean \"ttft_p95\"?"]),
        ("limit.ttft_p95 = 0.2", &["limit.ttft_p95: out of range", "1.2 fails above 1.2 × the baseline"]),
        ("limit.output_tps = 1.2", &["0.9 fails below 0.9 × the baseline"]),
        ("max.ttft_p95 = 800", &["a duration needs a unit"]),
        (
            "max.output_tps = 800",
            &["cannot be a limit: more of it is better", "did you mean \"min.output_tps\"?"],
        ),
        ("min.error_rate = 0.1", &["less of it is better", "\"max.error_rate\""]),
        ("min_repeats = 0", &["min_repeats: out of range"]),
        ("limit = 1.2", &["limit: wants a table"]),
    ] {
        let told = mistakes(text);
        for part in wanted {
            assert!(told.contains(part), "{text}\n{told}");
        }
    }
    let file = "[target]\nurl = \"sim:\"\n[load]\nusers = 1\n[compare]\nprimry = [\"ttft_p95\"]";
    let told = Experiment::parse(Path::new("x.toml"), file, &[]).unwrap_err().to_string();
    assert!(told.contains("x.toml:6: compare.primry: unknown key; did you mean \"primary\"?"), "{told}");
}

#[test]
fn a_gate_may_change_between_a_run_and_its_resumption() {
    let hash = |more: &str| {
        let file = format!("[target]\nurl = \"sim:\"\n[load]\nusers = 1\n{more}");
        let experiment = Experiment::parse(Path::new("x.toml"), &file, &[]).unwrap();
        crate::plan::build(&experiment).unwrap().experiment_hash
    };
    assert_eq!(hash(""), hash("[compare]\nalpha = 0.01"));
}
