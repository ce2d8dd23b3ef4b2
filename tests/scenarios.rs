//! The scenario library: the table and the folder, the listing, and running one by its name.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use plimsoll::experiment::{Arrivals, Load, Settings, Think};
use plimsoll::plan::{self, Plan};
use plimsoll::scenarios::{SCENARIOS, find};
use serde_json::{Value, json};

use crate::docs::section;
use crate::rig::program::{only_run, plimsoll, stderr, stdout};

fn plan_of(name: &str, sets: &[&str]) -> Plan {
    let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
    let experiment = find(name).unwrap().experiment(&sets).unwrap_or_else(|m| panic!("{m}"));
    plan::build(&experiment).unwrap_or_else(|m| panic!("{m}"))
}

fn seconds(settings: &Settings) -> u64 {
    settings.cell.duration.unwrap().as_secs()
}

#[test]
fn the_table_is_the_folder() {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir("experiments").unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        files.insert(stem, std::fs::read_to_string(&path).unwrap());
    }
    assert_eq!(files.len(), SCENARIOS.len(), "{:?}", files.keys());
    for scenario in SCENARIOS {
        assert_eq!(files.get(scenario.name).map(String::as_str), Some(scenario.text), "{}", scenario.name);
    }
}

#[test]
fn every_file_says_what_it_is_for_how_long_it_takes_and_what_to_change() {
    for scenario in SCENARIOS {
        let head: Vec<&str> = scenario.text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(head.len() >= 5, "{}", scenario.name);
        for part in ["# Takes ", "# To change: ", &format!("plimsoll run {}", scenario.name)] {
            let told = head.iter().any(|line| line.contains(part))
                || head.join(" ").replace("# ", "").contains(part.trim_start_matches("# "));
            assert!(told, "{}: {part}", scenario.name);
        }
    }
}

#[test]
fn each_plans_as_it_stands_and_goes_to_the_simulator() {
    for scenario in SCENARIOS {
        let plan = plan_of(scenario.name, &[]);
        assert_eq!(plan.name, scenario.name, "a scenario and its runs have one name");
        for cell in &plan.cells {
            // The one inside the program, or one that is started for it.
            let own = cell.settings.server.as_ref().is_some_and(|s| s.command[..2] == ["plimsoll", "sim"]);
            assert!(own || cell.settings.parts().all(|(target, _)| target.is_sim()), "{}", scenario.name);
        }
        let aimed = plan_of(scenario.name, &["target.url=http://127.0.0.1:9"]);
        for cell in &aimed.cells {
            let all = cell.settings.parts().all(|(target, _)| target.url == "http://127.0.0.1:9");
            assert!(all, "{}: --target moves every request", scenario.name);
        }
    }
}

#[test]
fn users_spawn_rates_and_times_are_those_of_the_guide() {
    for (name, users, minutes, spawn_rate) in [
        ("smoke", 5, 2, 5),
        ("baseline", 10, 5, 2),
        ("medium", 25, 10, 5),
        ("high", 50, 10, 10),
        ("stress", 100, 15, 20),
        ("endurance", 20, 30, 2),
    ] {
        let plan = plan_of(name, &[]);
        let [cell] = plan.cells.as_slice() else { panic!("{name}: one cell") };
        let Load::Closed { users: found, .. } = cell.settings.load else { panic!("{name}: a closed loop") };
        assert_eq!((found, seconds(&cell.settings)), (users, minutes * 60), "{name}");
        assert_eq!(cell.settings.cell.ramp, Duration::from_secs(u64::from(users) / spawn_rate), "{name}");
    }
    let rise = plan_of("ramp-up", &[]);
    assert_eq!(seconds(&rise.cells[0].settings), 20 * 60);
    let levels: Vec<f64> = rise.cells[0].settings.stages.iter().map(|stage| stage.level).collect();
    assert_eq!(levels, (1..=10).map(|i| f64::from(5 * i)).collect::<Vec<_>>());
    assert_eq!(seconds(&plan_of("burst", &[]).cells[0].settings), 10 * 60);
}

#[test]
fn users_pause_as_those_of_the_guide() {
    let ms = Duration::from_millis;
    let think = |name: &str| plan_of(name, &[]).cells[0].settings.think;
    for name in ["smoke", "baseline", "medium", "high", "endurance"] {
        assert_eq!(think(name), Some(Think::Uniform(ms(1_000), ms(3_000))), "{name}");
    }
    assert_eq!(think("stress"), Some(Think::Uniform(ms(100), ms(500))));
    // Users of bursts don't pause: they are due together, thirty each ten seconds.
    let burst = &plan_of("burst", &[]).cells[0].settings;
    let all_at_once =
        Load::Open { qps: 3.0, arrivals: Arrivals::Burst { size: 30 }, max_in_flight: Some(30) };
    assert_eq!((burst.load, burst.think), (all_at_once, None));
}

#[test]
fn twenty_users_two_a_second_for_ten_minutes() {
    let plan = plan_of("baseline", &["load.users=20", "load.spawn_rate=2", "cell.duration=10m"]);
    let settings = &plan.cells[0].settings;
    assert_eq!(settings.load, Load::Closed { users: 20 });
    assert_eq!((seconds(settings), settings.cell.ramp), (600, Duration::from_secs(10)));
}

#[test]
fn the_mix_is_ten_five_two_one_one_one() {
    let cell = &plan_of("baseline", &[]).cells[0];
    let parts = cell.settings.parts.iter();
    let mix: Vec<(&str, f64)> = parts.map(|p| (p.task.as_deref().unwrap(), p.weight)).collect();
    let expected = [
        ("short", 10.0),
        ("medium", 5.0),
        ("long", 2.0),
        ("high-temperature", 1.0),
        ("health", 1.0),
        ("model-info", 1.0),
    ];
    assert_eq!(mix, expected);
    let lengths = cell.settings.parts.iter().map(|p| p.workload.max_tokens.mean);
    assert_eq!(lengths.take(3).collect::<Vec<_>>(), [64, 128, 256]);
    let prompts = cell.settings.parts.iter().map(|p| p.workload.prompt_tokens.mean);
    assert_eq!(prompts.take(3).collect::<Vec<_>>(), [64, 128, 256]);
    assert_eq!(cell.settings.parts[3].workload.sampling.get("temperature"), Some(&json!(1.2)));
    let looks = cell.settings.parts[4..].iter().map(|part| {
        let custom = part.target.custom.as_ref().unwrap();
        (custom.method.as_str(), custom.path.as_str())
    });
    assert_eq!(looks.collect::<Vec<_>>(), [("GET", "/health"), ("GET", "/v1/models")]);
}

#[test]
fn a_spike_is_ten_times_the_baseline_with_limits_of_its_own() {
    let stages = plan_of("spike", &[]).cells[0].settings.stages.clone();
    let told: Vec<_> = stages
        .iter()
        .map(|s| {
            (s.name.as_str(), s.level, s.slo.rules.iter().map(|r| (r.metric.as_str(), r.limit)).collect())
        })
        .collect::<Vec<(_, _, Vec<_>)>>();
    assert_eq!(
        told,
        [
            ("baseline", 2.0, vec![("error_rate", 0.05)]),
            ("spike", 20.0, vec![("error_rate", 0.15)]),
            ("after", 2.0, vec![("error_rate", 0.05)]),
        ]
    );
    let recovery = stages[2].recovers.as_ref().unwrap();
    assert_eq!((recovery.of.as_str(), recovery.within), ("baseline", 0.2));
}

#[test]
fn the_sequence_is_the_eight_scenarios_with_rests() {
    let plan = plan_of("recommended-sequence", &[]);
    let grids: Vec<&str> = plan.cells.iter().map(|cell| cell.grid.as_deref().unwrap()).collect();
    assert_eq!(
        grids,
        ["smoke", "baseline", "medium", "ramp-up", "high", "burst", "stress", "endurance"],
        "one cell each, in order"
    );
    for cell in &plan.cells {
        let name = cell.grid.as_deref().unwrap();
        assert_eq!(cell.settings.cell.cooldown.min, Duration::from_secs(300), "{name}");
        let alone = plan_of(name, &["cell.cooldown=5m"]);
        assert_eq!(cell.settings, alone.cells[0].settings, "{name}: as the scenario of that name");
    }
}

#[test]
fn mixed_warfare_is_each_alone_and_both() {
    let plan = plan_of("mixed-warfare", &[]);
    let names = |settings: &Settings| -> Vec<String> {
        settings.parts.iter().map(|part| part.endpoint.clone().unwrap()).collect()
    };
    let cells: Vec<Vec<String>> = plan.cells.iter().map(|cell| names(&cell.settings)).collect();
    assert_eq!(cells, [vec!["thinker"], vec!["flash"], vec!["thinker", "flash"]]);
    let both = &plan.cells[2].settings;
    assert_eq!(both.parts.iter().map(|part| part.weight).collect::<Vec<_>>(), [0.3, 0.7]);
    assert_eq!((seconds(both), both.cell.ramp), (120, Duration::from_secs(10)));
    let two = ["endpoint.thinker.url=http://127.0.0.1:8080", "endpoint.flash.url=http://127.0.0.1:8081"];
    let aimed = plan_of("mixed-warfare", &two);
    let urls: Vec<&str> = aimed.cells[2].settings.parts().map(|(target, _)| target.url.as_str()).collect();
    assert_eq!(urls, ["http://127.0.0.1:8080", "http://127.0.0.1:8081"]);
}

#[test]
fn batch_endpoints_are_five_and_a_longer_one() {
    let plan = plan_of("batch-endpoints", &[]);
    let cells: Vec<_> = plan
        .cells
        .iter()
        .map(|cell| {
            let Load::Closed { users, .. } = cell.settings.load else { panic!("a closed loop") };
            let custom = cell.settings.target.custom.as_ref().unwrap();
            (custom.method.as_str(), custom.path.as_str(), users, cell.settings.cell.requests.unwrap())
        })
        .collect();
    assert_eq!(
        cells,
        [
            ("GET", "/health", 10, 100),
            ("POST", "/tokenize", 5, 50),
            ("POST", "/generate", 5, 25),
            ("POST", "/batch/tokenize", 5, 25),
            ("POST", "/batch/generate", 3, 15),
            ("POST", "/generate", 10, 200),
        ]
    );
    let batches = plan.cells.iter().map(|cell| cell.settings.workload.batch);
    assert_eq!(batches.collect::<Vec<_>>(), [1, 1, 1, 3, 2, 1]);
    let rates = plan.cells.iter().map(|cell| {
        let rule = cell.settings.slo.rules.iter().find(|rule| rule.metric == "completed_rps");
        rule.unwrap().limit
    });
    assert_eq!(rates.collect::<Vec<_>>(), [100.0, 50.0, 10.0, 5.0, 5.0, 5.0]);
}

#[test]
fn the_list_is_what_the_plans_say() {
    let dir = tempfile::tempdir().unwrap();
    let output = plimsoll(dir.path(), &["scenarios", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = stdout(&plimsoll(dir.path(), &["scenarios"]));
    assert_eq!(rows.len(), SCENARIOS.len());
    for (row, scenario) in rows.iter().zip(SCENARIOS) {
        assert_eq!(row["name"], scenario.name);
        let description = row["description"].as_str().unwrap();
        assert!(scenario.text.contains(description) && description.len() > 20, "{}", scenario.name);
        assert!(text.contains(description) && text.contains(row["load"].as_str().unwrap()));
        let plan = plan_of(scenario.name, &[]);
        assert_eq!(row["expected_s"], plan::estimate(&plan).expected_s, "{}", scenario.name);
        assert_eq!(row["cells"], plan.cells.len());
    }
    let load = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap()["load"].clone();
    assert_eq!(load("smoke"), plan::load_in_words(&plan_of("smoke", &[]).cells[0]));
    assert_eq!(load("ramp-up"), "5 to 50 users");
    assert_eq!(load("quickstart"), "8 to 48 requests/s");
    assert_eq!(load("capacity"), "1 to 64 users");
}

#[test]
fn scenarios_page() {
    let dir = tempfile::tempdir().unwrap();
    let output = plimsoll(dir.path(), &["scenarios", "--json"]);
    let rows: Vec<Value> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let mut expected = String::from("| scenario | what it is for | load | time |\n|---|---|---|---|\n");
    for row in &rows {
        let [name, description, load] = ["name", "description", "load"].map(|key| row[key].as_str().unwrap());
        let minutes = row["expected_s"].as_f64().unwrap() / 60.0;
        let time = match minutes {
            m if m < 1.0 => "less than 1 min".to_owned(),
            m => format!("{m:.0} min"),
        };
        let link = format!("[`{name}`](../experiments/{name}.toml)");
        writeln!(expected, "| {link} | {description} | {load} | {time} |").unwrap();
    }
    let found = section("docs/scenarios.md", "<!-- table", "<!-- end of table", &expected);
    assert_eq!(
        found, expected,
        "docs/scenarios.md is behind experiments/: UPDATE_GOLDEN=1 cargo test scenarios_page"
    );
}

#[test]
fn a_copy_is_the_file_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["quickstart", "spike"] {
        let output = plimsoll(dir.path(), &["scenarios", "--show", name]);
        assert_eq!(stdout(&output), find(name).unwrap().text);
    }
    // And a file of that name is what is then meant.
    let copy = find("quickstart").unwrap().text.replace("seed = 42", "seed = 43");
    std::fs::write(dir.path().join("quickstart"), copy).unwrap();
    let plan = |args: &[&str]| -> Value {
        let output = plimsoll(dir.path(), &[args, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)))
    };
    assert_eq!(plan(&["plan", "quickstart"])["plan"]["seed"], 43);
    // A directory is no file.
    std::fs::create_dir(dir.path().join("capacity")).unwrap();
    assert_eq!(plan(&["plan", "capacity"])["plan"]["name"], "capacity");
}

#[test]
fn a_wrong_name_is_answered_with_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["run", "quickstrat"][..], &["plan", "quickstrat"], &["scenarios", "--show", "quickstrat"]]
    {
        let output = plimsoll(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = stderr(&output);
        assert!(said.contains("did you mean \"quickstart\"?") && said.contains("mixed-warfare"), "{said}");
    }
    let output = plimsoll(dir.path(), &["run", "experiments/capacity.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("the scenario is called \"capacity\""), "{}", stderr(&output));
}

#[test]
fn without_a_target_the_simulator_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let said = |args: &[&str]| stderr(&plimsoll(dir.path(), args));
    assert!(said(&["plan", "capacity"]).contains("embedded simulator"));
    assert_eq!(said(&["plan", "capacity", "--target", "http://127.0.0.1:9"]), "");
    // A file says itself where it goes.
    std::fs::write(dir.path().join("a.toml"), find("quickstart").unwrap().text).unwrap();
    assert_eq!(said(&["plan", "a.toml"]), "");
}

/// Runs a scenario by name, much shortened, and goes on with it.
fn run_by_name(name: &str, args: &[&str], sets: &[&str]) -> (tempfile::TempDir, Value) {
    let dir = tempfile::tempdir().unwrap();
    let line = [&["run", name, "--no-report", "--progress", "none"], args].concat();
    let output = plimsoll(dir.path(), &line);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", stdout(&output), stderr(&output));
    let run = only_run(dir.path());
    let read = |file: &str| std::fs::read_to_string(run.join(file)).unwrap();
    assert_eq!(read("experiment.toml"), find(name).unwrap().text);
    let manifest: Value = serde_json::from_str(&read("run.json")).unwrap();
    assert_eq!(manifest["set"], json!(sets));
    let plan: Value = serde_json::from_str(&read("plan.json")).unwrap();
    // The same by --set alone, as it is recorded.
    let again: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let resume = ["--resume", run.to_str().unwrap()];
    let head = ["run", name, "--no-report", "--progress", "none"];
    let output = plimsoll(dir.path(), &[&head[..], &again, &resume].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let other = plimsoll(dir.path(), &[&head[..], &resume].concat());
    assert_eq!(other.status.code(), Some(2), "without them it is another experiment");
    (dir, plan)
}

#[test]
fn smoke_runs_by_its_name_in_a_fiftieth_of_its_time() {
    let args = ["--target", "sim:", "--scale-time", "0.02"];
    let (dir, plan) = run_by_name("smoke", &args, &["target.url=sim:", "scale_time=0.02"]);
    let settings: Settings = serde_json::from_value(plan["cells"][0]["settings"].clone()).unwrap();
    assert_eq!(settings.cell.duration, Some(Duration::from_millis(2400)));
    assert_eq!(settings.cell.ramp, Duration::from_millis(20));
    let summary = only_run(dir.path()).join("summary.csv");
    assert!(std::fs::read_to_string(summary).unwrap().lines().count() >= 2);
}

#[test]
fn flags_are_recorded_and_a_run_goes_on_by_them() {
    let args = ["-H", "sim:", "-t", "400ms", "--scale-time", "0.5"];
    let sets = ["target.url=sim:", "cell.duration=400ms", "scale_time=0.5"];
    let (_dir, plan) = run_by_name("quickstart", &args, &sets);
    let cells = plan["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 6);
    for cell in cells {
        let settings: Settings = serde_json::from_value(cell["settings"].clone()).unwrap();
        assert_eq!(settings.cell.duration, Some(Duration::from_millis(200)));
        assert_eq!(settings.cell.warmup, Duration::from_millis(750));
        assert_eq!(settings.cell.drain, Duration::from_secs(4), "limits stay");
    }
}

#[test]
fn the_whole_sequence_can_be_tried_in_minutes() {
    let whole = plan::estimate(&plan_of("recommended-sequence", &[])).expected_s;
    let tried = plan::estimate(&plan_of("recommended-sequence", &["scale_time=0.02"])).expected_s;
    assert!((whole / 3600.0 - 2.3).abs() < 0.2, "{whole}");
    assert!((tried - whole * 0.02).abs() < 1.0, "{tried}");
    assert!(Path::new("experiments/recommended-sequence.toml").exists());
}
