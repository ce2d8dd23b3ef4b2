//! A mix on its way: what each server was really sent, held against the weights and the lengths,
//! and the figures of each part against those of the whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll::load::{Control, Job, JobPart, drive};
use plimsoll::measure::{CellSummary, GroupKind, summarise};
use plimsoll::plan::Cell;
use plimsoll::record::{Outcome, RequestRecord};
use plimsoll::server;
use plimsoll::sim::{Server, TruthRecord};
use plimsoll::workload::Source;
use serde_json::{Value, json};

use crate::plan::plan_of;
use crate::rig::{Memory, simulator};

/// Knobs of a simulator by the clock.
fn paced(ttft: &str) -> BTreeMap<String, Value> {
    [("preset", json!("paced")), ("ttft", json!(ttft)), ("tpot", json!("1ms"))]
        .map(|(k, v)| (k.to_owned(), v))
        .into()
}

/// What a cell came to.
struct Ran {
    records: Vec<RequestRecord>,
    summary: CellSummary,
}

/// Run the one cell of a file.
fn run(text: &str) -> Ran {
    let cell = plan_of(text).cells.remove(0);
    let parts = (0..cell.settings.parts.len()).map(|i| part(&cell, i)).collect();
    let job = Job { cell: &cell, parts, traces: None };
    let mut memory = Memory::default();
    let run = drive(&job, &mut memory, &Control::default(), &mut |_| {}).expect("the engine itself works");
    let mut records = memory.0;
    records.sort_by_key(|r| r.seq);
    let summary = summarise(&cell, &run, records.iter().cloned());
    Ran { records, summary }
}

fn part(cell: &Cell, i: usize) -> JobPart {
    let settings = cell.settings.of_part(i);
    let base = settings.target.url.parse().expect("a URL");
    let found = server::discover(&settings, base).unwrap_or_else(|e| panic!("{e}"));
    let source = Source::new(settings.workload.clone(), cell.seed, "salt", found.tokenizer.clone());
    let provider = settings.target.provider().expect("a provider").into();
    JobPart { endpoint: found.endpoint.clone(), provider, source: Arc::new(source) }
}

/// What a server was asked within the cell, by the request's number.
fn asked(sim: Server) -> BTreeMap<u64, TruthRecord> {
    let seq = |t: &TruthRecord| t.request_id.strip_prefix("plimsoll-0-")?.parse().ok();
    sim.stop().into_iter().filter_map(|t| Some((seq(&t)?, t))).collect()
}

/// Three tasks that differ in lengths, sampling and stream, at two endpoints.
fn mixed(flash: &Server, thinker: &Server, more: &str) -> String {
    format!(
        "seed = 11\n[workload]\nprompt_tokens = 16\nforce_length = \"always\"\n\
         [task.short]\nweight = 5\nworkload.max_tokens = 4\n\
         [task.long]\nweight = 3\nworkload = {{ max_tokens = 12, prompt_tokens = 40, temperature = 1.2 }}\n\
         [task.whole]\nweight = 2\nworkload = {{ max_tokens = 6, stream = false }}\n\
         [endpoint.flash]\nweight = 0.7\nurl = \"{}\"\n[endpoint.thinker]\nweight = 0.3\nurl = \"{}\"\n{more}",
        flash.url(),
        thinker.url()
    )
}

const TASKS: [(&str, f64, u32, bool); 3] =
    [("short", 5.0, 4, true), ("long", 3.0, 12, true), ("whole", 2.0, 6, false)];

#[test]
fn servers_see_the_shares_the_lengths_and_the_ways_that_were_asked() {
    let (flash, thinker) = (simulator(&paced("2ms")), simulator(&paced("40ms")));
    let load = "[load]\nqps = 250\n[cell]\nrequests = 500\nwarmup = \"0s\"\n";
    let Ran { records, summary } = run(&mixed(&flash, &thinker, load));
    assert!(records.iter().all(|r| r.outcome == Outcome::Ok), "{:?}", summary.counts);
    let servers = [("flash", 0.7, asked(flash)), ("thinker", 0.3, asked(thinker))];
    let n = records.len() as f64;
    assert_eq!(servers.iter().map(|(.., asked)| asked.len()).sum::<usize>(), records.len());
    let mut chi_square = 0.0;
    for (endpoint, share, asked) in &servers {
        for (task, weight, tokens, stream) in TASKS {
            let of = asked.iter().filter(|(_, t)| t.output_tokens == tokens);
            let seqs: Vec<u64> = of
                .map(|(seq, truth)| {
                    assert_eq!(truth.stream, stream, "{truth:?}");
                    *seq
                })
                .collect();
            let expected = n * share * weight / 10.0;
            chi_square += (seqs.len() as f64 - expected).powi(2) / expected;
            // What the records say of it is what the server saw.
            let said = records
                .iter()
                .filter(|r| r.task.as_deref() == Some(task) && r.endpoint.as_deref() == Some(*endpoint));
            let said: Vec<&RequestRecord> = said.collect();
            assert_eq!(said.iter().map(|r| r.seq).collect::<Vec<_>>(), seqs, "{task} at {endpoint}");
            assert!(said.iter().all(|r| r.max_tokens == tokens && r.output_tokens == Some(tokens)));
            let prompt = if task == "long" { 40 } else { 16 };
            assert!(said.iter().all(|r| r.prompt_tokens_asked == prompt && r.prompt_tokens == Some(prompt)));
        }
    }
    // The 0.999 quantile of chi-square with 5 degrees of freedom.
    assert!(chi_square < 20.52, "{chi_square}");
    add_up(&summary);
    let of = |kind, name| summary.group(kind, name).expect("a group");
    let fastest = |name| of(GroupKind::Endpoint, name).value("ttft", "min").expect("streamed answers");
    assert!(fastest("thinker") >= 40.0, "the simulator is never early: {}", fastest("thinker"));
    assert!(fastest("flash") < fastest("thinker"));
    let whole = of(GroupKind::Task, "whole");
    assert!(whole.value("ttft", "p50").is_none() && whole.value("e2e", "p50").is_some());
    assert_eq!(whole.value("output_length", "mean"), Some(6.0));
}

/// The tasks' figures and the endpoints' are the cell's, cut into pieces.
fn add_up(summary: &CellSummary) {
    let names = |kind| {
        let groups = summary.groups.iter().filter(move |g| g.kind == kind);
        groups.map(|g| g.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(names(GroupKind::Task), ["short", "long", "whole"], "in the order of the file");
    assert_eq!(names(GroupKind::Endpoint), ["flash", "thinker"]);
    for kind in [GroupKind::Task, GroupKind::Endpoint] {
        let groups = || summary.groups.iter().filter(|g| g.kind == kind);
        let (all, tokens) = (&summary.counts, &summary.tokens);
        assert_eq!(groups().map(|g| g.counts.attempted).sum::<u64>(), all.attempted);
        assert_eq!(groups().map(|g| g.counts.ok).sum::<u64>(), all.ok);
        assert_eq!(groups().map(|g| g.counts.failed).sum::<u64>(), all.failed);
        assert_eq!(groups().map(|g| g.counts.before_window).sum::<u64>(), all.before_window);
        assert_eq!(groups().map(|g| g.tokens.output).sum::<u64>(), tokens.output);
        assert_eq!(groups().map(|g| g.tokens.prompt).sum::<u64>(), tokens.prompt);
        for metric in
            ["completed_rps", "sent_rps", "output_tps", "prompt_tps", "goodput_rps", "in_flight_mean"]
        {
            let sum: f64 = groups().filter_map(|g| g.value(metric, "")).sum();
            let whole = summary.value(metric, "").expect("a scalar");
            assert!((sum - whole).abs() <= 1e-6 * whole.max(1.0), "{metric}: {sum} of {whole}");
        }
        let samples = |metric: &str| groups().filter_map(|g| g.value(metric, "n")).sum::<f64>();
        for metric in ["ttft", "e2e", "lag", "output_length"] {
            assert_eq!(Some(samples(metric)), summary.value(metric, "n"), "{metric}");
        }
        let least = groups().filter_map(|g| g.value("e2e", "min")).reduce(f64::min);
        assert_eq!(least, summary.value("e2e", "min"));
        let most = groups().filter_map(|g| g.value("e2e", "max")).reduce(f64::max);
        assert_eq!(most, summary.value("e2e", "max"));
    }
}

#[test]
fn one_core_and_four_deal_alike_and_a_core_has_a_pool_for_each_server() {
    let dealt = |threads: u32| {
        let (flash, thinker) = (simulator(&paced("1ms")), simulator(&paced("1ms")));
        let load = format!(
            "[load]\nusers = 8\n[client]\nthreads = {threads}\n[cell]\nrequests = 120\nwarmup = \"0s\"\n"
        );
        let Ran { records, .. } = run(&mixed(&flash, &thinker, &load));
        let shards: std::collections::BTreeSet<u32> = records.iter().map(|r| r.shard).collect();
        assert_eq!(shards.len(), threads as usize);
        drop((flash, thinker));
        let all = records.into_iter().map(|r| {
            (
                r.seq,
                (
                    r.task.expect("a task"),
                    r.endpoint.expect("an endpoint"),
                    r.prompt_tokens_asked,
                    r.max_tokens,
                ),
            )
        });
        all.collect::<BTreeMap<_, _>>()
    };
    let (one, four) = (dealt(1), dealt(4));
    let mut both = 0;
    for (seq, what) in &one {
        if let Some(other) = four.get(seq) {
            assert_eq!(what, other, "arrival {seq}");
            both += 1;
        }
    }
    assert!(both >= 100, "{both} of {} and {}", one.len(), four.len());
}

#[test]
fn time_outs_of_one_endpoint_are_its_own_contention() {
    let (flash, thinker) = (simulator(&paced("1ms")), simulator(&paced("60s")));
    let more = "timeout = \"300ms\"\n[load]\nqps = 60\n[cell]\nduration = \"1s\"\nwarmup = \"0s\"\n[slo]\nttft_p95 = \"30s\"\n";
    // Discovery would wait for the slow one: what it asks is not timed out by the target's limit.
    let text = mixed(&flash, &thinker, more);
    let cell = plan_of(&text).cells.remove(0);
    assert_eq!(cell.settings.parts[0].target.timeout.as_secs(), 120);
    let Ran { records, summary } = run(&text);
    let rate =
        |name| summary.group(GroupKind::Endpoint, name).and_then(|g| g.value("contention_error_rate", ""));
    assert_eq!((rate("flash"), rate("thinker")), (Some(0.0), Some(1.0)), "{:?}", summary.counts);
    let whole = summary.value("contention_error_rate", "").expect("requests");
    let timed_out = records.iter().filter(|r| r.outcome == Outcome::Timeout).count() as f64;
    assert!((whole - timed_out / summary.counts.attempted as f64).abs() < 1e-9 && whole > 0.1, "{whole}");
    // Rules are judged where there is a figure, and there alone.
    let verdicts = |name| summary.group(GroupKind::Endpoint, name).map(|g| g.slo.len());
    assert_eq!((verdicts("flash"), verdicts("thinker")), (Some(1), Some(0)));
}

#[test]
fn what_was_never_sent_belongs_to_its_part_as_well() {
    let (flash, thinker) = (simulator(&paced("400ms")), simulator(&paced("400ms")));
    let load = "[load]\nqps = 100\nusers = 2\n[cell]\nduration = \"1s\"\nwarmup = \"0s\"\ndrain = \"0s\"\n";
    let Ran { records, summary } = run(&mixed(&flash, &thinker, load));
    let dropped: Vec<_> = records.iter().filter(|r| r.outcome == Outcome::Dropped).collect();
    assert!(dropped.len() > 30, "{} dropped", dropped.len());
    for r in dropped {
        let task = TASKS.iter().find(|(name, ..)| Some(*name) == r.task.as_deref()).expect("a task");
        assert_eq!(r.max_tokens, task.2);
        assert!(r.endpoint.is_some());
    }
    let of_groups = summary.groups.iter().filter(|g| g.kind == GroupKind::Task).map(|g| g.counts.dropped);
    assert_eq!(of_groups.sum::<u64>(), summary.counts.dropped);
}
