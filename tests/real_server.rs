//! Against a real server of another make. `docs/truth.md` tells how to have one; without it
//! these tests say that they were skipped, and pass.

mod llama;

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll::experiment::{
    Arrivals, CellSettings, ClientSettings, Cooldown, ForceLength, Lengths, Load, Settings, Slo, Target, Tls,
    TokenizerChoice, Workload,
};
use plimsoll::provider::framing::Framer;
use plimsoll::provider::{self, Call, join};
use plimsoll::server::{Idle, client_builder, discover, wait_idle};
use plimsoll::workload::Source;
use serde_json::Map;

fn settings(url: &str, api: &str, tokenizer: TokenizerChoice) -> Settings {
    Settings {
        target: Target {
            url: url.to_owned(),
            api: api.to_owned(),
            model: "auto".into(),
            api_key_env: None,
            headers: BTreeMap::new(),
            extra_body: Map::new(),
            max_tokens_field: "max_tokens".to_owned(),
            timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(10),
            first_token_timeout: None,
            stall_timeout: None,
            tls: Tls::default(),
            connections: plimsoll::experiment::Connections::default(),
            custom: None,
        },
        workload: Workload {
            prompt_tokens: Lengths::constant(100),
            max_tokens: Lengths::constant(16),
            prompt: None,
            prefix: None,
            tokenizer,
            unique_prompts: true,
            stream: true,
            stop_after: plimsoll::experiment::StopAfter::End,
            cancel: None,
            force_length: ForceLength::Auto,
            sampling: Map::new(),
            ..Workload::default()
        },
        load: Load::Open { qps: 1.0, arrivals: Arrivals::Constant, max_in_flight: None },
        cell: CellSettings {
            duration: Some(Duration::from_secs(1)),
            requests: None,
            warmup: Duration::ZERO,
            ramp: Duration::ZERO,
            drain: Duration::ZERO,
            cooldown: Cooldown { min: Duration::ZERO, max: Duration::from_secs(30) },
        },
        slo: Slo::default(),
        client: ClientSettings { threads: None, dead_after: 3, pin: false },
        sim: BTreeMap::new(),
        parts: Vec::new(),
        stages: Vec::new(),
        think: None,
        server: None,
    }
}

/// Where a server answers: the one that `PLIMSOLL_TEST_URL` names, else one started here.
#[test]
fn what_was_asked_is_what_a_real_server_reports() {
    let started = llama::Llama::start();
    let named = std::env::var("PLIMSOLL_TEST_URL").ok();
    let Some(url) = named.or_else(|| started.as_ref().map(llama::Llama::url)) else { return };
    let mut choices = vec![TokenizerChoice::Server];
    if let Ok(file) = std::env::var("PLIMSOLL_TEST_TOKENIZER") {
        choices.push(TokenizerChoice::File(file.into()));
    }
    for tokenizer in choices {
        for api in ["openai-chat", "openai-completions"] {
            check(&settings(&url, api, tokenizer.clone()));
        }
    }
}

fn check(settings: &Settings) {
    let base = url::Url::parse(&settings.target.url).expect("a url");
    let began = std::time::Instant::now();
    let found = discover(settings, base.clone()).unwrap_or_else(|e| panic!("{e}"));
    println!("{:?}\n{:?}", found.identity, found.notes);
    println!(
        "{} overhead {} words {} forced {} gauges {} in {:?}",
        found.tokenizer.name(),
        found.tokenizer.overhead(),
        found.tokenizer.words().rest().len(),
        found.endpoint.force_length,
        found.gauges,
        began.elapsed()
    );
    let source = Source::new(settings.workload.clone(), 1, &format!("{began:?}"), found.tokenizer.clone());
    let provider = (provider::find(&settings.target.api).expect("a provider").build)(
        &plimsoll::provider::Options::default(),
    );
    // llama-server closes the socket after each stream: no connection is kept.
    let client = client_builder(&settings.target, &base).expect("a client").pool_max_idle_per_host(0);
    let client = client.build().expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for seq in 0..5 {
        let request = source.request(seq);
        let wire = provider.request(&Call {
            max_tokens_field: &settings.target.max_tokens_field,
            stream: true,
            force_length: found.endpoint.force_length,
            sampling: &settings.workload.sampling,
            extra_body: &settings.target.extra_body,
            ..Call::new(&found.endpoint.model, &request.prompt, request.max_tokens)
        });
        let mut framer = Framer::new(provider.framing(true));
        let mut decoder = provider.decoder(true, false);
        let mut content = 0;
        let mut take = |payload: &[u8]| {
            content += u32::from(decoder.frame(payload).expect("a frame of this API").content);
        };
        runtime.block_on(async {
            let post = client.post(join(&base, &wire.path)).header("content-type", "application/json");
            let mut response = post.body(wire.body.clone()).send().await.expect("an answer");
            while let Some(bytes) = response.chunk().await.expect("a whole answer") {
                framer.push(&bytes, &mut take).expect("short frames");
            }
        });
        framer.end(&mut take);
        let closing = decoder.close();
        assert!(closing.complete && content > 0 && content <= 16, "{content} chunks, {closing:?}");
        assert_eq!(closing.prompt_tokens, Some(100), "{}", request.prompt);
        assert_eq!(request.prompt_tokens_counted, Some(100));
        if found.endpoint.force_length {
            assert_eq!(closing.output_tokens, Some(16));
        }
    }
    let idle = wait_idle(&found, &settings.cell.cooldown, &|| false);
    assert!(matches!(idle, Idle::Idle { .. }), "{idle:?}");
}
