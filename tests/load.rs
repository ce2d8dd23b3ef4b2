//! The load engine against a scripted server on the loopback: what is sent, when, and what
//! each arrival's one record says of it. No bound here is on wall time: a busy machine makes
//! things later, not wrong.

mod giving_up;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plimsoll::experiment::{
    Arrivals, CellSettings, ClientSettings, Cooldown, ForceLength, Lengths, Load, RequestLimit, Settings,
    Slo, SloRule, Target, Tls, TokenizerChoice, Workload,
};
use plimsoll::load::{Control, Job, drive};
use plimsoll::measure::{CellSummary, Verdict, summarise};
use plimsoll::plan::{Cell, CellId};
use plimsoll::provider::{Call, Decoder, Framing, Provider, WireRequest};
use plimsoll::record::{CellRun, EndedBy, Outcome, Phase, RecordSink, RequestRecord, TokenSource};
use plimsoll::server::Endpoint;
use plimsoll::workload::{BundledTokenizer, Source};

const MS: Duration = Duration::from_millis(1);

/// A connection that has just brought a request.
struct Conn<'a> {
    stream: &'a mut TcpStream,
    /// Number of the request at the server, from 0.
    number: usize,
    /// Number of the request on its connection, from 0.
    on_connection: usize,
}

impl Conn<'_> {
    fn raw(&mut self, text: &str) {
        // The client may have gone, which is some tests' point.
        let _ = self.stream.write_all(text.as_bytes());
    }

    fn head(&mut self) {
        self.raw("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    fn event(&mut self, data: &str) {
        let body = format!("data: {data}\n\n");
        self.raw(&format!("{:x}\r\n{body}\r\n", body.len()));
    }

    fn token(&mut self) {
        self.event(
            r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}"#,
        );
    }

    fn end(&mut self) {
        self.raw("0\r\n\r\n");
    }

    /// A whole answer of `n` tokens, with usage.
    fn answer(&mut self, n: u32) {
        self.head();
        for _ in 0..n {
            self.token();
        }
        self.finish(n);
    }

    fn finish(&mut self, n: u32) {
        self.event(
            r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#,
        );
        self.event(&format!(
            r#"{{"object":"chat.completion.chunk","choices":[],"usage":{{"prompt_tokens":8,"completion_tokens":{n},"total_tokens":{}}}}}"#,
            n + 8
        ));
        self.event("[DONE]");
        self.end();
    }
}

/// What a scripted server does with a request; `false` closes the connection.
type Script = dyn Fn(&mut Conn<'_>) -> bool + Send + Sync;

struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    ids: Arc<Mutex<Vec<String>>>,
}

fn serve(script: impl Fn(&mut Conn<'_>) -> bool + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback can be bound");
    let address = listener.local_addr().expect("a bound socket has an address");
    let requests = Arc::new(AtomicUsize::new(0));
    let ids = Arc::new(Mutex::new(Vec::new()));
    let script: Arc<Script> = Arc::new(script);
    let (counter, seen) = (Arc::clone(&requests), Arc::clone(&ids));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let (script, counter, seen) = (Arc::clone(&script), Arc::clone(&counter), Arc::clone(&seen));
            std::thread::spawn(move || attend(stream, &*script, &counter, &seen));
        }
    });
    Server { address, requests, ids }
}

fn attend(mut stream: TcpStream, script: &Script, counter: &AtomicUsize, seen: &Mutex<Vec<String>>) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    for on_connection in 0.. {
        let (mut length, mut id) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().expect("it parses"),
                    "x-request-id" => id = value.trim().to_owned(),
                    _ => {}
                }
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let number = counter.fetch_add(1, Ordering::SeqCst);
        seen.lock().expect("no test panics while it holds this").push(id);
        let mut conn = Conn { stream: &mut stream, number, on_connection };
        if !script(&mut conn) {
            return;
        }
    }
}

fn cell(load: Load) -> Cell {
    Cell {
        index: 7,
        id: CellId("0123456789abcdef".to_owned()),
        grid: None,
        factors: BTreeMap::new(),
        varying: Vec::new(),
        repeat: 1,
        seed: 42,
        settings: Settings {
            target: Target {
                url: "http://127.0.0.1".to_owned(),
                api: "openai-chat".to_owned(),
                model: "m".to_owned(),
                api_key_env: None,
                headers: BTreeMap::new(),
                extra_body: serde_json::Map::new(),
                max_tokens_field: "max_tokens".to_owned(),
                timeout: 20_000 * MS,
                connect_timeout: 5_000 * MS,
                first_token_timeout: None,
                stall_timeout: None,
                tls: Tls::default(),
                connections: plimsoll::experiment::Connections::default(),
            },
            workload: Workload {
                prompt_tokens: Lengths::constant(8),
                max_tokens: Lengths::constant(4),
                prompt: None,
                prefix: None,
                tokenizer: TokenizerChoice::Bundled,
                unique_prompts: true,
                stream: true,
                stop_after: plimsoll::experiment::StopAfter::End,
                force_length: ForceLength::Never,
                sampling: serde_json::Map::new(),
            },
            load,
            cell: CellSettings {
                duration: None,
                requests: None,
                warmup: Duration::ZERO,
                ramp: Duration::ZERO,
                drain: 10_000 * MS,
                cooldown: Cooldown { min: Duration::ZERO, max: Duration::ZERO },
            },
            slo: Slo::default(),
            client: ClientSettings { threads: Some(1), dead_after: 3, pin: false },
            sim: BTreeMap::new(),
        },
    }
}

fn open(qps: f64, max_in_flight: Option<u32>) -> Cell {
    cell(Load::Open { qps, arrivals: Arrivals::Constant, max_in_flight })
}

fn closed(users: u32) -> Cell {
    cell(Load::Closed { users })
}

#[derive(Default)]
struct Sink(Vec<RequestRecord>);

impl RecordSink for Sink {
    fn write(&mut self, batch: &[RequestRecord]) -> std::io::Result<()> {
        self.0.extend_from_slice(batch);
        Ok(())
    }
}

struct FullDisk;

impl RecordSink for FullDisk {
    fn write(&mut self, _: &[RequestRecord]) -> std::io::Result<()> {
        Err(std::io::Error::new(std::io::ErrorKind::StorageFull, "no space left"))
    }
}

fn with_job<T>(cell: &Cell, address: SocketAddr, work: impl FnOnce(&Job<'_>) -> T) -> T {
    let workload = cell.settings.workload.clone();
    let source = Source::new(workload, cell.seed, "salt", Arc::new(BundledTokenizer));
    work(&Job {
        cell,
        endpoint: Endpoint {
            base: format!("http://{address}").parse().expect("it parses"),
            model: "m".to_owned(),
            headers: vec![("authorization".to_owned(), "Bearer x".to_owned())],
            force_length: false,
        },
        provider: Arc::from(
            (plimsoll::provider::find("openai-chat").expect("this provider is there").build)(),
        ),
        source: Arc::new(source),
    })
}

/// Run it; the records by number.
fn run(cell: &Cell, address: SocketAddr) -> (CellRun, Vec<RequestRecord>) {
    run_with(cell, address, &Control::default())
}

fn run_with(cell: &Cell, address: SocketAddr, control: &Control) -> (CellRun, Vec<RequestRecord>) {
    let mut sink = Sink::default();
    let run = with_job(cell, address, |job| drive(job, &mut sink, control, &mut |_| {}))
        .expect("the engine itself works");
    let mut records = sink.0;
    records.sort_by_key(|r| r.seq);
    let unique: BTreeSet<u64> = records.iter().map(|r| r.seq).collect();
    assert_eq!(unique.len(), records.len(), "an arrival has two records");
    assert!(records.iter().all(|r| r.sent_us.is_none_or(|t| t >= r.intended_us)), "sent before it was due");
    (run, records)
}

fn summary(cell: &Cell, run: &CellRun, records: &[RequestRecord]) -> CellSummary {
    let summary = summarise(cell, run, records.iter().cloned());
    let c = &summary.counts;
    assert_eq!(c.attempted, c.ok + c.failed + c.dropped + c.censored, "counts add up");
    assert_eq!(c.failed, c.errors.values().sum::<u64>());
    assert_eq!(c.attempted + c.before_window, records.len() as u64);
    summary
}

fn measured(records: &[RequestRecord]) -> Vec<&RequestRecord> {
    records.iter().filter(|r| r.phase == Phase::Measure).collect()
}

/// One request of one user under `adjust`, which the server answers by `script`.
fn one(
    adjust: impl FnOnce(&mut Settings),
    script: impl Fn(&mut Conn<'_>) -> bool + Send + Sync + 'static,
) -> RequestRecord {
    let server = serve(script);
    let mut cell = closed(1);
    cell.settings.cell.requests = Some(1);
    adjust(&mut cell.settings);
    let (run, records) = run(&cell, server.address);
    assert_eq!(records.len(), 1);
    let _ = summary(&cell, &run, &records);
    records.into_iter().next().expect("one was asserted")
}

#[test]
fn every_arrival_of_an_open_loop_is_sent_once_and_recorded_once() {
    for threads in [1, 3] {
        let server = serve(|conn| {
            conn.answer(4);
            true
        });
        let mut cell = open(200.0, None);
        cell.settings.client.threads = Some(threads);
        cell.settings.cell.warmup = 200 * MS;
        cell.settings.cell.duration = Some(500 * MS);
        let (run, records) = run(&cell, server.address);
        // 700 ms at 200 a second, from 0.
        assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), (0..140).collect::<Vec<_>>());
        assert!(records.iter().all(|r| r.intended_us == r.seq * 5000), "never re-anchored");
        assert_eq!(measured(&records).len(), 100);
        assert_eq!(run.planned, Some(100));
        assert_eq!((run.window.start_us, run.window.end_us), (200_000, 700_000));
        assert_eq!(run.window.ended_by, EndedBy::Duration);
        assert!(records.iter().all(|r| r.outcome == Outcome::Ok && r.output_tokens == Some(4)));
        assert!(records.iter().all(|r| u64::from(r.shard) == r.seq % u64::from(threads)));
        let ids: BTreeSet<String> = server.ids.lock().unwrap().iter().cloned().collect();
        assert_eq!(ids, (0..140).map(|k| format!("plimsoll-7-{k}")).collect());
        assert_eq!(run.timeline.iter().map(|t| t.sent).sum::<u32>(), 140);
        assert_eq!(run.timeline.iter().map(|t| t.due).sum::<u32>(), 140);
        assert_eq!(run.timeline.iter().map(|t| t.completed).sum::<u32>(), 140);
        assert_eq!(run.timeline.iter().map(|t| t.chunks).sum::<u32>(), 560);
        assert_eq!(run.chunk_gaps.len(), 300);
        assert_eq!(summary(&cell, &run, &records).counts.planned, 100);
    }
}

#[test]
fn an_open_loop_of_requests_ends_at_the_arrival_after_them() {
    let server = serve(|conn| {
        conn.answer(1);
        true
    });
    let mut cell = cell(Load::Open { qps: 300.0, arrivals: Arrivals::Poisson, max_in_flight: None });
    cell.settings.cell.warmup = 100 * MS;
    cell.settings.cell.requests = Some(60);
    cell.settings.cell.duration = Some(60_000 * MS);
    let (run, records) = run(&cell, server.address);
    assert_eq!(measured(&records).len(), 60);
    assert_eq!(run.window.ended_by, EndedBy::Requests);
    assert!(records.iter().all(|r| r.intended_us < run.window.end_us));
    // The same file, the same workload.
    let again = self::run(&cell, server.address);
    assert_eq!(
        summary(&cell, &run, &records).workload_hash,
        summary(&cell, &again.0, &again.1).workload_hash
    );
}

#[test]
fn a_closed_loop_measures_exactly_so_many_at_full_concurrency() {
    for threads in [1, 2] {
        let server = serve(|conn| {
            std::thread::sleep(MS);
            conn.answer(4);
            true
        });
        let mut cell = closed(5);
        cell.settings.client.threads = Some(threads);
        cell.settings.cell.warmup = 400 * MS;
        cell.settings.cell.requests = Some(50);
        let (run, records) = run(&cell, server.address);
        assert_eq!(measured(&records).len(), 50);
        assert_eq!(run.window.ended_by, EndedBy::Requests);
        assert!(records.iter().all(|r| r.outcome == Outcome::Ok));
        let users: BTreeSet<u32> = records.iter().filter_map(|r| r.user).collect();
        assert_eq!(users, (0..5).collect());
        // Each user is due again when its last answer ended: never two at once.
        for user in 0..5 {
            let mut mine: Vec<_> = records.iter().filter(|r| r.user == Some(user)).collect();
            mine.sort_by_key(|r| r.intended_us);
            assert!(mine.windows(2).all(|w| w[0].end_us == Some(w[1].intended_us)));
            // None had gone idle when the window closed.
            assert!(mine.last().unwrap().end_us.unwrap() >= run.window.end_us);
        }
        let s = summary(&cell, &run, &records);
        assert_eq!(s.counts.attempted, 50);
        assert!(s.scalars["in_flight_max"] <= 5.0);
    }
}

#[test]
fn what_has_not_ended_at_the_drains_limit_is_censored() {
    let server = serve(|conn| {
        conn.head();
        conn.token();
        std::thread::sleep(60_000 * MS);
        false
    });
    let mut cell = closed(3);
    cell.settings.cell.duration = Some(300 * MS);
    cell.settings.cell.drain = 200 * MS;
    let (run, records) = run(&cell, server.address);
    assert_eq!(records.len(), 3);
    for r in &records {
        assert_eq!((r.outcome, r.end_us, r.status), (Outcome::Censored, None, Some(200)));
        assert!(r.first_token_us.is_some() && r.chunks == 1);
    }
    let s = summary(&cell, &run, &records);
    assert_eq!((s.counts.censored, s.counts.in_flight_at_end, s.counts.failed), (3, 3, 0));
}

#[test]
fn a_cap_holds_back_and_drops_and_says_so() {
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (here, top) = (Arc::clone(&now), Arc::clone(&most));
    let server = serve(move |conn| {
        top.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(50 * MS);
        here.fetch_sub(1, Ordering::SeqCst);
        conn.answer(1);
        true
    });
    let mut cell = open(100.0, Some(2));
    // Two slots on three cores: no core may take more than its share.
    cell.settings.client.threads = Some(3);
    cell.settings.cell.duration = Some(600 * MS);
    cell.settings.cell.drain = 100 * MS;
    let (run, records) = run(&cell, server.address);
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
    assert!(records.iter().all(|r| r.intended_us == r.seq * 10_000), "due when it was due, sent or not");
    assert!(most.load(Ordering::SeqCst) <= 2, "the server saw more than the cap");
    let dropped: Vec<_> = records.iter().filter(|r| r.outcome == Outcome::Dropped).collect();
    assert!(dropped.len() >= 20, "{} dropped", dropped.len());
    assert!(dropped.iter().all(|r| r.sent_us.is_none() && r.cap_blocked && r.prompt_tokens_asked == 8));
    assert!(records.iter().any(|r| r.cap_blocked && r.outcome == Outcome::Ok), "held back, then sent");
    let s = summary(&cell, &run, &records);
    assert!(s.semi_open && s.counts.planned == 60 && s.counts.dropped == dropped.len() as u64);
    let fired: Vec<&str> = s.validity.reasons.iter().map(|r| r.signal.as_str()).collect();
    assert!(fired.contains(&"cap_blocked") && fired.contains(&"sent_off_plan"), "{fired:?}");
}

#[test]
fn a_dead_kept_alive_connection_costs_no_error() {
    // The second request of each connection finds it closed: read, and hung up on.
    let server = serve(|conn| {
        if conn.on_connection == 0 {
            conn.answer(2);
        }
        conn.on_connection == 0
    });
    let mut cell = closed(2);
    cell.settings.cell.requests = Some(40);
    let (run, records) = run(&cell, server.address);
    assert!(records.iter().all(|r| r.outcome == Outcome::Ok), "{records:?}");
    let retries: u64 = records.iter().map(|r| u64::from(r.retries)).sum();
    // Three such tell what this server does; the other user may be on its way into a fourth.
    // From then on each request has its own connection, and nothing is sent twice.
    assert!((3..=4).contains(&retries), "{retries} retries");
    assert_eq!(server.requests.load(Ordering::SeqCst) as u64, records.len() as u64 + retries);
    assert_eq!(summary(&cell, &run, &records).counts.retries, retries);
}

#[test]
fn a_fresh_connection_that_dies_is_an_error_and_not_asked_again() {
    let r = one(|_| {}, |_| false);
    assert_eq!((r.outcome, r.error_class.as_deref(), r.retries), (Outcome::Reset, Some("reset"), 0));
    assert!(r.end_us.is_some() && r.headers_us.is_none() && r.detail.is_some());
}

#[test]
fn each_limit_has_its_name() {
    let first = one(
        |s| s.target.first_token_timeout = Some(150 * MS),
        |conn| {
            conn.head();
            std::thread::sleep(30_000 * MS);
            false
        },
    );
    assert_eq!(first.error_class.as_deref(), Some("timeout_first_token"));
    assert!(first.headers_us.is_some() && first.first_token_us.is_none());

    let stall = one(
        |s| {
            s.target.first_token_timeout = Some(10_000 * MS);
            s.target.stall_timeout = Some(200 * MS);
        },
        |conn| {
            conn.head();
            conn.token();
            std::thread::sleep(30_000 * MS);
            false
        },
    );
    assert_eq!(stall.error_class.as_deref(), Some("timeout_stall"));
    assert_eq!((stall.chunks, stall.token_source), (1, Some(TokenSource::Tokenizer)));

    // Tokens keep coming: only the limit on the whole can end it.
    let total = one(
        |s| {
            s.target.timeout = 1_500 * MS;
            s.target.stall_timeout = Some(20_000 * MS);
        },
        |conn| {
            conn.head();
            for _ in 0..400 {
                conn.token();
                std::thread::sleep(10 * MS);
            }
            false
        },
    );
    assert_eq!(total.error_class.as_deref(), Some("timeout_total"));
    assert!(total.first_token_us.is_some());
    for r in [first, stall, total] {
        assert_eq!(r.outcome, Outcome::Timeout);
        assert!(r.end_us.is_some());
    }
}

#[test]
fn a_connection_that_is_never_made_times_out() {
    // A full backlog answers no SYN.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let _filled: Vec<_> =
        (0..4).filter_map(|_| TcpStream::connect_timeout(&address, 100 * MS).ok()).collect();
    let mut cell = closed(1);
    cell.settings.cell.requests = Some(1);
    cell.settings.target.connect_timeout = 200 * MS;
    let (_, records) = run(&cell, address);
    assert_eq!(records[0].outcome, Outcome::Timeout);
    assert_eq!(records[0].error_class.as_deref(), Some("timeout_connect"));
}

#[test]
fn broken_answers_are_told_apart() {
    let truncated = one(
        |_| {},
        |conn| {
            conn.head();
            conn.token();
            conn.end();
            true
        },
    );
    assert_eq!(
        (truncated.outcome, truncated.error_class.as_deref()),
        (Outcome::Truncated, Some("truncated"))
    );
    assert_eq!(truncated.chunks, 1);

    let cut_off = one(
        |_| {},
        |conn| {
            conn.head();
            conn.token();
            false
        },
    );
    assert_eq!(cut_off.outcome, Outcome::Truncated);

    let spoken = one(
        |_| {},
        |conn| {
            conn.head();
            conn.token();
            conn.event(r#"{"error":{"message":"out of memory","type":"server_error"}}"#);
            conn.event("[DONE]");
            conn.end();
            true
        },
    );
    assert_eq!((spoken.outcome, spoken.error_class.as_deref()), (Outcome::BadStream, Some("server_error")));
    assert!(spoken.detail.unwrap().contains("out of memory"));

    let garbage = one(
        |_| {},
        |conn| {
            conn.head();
            conn.event("{not json");
            conn.finish(1);
            true
        },
    );
    assert_eq!((garbage.outcome, garbage.error_class.as_deref()), (Outcome::BadStream, Some("bad_stream")));

    let busy = one(
        |_| {},
        |conn| {
            let body = r#"{"error":{"message":"too many"}}"#;
            conn.raw(&format!("HTTP/1.1 503 Busy\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            true
        },
    );
    assert_eq!((busy.outcome, busy.error_class.as_deref()), (Outcome::HttpError, Some("503")));
    assert_eq!((busy.status, busy.detail.as_deref()), (Some(503), Some("too many")));
}

#[test]
fn a_reset_is_a_reset() {
    // Closing with unread bytes makes the system send RST in place of FIN.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0u8; 16]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        }
    });
    let mut cell = closed(1);
    cell.settings.cell.requests = Some(1);
    let (_, records) = run(&cell, address);
    assert_eq!((records[0].outcome, records[0].error_class.as_deref()), (Outcome::Reset, Some("reset")));
}

#[test]
fn a_dead_server_is_not_hammered() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut cell = closed(2);
    cell.settings.cell.duration = Some(500 * MS);
    let (run, records) = run(&cell, address);
    assert!(records.iter().all(|r| r.outcome == Outcome::ConnectError && r.status.is_none()));
    // A pause of 100 ms after each: six of each user at the very most.
    assert!((2..=12).contains(&records.len()), "{} requests", records.len());
    let s = summary(&cell, &run, &records);
    assert_eq!(s.scalars["error_rate"], 1.0);
    assert_eq!(s.counts.errors["connect"], s.counts.failed);
    assert!(s.distributions.keys().all(|k| k == "lag"), "no answer, no latency");
}

#[test]
fn a_stall_of_the_server_shows_from_when_requests_were_due() {
    let server = serve(|conn| {
        if conn.number == 20 {
            std::thread::sleep(400 * MS);
        }
        conn.answer(1);
        true
    });
    // One in flight at a time, as a client with one connection has it.
    let mut cell = open(100.0, Some(1));
    cell.settings.cell.duration = Some(1000 * MS);
    let (run, records) = run(&cell, server.address);
    assert!(records.iter().all(|r| r.outcome == Outcome::Ok), "{records:?}");
    let late = |from: fn(&RequestRecord) -> u64| {
        records.iter().filter(|r| r.first_token_us.unwrap() - from(r) > 100_000).count()
    };
    let (from_due, from_sent) = (late(|r| r.intended_us), late(|r| r.sent_us.unwrap()));
    // About thirty were due in its first 300 ms; only one of them was at the server.
    assert!(from_due >= 25, "{from_due} late from when they were due");
    assert!((1..=from_due / 3).contains(&from_sent), "{from_sent} late from when they were sent");
    let s = summary(&cell, &run, &records);
    assert!(s.distributions["ttft"].p90 > s.distributions["ttft_service"].p90);
    assert!(s.distributions["ttft"].p90 > 100.0);
}

#[test]
fn without_streaming_there_is_no_first_token() {
    let r = one(
        |s| s.workload.stream = false,
        |conn| {
            let body = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"a b c d"},"finish_reason":"length"}],"usage":{"prompt_tokens":8,"completion_tokens":4,"total_tokens":12}}"#;
            conn.raw(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            true
        },
    );
    assert_eq!((r.outcome, r.output_tokens, r.chunks), (Outcome::Ok, Some(4), 1));
    assert_eq!((r.first_token_us, r.first_visible_us, r.second_chunk_us), (None, None, None));
    assert!(r.last_token_us.is_some() && r.last_token_us <= r.end_us);
}

#[test]
fn an_answer_without_a_word_is_whole_and_has_no_first_token() {
    let r = one(
        |_| {},
        |conn| {
            conn.answer(0);
            true
        },
    );
    assert_eq!((r.outcome, r.first_token_us, r.last_token_us), (Outcome::Ok, None, None));
    assert_eq!((r.output_tokens, r.chunks), (Some(0), 0));
}

#[test]
fn tokens_without_usage_are_counted_here() {
    let r = one(
        |_| {},
        |conn| {
            conn.head();
            for _ in 0..3 {
                conn.token();
            }
            conn.event("[DONE]");
            conn.end();
            true
        },
    );
    assert_eq!((r.outcome, r.token_source, r.chunks), (Outcome::Ok, Some(TokenSource::Tokenizer), 3));
    assert!(r.output_tokens.unwrap() >= 3);
}

#[test]
fn one_press_closes_the_window_and_two_end_it_all() {
    let server = serve(|conn| {
        conn.head();
        conn.token();
        std::thread::sleep(300 * MS);
        conn.finish(1);
        true
    });
    let mut cell = closed(2);
    cell.settings.cell.duration = Some(600_000 * MS);
    let once = Control::default();
    once.press();
    let (run, records) = run_with(&cell, server.address, &once);
    assert_eq!(run.window.ended_by, EndedBy::Interrupt);
    assert!(records.iter().all(|r| r.outcome == Outcome::Ok), "what flew was awaited: {records:?}");
    assert!(!records.is_empty());

    let twice = Control::default();
    let mut sink = Sink::default();
    let run = with_job(&cell, server.address, |job| {
        drive(job, &mut sink, &twice, &mut |live| {
            if live.sent > 0 {
                twice.press();
                twice.press();
            }
        })
    })
    .unwrap();
    assert_eq!(run.window.ended_by, EndedBy::Interrupt);
    assert!(sink.0.iter().all(|r| matches!(r.outcome, Outcome::Ok | Outcome::Censored)));
}

/// A provider whose requests take long to make.
struct Slow(Box<dyn Provider>);

impl Provider for Slow {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        std::thread::sleep(20 * MS);
        self.0.request(call)
    }

    fn framing(&self, stream: bool) -> Framing {
        self.0.framing(stream)
    }

    fn decoder(&self, stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        self.0.decoder(stream, keep_text)
    }
}

#[test]
fn a_client_that_cannot_keep_up_says_so_of_every_arrival() {
    let server = serve(|conn| {
        conn.answer(1);
        true
    });
    let mut cell = open(400.0, None);
    cell.settings.cell.duration = Some(500 * MS);
    cell.settings.cell.drain = 100 * MS;
    let mut sink = Sink::default();
    let run = with_job(&cell, server.address, |job| {
        let provider: Arc<dyn Provider> =
            Arc::new(Slow((plimsoll::provider::find("openai-chat").unwrap().build)()));
        let job =
            Job { cell: job.cell, endpoint: job.endpoint.clone(), provider, source: Arc::clone(&job.source) };
        drive(&job, &mut sink, &Control::default(), &mut |_| {})
    })
    .unwrap();
    sink.0.sort_by_key(|r| r.seq);
    assert_eq!(sink.0.iter().map(|r| r.seq).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    assert!(sink.0.iter().all(|r| r.intended_us == r.seq * 2500));
    // At most 30 of them can have been made by the end of the drain.
    let dropped = sink.0.iter().filter(|r| r.outcome == Outcome::Dropped && !r.cap_blocked).count();
    assert!(dropped >= 165, "{dropped} dropped");
    assert!(run.client.body_waits > 0);
    let s = summary(&cell, &run, &sink.0);
    assert_eq!(s.validity.verdict, Verdict::Invalid);
    assert!(s.validity.reasons.iter().any(|r| r.signal == "sent_off_plan"), "{:?}", s.validity.reasons);
}

#[test]
fn a_running_cell_can_be_looked_at() {
    let server = serve(|conn| {
        std::thread::sleep(5 * MS);
        conn.answer(4);
        true
    });
    let mut cell = closed(2);
    cell.settings.cell.duration = Some(1_500 * MS);
    let mut looks = Vec::new();
    let run = with_job(&cell, server.address, |job| {
        drive(job, &mut Sink::default(), &Control::default(), &mut |live| looks.push(live))
    })
    .unwrap();
    assert_eq!(run.window.end_us, 1_500_000);
    assert!(looks.len() >= 2);
    assert!(looks.windows(2).all(|w| w[0].elapsed_s < w[1].elapsed_s && w[0].sent <= w[1].sent));
    let last = looks.last().unwrap();
    assert!(last.completed > 0 && last.completed_rps > 0.0 && last.in_flight <= 2, "{last:?}");
    assert!(last.ttft_p50_ms.is_some() && last.e2e_p99_ms.is_some() && last.lag_p99_ms.is_some());
}

#[test]
fn a_request_that_cannot_be_built_is_this_clients_error() {
    let mut cell = closed(1);
    cell.settings.cell.requests = Some(1);
    let result = with_job(&cell, "127.0.0.1:1".parse().unwrap(), |job| {
        let mut endpoint = job.endpoint.clone();
        endpoint.headers.push(("x-key".to_owned(), "se\ncret".to_owned()));
        let job = Job {
            cell: job.cell,
            endpoint,
            provider: Arc::clone(&job.provider),
            source: Arc::clone(&job.source),
        };
        drive(&job, &mut Sink::default(), &Control::default(), &mut |_| {})
    });
    let error = result.err().unwrap().to_string();
    assert!(error.contains("x-key") && !error.contains("cret"), "{error}");
    cell.settings.cell.requests = None;
    let result = with_job(&cell, "127.0.0.1:1".parse().unwrap(), |job| {
        drive(job, &mut Sink::default(), &Control::default(), &mut |_| {})
    });
    assert!(result.err().unwrap().to_string().contains("cell.duration"));
}

#[test]
fn records_that_cannot_be_written_are_counted() {
    let server = serve(|conn| {
        conn.answer(1);
        true
    });
    let mut cell = closed(1);
    cell.settings.cell.requests = Some(10);
    let run =
        with_job(&cell, server.address, |job| drive(job, &mut FullDisk, &Control::default(), &mut |_| {}));
    let (lost, why) = run.unwrap().lost_records.unwrap();
    assert_eq!(lost, 10);
    assert!(why.contains("no space"), "{why}");
}

#[test]
fn a_full_cell_has_every_metric() {
    let server = serve(|conn| {
        conn.head();
        for _ in 0..4 {
            conn.token();
            std::thread::sleep(2 * MS);
        }
        conn.finish(4);
        true
    });
    let mut cell = closed(2);
    cell.settings.cell.warmup = 100 * MS;
    cell.settings.cell.requests = Some(20);
    let limit = |metric: &str, limit_ms| RequestLimit { metric: metric.to_owned(), limit_ms };
    cell.settings.slo.request = vec![limit("ttft", 60_000.0), limit("tpot", 60_000.0)];
    let rule =
        |metric: &str, stat: &str, limit| SloRule { metric: metric.to_owned(), stat: stat.to_owned(), limit };
    cell.settings.slo.rules = vec![
        rule("ttft", "p95", 60_000.0),
        rule("ttft", "p95", 0.0),
        rule("output_tps", "", 0.001),
        rule("output_tps", "", 1e12),
    ];
    let (run, records) = run(&cell, server.address);
    let s = summary(&cell, &run, &records);
    for metric in plimsoll::metrics::METRICS {
        let found = match metric.kind {
            plimsoll::metrics::Kind::Distribution => s.distributions.contains_key(metric.name),
            plimsoll::metrics::Kind::Scalar => s.scalars.contains_key(metric.name),
        };
        assert!(found, "{} is missing", metric.name);
    }
    assert_eq!(s.distributions.len() + s.scalars.len(), plimsoll::metrics::METRICS.len());
    assert_eq!(s.slo.iter().map(|v| v.pass).collect::<Vec<_>>(), [true, false, true, false]);
    assert_eq!((s.scalars["attainment"], s.scalars["error_rate"]), (1.0, 0.0));
    assert_eq!(s.tokens.output, 80);
    assert_eq!(s.tokens.prompt_mismatches, 0);
    assert_eq!(s.distributions["chunk_gap"].n, 60);
}

#[test]
fn the_simulators_own_log_tells_the_same() {
    let knobs = [("step_base", serde_json::json!("1ms")), ("model", serde_json::json!("m"))];
    let knobs = knobs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let sim = plimsoll::sim::Server::start(
        plimsoll::sim::Config::from_knobs(&knobs).unwrap(),
        "127.0.0.1:0".parse().unwrap(),
    )
    .unwrap();
    let mut cell = cell(Load::Open { qps: 100.0, arrivals: Arrivals::Poisson, max_in_flight: None });
    cell.settings.cell.warmup = 200 * MS;
    cell.settings.cell.requests = Some(60);
    cell.settings.workload.max_tokens = Lengths::constant(12);
    let (run, records) = run(&cell, sim.addr());
    let truth: BTreeMap<String, _> = sim.stop().into_iter().map(|t| (t.request_id.clone(), t)).collect();
    assert_eq!(truth.len(), records.len());
    let us = |ns: u64| ns.saturating_sub(run.epoch_monotonic_ns) / 1000;
    for r in &records {
        let t = &truth[&format!("plimsoll-7-{}", r.seq)];
        assert_eq!(r.outcome, Outcome::Ok, "{r:?}");
        assert_eq!((r.output_tokens, r.chunks), (Some(t.output_tokens), t.chunks));
        assert_eq!(r.prompt_tokens, t.prompt_tokens);
        // Sent before it arrived, seen after it was written: on one clock there is no other way.
        assert!(r.sent_us.unwrap() <= us(t.arrival_ns));
        assert!(r.first_token_us.unwrap() >= us(t.first_token_ns.unwrap()));
        assert!(r.last_token_us.unwrap() >= us(t.last_token_ns.unwrap()));
    }
    assert_eq!(summary(&cell, &run, &records).counts.ok, 60);
}
