//! Mistakes in experiment files: each with its line, its key, and what would be right.

use plimsoll::experiment::{Mistake, MistakeKind};
use plimsoll::plan::{MAX_CELLS, build};
use proptest::prelude::*;
use serde_json::json;

use crate::plan::{parse, plan_of, with_grid};
use crate::rig::program::{directory, plimsoll_with, stderr};

/// Every mistake of a file, whether parsing or planning finds it.
fn mistakes_of(text: &str, sets: &[&str]) -> Vec<Mistake> {
    let found = parse(text, sets).and_then(|experiment| build(&experiment));
    found.expect_err("a file with mistakes").0
}

fn only_mistake(text: &str, sets: &[&str]) -> Mistake {
    let mut mistakes = mistakes_of(text, sets);
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    mistakes.remove(0)
}

const TEN: &str = r#"name = "capacity"
sede = 42

[target]
url = "http://127.0.0.1:8000"
api = "openai-chatt"
timeout = 120
headers = { Authorization = "Bearer very-secret" }

[workload]
temperature = "hot"
prompt = "Say hello."

[grid]
user = [1, 4, 16]
users = [1, 0]
prompt_tokens = [128, 512]

[cell]
duration = "30 sec"
cooldown = { min = "9s", max = "2s" }

[slo]
ttft_p59 = "1s"
error_rate = 1.5
"#;

#[test]
fn ten_mistakes_are_named_at_once() {
    let mistakes = parse(TEN, &[]).unwrap_err();
    let told: Vec<_> = mistakes.0.iter().map(|m| (m.line, m.column, m.key.as_str(), m.kind)).collect();
    assert_eq!(
        told,
        [
            (2, 1, "sede", MistakeKind::UnknownKey),
            (6, 7, "target.api", MistakeKind::UnknownWord),
            (7, 11, "target.timeout", MistakeKind::WrongType),
            (8, 29, "target.headers.Authorization", MistakeKind::Secret),
            (11, 15, "workload.temperature", MistakeKind::WrongType),
            (15, 1, "grid.user", MistakeKind::UnknownKey),
            (16, 13, "grid.users", MistakeKind::OutOfRange),
            (17, 1, "grid.prompt_tokens", MistakeKind::Conflict),
            (20, 12, "cell.duration", MistakeKind::BadValue),
            (21, 32, "cell.cooldown.max", MistakeKind::Conflict),
            (24, 1, "slo.ttft_p59", MistakeKind::UnknownKey),
            (25, 14, "slo.error_rate", MistakeKind::OutOfRange),
        ]
    );
    let text = mistakes.to_string();
    assert!(!text.contains("very-secret"), "a secret is not repeated: {text}");
    for line in [
        "file.toml:2: sede: unknown key; did you mean \"seed\"? Allowed: name, description, seed, salt, scale_time, target, \
         workload, load, cell, slo, client, sim, task, endpoint, mix, stage, server, search, grid, report, capacity, compare, hooks, fleet, observe, notify, tracing, publish\n    2 | sede = 42\n      | ^^^^\n",
        "file.toml:7: target.timeout: a duration needs a unit and quotes: \"120s\" or \"120ms\"; found 120\n",
        "file.toml:16: grid.users: out of range; found 0. Allowed: 1 to 1000000\n   16 | users = [1, 0]\n      \
         |             ^\n",
        "found \"30 sec\"; did you mean \"30s\"? Allowed: h, m, s, ms, us, ns\n",
        "slo.ttft_p59: unknown key; did you mean \"ttft_p95\"? Allowed: <metric>_<statistic> with metric ttft, ",
        "\n12 mistakes",
    ] {
        assert!(text.contains(line), "{line}\n--- is not in ---\n{text}");
    }
}

#[test]
fn a_duration_of_a_flag_wants_a_unit_and_no_quotes() {
    let text = "[target]\nurl = \"sim:\"\n[load]\nusers = 1\n";
    for (set, problem) in [
        ("cell.duration=30", "a duration needs a unit: 30s or 30ms"),
        ("cell.warmup=0.5", "a duration needs a unit: 0.5s or 0.5ms"),
    ] {
        let mistake = only_mistake(text, &[set]);
        assert_eq!((mistake.file.as_str(), mistake.problem.as_str()), ("--set", problem));
    }
}

#[test]
fn syntax_mistakes_stand_beside_the_others() {
    let text = "seed = 1\n[target]\nurl = \"sim:\"\ntimeout = \n[load]\nusers = 1\nuser = 2\n[cell]\nwarmup = 5\n\
                warmup = \"5s\"\n";
    let told: Vec<_> = mistakes_of(text, &[]).into_iter().map(|m| (m.line, m.key, m.kind)).collect();
    assert!(told.contains(&(4, "target.timeout".to_owned(), MistakeKind::Syntax)), "{told:?}");
    assert!(told.contains(&(7, "load.user".to_owned(), MistakeKind::UnknownKey)), "{told:?}");
    assert!(told.contains(&(9, "cell.warmup".to_owned(), MistakeKind::WrongType)), "{told:?}");
    assert!(told.contains(&(10, "cell.warmup".to_owned(), MistakeKind::Duplicate)), "{told:?}");
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn an_open_bracket_hides_nothing() {
    let text =
        "[target]\nurl = \"sim:\"\n[grid]\nusers = [1, 4\nmax_tokens = [0]\n[cell]\nduraton = \"5s\"\n";
    let told: Vec<_> =
        mistakes_of(text, &[]).into_iter().map(|m| (m.line, m.column, m.key, m.kind)).collect();
    assert_eq!(
        told,
        [
            (4, 9, "grid.users".to_owned(), MistakeKind::Syntax),
            (5, 15, "grid.max_tokens".to_owned(), MistakeKind::OutOfRange),
            (7, 1, "cell.duraton".to_owned(), MistakeKind::UnknownKey),
        ]
    );
}

#[test]
fn equal_cells_are_named_with_both_places() {
    let text = "[target]\nurl = \"sim:\"\n[[grid]]\nusers = [1, 2]\n[[grid]]\nusers = [2.0, 3]\n";
    let mistake = only_mistake(text, &[]);
    assert_eq!((mistake.line, mistake.kind), (6, MistakeKind::Duplicate));
    assert!(mistake.problem.contains("line 4"), "{mistake}");
    assert!(mistake.problem.contains("load.users = 2"), "{mistake}");

    let mistake = only_mistake(&with_grid("users = [1, 2, 1]"), &[]);
    assert_eq!((mistake.line, mistake.column, mistake.key.as_str()), (5, 16, "grid.users"));

    // The same setting, once by an axis and once by the document.
    let text = "[target]\nurl = \"sim:\"\n[cell]\nduration = \"60s\"\n[[grid]]\nusers = [1]\n[[grid]]\nusers = [1]\n\
                \"cell.duration\" = [\"1m\"]\n";
    assert_eq!(only_mistake(text, &[]).kind, MistakeKind::Duplicate);
}

#[test]
fn mistakes_of_a_grid() {
    for (grid, line, key, part) in [
        ("users = []", 5, "grid.users", "at least one value"),
        (
            "temperature = [0, 1]\nusers = [1]",
            5,
            "grid.temperature",
            "did you mean \"workload.temperature\"?",
        ),
        ("users = [1]\n\"target.modle\" = [\"a\"]", 6, "grid.target.modle", "did you mean \"target.model\"?"),
        ("users = [1]\nexclude = [{ users = 2 }]", 6, "grid.exclude[1].users", "no such value"),
        ("users = [1, 2]\nexclude = [{ qps = 2 }]", 6, "grid.exclude[1].qps", "not an axis"),
        (
            "users = [1, 2]\nmax_tokens = [1, 2, 3]\nzip = [[\"users\", \"max_tokens\"]]",
            7,
            "grid.zip[1]",
            "has 3",
        ),
        ("users = [1, 2]\nzip = [[\"users\", \"qps\"]]", 6, "grid.zip[1][2]", "not an axis"),
        ("users = [1]\norder = \"random\"", 6, "grid.order", "\"shuffled\""),
        ("users = [1]\nrepeats = 0", 6, "grid.repeats", "1 to 1000"),
        ("users = { from = 1, to = 8 }", 5, "grid.users", "steps = 6"),
        ("users = { from = 0, to = 8, steps = 3, scale = \"log\" }", 5, "grid.users.from", "above 0"),
        ("users = { from = 9, to = 8, steps = 3 }", 5, "grid.users.to", "above from"),
        ("qps = { from = 1, to = 2, step = 1, steps = 2 }", 5, "grid.qps.step", "not both"),
        ("max_tokens = [1]", 1, "load", "no load"),
        ("users = [1, 2]\nexclude = [{ users = 1 }, { users = 2 }]", 4, "grid", "every cell"),
        ("users = [1, 2]\n\"load.users\" = [3]", 6, "grid.load.users", "twice"),
    ] {
        let mistakes = mistakes_of(&with_grid(grid), &[]);
        let found = mistakes.iter().find(|m| m.key == key && m.line == line && m.to_string().contains(part));
        assert!(found.is_some(), "{grid}: {key} {part}\n{mistakes:#?}");
    }
}

#[test]
fn an_exclusion_of_values_that_never_meet() {
    let grid = "users = [1, 2]\nmax_tokens = [8, 9]\nzip = [[\"users\", \"max_tokens\"]]\n\
                exclude = [{ users = 1, max_tokens = 9 }]";
    let mistake = only_mistake(&with_grid(grid), &[]);
    assert_eq!((mistake.line, mistake.key.as_str()), (8, "grid.exclude"));
}

#[test]
fn a_plan_has_a_largest_size() {
    let mistake =
        only_mistake(&with_grid("users = [1]\nqps = { from = 1, to = 6000, step = 1 }\nrepeats = 2"), &[]);
    assert_eq!((mistake.kind, mistake.line), (MistakeKind::TooMany, 4));
    assert_eq!(plan_of(&with_grid("qps = { from = 1, to = 10000, step = 1 }")).cells.len(), MAX_CELLS);
}

#[test]
fn overrides_from_the_command_line() {
    let text = "[target]\nurl = \"sim:\"\n[grid]\nusers = [1, 2]\n";
    let sets = ["grid.users=[3, 4]", "cell.duration=7s", "target.url=http://h:1", "workload.temperature=0.5"];
    let plan = build(&parse(text, &sets).unwrap()).unwrap();
    let settings = &plan.cells[1].settings;
    assert_eq!(plan.cells[1].factors["load.users"], json!(4));
    assert_eq!(settings.cell.duration.unwrap().as_secs(), 7);
    assert_eq!(settings.target.url, "http://h:1");
    assert_eq!(settings.workload.sampling["temperature"], json!(0.5));

    let mistake = only_mistake(text, &["cell.duratoin=7s"]);
    assert_eq!(mistake.file, "--set");
    assert_eq!(
        mistake.to_string().split('\n').next().unwrap(),
        "--set: cell.duratoin: unknown key; did you mean \"duration\"? Allowed: requests, duration, warmup, ramp, \
         drain, cooldown"
    );
    assert!(mistake.to_string().ends_with("      | cell.duratoin=7s\n      | ^^^^^^^^^^^^^"), "{mistake}");
    assert_eq!(only_mistake(text, &["users=4"]).kind, MistakeKind::Conflict);
    assert_eq!(only_mistake(text, &["users"]).kind, MistakeKind::Syntax);
    assert_eq!(only_mistake(text, &["grid.users=[1,"]).kind, MistakeKind::Syntax);
    assert_eq!(only_mistake(text, &["target.url.x=1"]).kind, MistakeKind::Conflict);
    let mistake = only_mistake(text, &["grid.users=[1, 0]"]);
    assert_eq!((mistake.file.as_str(), mistake.column), ("--set", 16));
}

#[test]
fn two_grids_of_one_name() {
    let text = "[target]\nurl = \"sim:\"\n[[grid]]\nname = \"a\"\nusers = [1]\n[[grid]]\nname = \"a\"\nusers = [2]\n";
    let mistake = only_mistake(text, &[]);
    assert_eq!((mistake.line, mistake.key.as_str()), (6, "grid[2].name"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_gives_mistakes_and_no_panic(text in "([a-z]{1,4}|users|grid|target|[=\\[\\]{}\",.#\n 0-9])*") {
        if let Err(mistakes) = parse(&text, &["users=1"]) {
            prop_assert!(!mistakes.0.is_empty());
            prop_assert!(mistakes.0.iter().all(|m| m.column >= 1 && m.line >= 1));
            prop_assert!(!mistakes.to_string().is_empty());
        }
    }

    #[test]
    fn a_broken_example_gives_mistakes_and_no_panic(at in 0..700_usize, put in "[\\PC\n]{0,3}", gone in 0..9_usize) {
        let mut chars: Vec<char> = TEN.chars().collect();
        let at = at.min(chars.len());
        let end = (at + gone).min(chars.len());
        chars.splice(at..end, put.chars());
        let text: String = chars.into_iter().collect();
        if let Err(mistakes) = parse(&text, &[]) {
            prop_assert!(!mistakes.to_string().is_empty());
        }
    }
}

#[test]
fn knobs_of_the_simulator() {
    let text = "[target]\nurl = \"sim:\"\n[load]\nusers = 1\n[sim]\npreset = \"8b-a10\"\nmax_num_seq = 4\nstep_base = \"fast\"\n";
    let told: Vec<_> = mistakes_of(text, &[]).into_iter().map(|m| (m.line, m.key, m.kind)).collect();
    assert_eq!(
        told,
        [
            (6, "sim.preset".to_owned(), MistakeKind::BadValue),
            (7, "sim.max_num_seq".to_owned(), MistakeKind::UnknownKey),
            (8, "sim.step_base".to_owned(), MistakeKind::BadValue),
        ]
    );
    let axis = with_grid("users = [1]\n\"sim.max_num_sequences\" = [0]");
    assert_eq!(only_mistake(&axis, &[]).key, "grid.sim.max_num_sequences");
}

#[test]
fn mistakes_of_a_workload() {
    let text = "[target]\nurl = \"sim:\"\n[load]\nusers = 1\n[workload]\nprompt = \"a\"\nsufix = \"b\"\n\
                max_tokens = { mean = 9, distribution = \"lognormal\", range = 0.3, width = 3 }\n\
                images = { sizes = [\"512\"] }\nseed = \"per-request\"\n";
    let mistakes = parse(text, &[]).unwrap_err();
    let told: Vec<_> = mistakes.0.iter().map(|m| (m.line, m.column, m.key.as_str(), m.kind)).collect();
    assert_eq!(
        told,
        [
            (7, 1, "workload.sufix", MistakeKind::UnknownKey),
            (8, 67, "workload.max_tokens.width", MistakeKind::Conflict),
            (9, 21, "workload.images.sizes[1]", MistakeKind::BadValue),
            (10, 8, "workload.seed", MistakeKind::UnknownWord),
        ]
    );
    let text = mistakes.to_string();
    for line in [
        "file.toml:7: workload.sufix: unknown key; did you mean \"suffix\"? Allowed: ",
        "file.toml:9: workload.images.sizes[1]: not a picture's size; found \"512\". Allowed: \"WIDTHxHEIGHT\" in \
         pixels, each 1 to 8192\n",
        "workload.seed: unknown word; found \"per-request\"; did you mean \"per_request\"?",
    ] {
        assert!(text.contains(line), "{line}\n--- is not in ---\n{text}");
    }
}

#[test]
fn mistakes_of_an_axis_of_lengths() {
    let grid = "users = [1]\nmax_tokens = [{ mean = 9, distribution = \"normal\", min = 8, cap = 4 }]";
    let mistake = only_mistake(&with_grid(grid), &[]);
    assert_eq!((mistake.line, mistake.kind), (6, MistakeKind::Conflict));
    // However a width is written, it is the same cell.
    let grid = "users = [1]\nmax_tokens = [{ mean = 10, distribution = \"normal\", range = 0.6 }, \
                { mean = 10, distribution = \"normal\", width = 6 }]";
    assert_eq!(only_mistake(&with_grid(grid), &[]).kind, MistakeKind::Duplicate);
}

#[test]
fn a_wrong_line_of_a_file_is_told_before_anything_is_asked() {
    let (first, second) = ("{\"prompt\": \"a\"}", "{\"prompt\": \"b\", \"max_tokens\": \"many\"}");
    let text = "[target]\nurl = \"sim:\"\n[workload]\ndataset = { file = \"lines.jsonl\" }\n[load]\nusers = 1\n\
                [cell]\nrequests = 2\nwarmup = \"0s\"\n";
    let dir = directory(text);
    std::fs::write(dir.path().join("lines.jsonl"), format!("{first}\n{second}\n3\n")).unwrap();
    for command in [&["plan", "small.toml"][..], &["run", "small.toml", "--no-report"]] {
        let output = plimsoll_with(dir.path(), command, &[]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let told = "lines.jsonl:2: max_tokens is no length; found \"many\". Allowed: 1 to 10000000\n";
        let text = stderr(&output);
        assert!(text.contains(told) && text.contains("workload.dataset: "), "{text}");
        assert!(text.contains("lines.jsonl:3: a line is an object; found 3"), "as well: {text}");
        assert!(!dir.path().join("runs").exists(), "nothing was begun");
    }
    std::fs::write(dir.path().join("lines.jsonl"), first).unwrap();
    let output = plimsoll_with(dir.path(), &["run", "small.toml", "--no-report"], &[]);
    assert!(output.status.success(), "{}", stderr(&output));
}
