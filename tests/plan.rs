//! From an experiment file to its plan: the committed examples, the page, grids, identities.

use std::collections::BTreeSet;
use std::path::Path;

use plimsoll::experiment::{Experiment, Mistakes, template};
use plimsoll::plan::{self, Plan};
use proptest::prelude::*;
use serde_json::json;

pub(crate) fn parse(text: &str, sets: &[&str]) -> Result<Experiment, Mistakes> {
    let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
    Experiment::parse(Path::new("file.toml"), text, &sets)
}

pub(crate) fn plan_of(text: &str) -> Plan {
    let experiment = parse(text, &[]).unwrap_or_else(|m| panic!("{m}\n{text}"));
    plan::build(&experiment).unwrap_or_else(|m| panic!("{m}\n{text}"))
}

/// A file around a `[grid]`.
pub(crate) fn with_grid(grid: &str) -> String {
    format!("seed = 7\n[target]\nurl = \"sim:\"\n[grid]\n{grid}\n")
}

const ISSUE: &str = r#"
name = "capacity"
seed = 42

[target]
url = "http://127.0.0.1:8000"     # or "sim:" for the embedded simulator
api = "openai-chat"
model = "auto"                    # the first that the server lists
api_key_env = "OPENAI_API_KEY"
timeout = "120s"

[grid]
users = [1, 4, 16]                # closed loop; with qps = [...] open loop
prompt_tokens = [128, 512]
max_tokens = [64]
repeats = 3

[cell]
duration = "30s"
requests = 1000                   # whichever comes first
warmup = "5s"
cooldown = { min = "2s", max = "60s" }

[slo]
ttft_p95 = "1s"
error_rate = 0.01
"#;

#[test]
fn the_first_example_works_as_it_stands() {
    let plan = plan_of(ISSUE);
    assert_eq!(plan.cells.len(), 18);
    let cell = &plan.cells[0];
    assert_eq!((cell.index, cell.repeat), (0, 1));
    assert_eq!(cell.varying, ["load.users", "workload.prompt_tokens"]);
    assert_eq!(
        json!(cell.factors),
        json!({
            "load.qps": null, "load.users": 1, "workload.max_tokens": 64, "workload.prompt_tokens": 128
        })
    );
    // As written: the first axis slowest, and each cell's repeats in a row.
    let order: Vec<_> = plan
        .cells
        .iter()
        .map(|c| (&c.factors["load.users"], &c.factors["workload.prompt_tokens"], c.repeat))
        .collect();
    assert_eq!(order[2], (&json!(1), &json!(128), 3));
    assert_eq!(order[3], (&json!(1), &json!(512), 1));
    assert_eq!(order[17], (&json!(16), &json!(512), 3));
    assert_eq!(cell.settings.slo.rules.len(), 2);
    assert_eq!(cell.settings.slo.request[0].limit_ms, 1000.0);
}

#[test]
fn an_experiment_hash_covers_what_runs_and_nothing_else() {
    let hash = |text: &str| plan_of(text).experiment_hash;
    let usual = hash(ISSUE);
    assert_eq!(usual, hash(&format!("# a comment\n{ISSUE}\n[report]\ntitle = \"Another\"\n")));
    assert_ne!(usual, hash(&ISSUE.replace("5s", "6s")));
    assert_ne!(usual, hash(&ISSUE.replace("seed = 42", "seed = 43")));
    assert_ne!(usual, hash(&ISSUE.replace("repeats = 3", "repeats = 2")));
    assert_ne!(usual, hash(&ISSUE.replace("seed = 42", "seed = 42\nsalt = \"x\"")));
    assert_eq!(usual.len(), 64);
}

#[test]
fn every_committed_experiment_plans() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        let experiment = Experiment::load(&path, &[]).unwrap_or_else(|m| panic!("{m}"));
        let plan = plan::build(&experiment).unwrap_or_else(|m| panic!("{m}"));
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert_eq!(plan.name, stem, "a file and its runs have one name");
        let table = plan::render_table(&plan);
        assert!(table.contains(&plan.cells[0].id.0) && table.contains("output tokens"), "{table}");
        names.insert(stem);
    }
    for name in [
        "quickstart",
        "capacity",
        "smoke",
        "spike",
        "recommended-sequence",
        "ramp",
        "fixed-200-200",
        "llm-bench-sweep",
    ] {
        assert!(names.contains(name), "{name}");
    }
}

#[test]
fn the_quickstart_takes_less_than_a_minute() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/quickstart.toml");
    let plan = plan::build(&Experiment::load(&path, &[]).unwrap()).unwrap();
    let estimate = plan::estimate(&plan);
    assert!(estimate.expected_s < 50.0, "{}", estimate.expected_s);
    assert!(plan.cells.len() >= 6);
    assert!(plan.cells.iter().all(|c| c.settings.target.is_sim()));
}

#[test]
fn the_template_is_an_experiment() {
    assert_eq!(plan_of(&template()).cells.len(), 3);
}

#[test]
fn the_template_is_one_with_every_key_put_in() {
    let mut text = String::new();
    for line in template().lines() {
        let bare = line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' '));
        text.push_str(bare.unwrap_or(line));
        text.push('\n');
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "client.pem", "client.key"] {
        std::fs::write(folder.path().join(name), "only named here").unwrap();
    }
    let path = folder.path().join("my-experiment.toml");
    std::fs::write(&path, &text).unwrap();
    let experiment = Experiment::load(&path, &[]).unwrap_or_else(|m| panic!("{m}\n{text}"));
    let plan = plan::build(&experiment).unwrap_or_else(|m| panic!("{m}\n{text}"));
    // 3 users × 2 zipped lengths × 2 temperatures, less 2, and 1 more.
    assert_eq!(plan.cells.len(), 11);
}

#[test]
fn the_page_explains_every_key_of_the_template() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/experiment-file.md"))
        .unwrap();
    let mut keys = 0;
    for line in template().lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains([' ', '"', '-'])) else {
            continue;
        };
        // What users name themselves: an entry of extra_body.
        if key == "priority" {
            continue;
        }
        let told =
            [format!("`{key}`"), format!(".{key}`"), format!("{key} = ")].iter().any(|t| page.contains(t));
        assert!(told, "{key}");
        keys += 1;
    }
    assert!(keys > 50, "{keys}");
}

#[test]
fn the_defaults_that_the_page_names_are_those_of_the_code() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/experiment-file.md"))
        .unwrap();
    let bare = "name = \"a\"\n[target]\nurl = \"sim:\"\n[grid]\nusers = [1]\n";
    // Arrivals are an open loop's.
    let open = "name = \"a\"\n[target]\nurl = \"sim:\"\n[grid]\nqps = [1]\n";
    let custom = "name = \"a\"\n[target]\nurl = \"sim:\"\napi = \"custom\"\n[target.custom]\npath = \"/a\"\n\
                  [grid]\nusers = [1]\n";
    let served =
        "name = \"a\"\n[target]\nurl = \"http://h:1\"\n[server]\ncommand = \"a\"\n[grid]\nusers = [1]\n";
    let notified = format!("{bare}[notify]\ncommand = [\"a\"]\n");
    let (mut section, mut checked) = (String::new(), Vec::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let name = title.strip_prefix("`[").and_then(|rest| rest.split(']').next());
            section = name.map_or_else(String::new, |name| format!("{name}."));
        } else if line.starts_with("### ") {
            // Keys of a table that is not there unless it is asked for: its tests hold them.
            section = "-".to_owned();
        }
        if section == "-" {
            continue;
        }
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, key, default, _, _] = columns[..] else { continue };
        let Some(key) = key.strip_prefix('`').and_then(|k| k.strip_suffix('`')) else { continue };
        let first = default.split(' ').next().unwrap();
        let value = match default.strip_prefix('`').and_then(|d| d.strip_suffix('`')) {
            Some(code) => code.to_owned(),
            None if default == "none" || first.starts_with(|c: char| c.is_ascii_digit()) => {
                first.parse::<u64>().map_or_else(|_| format!("{first:?}"), |number| number.to_string())
            }
            // In words, such as "the file's name".
            None => continue,
        };
        let path = format!("{section}{key}");
        let text = match path.as_str() {
            "load.arrivals" => open,
            path if path.starts_with("target.custom.") => custom,
            path if path.starts_with("server.") => served,
            path if path.starts_with("notify.") => &notified,
            _ => bare,
        };
        let told = parse(text, &[&format!("{path}={value}")]).unwrap_or_else(|m| panic!("{path}: {m}"));
        let hash = plan::build(&told).unwrap().experiment_hash;
        assert_eq!(hash, plan_of(text).experiment_hash, "{path} = {value} is not the default");
        let bare = parse(text, &[]).unwrap();
        // They are in no hash.
        let same = (&told.notify, &told.observe, &told.fleet) == (&bare.notify, &bare.observe, &bare.fleet);
        assert!(same, "{path} = {value} is not the default");
        checked.push(path);
    }
    for path in [
        "seed",
        "target.custom.framing",
        "target.timeout",
        "workload.max_tokens",
        "grid.order",
        "cell.cooldown",
        "cell.duration",
        "server.stop.grace",
    ] {
        assert!(checked.iter().any(|c| c == path), "{path} is not among {checked:?}");
    }
    assert!(checked.len() >= 25, "{checked:?}");
}

#[test]
fn names_of_grids_stand_for_what_only_differs_between_them() {
    let file = |names: [&str; 2]| {
        let grid = |name: &str, users: &str, time: &str| {
            format!("[[grid]]\n{name}\nusers = {users}\n\"cell.duration\" = \"{time}\"\n")
        };
        let [a, b] = names;
        format!("[target]\nurl = \"sim:\"\n{}{}", grid(a, "[1, 2]", "2s"), grid(b, "[9]", "3s"))
    };
    let named = plan_of(&file(["name = \"a\"", "name = \"b\""]));
    for (cell, grid) in named.cells.iter().zip(["a", "a", "b"]) {
        assert_eq!(cell.varying, ["grid", "load.users"]);
        assert_eq!(cell.factors["grid"], grid);
    }
    let plain = plan_of(&file(["", ""]));
    assert_eq!(plain.cells[0].varying, ["load.users", "cell.duration"]);
    assert_eq!(plain.experiment_hash, named.experiment_hash, "a name is no part of what runs");
    let ids = |plan: &Plan| plan.cells.iter().map(|cell| cell.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&plain), ids(&named), "nor of what a cell is");
    // What varies within a grid is told as ever.
    let sweep = plan_of(&file(["name = \"a\"", "name = \"b\""]).replace("\"2s\"", "[\"2s\", \"3s\"]"));
    assert_eq!(sweep.cells[0].varying, ["load.users", "cell.duration"]);
}

#[test]
fn the_page_s_example_plans() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/experiment-file.md"))
        .unwrap();
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(plan_of(example).cells.len(), 18);
}

#[test]
fn ranges_give_round_values() {
    let values = |grid: &str, path: &str| -> Vec<serde_json::Value> {
        plan_of(&with_grid(grid)).cells.iter().map(|c| c.factors[path].clone()).collect()
    };
    let log = values("users = { from = 1, to = 64, steps = 7, scale = \"log\" }", "load.users");
    assert_eq!(json!(log), json!([1, 2, 4, 8, 16, 32, 64]));
    // Distinct whole numbers, even when the steps are finer.
    let fine = values("users = { from = 1, to = 3, steps = 9 }", "load.users");
    assert_eq!(json!(fine), json!([1, 2, 3]));
    let rates = values("qps = { from = 1, to = 10, steps = 3, scale = \"log\" }", "load.qps");
    assert_eq!(json!(rates), json!([1, 3.162, 10]));
    let paces = values("qps = { from = 0.1, to = 0.5, step = 0.2 }", "load.qps");
    assert_eq!(json!(paces), json!([0.1, 0.3, 0.5]));
}

#[test]
fn axes_of_other_settings() {
    let grid = "users = [1]\n\"target.model\" = [\"a\", \"b\"]\ntarget.timeout = [\"1s\"]\nworkload.temperature = 0.5";
    let plan = plan_of(&with_grid(grid));
    assert_eq!(plan.cells.len(), 2);
    assert_eq!(plan.cells[1].settings.target.model, "b");
    assert_eq!(plan.cells[1].varying, ["target.model"]);
    assert_eq!(plan.cells[1].factors["workload.temperature"], json!(0.5));
    assert_eq!(plan.cells[1].factors["target.timeout"], json!("1s"));
}

#[test]
fn several_grids_run_as_written() {
    let text = "seed = 3\n[target]\nurl = \"sim:\"\n[load]\narrivals = \"constant\"\n\
                [[grid]]\nname = \"users\"\nusers = [2, 1]\nrepeats = 2\norder = \"repeat-major\"\n\
                [[grid]]\nname = \"rates\"\nqps = [1, 2]\nusers = [9]\n";
    let plan = plan_of(text);
    let told: Vec<String> = plan
        .cells
        .iter()
        .map(|c| format!("{} {} {}", c.grid.as_deref().unwrap(), c.factors["load.users"], c.repeat))
        .collect();
    assert_eq!(told, ["users 2 1", "users 1 1", "users 2 2", "users 1 2", "rates 9 1", "rates 9 1"]);
    assert_eq!(plan.cells[5].varying, ["load.users", "load.qps"]);
    assert_eq!(
        json!(plan.cells[5].settings.load),
        json!({"loop": "open", "qps": 2.0, "arrivals": "constant", "max_in_flight": 9})
    );
}

#[test]
fn a_shuffle_is_drawn_from_the_seed_round_by_round() {
    let rounds = |seed: u32, order: &str| -> Vec<Vec<u64>> {
        let text = format!(
            "seed = {seed}\n[target]\nurl = \"sim:\"\n[grid]\nusers = {{ from = 1, to = 12, step = 1 }}\nrepeats = 3\n\
             order = \"{order}\"\n"
        );
        let plan = plan_of(&text);
        let users: Vec<u64> = plan.cells.iter().map(|c| c.factors["load.users"].as_u64().unwrap()).collect();
        assert!(plan.cells.chunks(12).enumerate().all(|(r, c)| c.iter().all(|c| c.repeat as usize == r + 1)));
        users.chunks(12).map(<[u64]>::to_vec).collect()
    };
    let written: Vec<u64> = (1..=12).collect();
    assert_eq!(rounds(1, "repeat-major"), vec![written.clone(); 3]);
    let shuffled = rounds(1, "shuffled");
    assert_eq!(shuffled, rounds(1, "shuffled"));
    assert_ne!(shuffled, rounds(2, "shuffled"));
    for (i, round) in shuffled.iter().enumerate() {
        assert!(*round != written && shuffled[..i].iter().all(|other| other != round), "{shuffled:?}");
        let mut sorted = round.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, written);
    }
}

#[test]
fn a_plan_reads_as_a_table() {
    let text = with_grid("qps = [2]\nusers = [8]\n\"workload.temperature\" = [0, 1]\nrepeats = 2");
    assert_eq!(
        plan::render_table(&plan_of(&text)),
        "\
file: openai-chat at sim: (its first model), seed 7

#  cell              load                    prompt  output  workload.temperature  repeats  each           requests
1  da5189b1eec4e0b5  2/s poisson, at most 8  512     128     0                     2        1m6s to 2m35s  about 130
3  a39e8afae03fc178  2/s poisson, at most 8  512     128     1                     2        1m6s to 2m35s  about 130

2 cells, 4 with their repeats
time           4m23s to 9m20s (about 4m23s)
requests       about 520
prompt tokens  about 266,240
output tokens  about 66,560
"
    );
}

#[test]
fn a_file_without_a_grid_is_one_cell() {
    let plan = plan_of("[target]\nurl = \"sim:\"\n[load]\nqps = 3\n[cell]\nrequests = 30\nwarmup = \"0s\"");
    assert_eq!(plan.cells.len(), 1);
    assert!(plan.cells[0].varying.is_empty());
    assert_eq!(plan.name, "file");
    let estimate = plan::estimate(&plan);
    assert_eq!(estimate.expected_s, 10.0);
    assert_eq!(estimate.requests.unwrap().count, 30);
    assert_eq!(estimate.output_tokens.unwrap().count, 30 * 128);
}

#[test]
fn what_is_not_known_is_not_estimated() {
    let closed = |cell: &str| {
        plan::estimate(&plan_of(&format!("[target]\nurl = \"sim:\"\n[load]\nusers = 3\n[cell]\n{cell}\n")))
    };
    let timed = closed("duration = \"10s\"\nwarmup = \"1s\"\ncooldown = \"9s\"\ndrain = \"2s\"");
    assert_eq!((timed.seconds.min, timed.seconds.max), (11.0, Some(13.0)), "no cooldown after the last");
    assert_eq!(timed.requests, None);
    let counted = closed("requests = 10");
    assert_eq!(counted.seconds.max, None);
    assert!(counted.requests.unwrap().at_most);
}

#[test]
fn shapes_of_load_are_shown_and_estimated() {
    let of = |load: &str| {
        let plan = plan_of(&format!("target.url = \"sim:\"\ncell.warmup = \"4s\"\n{load}"));
        (plan::render_table(&plan), plan::estimate(&plan))
    };
    let (table, estimate) =
        of("load = { qps = 5, arrivals = \"gamma\", burstiness = 0.5 }\ncell.requests = 50");
    assert!(table.contains("5/s gamma 0.5 "), "{table}");
    assert_eq!((estimate.expected_s, estimate.requests.unwrap().count), (14.0, 70));
    let (table, estimate) = of("load = { users = 20, burst = \"2500ms\" }\ncell.duration = \"10s\"");
    assert!(table.contains("20 at once every 2.5s "), "{table}");
    assert_eq!(estimate.requests.unwrap().count, 8 * 14);
    let (table, estimate) = of("load = { users = 4, think = \"2s\", spawn_rate = 2 }\ncell.requests = 40");
    assert!(table.contains("4 users, think 2s "), "{table}");
    // Two seconds of spawning, four of warm-up, ten rounds of thinking for each user.
    assert_eq!((estimate.seconds.min, estimate.seconds.max), (26.0, None));
    let stages = "load.qps = 10\n[stage.low]\nduration = \"5s\"\n[stage.high]\nduration = \"10s\"\nramp = \"4s\"\ntimes = 3\n";
    let (table, estimate) = of(stages);
    assert!(table.contains("10 → 30/s poisson "), "{table}");
    // 40 in the warm-up, 50, 80 while the rate rises, 180.
    assert_eq!((estimate.expected_s, estimate.requests.unwrap().count), (19.0, 350));
}

#[test]
fn a_plan_survives_its_own_json() {
    let shapes = "load = { users = 2, think = { exponential = \"2s\" } }\nworkload.cancel = 0.1\n\
                  [stage.a]\nduration = \"5s\"\n[stage.b]\nduration = \"5s\"\ntimes = 2\nrecovers = \"a\"";
    let gamma = "load = { qps = 2, arrivals = \"gamma\", burstiness = 2 }";
    let burst = "load = { users = 3, burst = \"2s\" }";
    let texts = [shapes, gamma, burst].map(|text| format!("target.url = \"sim:\"\n{text}\n"));
    for text in texts.iter().map(String::as_str).chain([ISSUE]) {
        let plan = plan_of(text);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}

/// Distinct numbers below a bound, in any order.
fn values(bound: u32) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::btree_set(1..bound, 1..5)
        .prop_map(|set| set.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cells_are_the_product_less_the_excluded_and_the_included_more(
        users in values(50),
        prompts in values(5000),
        outputs in values(500),
        excluded in 0..4_usize,
        included in 0..3_u32,
        repeats in 1..4_u32,
        order in prop::sample::select(vec!["as-written", "repeat-major", "shuffled"]),
    ) {
        let pattern = excluded.min(users.len() - 1);
        let exclude: Vec<String> = users[..pattern].iter().map(|u| format!("{{ users = {u} }}")).collect();
        let include: Vec<String> = (0..included).map(|i| format!("{{ users = {} }}", 100 + i)).collect();
        let grid = |users: &[u32], prompts: &[u32], order: &str| with_grid(&format!(
            "users = {users:?}\nprompt_tokens = {prompts:?}\nmax_tokens = {outputs:?}\nrepeats = {repeats}\n\
             order = \"{order}\"\nexclude = [{}]\ninclude = [{}]",
            exclude.join(", "), include.join(", ")
        ));
        let text = grid(&users, &prompts, order);
        let plan = plan_of(&text);
        let product = (users.len() - pattern) * prompts.len() * outputs.len();
        prop_assert_eq!(plan.cells.len(), (product + included as usize) * repeats as usize);
        prop_assert_eq!(&plan, &plan_of(&text), "the same file, the same plan");

        let seeds: BTreeSet<u64> = plan.cells.iter().map(|c| c.seed).collect();
        prop_assert_eq!(seeds.len(), plan.cells.len(), "every cell and repeat has its own seed");
        let indices: Vec<u32> = plan.cells.iter().map(|c| c.index).collect();
        prop_assert_eq!(indices, (0..plan.cells.len() as u32).collect::<Vec<_>>());

        // Ids and seeds are of the cell alone, wherever it stands.
        let identities = |plan: &Plan| -> BTreeSet<(String, u32, u64)> {
            plan.cells.iter().map(|c| (c.id.0.clone(), c.repeat, c.seed)).collect()
        };
        let (mut users, mut prompts) = (users.clone(), prompts.clone());
        users.reverse();
        prompts.reverse();
        let other = plan_of(&grid(&users, &prompts, "repeat-major"));
        prop_assert_eq!(identities(&plan), identities(&other));
        prop_assert_eq!(identities(&plan).len(), plan.cells.len());
    }

    #[test]
    fn zipped_axes_go_together(pairs in prop::collection::btree_map(1..500_u32, 1..500_u32, 1..6), rates in values(9)) {
        let (prompts, outputs): (Vec<u32>, Vec<u32>) = pairs.iter().unzip();
        let plan = plan_of(&with_grid(&format!(
            "qps = {rates:?}\nprompt_tokens = {prompts:?}\nmax_tokens = {outputs:?}\n\
             zip = [[\"max_tokens\", \"prompt_tokens\"]]"
        )));
        prop_assert_eq!(plan.cells.len(), pairs.len() * rates.len());
        for cell in &plan.cells {
            let prompt = cell.factors["workload.prompt_tokens"].as_u64().unwrap() as u32;
            prop_assert_eq!(cell.factors["workload.max_tokens"].as_u64().unwrap(), u64::from(pairs[&prompt]));
        }
    }
}
