//! From `[task.…]`, `[endpoint.…]` and `[mix]` to the parts of a cell.

use plimsoll::experiment::{LengthShape, Load, Mistake, MistakeKind, Settings, StopAfter};
use plimsoll::plan::{build, estimate};
use serde_json::json;

use crate::plan::{parse, plan_of};

const MIXED: &str = r#"
[target]
timeout = "60s"
headers = { X-Team = "a", X-Run = "b" }
[workload]
prompt_tokens = { mean = 100, distribution = "uniform", range = 0.5 }
max_tokens = 32
temperature = 0.5
[load]
qps = 20
users = 10
[task.short]
weight = 10
workload.max_tokens = 64
[task.hot]
weight = 5
[task.hot.workload]
temperature = 1.5
max_tokens = { mean = 8, distribution = "exponential" }
[task.fixed.workload]
prompt = "Say hello."
[task.fixed.target]
api = "openai-completions"
headers = { X-Run = "c" }
[endpoint.flash]
weight = 0.7
url = "http://127.0.0.1:8081"
model = "llama-2-7b-chat"
[endpoint.thinker]
weight = 0.3
url = "http://127.0.0.1:8080"
timeout = "90s"
workload.top_p = 0.9
"#;

/// The first cell's settings.
fn settings(text: &str) -> Settings {
    plan_of(text).cells.remove(0).settings
}

fn mistakes(text: &str) -> Vec<Mistake> {
    parse(text, &[]).and_then(|experiment| build(&experiment)).expect_err("a file with mistakes").0
}

#[test]
fn every_task_at_every_endpoint_is_a_part_with_what_both_say() {
    let s = settings(MIXED);
    let names: Vec<_> = s.parts.iter().map(|p| (p.task.as_deref(), p.endpoint.as_deref())).collect();
    let want = ["short", "hot", "fixed"]
        .into_iter()
        .flat_map(|task| ["flash", "thinker"].map(|endpoint| (Some(task), Some(endpoint))));
    assert_eq!(names, want.collect::<Vec<_>>());
    let weights: Vec<f64> = s.parts.iter().map(|p| p.weight).collect();
    for (weight, want) in weights.iter().zip([7.0, 3.0, 3.5, 1.5, 0.7, 0.3]) {
        assert!((weight - want).abs() < 1e-12, "{weights:?}");
    }
    assert_eq!(
        s.load,
        Load::Open { qps: 20.0, arrivals: plimsoll::experiment::Arrivals::Poisson, max_in_flight: Some(10) }
    );
    let part = |task: &str, endpoint: &str| {
        s.parts
            .iter()
            .find(|p| p.task.as_deref() == Some(task) && p.endpoint.as_deref() == Some(endpoint))
            .unwrap()
    };
    let short = part("short", "flash");
    assert_eq!((short.workload.max_tokens.mean, short.workload.prompt_tokens.mean), (64, 100));
    assert_eq!(
        (short.target.url.as_str(), short.target.model.as_str()),
        ("http://127.0.0.1:8081", "llama-2-7b-chat")
    );
    assert_eq!((short.target.timeout.as_secs(), part("short", "thinker").target.timeout.as_secs()), (60, 90));
    let hot = part("hot", "thinker");
    assert_eq!(hot.workload.max_tokens.shape, LengthShape::Exponential);
    assert_eq!(hot.workload.sampling["temperature"], json!(1.5));
    assert_eq!(hot.workload.sampling["top_p"], json!(0.9), "the endpoint's own");
    // A fixed prompt has no use for the length that the other tasks have.
    let fixed = part("fixed", "thinker");
    assert_eq!(fixed.workload.prompt.as_deref(), Some("Say hello."));
    assert_eq!(fixed.target.api, "openai-completions");
    assert_eq!(fixed.target.headers["X-Team"], "a", "headers are put together");
    assert_eq!(fixed.target.headers["X-Run"], "c");
    assert!(fixed.sim.is_none() && fixed.workload.stop_after == StopAfter::End);
}

#[test]
fn a_part_of_the_endpoints_has_their_part_of_the_load() {
    let grid =
        |axis: &str| format!("{MIXED}[grid]\n{axis}\nendpoints = [\"flash\", [\"thinker\"], \"all\"]\n");
    let plan = plan_of(&grid("qps = [10]"));
    let loads: Vec<_> = plan
        .cells
        .iter()
        .map(|cell| match cell.settings.load {
            Load::Open { qps, max_in_flight, .. } => ((qps * 1e6).round() / 1e6, max_in_flight.unwrap()),
            Load::Closed { .. } => panic!("an open loop"),
        })
        .collect();
    assert_eq!(loads, [(7.0, 7), (3.0, 3), (10.0, 10)]);
    // A cell is told from another by what was asked of the whole mix.
    for cell in &plan.cells {
        assert_eq!((&cell.factors["load.qps"], &cell.factors["load.users"]), (&json!(10), &json!(10)));
        assert_eq!(cell.varying, ["mix.endpoints"]);
    }
    let endpoints: Vec<usize> = plan.cells.iter().map(|c| c.settings.parts.len()).collect();
    assert_eq!(endpoints, [3, 3, 6]);
    let closed = MIXED.replace("qps = 20\nusers = 10", "users = 4").replace("weight = 0.3", "weight = 0.05");
    let plan = plan_of(&format!("{closed}[grid]\ntasks = [\"hot\", \"all\"]\nendpoints = [\"thinker\"]\n"));
    let users: Vec<Load> = plan.cells.iter().map(|c| c.settings.load).collect();
    assert_eq!(users, [Load::Closed { users: 1 }, Load::Closed { users: 1 }], "one at least");
}

#[test]
fn weights_and_keys_of_tasks_are_axes() {
    let grid = "[grid]\n\"task.short.weight\" = [1, 10]\ntask.short.workload.max_tokens = [4, 8]\n";
    let plan = plan_of(&format!("{MIXED}{grid}"));
    let told: Vec<_> = plan
        .cells
        .iter()
        .map(|c| (c.settings.parts[0].weight, c.settings.parts[0].workload.max_tokens.mean))
        .collect();
    assert_eq!(told, [(0.7, 4), (0.7, 8), (7.0, 4), (7.0, 8)]);
    assert_eq!(plan.cells[0].varying, ["task.short.weight", "task.short.workload.max_tokens"]);
    let set = parse(MIXED, &["task.short.weight=3", "endpoint.flash.url=http://h:1"]).unwrap();
    let part = build(&set).unwrap().cells.remove(0).settings.parts.remove(0);
    assert_eq!((part.weight, part.target.url.as_str()), (3.0 * 0.7, "http://h:1"));
}

#[test]
fn a_file_without_a_mix_is_what_it_was() {
    let plan = plan_of("name = \"x\"\n[target]\nurl = \"sim:\"\n[load]\nusers = 4\n");
    let json = serde_json::to_value(&plan.cells[0].settings).unwrap();
    assert!(json.get("parts").is_none() && json.get("stages").is_none(), "{json}");
    // The hash by which a run that was begun before mixes came is gone on with.
    assert_eq!(plan.experiment_hash, "e51ac102cb6c3ba63c8ce10d1c9293ef791b6749cf714a7e904b86c7abd5be78");
}

#[test]
fn an_estimate_is_of_the_mean_over_the_parts() {
    let text = "[target]\nurl = \"sim:\"\n[load]\nqps = 10\n[cell]\nrequests = 100\nwarmup = \"0s\"\n\
                [task.a]\nweight = 3\nworkload.max_tokens = 10\n[task.b]\nworkload.max_tokens = 50\n";
    let estimate = estimate(&plan_of(text));
    assert_eq!(estimate.requests.unwrap().count, 100);
    assert_eq!(estimate.output_tokens.unwrap().count, 2000);
}

#[test]
fn mistakes_of_a_mix() {
    let base = "[load]\nusers = 1\n";
    let two = "[endpoint.a]\nurl = \"http://h:1\"\n[endpoint.b]\nurl = \"http://h:2\"\n";
    for (text, line, key, part) in [
        (
            format!("{base}[target]\nurl = \"sim:\"\n[task.a]\nweight = 0\n"),
            6,
            "task.a.weight",
            "more than 0",
        ),
        (
            format!("{base}[target]\nurl = \"sim:\"\n[task.a]\nwieght = 2\n"),
            6,
            "task.a.wieght",
            "did you mean \"weight\"?",
        ),
        (
            format!("{base}[target]\nurl = \"sim:\"\n[task.a]\nworkload.max_token = 2\n"),
            6,
            "task.a.workload.max_token",
            "did you mean \"max_tokens\"?",
        ),
        (
            format!("{base}[target]\nurl = \"sim:\"\n[task.a.workload]\nmax_tokens = 0\n"),
            6,
            "task.a.workload.max_tokens",
            "1 to",
        ),
        (
            format!("{base}[target]\nurl = \"sim:\"\n[task.\"a b\"]\nweight = 1\n"),
            5,
            "task.a b",
            "letters, digits",
        ),
        (
            format!("{base}[target]\nurl = \"sim:\"\n[task.all]\nweight = 1\n"),
            5,
            "task.all",
            "letters, digits",
        ),
        (format!("{base}[target]\nurl = \"sim:\"\n[task]\na = 1\n"), 6, "task.a", "wants a table"),
        (
            format!("{base}[target]\nurl = \"sim:\"\n[mix]\nendpoints = \"a\"\n"),
            6,
            "mix.endpoints",
            "has no effect",
        ),
        (format!("{base}{two}[mix]\nendpoints = \"c\"\n"), 8, "mix.endpoints", "\"a\", \"b\", \"all\""),
        (format!("{base}{two}[mix]\nendpoints = [\"a\", \"a\"]\n"), 8, "mix.endpoints[2]", "there twice"),
        (format!("{base}{two}[mix]\nendpoints = []\n"), 8, "mix.endpoints", "names no endpoint"),
        (format!("{base}{two}[mix]\nendpoints = 1\n"), 8, "mix.endpoints", "a list of names"),
        (format!("{base}{two}[mix]\nendpoint = \"a\"\n"), 8, "mix.endpoint", "did you mean \"endpoints\"?"),
        (
            format!("{base}[endpoint.a]\nurl = \"http://h:1\"\n[endpoint.b]\nmodel = \"m\"\n"),
            5,
            "endpoint.b.url",
            "missing",
        ),
        (
            format!("{base}[endpoint.a]\nulr = \"http://h:1\"\nurl = \"http://h:1\"\n"),
            4,
            "endpoint.a.ulr",
            "did you mean \"url\"?",
        ),
        (format!("{base}[endpoint.a]\nurl = \"h:1/x y\"\n"), 4, "endpoint.a.url", "not a URL"),
        (
            format!("{base}[endpoint.a]\nurl = \"sim:\"\nsim = {{ max_num_seq = 1 }}\n"),
            5,
            "endpoint.a.sim.max_num_seq",
            "unknown knob",
        ),
        (
            format!("[grid]\nusers = [1]\n\"endpoint.c.weight\" = [1]\n{two}"),
            3,
            "grid.endpoint.c.weight",
            "no [endpoint.c]",
        ),
        (
            format!("[grid]\nusers = [1]\nendpoints = [\"a\", \"x\"]\n{two}"),
            3,
            "grid.endpoints",
            "unknown word",
        ),
    ] {
        let found = mistakes(&text);
        let right = |m: &Mistake| m.key == key && m.line == line && m.to_string().contains(part);
        assert!(found.iter().any(right), "{key} {part}\n{text}\n{found:#?}");
        assert_eq!(found.len(), 1, "one slip is one mistake\n{text}\n{found:#?}");
    }
    let nowhere = mistakes(&format!("{base}[task.a]\nweight = 2\n"));
    assert_eq!(
        (nowhere.len(), nowhere[0].key.as_str(), nowhere[0].kind),
        (1, "target.url", MistakeKind::Missing)
    );
}
