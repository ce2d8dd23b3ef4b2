//! `[workload]`: lengths, files, conversations, pictures, traces, sampling.

use std::time::Duration;

use serde_json::json;

use super::*;

/// A folder with the files that the tests name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("lengths.txt", "10\n20\n60\n"),
        ("lengths.csv", "in,out,count\n5,100,1\n7,300,3\n"),
        ("bad.txt", "10\nten\n"),
        ("x.jsonl", "{\"prompt\": \"a\"}\n"),
        ("talk.json", "[]"),
        ("trace.csv", "at_s,prompt_tokens,max_tokens\n0,1,1\n"),
        ("tools.json", "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]"),
        ("broken.json", "[{"),
        ("a.png", "picture"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn parse(folder: &tempfile::TempDir, section: &str) -> Result<Experiment, Mistakes> {
    parse_by(folder, "openai-chat", section)
}

fn parse_by(folder: &tempfile::TempDir, api: &str, section: &str) -> Result<Experiment, Mistakes> {
    let text =
        format!("target.url = \"sim:\"\ntarget.api = \"{api}\"\nload.users = 1\n[workload]\n{section}");
    Experiment::parse(&folder.path().join("file.toml"), &text, &[])
}

fn workload(folder: &tempfile::TempDir, section: &str) -> Workload {
    workload_of(parse(folder, section).unwrap_or_else(|m| panic!("{section}\n{m}")))
}

fn workload_of(experiment: Experiment) -> Workload {
    let reader = experiment.reader();
    let (settings, _) = experiment.settings(&reader, &[]);
    assert_eq!(reader.mistakes(), 0);
    settings.workload
}

#[test]
fn what_is_not_asked_for_is_not_written() {
    let folder = folder();
    let usual = workload(&folder, "");
    assert_eq!(usual, Workload::default());
    let keys: Vec<String> = json!(usual).as_object().unwrap().keys().cloned().collect();
    let known_before = [
        "prompt_tokens",
        "max_tokens",
        "prompt",
        "prefix",
        "tokenizer",
        "unique_prompts",
        "stream",
        "force_length",
        "sampling",
    ];
    assert_eq!(keys, known_before, "a plan made before the other keys existed keeps its hash");
    assert_eq!(json!(usual.max_tokens), json!({"mean": 128, "shape": "constant", "range": 0.0, "cap": null}));
    assert_eq!(serde_json::from_value::<Workload>(json!(usual)).unwrap(), usual);
}

#[test]
fn lengths_by_formula() {
    let folder = folder();
    let read = |text: &str| workload(&folder, &format!("max_tokens = {text}")).max_tokens;
    let shaped = Lengths::shaped;
    assert_eq!(
        read("{ mean = 100, distribution = \"lognormal\" }"),
        shaped(LengthShape::Lognormal, 100, 0.3)
    );
    assert_eq!(
        read("{ mean = 100, distribution = \"normal\", width = 60 }"),
        shaped(LengthShape::Normal, 100, 0.6)
    );
    assert_eq!(
        read("{ mean = 100, distribution = \"uniform\", range = 0.6 }"),
        read("{ mean = 100, distribution = \"uniform\", width = 60 }"),
        "however it is written, it is the same cell"
    );
    let bounded = Lengths { min: Some(20), cap: Some(90), jitter: 0.1, ..Lengths::constant(50) };
    assert_eq!(read("{ mean = 50, min = 20, cap = 90, jitter = 0.1 }"), bounded);
    assert_eq!(read("{ mean = 50, min = 1 }"), Lengths::constant(50));
    assert_eq!(serde_json::from_value::<Lengths>(json!(bounded)).unwrap(), bounded);
}

#[test]
fn lengths_from_files() {
    let folder = folder();
    let read = |text: &str| workload(&folder, &format!("prompt_tokens = {text}")).prompt_tokens;
    let plain = read("{ file = \"lengths.txt\", cap = 50 }");
    assert_eq!((plain.shape, plain.mean, plain.cap), (LengthShape::Empirical, 30, Some(50)));
    let table = read("{ file = \"lengths.csv\", column = \"out\", distribution = \"empirical\" }");
    let from = table.file.clone().unwrap();
    assert_eq!((table.mean, from.column.as_deref(), from.weight), (250, Some("out"), None));
    assert_eq!(from.file.path, folder.path().join("lengths.csv"));
    assert_eq!(from.file.sha256.len(), 64);
    let table = read("{ file = \"lengths.csv\", column = \"in\", weight = \"out\" }");
    assert_eq!(table.mean, 7, "6.5, rounded");
    assert_eq!(serde_json::from_value::<Lengths>(json!(table)).unwrap(), table);
    assert!(!json!(table).to_string().contains("300"), "the data themselves stay where they are");
}

#[test]
fn files_and_conversations() {
    let folder = folder();
    let dataset = workload(&folder, "dataset = { file = \"x.jsonl\", limit = \"1k\", shuffle = 7 }");
    assert!(!dataset.unique_prompts && !dataset.asks_prompt_lengths() && !dataset.foretells_prompt_tokens());
    let dataset = dataset.dataset.unwrap();
    assert_eq!((dataset.limit, dataset.shuffle, dataset.repeat), (Some(1000), Shuffle::Seed(7), true));
    let once = workload(&folder, "dataset = { file = \"x.jsonl\", shuffle = true, repeat = false }")
        .dataset
        .unwrap();
    assert_eq!((once.shuffle, once.repeat), (Shuffle::Cell, false));

    let text = "conversations = { file = \"talk.json\", turns = { min = 2, max = 8 }, limit = 5, \
                think = { min = \"1s\", max = \"3s\" }, recorded_lengths = true }";
    let talks = workload(&folder, text);
    assert!(!talks.asks_output_lengths());
    let talks = talks.conversations.unwrap();
    assert_eq!((talks.min_turns, talks.max_turns, talks.limit), (2, Some(8), Some(5)));
    let seconds = Duration::from_secs;
    assert_eq!(talks.think, Some(Pause::Uniform { min: seconds(1), max: seconds(3) }));

    let session = workload(&folder, "session = { turns = 4, think = \"2s\" }");
    assert!(session.unique_prompts && session.asks_prompt_lengths());
    let session = session.session.unwrap();
    assert_eq!(session.turns, Lengths::constant(4));
    assert_eq!(session.think, Some(Pause::Constant { mean: seconds(2) }));
    let text = "session = { turns = { mean = 4, distribution = \"uniform\" }, \
                think = { mean = \"2s\", distribution = \"exponential\" } }";
    let session = workload(&folder, text).session.unwrap();
    assert_eq!(session.think, Some(Pause::Exponential { mean: seconds(2) }));

    let trace =
        workload(&folder, "trace = { file = \"trace.csv\", format = \"plain\", scale = 0.5, skip = 2 }");
    assert!(trace.unique_prompts && !trace.asks_prompt_lengths() && !trace.asks_output_lengths());
    let trace = trace.trace.unwrap();
    assert_eq!(
        (trace.format, trace.scale, trace.skip, trace.limit),
        (Some(TraceFormat::Plain), 0.5, 2, None)
    );
    let auto = workload(&folder, "trace = { file = \"trace.csv\", format = \"auto\" }").trace.unwrap();
    assert_eq!((auto.format, auto.scale), (None, 1.0));
}

#[test]
fn prefixes_and_pictures() {
    let folder = folder();
    let shared = |text: &str| workload(&folder, &format!("shared_prefix = {text}")).shared_prefix.unwrap();
    let want = SharedPrefix { length: SharedLength::Tokens(512), groups: 4 };
    assert_eq!(shared("{ tokens = 512, groups = 4 }"), want);
    assert_eq!(shared("{ share = \"50%\" }"), SharedPrefix { length: SharedLength::Share(0.5), groups: 1 });
    let images = |text: &str| workload(&folder, &format!("images = {text}")).images.unwrap();
    let one = images("{ width = 512, height = 256 }");
    assert_eq!((one.count, one.pool, &one.sizes[..]), (1, 4, &[ImageSize { width: 512, height: 256 }][..]));
    let many = images("{ count = 2, sizes = [\"512x512\", \"1024x768\"], pool = 9 }");
    assert_eq!((many.count, many.sizes.len(), many.pool), (2, 2, 9));
    let files = images("{ files = [\"a.png\"] }").files;
    assert_eq!(files[0].media_type(), Some("image/png"));
    let text = "suffix = \"Go.\"\nrandom_digits = 8\nbatch = 3\nquery_tokens = 30";
    let all = workload_of(parse_by(&folder, "openai-rerank", text).unwrap_or_else(|m| panic!("{m}")));
    assert_eq!((all.suffix.as_deref(), all.random_digits, all.batch), (Some("Go."), 8, 3));
    assert_eq!(all.query_tokens, Some(Lengths::constant(30)));
    assert_eq!((all.keep_answers, workload(&folder, "keep_answers = 20").keep_answers), (0, 20));
}

#[test]
fn sampling_of_tables_and_files() {
    let folder = folder();
    let text = "seed = \"per_request\"\ntools = \"@tools.json\"\ntool_choice = \"required\"\nmin_p = 0.1\n\
                response_format = { type = \"json_object\" }\nparallel_tool_calls = false";
    let read = workload(&folder, text);
    assert!(read.seed_per_request && !read.sampling.contains_key("seed"));
    let want = json!({
        "min_p": 0.1, "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required",
        "parallel_tool_calls": false, "response_format": {"type": "json_object"},
    });
    assert_eq!(json!(read.sampling), want);
    let text = "tools = [{ type = \"function\", function = { name = \"f\" } }]\n\
                tool_choice = { type = \"function\", function = { name = \"f\" } }\nseed = \"10k\"";
    let read = workload(&folder, text).sampling;
    assert_eq!(read["tools"], want["tools"]);
    assert_eq!((&read["tool_choice"]["function"]["name"], &read["seed"]), (&json!("f"), &json!(10_000)));
}

#[test]
fn limits_of_a_workload() {
    use MistakeKind::{BadValue, Conflict, Missing, OutOfRange, UnknownKey, UnknownWord, WrongType};
    let folder = folder();
    for (text, key, kind, part) in [
        (
            "max_tokens = { mean = 9, distribution = \"normal\", range = 1, width = 4 }",
            "max_tokens.width",
            Conflict,
            "not both",
        ),
        (
            "max_tokens = { mean = 9, distribution = \"uniform\", width = 10 }",
            "max_tokens.width",
            OutOfRange,
            "1 to 9",
        ),
        ("max_tokens = { mean = 9, width = 4 }", "max_tokens.width", Conflict, "have a width"),
        ("max_tokens = { mean = 9, min = 10 }", "max_tokens.min", Conflict, "above the constant length 9"),
        (
            "max_tokens = { mean = 9, distribution = \"normal\", min = 5, cap = 4 }",
            "max_tokens.min",
            Conflict,
            "above the cap 4",
        ),
        ("max_tokens = { mean = 9, jitter = 2 }", "max_tokens.jitter", OutOfRange, "0 to 1"),
        ("max_tokens = { mean = 9, column = \"a\" }", "max_tokens.column", Conflict, "without a file"),
        (
            "max_tokens = { distribution = \"empirical\" }",
            "max_tokens.distribution",
            Conflict,
            "wants a file",
        ),
        (
            "max_tokens = { mean = 9, distribution = \"lognomal\" }",
            "max_tokens.distribution",
            UnknownWord,
            "did you mean \"lognormal\"",
        ),
        ("max_tokens = { file = \"none.txt\" }", "max_tokens.file", BadValue, "no such file"),
        (
            "max_tokens = { file = \"bad.txt\" }",
            "max_tokens.file",
            BadValue,
            "line 2: not a length in tokens; found \"ten\"",
        ),
        (
            "max_tokens = { file = \"lengths.csv\" }",
            "max_tokens.file",
            BadValue,
            "has to say which holds the lengths; there are \"in\"",
        ),
        ("max_tokens = { file = \"lengths.txt\", mean = 4 }", "max_tokens.mean", Conflict, "the file says"),
        (
            "max_tokens = { file = \"lengths.txt\", distribution = \"normal\" }",
            "max_tokens.distribution",
            Conflict,
            "\"empirical\"",
        ),
        ("dataset = { limit = 3 }", "dataset.file", Missing, "path of a file"),
        ("dataset = \"x.jsonl\"", "dataset", WrongType, "{ file = "),
        (
            "dataset = { file = \"x.jsonl\", shuffle = \"yes\" }",
            "dataset.shuffle",
            WrongType,
            "a number to shuffle by",
        ),
        (
            "dataset = { file = \"x.jsonl\" }\nprompt_tokens = 5",
            "prompt_tokens",
            Conflict,
            "no prompt_tokens beside dataset",
        ),
        (
            "dataset = { file = \"x.jsonl\" }\nprompt = \"a\"",
            "dataset",
            Conflict,
            "prompts come from one place",
        ),
        (
            "dataset = { file = \"x.jsonl\" }\nunique_prompts = true",
            "unique_prompts",
            Conflict,
            "cannot differ",
        ),
        ("dataset = { file = \"x.jsonl\" }\nbatch = 2", "batch", Conflict, "a list of texts is a batch"),
        (
            "conversations = { file = \"talk.json\", turns = { min = 3, max = 2 } }",
            "conversations.turns.max",
            Conflict,
            "below min",
        ),
        (
            "conversations = { file = \"talk.json\", recorded_lengths = true }\nmax_tokens = 5",
            "max_tokens",
            Conflict,
            "has no effect",
        ),
        (
            "conversations = { file = \"talk.json\", thnk = \"2s\" }",
            "conversations.thnk",
            UnknownKey,
            "did you mean \"think\"",
        ),
        ("session = { think = \"2s\" }", "session.turns", Missing, "a number of turns"),
        ("session = { turns = 0 }", "session.turns", OutOfRange, "1 to "),
        ("session = { turns = 2, think = 2 }", "session.think", WrongType, "\"2s\" or \"2ms\""),
        (
            "session = { turns = 2, think = { min = \"3s\", max = \"1s\" } }",
            "session.think.max",
            Conflict,
            "below min",
        ),
        ("session = { turns = 2, think = { min = \"3s\" } }", "session.think.max", Missing, "a duration"),
        (
            "session = { turns = 2, think = { mean = \"3s\", max = \"1s\", distribution = \"exponential\" } }",
            "session.think.max",
            Conflict,
            "only a uniform pause",
        ),
        ("session = { turns = 2 }\nbatch = 2", "batch", Conflict, "turn by turn"),
        ("shared_prefix = { groups = 2 }", "shared_prefix.tokens", Missing, "tokens = 512"),
        ("shared_prefix = { tokens = 5, share = 0.5 }", "shared_prefix.share", Conflict, "not both"),
        ("shared_prefix = { share = 0 }", "shared_prefix.share", BadValue, "nothing would be shared"),
        (
            "shared_prefix = { tokens = 5 }\nrandom_digits = 4",
            "random_digits",
            Conflict,
            "no prompt would begin",
        ),
        ("prompt = \"a\"\nsuffix = \"b\"", "suffix", Conflict, "put it into the prompt"),
        ("images = { count = 2 }", "images", Missing, "width and height"),
        ("images = { width = 5 }", "images", Missing, "width and height"),
        ("images = { sizes = [\"5\"] }", "images.sizes[1]", BadValue, "WIDTHxHEIGHT"),
        ("images = { sizes = [] }", "images.sizes", BadValue, "an empty list"),
        (
            "images = { sizes = [\"5x5\"], width = 5, height = 5 }",
            "images.sizes",
            Conflict,
            "only one of these",
        ),
        ("images = { files = [\"x.jsonl\"] }", "images.files[1]", BadValue, ".png"),
        ("images = { files = [\"a.png\"], pool = 3 }", "images.pool", Conflict, "these are files"),
        ("images = { width = 5, height = 5 }\nbatch = 2", "images", Conflict, "pictures go with one prompt"),
        (
            "trace = { file = \"trace.csv\", format = \"mooncak\" }",
            "trace.format",
            UnknownWord,
            "did you mean \"mooncake\"",
        ),
        ("trace = { file = \"trace.csv\", scale = 0 }", "trace.scale", OutOfRange, "more than 0"),
        ("trace = { file = \"trace.csv\" }\nmax_tokens = 4", "max_tokens", Conflict, "the trace says"),
        ("seed = \"per_requst\"", "seed", UnknownWord, "did you mean \"per_request\""),
        ("tools = \"@broken.json\"", "tools", BadValue, "the file is not JSON"),
        ("tools = \"f\"", "tools", WrongType, "a list of tables, or \"@file.json\""),
        ("tools = []", "tools", WrongType, "a list of tables"),
        ("tool_choice = \"any\"", "tool_choice", UnknownWord, "\"required\""),
        ("response_format = [1]", "response_format", WrongType, "a table"),
        ("batch = 0", "batch", OutOfRange, "1 to 10000"),
        ("batch = 3", "batch", Conflict, "\"openai-chat\" takes one prompt a request"),
        ("query_tokens = 3", "query_tokens", Conflict, "\"openai-chat\" takes one prompt a request"),
    ] {
        let found = parse(&folder, text).expect_err(text).0;
        let told: Vec<_> = found.iter().map(|m| (m.key.as_str(), m.kind)).collect();
        assert_eq!(told, [(format!("workload.{key}").as_str(), kind)], "{text}\n{}", found[0]);
        assert!(found[0].to_string().contains(part), "{text}\n{}", found[0]);
    }
}

#[test]
fn a_part_of_a_mix_has_prompts_of_its_own_kind() {
    let folder = folder();
    let text = "prompt_tokens = 64\nsuffix = \"Go.\"\n[task.lines.workload]\ndataset = { file = \"x.jsonl\" }\n\
                [task.talk.workload]\nsession = { turns = 3 }\n\
                [task.replay.workload]\ntrace = { file = \"trace.csv\", times = false }\n\
                [task.fixed.workload]\nprompt = \"Say hello.\"\n";
    let experiment = parse(&folder, text).unwrap_or_else(|m| panic!("{m}"));
    let (settings, _) = experiment.settings(&experiment.reader(), &[]);
    let of = |name: &str| {
        let part = settings.parts.iter().find(|part| part.task.as_deref() == Some(name));
        part.map(|part| part.workload.clone()).expect("a part of that name")
    };
    let lines = of("lines");
    assert!(lines.dataset.is_some() && lines.suffix.is_some() && !lines.unique_prompts);
    assert_eq!(of("talk").prompt_tokens, Lengths::constant(64));
    assert!(of("talk").session.is_some_and(|session| session.turns == Lengths::constant(3)));
    assert!(of("replay").trace.is_some());
    assert_eq!((of("fixed").prompt.as_deref(), of("fixed").suffix), (Some("Say hello."), None));
}
