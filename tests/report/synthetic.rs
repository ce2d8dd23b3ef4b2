//! Runs that never ran: a server with a knee, computed, so that figures have something to show.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use plimsoll::analysis::{CellData, RequestPoint, RunData};
use plimsoll::experiment::*;
use plimsoll::measure::*;
use plimsoll::plan::{Cell, CellId};
use plimsoll::record::{EndedBy, Outcome, RequestRecord, TICK_US, Tick, Window};
use serde_json::{Value, json};

/// One load level of a synthetic run.
#[derive(Clone, Copy)]
pub struct Spec {
    pub load: Load,
    pub prompt: u32,
    pub max: u32,
    pub repeat: u32,
}

/// What a cell is to suffer.
#[derive(Clone, Copy, PartialEq)]
pub enum Fate {
    Fine,
    Invalid,
    AllFailed,
    NotRun,
}

pub fn closed(users: u32) -> Load {
    Load::Closed { users }
}

pub fn open(qps: f64) -> Load {
    Load::Open { qps, arrivals: Arrivals::Poisson, max_in_flight: None }
}

/// A run of `specs`, each with its fate; the axes that vary are found.
pub fn run(name: &str, specs: &[(Spec, Fate)]) -> RunData {
    let mut varying = Vec::new();
    let factors: Vec<_> = specs.iter().map(|(s, _)| factors(s)).collect();
    for path in ["load.users", "load.qps", "workload.prompt_tokens", "workload.max_tokens"] {
        if factors.iter().any(|f| f[path] != factors[0][path]) {
            varying.push(path.to_owned());
        }
    }
    let cells = specs
        .iter()
        .enumerate()
        .map(|(i, (spec, fate))| cell(i as u32, spec, *fate, &factors[i], &varying))
        .collect();
    RunData {
        search: None,
        path: PathBuf::from(format!("runs/20261122T101500Z-{name}")),
        title: name.to_owned(),
        figures: None,
        id: format!("20261122T101500Z-{name}"),
        name: name.to_owned(),
        environment: json!({ "host": "loadgen-1", "cpu": { "model": "Example 9000", "cores": 16 }, "server": { "model": "example-8b" } }),
        manifest: json!({ "salt": "c0ffee", "started_at": "2026-11-22T10:15:00Z" }),
        experiment: format!(
            "name = \"{name}\"\nseed = 42\n# </script> & <b> must survive\n[target]\nurl = \"sim:\"\n"
        ),
        cells,
        carries: std::sync::OnceLock::new(),
    }
}

fn factors(spec: &Spec) -> BTreeMap<String, Value> {
    let (users, qps) = match spec.load {
        Load::Closed { users } => (json!(users), Value::Null),
        Load::Open { qps, max_in_flight, .. } => (json!(max_in_flight), json!(qps)),
    };
    BTreeMap::from([
        ("load.users".into(), users),
        ("load.qps".into(), qps),
        ("workload.prompt_tokens".into(), json!(spec.prompt)),
        ("workload.max_tokens".into(), json!(spec.max)),
    ])
}

fn settings(spec: &Spec) -> Settings {
    Settings {
        target: Target {
            url: "sim:".into(),
            api: "openai-chat".into(),
            model: "example-8b".into(),
            api_key_env: None,
            headers: BTreeMap::new(),
            extra_body: serde_json::Map::new(),
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
            prompt_tokens: Lengths::constant(spec.prompt),
            max_tokens: Lengths::constant(spec.max),
            prompt: None,
            prefix: None,
            tokenizer: TokenizerChoice::Auto,
            unique_prompts: true,
            stream: true,
            stop_after: plimsoll::experiment::StopAfter::End,
            cancel: None,
            force_length: ForceLength::Auto,
            sampling: serde_json::Map::new(),
            ..Workload::default()
        },
        load: spec.load,
        cell: CellSettings {
            duration: Some(Duration::from_secs(30)),
            requests: None,
            warmup: Duration::from_secs(5),
            ramp: Duration::from_secs(2),
            drain: Duration::from_secs(30),
            cooldown: Cooldown { min: Duration::from_secs(2), max: Duration::from_secs(60) },
        },
        slo: Slo {
            rules: vec![
                SloRule { metric: "ttft".into(), stat: "p95".into(), limit: 1000.0, target: None },
                SloRule { metric: "error_rate".into(), stat: String::new(), limit: 0.01, target: None },
            ],
            request: vec![RequestLimit { metric: "ttft".into(), limit_ms: 1000.0 }],
            ..Slo::default()
        },
        client: ClientSettings { threads: None, dead_after: 3, pin: false },
        sim: BTreeMap::new(),
        parts: Vec::new(),
        stages: Vec::new(),
        think: None,
        server: None,
    }
}

/// Figures of a server with 16 slots, by a rule of thumb.
struct Server {
    ttft: f64,
    tpot: f64,
    rps: f64,
    offered: f64,
    overloaded: bool,
    in_flight: f64,
}

fn server(spec: &Spec, noise: f64) -> Server {
    let (prompt, max) = (f64::from(spec.prompt), f64::from(spec.max));
    let service = |n: f64| {
        let tpot = 8.0 + 0.9 * n.min(16.0) + prompt * n.min(16.0) / 4000.0;
        (20.0 + prompt * 0.25 + 2.0 * n.min(16.0), tpot)
    };
    let capacity = {
        let (ttft, tpot) = service(16.0);
        16.0 / ((ttft + tpot * max) / 1000.0)
    };
    match spec.load {
        Load::Closed { users } => {
            let n = f64::from(users);
            let (ttft, tpot) = service(n);
            let whole = (ttft + tpot * max) / 1000.0;
            let rps = (n / whole).min(capacity);
            let waiting = (n / rps - whole).max(0.0) * 1000.0;
            let ttft = (ttft + waiting) * noise;
            Server {
                ttft,
                tpot: tpot * noise,
                rps: rps / noise,
                offered: rps / noise,
                overloaded: false,
                in_flight: n,
            }
        }
        Load::Open { qps, .. } => {
            let share = qps / capacity;
            let n = (16.0 * share).clamp(1.0, 16.0);
            let (ttft, tpot) = service(n);
            let wait = if share < 0.98 { ttft * 0.4 * share / (1.0 - share) } else { 9000.0 * share };
            let rps = qps.min(capacity);
            let in_flight = rps * (ttft + wait + tpot * max) / 1000.0;
            Server {
                ttft: (ttft + wait) * noise,
                tpot: tpot * noise,
                rps,
                offered: qps,
                overloaded: share > 1.0,
                in_flight,
            }
        }
    }
}

fn distribution(n: u64, p50: f64, tail: f64) -> Distribution {
    let at = |k: f64| p50 * (1.0 + (tail - 1.0) * k);
    Distribution {
        n,
        mean: at(0.1),
        std: p50 * 0.3,
        min: p50 * 0.6,
        p50,
        p75: at(0.2),
        p90: at(0.6),
        p95: at(1.0),
        p99: at(1.9),
        p999: at(3.0),
        max: at(3.5),
    }
}

fn cell(
    index: u32,
    spec: &Spec,
    fate: Fate,
    factors: &BTreeMap<String, Value>,
    varying: &[String],
) -> CellData {
    let id = format!(
        "{:016x}",
        0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(
            1 + u64::from(spec.prompt) * 7919 + u64::from(spec.max) * 104_729 + load_bits(spec.load)
        )
    );
    let cell = Cell {
        index,
        id: CellId(id),
        grid: None,
        factors: factors.clone(),
        varying: varying.to_vec(),
        repeat: spec.repeat,
        seed: 42 + u64::from(index),
        settings: settings(spec),
    };
    if fate == Fate::NotRun {
        return CellData {
            cell,
            summary: None,
            skipped: None,
            timeline: Vec::new(),
            records: None,
            points: Vec::new(),
            server: Vec::new(),
        };
    }
    let noise = 1.0 + 0.08 * ((f64::from(index) * 2.399 + f64::from(spec.repeat)).sin());
    let server = server(spec, noise);
    let mut summary = summary(spec, fate, &server);
    let (timeline, points) = time(fate, &server);
    summary.drift = drift(summary.window, &points);
    CellData {
        cell,
        summary: Some(summary),
        skipped: None,
        timeline,
        records: None,
        points,
        server: Vec::new(),
    }
}

/// What a sweep finds of the drift of these requests.
fn drift(window: Window, points: &[RequestPoint]) -> Vec<DriftVerdict> {
    let mut drift = Drift::new(window);
    for (seq, point) in points.iter().enumerate() {
        let due = (point.sent_s * 1e6) as u64;
        let first = point.ttft_ms.map(|ms| due + (ms * 1e3) as u64);
        drift.take(&RequestRecord {
            intended_us: due,
            sent_us: Some(due),
            first_token_us: first,
            last_token_us: first,
            outcome: if point.ok { Outcome::Ok } else { Outcome::HttpError },
            ..RequestRecord::blank(seq as u64)
        });
    }
    drift.verdicts()
}

fn load_bits(load: Load) -> u64 {
    match load {
        Load::Closed { users } => u64::from(users) << 20,
        Load::Open { qps, .. } => qps.to_bits() >> 3,
    }
}

const WINDOW_S: f64 = 30.0;

fn summary(spec: &Spec, fate: Fate, server: &Server) -> CellSummary {
    let attempted = ((server.offered * WINDOW_S) as u64).max(4);
    let ok = if fate == Fate::AllFailed { 0 } else { ((server.rps * WINDOW_S) as u64).min(attempted) };
    let failed = if fate == Fate::AllFailed { attempted } else { 0 };
    let e2e = server.ttft + server.tpot * f64::from(spec.max);
    let mut distributions = BTreeMap::from([("lag".to_owned(), distribution(attempted, 0.05, 4.0))]);
    let good = if server.ttft * 1.6 <= 1000.0 { 1.0 } else { (1000.0 / (server.ttft * 1.6)).min(1.0) * 0.9 };
    let mut scalars = BTreeMap::from([
        ("offered_rps".to_owned(), server.offered),
        ("sent_rps".to_owned(), server.offered),
        ("error_rate".to_owned(), failed as f64 / attempted as f64),
        ("attainment".to_owned(), if ok > 0 { good * ok as f64 / attempted as f64 } else { 0.0 }),
        ("completed_rps".to_owned(), ok as f64 / WINDOW_S),
        ("goodput_rps".to_owned(), good * ok as f64 / WINDOW_S),
        ("output_tps".to_owned(), ok as f64 / WINDOW_S * f64::from(spec.max)),
    ]);
    if ok > 0 {
        scalars.insert("in_flight_mean".to_owned(), server.in_flight);
        distributions.insert("ttft".to_owned(), distribution(ok, server.ttft, 1.6));
        distributions.insert("tpot".to_owned(), distribution(ok, server.tpot, 1.2));
        distributions.insert("e2e".to_owned(), distribution(ok, e2e, 1.3));
    }
    let ttft_p95 = distributions.get("ttft").map(|d| d.p95);
    let error_rate = scalars["error_rate"];
    CellSummary {
        started_at: "2026-11-22T10:15:00Z".into(),
        ended_at: "2026-11-22T10:15:40Z".into(),
        window: Window { start_us: 7_000_000, end_us: 37_000_000, ended_by: EndedBy::Duration },
        counts: Counts {
            planned: attempted,
            attempted,
            sent: attempted,
            ok,
            failed,
            errors: if failed > 0 {
                BTreeMap::from([("connect".to_owned(), failed)])
            } else {
                BTreeMap::new()
            },
            censored: attempted - ok - failed,
            ..Counts::default()
        },
        distributions,
        scalars,
        tokens: TokenCounts { output: ok * u64::from(spec.max), ..TokenCounts::default() },
        validity: validity(fate, server),
        slo: settings(spec)
            .slo
            .rules
            .iter()
            .map(|rule| {
                let value = if rule.metric == "ttft" { ttft_p95 } else { Some(error_rate) };
                SloVerdict::judge(rule, value)
            })
            .collect(),
        inside: None,
        workload_hash: "0".repeat(16),
        groups: Vec::new(),
        drift: Vec::new(),
        server: None,
        semi_open: false,
    }
}

fn validity(fate: Fate, server: &Server) -> Validity {
    let mut reasons = Vec::new();
    if server.overloaded && fate != Fate::AllFailed {
        reasons.push(Reason {
            signal: plimsoll::measure::OVERLOAD.into(),
            verdict: Verdict::Warn,
            text: "requests in flight grow by 4.1 % of the arrivals, over 2 %".into(),
        });
    }
    match fate {
        Fate::Invalid => reasons.push(Reason {
            signal: "lag".into(),
            verdict: Verdict::Invalid,
            text: "send lag p99 is 87 ms, over the limit of 50 ms".into(),
        }),
        Fate::AllFailed => reasons.push(Reason {
            signal: plimsoll::measure::validity::NOTHING_ANSWERED_NAME.into(),
            verdict: Verdict::Invalid,
            text: "no request due in the window was answered: 44 failed".into(),
        }),
        Fate::Fine | Fate::NotRun => {}
    }
    let verdict = reasons.iter().map(|r| r.verdict).max().unwrap_or(Verdict::Valid);
    Validity { verdict, reasons, signals: BTreeMap::new() }
}

fn time(fate: Fate, server: &Server) -> (Vec<Tick>, Vec<RequestPoint>) {
    let wave = |i: u64, k: f64| 1.0 + 0.15 * (i as f64 * k).sin() + 0.1 * (i as f64 * k * 3.7).cos();
    let (mut ended, mut timeline, mut points) = (0.0, Vec::new(), Vec::new());
    for i in 0..400_u64 {
        let t = i as f64 / 10.0;
        let rise = if t < 2.0 {
            t / 2.0
        } else if t > 37.0 {
            ((39.0 - t) / 2.0).max(0.0)
        } else {
            1.0
        };
        let growth = if server.overloaded { 1.0 + t / 8.0 } else { 1.0 };
        ended += server.rps / 10.0 * rise * wave(i, 0.9);
        let whole = ended as u32;
        ended -= f64::from(whole);
        let failed = fate == Fate::AllFailed;
        timeline.push(Tick {
            t_us: i * TICK_US,
            in_flight: if failed {
                0
            } else {
                (server.in_flight * growth * rise * wave(i, 0.31)).round() as u32
            },
            due: whole,
            sent: whole,
            completed: if failed { 0 } else { whole },
            failed: if failed { whole } else { 0 },
            chunks: if failed {
                0
            } else {
                (server.in_flight.min(16.0) * rise * wave(i, 0.7) * 100.0 / server.tpot) as u32
            },
            max_lag_us: (80.0 * wave(i, 1.3)) as u64
                + if fate == Fate::Invalid && i % 40 > 30 { 87_000 } else { 0 },
        });
        for k in 0..whole.min(6) {
            let ttft = (!failed).then(|| server.ttft * growth * wave(i * 6 + u64::from(k), 1.7));
            points.push(RequestPoint {
                sent_s: t + f64::from(k) / 60.0,
                ttft_ms: ttft,
                e2e_ms: None,
                lag_ms: Some(0.05),
                ok: !failed,
                ..RequestPoint::default()
            });
        }
    }
    (timeline, points)
}

/// Every shape of run that a report has to bear, by name.
pub fn gallery() -> Vec<RunData> {
    let spec = |load, prompt, max, repeat| Spec { load, prompt, max, repeat };
    let users = [1, 2, 4, 8, 16, 32, 64];
    let mut knee = Vec::new();
    for repeat in 1..=3 {
        for u in users {
            let fate = if u == 64 { Fate::Invalid } else { Fate::Fine };
            knee.push((spec(closed(u), 512, 64, repeat), fate));
        }
    }
    let rates = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0];
    let open_loop = rates.map(|q| (spec(open(q), 256, 128, 1), Fate::Fine)).to_vec();
    let mut tokens = Vec::new();
    for prompt in [128, 512, 2048] {
        for max in [32, 128, 512] {
            for u in [1, 8, 32] {
                let fate = if (prompt, max, u) == (512, 128, 8) { Fate::Invalid } else { Fate::Fine };
                tokens.push((spec(closed(u), prompt, max, 1), fate));
            }
        }
    }
    let two = [128, 1024]
        .iter()
        .flat_map(|p| users.map(|u| (spec(closed(u), *p, 64, 1), Fate::Fine)))
        .collect::<Vec<_>>();
    let failed = users.map(|u| (spec(closed(u), 128, 64, 1), Fate::AllFailed)).to_vec();
    let partial =
        users.map(|u| (spec(closed(u), 128, 64, 1), if u < 8 { Fate::Fine } else { Fate::NotRun })).to_vec();
    vec![
        run("knee", &knee),
        run("open", &open_loop),
        run("tokens", &tokens),
        run("two", &two),
        run("failed", &failed),
        run("partial", &partial),
        run(
            "mixed",
            &[closed(1), closed(8), open(1.0), open(4.0)].map(|l| (spec(l, 256, 64, 1), Fate::Fine)),
        ),
        run("prompts", &[128, 512, 2048].map(|p| (spec(closed(8), p, 64, 1), Fate::Fine))),
        run("one", &[(spec(closed(8), 512, 64, 1), Fate::Fine)]),
    ]
}
