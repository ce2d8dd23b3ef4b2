//! Shapes of load: arrivals, think times, stages, requests that are cut off.

use std::time::Duration;

use serde_json::json;

use super::tests::{mistakes, settings, with};
use super::*;

const S: Duration = Duration::from_secs(1);

fn file(rest: &str) -> String {
    format!("target.url = \"sim:\"\n{rest}")
}

/// The only mistake of a file: its line, key, and words.
fn only(text: &str) -> (u32, String, String) {
    let found = mistakes(text);
    assert_eq!(found.len(), 1, "{text}\n{}", found.iter().map(ToString::to_string).collect::<String>());
    (found[0].line as u32, found[0].key.clone(), found[0].to_string())
}

#[test]
fn arrivals_of_every_shape() {
    let load = |text: &str| settings(&file(text)).load;
    let open = |arrivals| Load::Open { qps: 4.0, arrivals, max_in_flight: None };
    assert_eq!(load("[load]\nqps = 4"), open(Arrivals::Poisson));
    assert_eq!(load("[load]\nqps = 4\narrivals = \"uniform\""), open(Arrivals::Uniform));
    let gamma = load("[load]\nqps = 4\narrivals = \"gamma\"\nburstiness = 0.5");
    assert_eq!(gamma, open(Arrivals::Gamma { burstiness: 0.5 }));
    assert_eq!(json!(gamma)["arrivals"], json!({"gamma": {"burstiness": 0.5}}));
    let burst = load("[load]\nusers = 20\nburst = \"5s\"");
    let arrivals = Arrivals::Burst { size: 20 };
    assert_eq!(burst, Load::Open { qps: 4.0, arrivals, max_in_flight: Some(20) });
}

#[test]
fn a_plan_of_before_has_none_of_the_new_keys() {
    for text in ["load.users = 1", "load.qps = 2\nload.arrivals = \"constant\""] {
        let settings = json!(settings(&file(text)));
        for key in ["think", "stages"] {
            assert!(settings.get(key).is_none(), "{key} in {settings}");
        }
        assert!(settings["workload"].get("cancel").is_none());
    }
}

#[test]
fn mistakes_about_arrivals() {
    for (load, line, key, part) in [
        ("qps = 4\narrivals = \"exponential\"", 4, "load.arrivals", "did you mean \"poisson\"?"),
        ("qps = 4\narrivals = \"gama\"", 4, "load.arrivals", "did you mean \"gamma\"?"),
        ("qps = 4\narrivals = \"gamma\"", 2, "load.burstiness", "gamma wants a burstiness"),
        ("qps = 4\nburstiness = 2", 4, "load.burstiness", "only arrivals = \"gamma\" have a burstiness"),
        ("qps = 4\narrivals = \"gamma\"\nburstiness = 0", 5, "load.burstiness", "0.01 to 1000"),
        ("users = 4\narrivals = \"gamma\"\nburstiness = 1", 4, "load.arrivals", "without qps"),
        ("users = 4\nqps = 4\nburst = \"1s\"", 5, "load.burst", "no qps beside burst"),
        ("users = 4\nburst = \"1s\"\narrivals = \"poisson\"", 4, "load.burst", "no arrivals beside burst"),
        ("users = 4\nburst = 5", 4, "load.burst", "needs a unit"),
    ] {
        let (at, found, text) = only(&file(&format!("[load]\n{load}")));
        assert!((at, found.as_str()) == (line, key) && text.contains(part), "{load}\n{text}");
    }
}

#[test]
fn users_think() {
    let think = |text: &str| settings(&with(&format!("load.think = {text}"))).think;
    assert_eq!(think("\"1500ms\""), Some(Think::Constant(S * 3 / 2)));
    assert_eq!(think("{ constant = \"1s\" }"), Some(Think::Constant(S)));
    assert_eq!(think("{ uniform = [\"1s\", \"3s\"] }"), Some(Think::Uniform(S, 3 * S)));
    assert_eq!(think("{ exponential = \"2s\" }"), Some(Think::Exponential { mean: 2 * S, max: None }));
    let capped = Some(Think::Exponential { mean: 2 * S, max: Some(9 * S) });
    assert_eq!(think("{ exponential = \"2s\", max = \"9s\" }"), capped);
    assert_eq!(think("\"0s\""), None, "as without the key");
    for (text, part) in [
        ("1", "needs a unit"),
        ("{ uniform = [\"3s\", \"1s\"] }", "longer than the shortest"),
        ("{ uniform = [\"3s\"] }", "two durations"),
        ("{ uniform = [\"1s\", \"2s\"], exponential = \"1s\" }", "wants one distribution"),
        ("{ constant = \"1s\", max = \"2s\" }", "only an exponential"),
        ("{ exponental = \"1s\" }", "did you mean \"exponential\"?"),
    ] {
        let told = mistakes(&with(&format!("load.think = {text}")));
        assert!(told.iter().any(|m| m.to_string().contains(part)), "{text}: {told:?}");
    }
    let (_, key, text) = only(&file("load.qps = 1\nload.think = \"1s\""));
    assert!(key == "load.think" && text.contains("has no effect in an open loop"), "{text}");
}

#[test]
fn a_spawn_rate_is_a_ramp() {
    let ramp = |text: &str| settings(&file(text)).cell.ramp;
    assert_eq!(ramp("load.users = 20\nload.spawn_rate = 2"), 10 * S);
    assert_eq!(ramp("load.users = 3\nload.spawn_rate = 0.5"), 6 * S);
    let (_, key, text) = only(&file("load.users = 3\nload.spawn_rate = 1\ncell.ramp = \"1s\""));
    assert!(key == "load.spawn_rate" && text.contains("beside cell.ramp"), "{text}");
    let (_, key, text) = only(&file("load.qps = 3\nload.spawn_rate = 1"));
    assert!(key == "load.spawn_rate" && text.contains("open loop"), "{text}");
}

/// The third seed's spike: two users, ten times as many, and back.
const SPIKE: &str = r#"
target.url = "sim:"
[load]
users = 2
[stage.baseline]
duration = "10s"
[stage.spike]
duration = "20s"
times = 10
slo = { error_rate = 0.15 }
[stage.after]
duration = "10s"
recovers = "baseline"
within = 0.3
"#;

/// The fifth seed's: from two users to twenty over a minute, and then held.
const RAMP_THEN_HOLD: &str = r#"
target.url = "sim:"
[stage.start]
duration = "1s"
users = 2
[stage.rise]
duration = "60s"
users = 20
ramp = "60s"
[stage.hold]
duration = "9m"
users = 20
"#;

const ENDURANCE: &str = r#"
target.url = "sim:"
[load]
qps = 5
[stage.soak]
duration = "2h"
slo = { error_rate = "1%", ttft_p95 = "1s" }
"#;

#[test]
fn a_spike() {
    let settings = settings(SPIKE);
    assert_eq!(settings.load, Load::Closed { users: 2 });
    let levels: Vec<_> = settings.stages.iter().map(|s| (s.name.as_str(), s.level)).collect();
    assert_eq!(levels, [("baseline", 2.0), ("spike", 20.0), ("after", 2.0)]);
    assert_eq!(settings.stages[1].slo.rules[0].limit, 0.15);
    let recovery = Recovery { of: "baseline".to_owned(), within: 0.3 };
    assert_eq!(settings.stages[2].recovers, Some(recovery));
    assert_eq!(settings.cell.duration, Some(40 * S));
    assert_eq!((settings.peak_load(), settings.first_load()), (Load::Closed { users: 20 }, settings.load));
    assert!(settings.level_changes());
}

#[test]
fn a_ramp_that_is_then_held() {
    let settings = settings(RAMP_THEN_HOLD);
    assert_eq!(settings.load, Load::Closed { users: 2 }, "the first stage says it");
    assert_eq!(settings.stages[1].ramp, 60 * S);
    assert_eq!(settings.cell.duration, Some(601 * S));
    let from: Vec<f64> = settings.stages_from().map(|(before, _)| before).collect();
    assert_eq!(from, [2.0, 2.0, 20.0]);
}

#[test]
fn endurance_is_one_long_stage() {
    let settings = settings(ENDURANCE);
    assert_eq!((settings.stages[0].level, settings.staged_arrivals()), (5.0, Some(36_000.0)));
    assert!(!settings.level_changes() && settings.stages[0].slo.rules.len() == 2);
}

#[test]
fn stages_of_an_open_loop_and_as_axes() {
    let open =
        settings(&file("[stage.a]\nduration = \"1s\"\nqps = 3\n[stage.b]\nduration = \"1s\"\nqps = 0.5"));
    assert_eq!(open.load, Load::Open { qps: 3.0, arrivals: Arrivals::Poisson, max_in_flight: None });
    assert_eq!(open.stages[1].level, 0.5);
    let text = format!(
        "{SPIKE}\n[grid]\n\"stage.spike.times\" = [2, 10]\nstage.spike.duration = [\"5s\", \"6s\"]\n"
    );
    let plan = crate::plan::build(&Experiment::parse(Path::new("a.toml"), &text, &[]).unwrap()).unwrap();
    let levels: Vec<f64> = plan.cells.iter().map(|cell| cell.settings.stages[1].level).collect();
    assert_eq!(levels, [4.0, 4.0, 20.0, 20.0]);
    assert_eq!(plan.cells[3].factors["stage.spike.times"], json!(10));
    assert_eq!(plan.cells[1].settings.cell.duration, Some(26 * S));
    let table = crate::plan::render_table(&plan);
    assert!(table.contains("2 → 20 → 2 users"), "{table}");
}

#[test]
fn mistakes_about_stages() {
    let stages = "[load]\nusers = 2\n[stage.one]\nduration = \"5s\"\n";
    for (rest, key, part) in [
        ("[cell]\nduration = \"5s\"", "cell.duration", "the window is as long as they are together"),
        ("[cell]\nrequests = 5", "cell.requests", "the window is as long as they are together"),
        ("[stage.two]\nusers = 3", "stage.two.duration", "missing"),
        ("[stage.two]\nduration = \"5s\"\nqps = 3", "stage.two.qps", "its stages have users, or times"),
        ("[stage.two]\nduration = \"5s\"\nusers = 3\ntimes = 2", "stage.two.times", "one level"),
        ("[stage.two]\nduration = \"5s\"\nusers = 0", "stage.two.users", "1 to 1000000"),
        ("[stage.two]\nduration = \"5s\"\nramp = \"6s\"", "stage.two.ramp", "longer than the stage"),
        ("[stage.two]\nduration = \"5s\"\nrecovers = \"on\"", "stage.two.recovers", "did you mean \"one\"?"),
        ("[stage.two]\nduration = \"5s\"\nwithin = 0.1", "stage.two.within", "no effect without recovers"),
        ("[stage.two]\nduration = \"5s\"\nuser = 1", "stage.two.user", "did you mean \"users\"?"),
        (
            "[stage.two]\nduration = \"5s\"\nslo = { ttft_p59 = \"1s\" }",
            "stage.two.slo.ttft_p59",
            "did you mean",
        ),
        (
            "[stage.two]\nduration = \"5s\"\nslo = { chunk_gap_p95 = \"1s\" }",
            "stage.two.slo.chunk_gap_p95",
            "no figure of a stage",
        ),
        ("[stage]\ntwo = 5", "stage.two", "[stage.NAME]"),
    ] {
        let text = if rest.starts_with("[stage]") {
            file("load.users = 2\n[stage]\ntwo = 5")
        } else {
            file(&format!("{stages}{rest}"))
        };
        let (_, found, words) = only(&text);
        assert!(found == key && words.contains(part), "{rest}\n{words}");
    }
    let (_, key, text) = only(&file("[load]\nusers = 2\n[stage.one]\nduration = \"5s\"\nramp = \"1s\""));
    assert!(key == "stage.one.ramp" && text.contains("cell.ramp"), "{text}");
    let (_, key, text) = only(&file("[load]\nusers = 2\nburst = \"1s\"\n[stage.one]\nduration = \"5s\""));
    assert!(key == "stage.one" && text.contains("no stages beside burst"), "{text}");
    let (_, key, text) = only(&file("[stage.one]\nduration = \"5s\""));
    assert!(key == "load" && text.contains("no load"), "{text}");
}

#[test]
fn requests_are_cut_off_where_they_are_streamed() {
    let cancel = |text: &str| settings(&with(&format!("[workload]\n{text}"))).workload.cancel;
    assert_eq!(cancel("cancel = 0.1"), Some(0.1));
    assert_eq!(cancel("cancel = \"25%\""), Some(0.25));
    assert_eq!(cancel("cancel = { rate = 0.1 }"), Some(0.1));
    assert_eq!(cancel("cancel = 0.0"), None);
    for (text, part) in [
        ("cancel = 1.5", "0 to 1"),
        ("cancel = { share = 0.1 }", "unknown key"),
        ("cancel = 0.1\nstream = false", "not streamed"),
        ("cancel = 0.1\nstop_after = \"first_token\"", "left after its first token already"),
    ] {
        let told = mistakes(&with(&format!("[workload]\n{text}")));
        assert!(told.iter().any(|m| m.to_string().contains(part)), "{text}: {told:?}");
    }
}
