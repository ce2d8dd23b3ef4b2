//! A sweep against `llama-server`, held to that server's own counters and log.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::experiment::Experiment;
use plimsoll::load::{Control, Job, JobPart, drive};
use plimsoll::measure::{CellSummary, of_request, summarise};
use plimsoll::plan::{self, Cell};
use plimsoll::record::{Outcome, RecordSink, RequestRecord};
use plimsoll::server::{Found, Idle, discover, wait_idle};
use plimsoll::stats::quantile;
use plimsoll::workload;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server of this test's own; it ends with it.
pub struct Llama {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    _dir: tempfile::TempDir,
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Llama {
    /// Start one on a free port, if the environment says where it is.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    fn start_with(more: &[&str]) -> Option<Self> {
        let given = |name| std::env::var_os(name).map(PathBuf::from);
        let (Some(binary), Some(model)) = (given("PLIMSOLL_LLAMA_SERVER"), given("PLIMSOLL_LLAMA_MODEL"))
        else {
            eprintln!("SKIPPED: no PLIMSOLL_LLAMA_SERVER and PLIMSOLL_LLAMA_MODEL (docs/truth.md)");
            return None;
        };
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback can be bound");
        let address = free.local_addr().expect("a bound socket has an address");
        drop(free);
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("log");
        let file = std::fs::File::create(&log).expect("a file");
        let child = Command::new(binary)
            .arg("-m")
            .arg(model)
            .args(["--alias", "tiny", "--host", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["-c", "16384", "-np", "8", "-t", "1", "-tb", "1", "--metrics", "--no-warmup"])
            .args(more)
            .stdout(Stdio::from(file.try_clone().expect("a second handle")))
            .stderr(Stdio::from(file))
            .spawn()
            .expect("PLIMSOLL_LLAMA_SERVER can be started");
        let llama = Self { child, address, log, _dir: dir };
        let since = Instant::now();
        while !llama.get("/health").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            assert!(since.elapsed() < PATIENCE, "{}", llama.log_from(0));
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(llama)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The whole answer, head and body.
    fn get(&self, path: &str) -> Option<String> {
        let mut socket = TcpStream::connect(self.address).ok()?;
        write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn counters(&self) -> Counters {
        let text = self.get("/metrics").expect("metrics");
        let value = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(&format!("llamacpp:{name} ")));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse::<f64>().expect("a number")
                as u64
        };
        Counters {
            prompt: value("prompt_tokens_total"),
            cached: value("prompt_tokens_cached_total"),
            predicted: value("tokens_predicted_total"),
        }
    }

    fn log_from(&self, from: usize) -> String {
        let bytes = std::fs::read(&self.log).expect("the log");
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }

    fn log_size(&self) -> usize {
        std::fs::metadata(&self.log).expect("the log").len() as usize
    }
}

/// Totals of the server's own. Its prompt tokens leave out those it had cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counters {
    prompt: u64,
    cached: u64,
    predicted: u64,
}

/// What the server's log says of a request: milliseconds.
#[derive(Debug, Clone, Copy)]
struct Timing {
    prompt_ms: f64,
    eval_ms: f64,
}

/// The requests of a piece of the log, in the order in which they ended.
fn timings(log: &str) -> Vec<Timing> {
    let ms = |what: &str| -> Vec<f64> {
        log.lines()
            .filter_map(|line| line.split_once(what))
            .map(|(_, rest)| rest.trim().split(' ').next().expect("a word").parse().expect("a number"))
            .collect()
    };
    let (prompt, eval) = (ms("| prompt eval time ="), ms("|        eval time ="));
    assert_eq!(prompt.len(), eval.len(), "{log}");
    prompt.into_iter().zip(eval).map(|(prompt_ms, eval_ms)| Timing { prompt_ms, eval_ms }).collect()
}

#[derive(Default)]
struct Memory(Vec<RequestRecord>);

impl RecordSink for Memory {
    fn write(&mut self, batch: &[RequestRecord]) -> std::io::Result<()> {
        self.0.extend_from_slice(batch);
        Ok(())
    }
}

fn put(cell: &Cell, found: &Found) -> (Vec<RequestRecord>, CellSummary) {
    let source =
        workload::Source::new(cell.settings.workload.clone(), cell.seed, "salt", found.tokenizer.clone());
    let part = JobPart {
        endpoint: found.endpoint.clone(),
        provider: found.provider(&cell.settings.target).expect("a provider").into(),
        source: Arc::new(source),
    };
    let job = Job { cell, parts: vec![part], traces: None };
    let mut memory = Memory::default();
    let run = drive(&job, &mut memory, &Control::default(), &mut |_| {}).expect("the engine itself works");
    let mut records = memory.0;
    records.sort_by_key(|r| r.seq);
    let summary = summarise(cell, &run, records.iter().cloned());
    (records, summary)
}

#[test]
fn a_sweep_agrees_with_the_servers_own_counters() {
    let Some(llama) = Llama::start() else { return };
    for api in ["openai-chat", "openai-completions"] {
        let text = format!(
            r#"
            name = "capacity"
            seed = 42
            [target]
            url = "{}"
            api = "{api}"
            model = "auto"
            api_key_env = "OPENAI_API_KEY"
            timeout = "120s"
            [grid]
            users = [1, 4, 8]
            prompt_tokens = [32, 128]
            max_tokens = [32]
            [cell]
            duration = "2s"
            requests = 1000
            warmup = "500ms"
            cooldown = {{ min = "0s", max = "60s" }}
            [slo]
            ttft_p95 = "1s"
            error_rate = 0.01
            "#,
            llama.url()
        );
        let experiment = Experiment::parse(Path::new("capacity.toml"), &text, &[]).expect("no mistakes");
        let cells = plan::build(&experiment).expect("a plan").cells;
        let base = llama.url().parse().expect("an address");
        let found = discover(&cells[0].settings, base).unwrap_or_else(|e| panic!("{e}"));
        for cell in &cells {
            one_cell(&llama, cell, &found);
        }
    }
}

fn one_cell(llama: &Llama, cell: &Cell, found: &Found) {
    let (before, log) = (llama.counters(), llama.log_size());
    let (records, summary) = put(cell, found);
    let idle = wait_idle(found, &cell.settings.cell.cooldown, &|| false);
    assert!(matches!(idle, Idle::Idle { .. }), "{idle:?}");
    let (after, log) = (llama.counters(), llama.log_from(log));

    let bad = records.iter().find(|r| r.outcome != Outcome::Ok);
    assert!(bad.is_none(), "{bad:?}");
    assert_eq!((summary.counts.failed, summary.counts.censored), (0, 0));
    let sum = |f: fn(&RequestRecord) -> Option<u32>| -> u64 {
        records.iter().map(|r| u64::from(f(r).expect("the server told"))).sum()
    };
    let (prompt, cached) = (sum(|r| r.prompt_tokens), sum(|r| r.cached_tokens));
    let ours = Counters { prompt: prompt - cached, cached, predicted: sum(|r| r.output_tokens) };
    let theirs = Counters {
        prompt: after.prompt - before.prompt,
        cached: after.cached - before.cached,
        predicted: after.predicted - before.predicted,
    };
    assert_eq!(ours, theirs, "tokens");
    assert!(records.iter().all(|r| r.prompt_tokens == Some(r.prompt_tokens_asked)));
    assert!(records.iter().all(|r| r.output_tokens == Some(r.max_tokens)));
    let timings = timings(&log);
    assert_eq!(log.matches("launch_slot_").count(), records.len(), "requests begun");
    assert_eq!(timings.len(), records.len(), "requests ended");
    times(cell, &records, &summary, &timings);
}

/// What the server took is in what was measured here, and not much else is.
fn times(cell: &Cell, records: &[RequestRecord], summary: &CellSummary, timings: &[Timing]) {
    let ms = |name: &str, r: &RequestRecord| of_request(name, r).expect("a whole answer");
    let middle = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        quantile(&values, 0.5).expect("requests")
    };
    let ttft = |r: &RequestRecord| ms("ttft_service", r);
    let span = |r: &RequestRecord| ms("e2e_service", r) - ttft(r);
    let sum = |values: Vec<f64>| values.iter().sum::<f64>();
    let all_ttft = sum(records.iter().map(ttft).collect());
    let all_prompt = sum(timings.iter().map(|t| t.prompt_ms).collect());
    let all_span = sum(records.iter().map(span).collect());
    let all_eval = sum(timings.iter().map(|t| t.eval_ms).collect());
    let tried =
        |again: bool| records.iter().filter(move |r| (r.retries > 0) == again).map(ttft).collect::<Vec<_>>();
    let again = tried(true);
    println!(
        "{} {}: n {}, TTFT p50 {:.2} ms ({:.2} by the log), first to last token p50 {:.2} ms ({:.2}), \
         mean TTFT − prompt time {:.2} ms, mean span − eval time {:+.3} ms, {} asked again ({:.2} ms, else {:.2}), \
         {:.0} tok/s, verdict {:?}",
        cell.settings.target.api,
        cell.factors
            .iter()
            .filter(|(k, _)| cell.varying.contains(*k))
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
            .join(" "),
        records.len(),
        middle(records.iter().map(ttft).collect()),
        middle(timings.iter().map(|t| t.prompt_ms).collect()),
        middle(records.iter().map(span).collect()),
        middle(timings.iter().map(|t| t.eval_ms).collect()),
        (all_ttft - all_prompt) / records.len() as f64,
        (all_span - all_eval) / records.len() as f64,
        again.len(),
        if again.is_empty() { 0.0 } else { middle(again) },
        middle(tried(false)),
        summary.scalars["output_tps"],
        summary.validity.verdict,
    );
    assert!(
        all_ttft >= all_prompt,
        "less to the first token than the server took: {all_ttft} < {all_prompt}"
    );
    // One user's requests follow one another, here as in the log.
    if cell.settings.load == (plimsoll::experiment::Load::Closed { users: 1 }) {
        for (r, t) in records.iter().zip(timings) {
            // The log is rounded to hundredths.
            assert!(ttft(r) > t.prompt_ms - 0.01, "{r:?}\n{t:?}");
            assert!(ms("e2e_service", r) > t.prompt_ms + t.eval_ms - 0.02, "{r:?}\n{t:?}");
        }
        let over = middle(records.iter().zip(timings).map(|(r, t)| ttft(r) - t.prompt_ms).collect());
        let off = middle(records.iter().zip(timings).map(|(r, t)| span(r) - t.eval_ms).collect());
        assert!(over < 10.0, "{over} ms to the first token that the server knows nothing of");
        assert!(off.abs() < 2.0, "{off} ms from first to last token that the server knows nothing of");
    }
}

/// One cell of four users, all of whose requests must go well; what was found, and what the server
/// counted meanwhile.
fn one_api(llama: &Llama, api: &str, more: &str) -> (Found, Vec<RequestRecord>, CellSummary, Counters) {
    let text = format!(
        r#"
        name = "api"
        seed = 7
        [target]
        url = "{}"
        api = "{api}"
        [workload]
        prompt_tokens = {{ mean = 60, distribution = "uniform", range = 0.5 }}
        max_tokens = {{ mean = 24, distribution = "uniform", range = 0.5 }}
        {more}
        [load]
        users = 4
        [cell]
        requests = 60
        duration = "60s"
        warmup = "0s"
        cooldown = {{ min = "0s", max = "60s" }}
        "#,
        llama.url()
    );
    let experiment = Experiment::parse(Path::new("api.toml"), &text, &[]).unwrap_or_else(|e| panic!("{e}"));
    let cell = plan::build(&experiment).expect("a plan").cells.remove(0);
    let base = llama.url().parse().expect("an address");
    let found = discover(&cell.settings, base).unwrap_or_else(|e| panic!("{e}"));
    let idle = || {
        let idle = wait_idle(&found, &cell.settings.cell.cooldown, &|| false);
        assert!(matches!(idle, Idle::Idle { .. }), "{idle:?}");
    };
    idle();
    let before = llama.counters();
    let (records, summary) = put(&cell, &found);
    idle();
    let after = llama.counters();
    for record in &records {
        assert_eq!(record.outcome, Outcome::Ok, "{api}: {record:?}");
    }
    assert_eq!((records.len(), summary.counts.ok), (60, 60), "{api}");
    let counted = Counters {
        prompt: after.prompt - before.prompt,
        cached: after.cached - before.cached,
        predicted: after.predicted - before.predicted,
    };
    (found, records, summary, counted)
}

fn sum(records: &[RequestRecord], of: fn(&RequestRecord) -> Option<u32>) -> u64 {
    records.iter().map(|r| u64::from(of(r).expect("the server told"))).sum()
}

/// Each of its APIs, streamed and whole, against the server's own counters.
#[test]
fn every_api_of_a_real_server_agrees_with_its_counters() {
    let Some(llama) = Llama::start() else { return };
    for api in ["llamacpp", "openai-chat", "openai-completions"] {
        for stream in [true, false] {
            let (found, records, summary, theirs) = one_api(&llama, api, &format!("stream = {stream}"));
            assert_eq!(found.api, api);
            let (prompt, cached) = (sum(&records, |r| r.prompt_tokens), sum(&records, |r| r.cached_tokens));
            let ours =
                Counters { prompt: prompt - cached, cached, predicted: sum(&records, |r| r.output_tokens) };
            println!(
                "{api}, stream = {stream}: {ours:?} here, {theirs:?} there; TTFT p50 {:?} ms, E2E p50 {:?} ms; \
                 forced {}",
                summary.value("ttft", "p50"),
                summary.value("e2e", "p50"),
                found.endpoint.force_length
            );
            assert_eq!(ours, theirs, "{api}, stream = {stream}");
            for r in &records {
                let what = format!("{api}, stream = {stream}: {r:?}");
                assert_eq!(r.prompt_tokens, Some(r.prompt_tokens_asked), "{what}");
                assert_eq!(r.output_tokens, Some(r.max_tokens), "{what}");
                assert_eq!(r.first_token_us.is_some(), stream, "{what}");
                // Pieces of a character that is not whole yet come with the next token, or never.
                assert!((1..=r.max_tokens).contains(&r.chunks), "{what}");
                if api == "llamacpp" {
                    server_times(r);
                } else {
                    assert_eq!((r.server_ttft_us, r.server_e2e_us), (None, None), "{what}");
                }
            }
        }
    }
}

/// The server's own times lie within those of this client.
fn server_times(r: &RequestRecord) {
    let (ttft, e2e) = (r.server_ttft_us.expect("told"), r.server_e2e_us.expect("told"));
    let sent = r.sent_us.expect("sent");
    let last = r.end_us.expect("an end") - sent;
    let first = r.first_token_us.or(r.last_token_us).expect("a stamp") - sent;
    assert!(ttft > 0 && ttft <= e2e, "{r:?}");
    assert!(ttft <= first + 1000 && e2e <= last + 1000, "{r:?}");
}

#[test]
fn what_a_real_server_speaks_is_found() {
    let Some(llama) = Llama::start() else { return };
    let (found, records, _, theirs) = one_api(&llama, "auto", "");
    println!("{:?}", found.notes);
    assert_eq!(found.api, "openai-chat");
    assert_eq!(
        found.notes[0],
        "api: openai-chat (GET /props answered with llama.cpp's settings; it has OpenAI's chat too)"
    );
    assert_eq!(sum(&records, |r| r.output_tokens), theirs.predicted);
    assert_eq!(sum(&records, |r| r.prompt_tokens), theirs.prompt + theirs.cached);
}

#[test]
fn embeddings_of_a_real_server_agree_with_its_counters() {
    let Some(llama) = Llama::start_with(&["--embeddings", "--pooling", "mean"]) else { return };
    for batch in [1, 3] {
        let (found, records, summary, theirs) =
            one_api(&llama, "openai-embeddings", &format!("batch = {batch}"));
        let prompt = sum(&records, |r| r.prompt_tokens);
        println!(
            "openai-embeddings, batch = {batch}: {prompt} prompt tokens here, {theirs:?} there; asked {}; \
             E2E p50 {:?} ms; {:?}",
            sum(&records, |r| Some(r.prompt_tokens_asked)),
            summary.value("e2e", "p50"),
            found.notes
        );
        assert_eq!(prompt, theirs.prompt + theirs.cached, "batch = {batch}");
        assert!(records.iter().all(|r| r.prompt_tokens == Some(r.prompt_tokens_asked)), "batch = {batch}");
        assert_eq!(theirs.predicted, 0);
        for r in &records {
            assert_eq!((r.chunks, r.output_tokens, r.first_token_us), (1, None, None), "{r:?}");
            assert!(r.last_token_us.is_some() && r.bytes > 0, "{r:?}");
        }
    }
}

/// What a sweep reads of it beside its own figures.
#[test]
fn its_own_figures_are_read_while_a_cell_runs() {
    use crate::rig::program::{directory, find, plimsoll, stderr, stdout};
    let Some(llama) = Llama::start() else { return };
    let file = format!(
        "name = \"inside\"\n[target]\nurl = \"{}\"\n[workload]\nprompt_tokens = 60\nmax_tokens = 24\n[load]\nusers = 12\n\
         [cell]\nduration = \"4s\"\nwarmup = \"500ms\"\n",
        llama.url()
    );
    let dir = directory(&file);
    let output = plimsoll(dir.path(), &["run", "small.toml", "--no-report"]);
    let summary =
        find(dir.path(), "summary.json").unwrap_or_else(|| panic!("{}{}", stdout(&output), stderr(&output)));
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap();
    let side: plimsoll::measure::ServerSide = serde_json::from_value(summary["server"].clone()).unwrap();
    println!("{side:#?}");
    // Eight places for twelve users.
    let of = |name: &str| side.figures[name];
    assert!(of("running").max <= 8.0 && of("running").mean > 1.0);
    assert!(of("waiting").max <= 12.0);
    assert!(of("output_tps").mean > 0.0);
    // Of the requests it keeps no count; of the tokens both keep the same.
    let counted: Vec<&str> = side.counts.iter().map(|c| c.what.as_str()).collect();
    assert_eq!(counted, ["prompt_tokens", "output_tokens"]);
    for check in &side.counts {
        let most = check.client + check.unsure;
        assert!(check.client > 0 && (check.client..=most).contains(&check.server), "{check:?}");
    }
}
