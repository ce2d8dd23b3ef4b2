//! Defaults and limits of each section.

use std::time::Duration;

use serde_json::json;

use super::*;

/// Settings of a file that is one cell.
pub(super) fn settings(text: &str) -> Settings {
    let experiment = Experiment::parse(Path::new("a/file.toml"), text, &[]).unwrap_or_else(|m| panic!("{m}"));
    let reader = experiment.reader();
    let (settings, _) = experiment.settings(&reader, &[]);
    assert_eq!(reader.mistakes(), 0);
    settings
}

pub(super) fn mistakes(text: &str) -> Vec<Mistake> {
    Experiment::parse(Path::new("a/file.toml"), text, &[]).expect_err("mistakes").0
}

pub(super) fn with(section: &str) -> String {
    format!("target.url = \"sim:\"\nload.users = 1\n{section}")
}

#[test]
fn defaults() {
    let settings = settings(&with(""));
    let target = &settings.target;
    assert_eq!((target.api.as_str(), target.model.as_str()), ("openai-chat", "auto"));
    assert_eq!(target.timeout, Duration::from_secs(120));
    assert_eq!(target.connect_timeout, Duration::from_secs(5));
    assert_eq!((target.first_token_timeout, target.stall_timeout), (None, None));
    assert_eq!(target.api_key_env, None);
    let workload = &settings.workload;
    assert_eq!(workload.prompt_tokens, Lengths::constant(512));
    assert_eq!(workload.max_tokens, Lengths::constant(128));
    assert!(workload.stream && workload.unique_prompts && workload.sampling.is_empty());
    assert_eq!(workload.force_length, ForceLength::Auto);
    assert_eq!(workload.tokenizer, TokenizerChoice::Auto);
    assert_eq!(settings.load, Load::Closed { users: 1 });
    let cell = &settings.cell;
    assert_eq!((cell.duration, cell.requests), (Some(Duration::from_secs(60)), None));
    assert_eq!((cell.warmup, cell.ramp), (Duration::from_secs(5), Duration::ZERO));
    assert_eq!(cell.drain, Duration::from_secs(30));
    assert_eq!((cell.cooldown.min, cell.cooldown.max), (Duration::from_secs(1), Duration::from_secs(60)));
    assert_eq!((settings.client.threads, settings.client.dead_after), (None, 3));
    assert_eq!(settings.slo, Slo::default());
}

#[test]
fn requests_alone_close_the_window() {
    let cell = settings(&with("cell.requests = \"10k\"")).cell;
    assert_eq!((cell.duration, cell.requests), (None, Some(10_000)));
}

#[test]
fn lengths_and_sampling() {
    let text = with(
        "[workload]\nprompt_tokens = { mean = 100, distribution = \"uniform\", cap = 120 }\n\
         max_tokens = { mean = 9, distribution = \"exponential\" }\nstop = [\"a\", \"b\"]\nlogprobs = 3\n\
         temperature = 0\nseed = -1\ntop_k = -1",
    );
    let workload = settings(&text).workload;
    let prompt = Lengths { cap: Some(120), ..Lengths::shaped(LengthShape::Uniform, 100, 0.3) };
    assert_eq!(workload.prompt_tokens, prompt);
    let output = Lengths::shaped(LengthShape::Exponential, 9, 0.0);
    assert_eq!(workload.max_tokens, output);
    let sent = json!({"temperature": 0, "top_k": -1, "seed": -1, "stop": ["a", "b"], "logprobs": 3});
    assert_eq!(json!(workload.sampling), sent);
}

#[test]
fn a_fixed_prompt_is_text_or_a_file() {
    assert_eq!(settings(&with("workload.prompt = \"Say hello.\"")).workload.prompt.unwrap(), "Say hello.");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.txt"), "From a file.").unwrap();
    let path = folder.path().join("file.toml");
    let text = with("workload.prompt = \"@p.txt\"");
    let experiment = Experiment::parse(&path, &text, &[]).unwrap();
    let (settings, _) = experiment.settings(&experiment.reader(), &[]);
    assert_eq!(settings.workload.prompt.unwrap(), "From a file.");
    assert!(!settings.workload.unique_prompts, "one prompt cannot differ from itself");
    let found = mistakes(&with("workload.prompt = \"@nowhere.txt\""));
    assert!(found[0].problem.starts_with("cannot read the file"), "{}", found[0]);
}

#[test]
fn secrets_are_named_not_written() {
    for section in [
        "target.headers.Authorization = \"Bearer hush\"",
        "target.headers.X-Api-Key = \"hush\"",
        "target.api_key = \"hush\"",
        "target.api_key_env = \"sk-hush\"",
        "workload.api_key = \"hush\"",
    ] {
        let found = mistakes(&with(section));
        let text = found.iter().map(ToString::to_string).collect::<String>();
        assert_eq!(found.len(), 1, "{section}\n{text}");
        assert!(!text.contains("hush"), "{section}\n{text}");
    }
    let found = mistakes("target.url = \"http://user:hush@host\"\nload.users = 1");
    assert!(found[0].kind == MistakeKind::Secret && !found[0].to_string().contains("hush"));
    let headers =
        settings(&with("target.headers = { Authorization = \"env:KEY\", X-A = \"b\" }")).target.headers;
    assert_eq!(json!(headers), json!({"Authorization": "env:KEY", "X-A": "b"}));
}

#[test]
fn a_base_with_a_version_works_as_it_is_pasted() {
    for url in ["https://api.openai.com/v1", "http://127.0.0.1:8000/v1/", "http://gateway/llm/v1"] {
        assert_eq!(settings(&format!("target.url = {url:?}\nload.users = 1")).target.url, url);
    }
}

#[test]
fn a_url_that_may_hold_a_password_is_not_repeated() {
    for url in ["user:hush@host:8000", "http://u:hush@host", "//u:hush@h"] {
        let found = mistakes(&format!("target.url = {url:?}\nload.users = 1"));
        assert!(!found[0].to_string().contains("hush"), "{}", found[0]);
    }
}

#[test]
fn newer_models_want_another_key_for_the_length() {
    let usual = settings(&with(""));
    let newer = settings(&with("target.max_tokens_field = \"max_completion_tokens\"")).target;
    assert_eq!(
        (usual.target.max_tokens_field.as_str(), newer.max_tokens_field.as_str()),
        ("max_tokens", "max_completion_tokens")
    );
    let json = serde_json::to_value(&usual.target).unwrap();
    assert!(json.get("max_tokens_field").is_none(), "plans of before keep their hash");
    assert_eq!(serde_json::from_value::<Target>(json).unwrap(), usual.target);
    assert_eq!(
        mistakes(&with("target.max_tokens_field = \"max_tokns\""))[0].nearest.as_deref(),
        Some("max_tokens")
    );
}

#[test]
fn connections_are_made_as_asked() {
    let usual = settings(&with("")).target;
    assert_eq!(usual.connections, Connections::default());
    let json = serde_json::to_value(&usual).unwrap();
    assert!(json.get("connections").is_none(), "plans of before keep their hash");
    let target = settings(&with(
        "target.http = \"2\"\ntarget.keep_alive = false\ntarget.proxy = \"socks5h://p:1\"\ntarget.dns = \"connect\"",
    ))
    .target;
    let connections = Connections {
        http: HttpVersion::Http2,
        keep_alive: false,
        unix_socket: None,
        proxy: Proxy::Url("socks5h://p:1".to_owned()),
        dns: Dns::Connect,
    };
    assert_eq!(target.connections, connections);
    let back: Target = serde_json::from_value(serde_json::to_value(&target).unwrap()).unwrap();
    assert_eq!(back, target);
    for (line, words) in [
        ("target.http = \"3\"", "1.1"),
        ("target.proxy = \"ftp://p\"", "not a proxy"),
        ("target.proxy = \"env:NO GOOD\"", "environment variable"),
        ("target.proxy = \"http://me:hush@p:1\"", "must not be written here"),
        ("target.unix_socket = \"s\"\ntarget.proxy = \"none\"", "before a Unix socket"),
        ("target.tls.cert_file = \"Cargo.toml\"", "only together with key_file"),
        ("workload.stop_after = \"first_token\"\nworkload.stream = false", "no first token"),
    ] {
        let found = mistakes(&with(line));
        assert!(found.iter().any(|m| m.to_string().contains(words)), "{line}: {found:?}");
        assert!(!found.iter().any(|m| m.to_string().contains("hush")), "{line}: {found:?}");
    }
}

#[test]
fn one_slip_is_one_mistake() {
    for (text, key, near) in [
        ("target.url = \"sim:\"\nload.user = 1", "load.user", Some("users")),
        ("target.url = \"sim:\"\n[gird]\nusers = [1]", "gird", Some("grid")),
        ("target.url = \"sim:\"\nload = 3", "load", None),
        ("target.url = \"sim:\"\ngrid = 3", "grid", None),
        ("target.url = \"sim:\"\ngrid.users = []", "grid.users", None),
        ("target.url = \"sim:\"\ngrid.users = { from = 1, to = 8 }", "grid.users", None),
        ("target.url = \"sim:\"\ngrid.user = [1]", "grid.user", Some("users")),
        ("target.url = \"sim:\"\n[grid]\nuser = [1]\nexclude = [{ users = 1 }]", "grid.user", Some("users")),
        ("target.url = \"sim:\"\nload.arrivals = \"constant\"\n[grid]\nqsp = [1]", "grid.qsp", Some("qps")),
        ("target.url = \"sim:\"\nusers = 1", "users", Some("load.users")),
        (
            "target.url = \"sim:\"\nload.users = 1\ncell.stop_after = \"first_token\"",
            "cell.stop_after",
            Some("workload.stop_after"),
        ),
        ("target.url = \"sim:\"\ncell.users = 1", "cell.users", Some("load.users")),
        ("target.url = \"sim:\"\nload.users = 1\nslo.ttft_p59 = \"1s\"", "slo.ttft_p59", Some("ttft_p95")),
        (
            "target.url = \"sim:\"\nload.users = 1\nslo.duration = \"1s\"",
            "slo.duration",
            Some("cell.duration"),
        ),
        ("target.ulr = \"sim:\"\nload.users = 1", "target.ulr", Some("url")),
        ("target = \"sim:\"\nload.users = 1", "target", None),
        ("[traget]\nurl = \"sim:\"\n[load]\nusers = 1", "traget", Some("target")),
        ("target.url = \"sim:\"\nload.users = 1\nduration = \"3s\"", "duration", Some("cell.duration")),
        ("target.url = \"sim:\"\nload.users = 1\ntarget.api = \"openai\"", "target.api", Some("openai-chat")),
        ("target.url = \"sim:\"\nload.users = 1\ntarget.api = \"vLLM\"", "target.api", Some("vllm")),
        (
            "target.url = \"sim:\"\n[load]\nqps = 1\narrivals = \"exponential\"",
            "load.arrivals",
            Some("poisson"),
        ),
    ] {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        assert_eq!((found[0].key.as_str(), found[0].nearest.as_deref()), (key, near), "{text}");
    }
    // What is missing all the same is told beside the rest.
    let found = mistakes("sede = 1\n[grid]\nmax_tokens = [0]");
    let keys: Vec<_> = found.iter().map(|m| m.key.as_str()).collect();
    assert!(
        ["load", "target.url", "sede", "grid.max_tokens"].iter().all(|key| keys.contains(key)),
        "{keys:?}"
    );
}

#[test]
fn urls() {
    for (url, part) in [
        ("127.0.0.1:8000", "did you mean \"http://127.0.0.1:8000\"?"),
        ("htp:/127.0.0.1:8000", "did you mean \"http://127.0.0.1:8000\"?"),
        ("htps://host/v1", "did you mean \"https://host/v1\"?"),
        ("host.example/v1", "did you mean \"http://host.example/v1\"?"),
        ("http://host/v1/chat/completions/", "did you mean \"http://host\"?"),
        ("localhost:8000", "did you mean \"http://localhost:8000\"?"),
        ("host", "not a URL"),
        ("sim", "did you mean \"sim:\"?"),
        ("sim:8b", "did you mean \"sim:\"?"),
        ("http://host?a=b", "no ? and no #"),
        ("ftp://host", "http://…"),
    ] {
        let found = mistakes(&format!("target.url = \"{url}\"\nload.users = 1"));
        assert!(found[0].to_string().contains(part), "{}", found[0]);
    }
    assert_eq!(settings("target.url = \"https://host/api\"\nload.users = 1").target.url, "https://host/api");
    let missing = mistakes("load.users = 1");
    assert_eq!((missing[0].key.as_str(), missing[0].kind), ("target.url", MistakeKind::Missing));
}

#[test]
fn objectives() {
    let text = with(
        "[slo]\nttft_p50 = \"500ms\"\nttft_p99 = \"2s\"\ntpot_mean = \"50ms\"\noutput_tps = 100\n\
         error_rate = \"0.1%\"\nuser_tps_p50 = 10",
    );
    let slo = settings(&text).slo;
    let rules: Vec<_> = slo.rules.iter().map(|r| (r.metric.as_str(), r.stat.as_str(), r.limit)).collect();
    assert_eq!(
        rules,
        [
            ("ttft", "p50", 500.0),
            ("ttft", "p99", 2000.0),
            ("tpot", "mean", 50.0),
            ("output_tps", "", 100.0),
            ("error_rate", "", 0.001),
            ("user_tps", "p50", 10.0),
        ]
    );
    let request: Vec<_> = slo.request.iter().map(|r| (r.metric.as_str(), r.limit_ms)).collect();
    assert_eq!(request, [("ttft", 2000.0), ("tpot", 50.0)], "the widest of each");
    let own = settings(&with("[slo]\nttft_p50 = \"500ms\"\n[slo.request]\ne2e = \"9s\"")).slo;
    assert_eq!(own.request, [RequestLimit { metric: "e2e".to_owned(), limit_ms: 9000.0 }]);
    for (key, part) in [
        ("ttft = \"1s\"", "did you mean \"ttft_p95\"?"),
        ("ttft_p95 = 1000", "\"1000s\" or \"1000ms\""),
        ("offered_rps = 3", "unknown key"),
        ("ttft_n = 3", "unknown key"),
        ("request = { ttft_p95 = \"1s\" }", "unknown key"),
    ] {
        let found = mistakes(&with(&format!("[slo]\n{key}")));
        assert!(found[0].to_string().contains(part), "{}", found[0]);
    }
}

#[test]
fn objectives_in_tiers() {
    let slo = settings(&with(
        "[slo]\nttft_p95 = { target = \"200ms\", acceptable = \"500ms\" }\n\
         output_tps = { target = 500, acceptable = 300 }\nerror_rate = \"1%\"",
    ))
    .slo;
    let rules: Vec<_> = slo.rules.iter().map(|r| (r.target, r.limit)).collect();
    assert_eq!(rules, [(Some(200.0), 500.0), (Some(500.0), 300.0), (None, 0.01)]);
    assert_eq!(
        slo.request,
        [RequestLimit { metric: "ttft".to_owned(), limit_ms: 500.0 }],
        "what is acceptable"
    );
    let back: Slo = serde_json::from_value(serde_json::to_value(&slo).unwrap()).unwrap();
    assert_eq!(back, slo);
    for (rule, key, kind) in [
        ("ttft_p95 = { target = \"2s\", acceptable = \"1s\" }", "slo.ttft_p95", MistakeKind::Conflict),
        ("output_tps = { target = 1, acceptable = 2 }", "slo.output_tps", MistakeKind::Conflict),
        ("ttft_p95 = { target = \"2s\" }", "slo.ttft_p95.acceptable", MistakeKind::Missing),
        ("ttft_p95 = { acceptable = \"2s\" }", "slo.ttft_p95.target", MistakeKind::Missing),
        ("ttft_p95 = { target = 2, acceptable = \"3s\" }", "slo.ttft_p95.target", MistakeKind::WrongType),
        ("gate = 1", "slo.gate", MistakeKind::WrongType),
        ("gate = \"tagret\"", "slo.gate", MistakeKind::UnknownWord),
        ("preset = \"chatt\"", "slo.preset", MistakeKind::UnknownWord),
        ("preset = [\"chat\", \"llm-god\"]", "slo.preset[2]", MistakeKind::UnknownWord),
        ("preset = 3", "slo.preset", MistakeKind::WrongType),
    ] {
        let found = mistakes(&with(&format!("[slo]\n{rule}")));
        let told: Vec<_> = found.iter().map(|m| (m.key.as_str(), m.kind)).collect();
        assert_eq!(told, [(key, kind)], "{rule}");
    }
    let acceptable = mistakes(&with("[slo]\nttft_p95 = { target = \"1s\", accept = \"2s\" }"));
    assert_eq!(acceptable[0].nearest.as_deref(), Some("acceptable"), "{acceptable:?}");
}

#[test]
fn a_plan_without_tiers_presets_and_gate_is_as_before() {
    let json = serde_json::to_value(settings(&with("[slo]\nttft_p95 = \"1s\"")).slo).unwrap();
    let before = json!({
        "rules": [{ "metric": "ttft", "stat": "p95", "limit": 1000.0 }],
        "request": [{ "metric": "ttft", "limit_ms": 1000.0 }],
    });
    assert_eq!(json, before);
}

#[test]
fn presets_are_sets_of_rules_and_own_keys_win() {
    let of = |slo: &Slo| -> Vec<(String, Option<f64>, f64)> {
        let rule = |r: &SloRule| (format!("{}_{}", r.metric, r.stat), r.target, r.limit);
        slo.rules.iter().map(rule).collect()
    };
    let slo = settings(&with("[slo]\nttft_p95 = \"300ms\"\npreset = \"llm-good\"\ne2e_p95 = \"9s\"")).slo;
    let expected = [
        ("ttft_p95".to_owned(), None, 300.0),
        ("tpot_mean".to_owned(), None, 100.0),
        ("error_rate_".to_owned(), None, 0.01),
        ("e2e_p95".to_owned(), None, 9000.0),
    ];
    assert_eq!(of(&slo), expected);
    assert_eq!((slo.presets.as_slice(), slo.gate), (&["llm-good".to_owned()][..], Gate::Off));
    // Of several the later one wins.
    let two = settings(&with("[slo]\npreset = [\"reliability-normal\", \"p95-5s\"]\ngate = true")).slo;
    assert_eq!(of(&two), [("error_rate_".to_owned(), None, 0.001), ("e2e_p95".to_owned(), None, 5000.0)]);
    assert_eq!(two.gate, Gate::Acceptable);
    assert_eq!(settings(&with("slo.gate = \"target\"")).slo.gate, Gate::Target);
    for preset in presets::PRESETS {
        let slo = settings(&with(&format!("slo.preset = {:?}", preset.name))).slo;
        assert_eq!(slo.rules.len(), preset.rules.len(), "{}", preset.name);
        // As it is listed, it can be written.
        let written: Vec<String> = preset.rules.iter().map(presets::PresetRule::written).collect();
        let own = settings(&with(&format!("[slo]\n{}", written.join("\n")))).slo;
        assert_eq!((own.rules, own.request), (slo.rules, slo.request), "{}", preset.name);
    }
}

#[test]
fn the_version_of_http_may_be_a_number() {
    for (set, version) in
        [("2", HttpVersion::Http2), ("1.1", HttpVersion::Http1), ("2.0", HttpVersion::Http2)]
    {
        assert_eq!(
            settings(&with(&format!("target.http = {set}"))).target.connections.http,
            version,
            "{set}"
        );
        let sets = [format!("target.http={set}")];
        assert!(Experiment::parse(Path::new("a.toml"), &with(""), &sets).is_ok(), "{set}");
    }
    for (number, near) in [("1", "1.1"), ("3", "2"), ("1.0", "1.1")] {
        let found = mistakes(&with(&format!("target.http = {number}")));
        assert_eq!((found[0].kind, found[0].nearest.as_deref()), (MistakeKind::UnknownWord, Some(near)));
    }
}

#[test]
fn limits() {
    for (text, key, kind) in [
        ("workload.max_tokens = 0", "workload.max_tokens", MistakeKind::OutOfRange),
        ("workload.max_tokens = 1.5", "workload.max_tokens", MistakeKind::WrongType),
        (
            "workload.max_tokens = { distribution = \"normal\" }",
            "workload.max_tokens.mean",
            MistakeKind::Missing,
        ),
        ("workload.max_tokens = { mean = 9, range = 1 }", "workload.max_tokens.range", MistakeKind::Conflict),
        ("workload.max_tokens = { mean = 9, cap = 8 }", "workload.max_tokens.cap", MistakeKind::Conflict),
        ("workload.temperature = 3", "workload.temperature", MistakeKind::OutOfRange),
        ("workload.temperature = nan", "workload.temperature", MistakeKind::WrongType),
        ("workload.stop = 3", "workload.stop", MistakeKind::WrongType),
        ("workload.tokenizer = \"bundeld\"", "workload.tokenizer", MistakeKind::UnknownWord),
        ("workload.tokenizer = \"no/such.json\"", "workload.tokenizer", MistakeKind::BadValue),
        ("workload.force_length = true", "workload.force_length", MistakeKind::WrongType),
        (
            "workload.prompt = \"a\"\nworkload.unique_prompts = true",
            "workload.unique_prompts",
            MistakeKind::Conflict,
        ),
        ("workload.prompt = \"a\"\nworkload.prefix = \"b\"", "workload.prefix", MistakeKind::Conflict),
        ("cell.duration = \"0s\"", "cell.duration", MistakeKind::OutOfRange),
        ("cell.duration = \"8000h\"", "cell.duration", MistakeKind::OutOfRange),
        ("cell.cooldown = 3", "cell.cooldown", MistakeKind::WrongType),
        ("load.qps = 0", "load.qps", MistakeKind::OutOfRange),
        ("load.arrivals = \"constant\"", "load.arrivals", MistakeKind::Conflict),
        ("client.threads = 0", "client.threads", MistakeKind::OutOfRange),
        ("seed = -1", "seed", MistakeKind::OutOfRange),
        ("seed = 99999999999999999999", "seed", MistakeKind::OutOfRange),
        ("name = \"a b\"", "name", MistakeKind::BadValue),
        ("report.figures = \"al\"", "report.figures", MistakeKind::UnknownWord),
        ("grid = 3", "grid", MistakeKind::WrongType),
        ("sim.rate = inf", "sim.rate", MistakeKind::WrongType),
        ("cell = 3", "cell", MistakeKind::WrongType),
    ] {
        let found = mistakes(&with(text));
        let told: Vec<_> = found.iter().map(|m| (m.key.as_str(), m.kind)).collect();
        assert_eq!(told, [(key, kind)], "{text}");
    }
}

#[test]
fn a_file_that_is_not_there() {
    let error = Experiment::load(Path::new("no/such.toml"), &[]).unwrap_err();
    assert!(error.to_string().starts_with("cannot read the experiment file no/such.toml: "), "{error}");
}
