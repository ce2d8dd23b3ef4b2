//! "The same file and salt give the same load, byte for byte; the same file alone the same
//! lengths and arrivals": held to the bytes of requests and to the schedule.

use std::sync::Arc;

use plimsoll::experiment::Load;
use plimsoll::load::{Schedule, Shard};
use plimsoll::plan::{Cell, Plan};
use plimsoll::provider::{self, Call};
use plimsoll::workload::{BundledTokenizer, Source};

use crate::plan::plan_of;

/// Requests of each cell that are looked at.
const REQUESTS: u64 = 40;

fn file(seed: u32) -> String {
    format!(
        "seed = {seed}\n[target]\nurl = \"http://127.0.0.1:8000\"\nmodel = \"m\"\nextra_body = {{ user = \"a\" }}\n\
         [workload]\nprompt_tokens = {{ mean = 60, distribution = \"uniform\", range = 0.5 }}\nprefix = \"Once:\"\n\
         max_tokens = {{ mean = 30, distribution = \"normal\", range = 0.3, cap = 50 }}\ntemperature = 0.5\n\
         [grid]\nqps = [5, 20]\n\"target.api\" = [\"openai-chat\", \"openai-completions\"]\nrepeats = 2\n\
         order = \"shuffled\"\n[cell]\nramp = \"1s\"\n"
    )
}

/// All that one cell puts on the wire.
#[derive(Debug, PartialEq)]
struct Sent {
    bodies: Vec<Vec<u8>>,
    /// Prompt and output lengths.
    lengths: Vec<(u32, u32)>,
    due_us: Vec<u64>,
}

fn sent(cell: &Cell, salt: &str) -> Sent {
    let settings = &cell.settings;
    let source = Source::new(settings.workload.clone(), cell.seed, salt, Arc::new(BundledTokenizer));
    let provider =
        (provider::find(&settings.target.api).unwrap().build)(&plimsoll::provider::Options::default());
    let body = |seq| {
        let request = source.request(seq);
        let wire = provider.request(&Call {
            max_tokens_field: &settings.target.max_tokens_field,
            stream: settings.workload.stream,
            force_length: true,
            sampling: &settings.workload.sampling,
            extra_body: &settings.target.extra_body,
            ..Call::new(&settings.target.model, &request.prompt, request.max_tokens)
        });
        wire.body.to_vec()
    };
    let Load::Open { qps, arrivals, .. } = settings.load else { panic!("an open loop") };
    let schedule = Schedule::new(cell.seed, qps, arrivals, settings.cell.ramp);
    Sent {
        bodies: (0..REQUESTS).map(body).collect(),
        lengths: (0..REQUESTS).map(|seq| source.lengths(seq)).collect(),
        due_us: schedule.take(REQUESTS as usize).collect(),
    }
}

fn all(plan: &Plan, salt: &str) -> Vec<Sent> {
    plan.cells.iter().map(|cell| sent(cell, salt)).collect()
}

#[test]
fn the_same_file_and_salt_give_the_same_bytes() {
    let (once, again) = (plan_of(&file(42)), plan_of(&file(42)));
    assert_eq!(once.experiment_hash, again.experiment_hash);
    let order = |plan: &Plan| plan.cells.iter().map(|c| (c.id.clone(), c.repeat)).collect::<Vec<_>>();
    assert_eq!(order(&once), order(&again));
    assert_eq!(all(&once, "salt"), all(&again, "salt"));
}

#[test]
fn the_same_file_with_another_salt_gives_the_same_lengths_and_arrivals() {
    let plan = plan_of(&file(42));
    for (a, b) in all(&plan, "one").iter().zip(&all(&plan, "two")) {
        assert_eq!((&a.lengths, &a.due_us), (&b.lengths, &b.due_us));
        assert!(a.bodies.iter().zip(&b.bodies).all(|(a, b)| a != b), "no text is met again");
    }
}

#[test]
fn another_seed_gives_other_lengths_and_arrivals_and_so_does_another_repeat() {
    let (a, b) = (all(&plan_of(&file(42)), "salt"), all(&plan_of(&file(43)), "salt"));
    for (i, one) in a.iter().enumerate() {
        for other in b.iter().chain(&a[..i]) {
            assert!(one.lengths != other.lengths && one.due_us != other.due_us);
            assert!(one.bodies.iter().all(|body| !other.bodies.contains(body)));
        }
    }
}

#[test]
fn load_cores_share_one_schedule_whatever_their_number() {
    let plan = plan_of(&file(42));
    let cell = &plan.cells[0];
    let Load::Open { qps, arrivals, .. } = cell.settings.load else { panic!("an open loop") };
    let schedule = || Schedule::new(cell.seed, qps, arrivals, cell.settings.cell.ramp);
    let whole: Vec<(u64, u64)> = (0..).zip(schedule()).take(60).collect();
    for size in [1, 2, 3, 5] {
        let mut parts: Vec<(u64, u64)> = (0..size)
            .flat_map(|rank| schedule().slice(Shard { rank, size }).take(60 / size as usize))
            .collect();
        parts.sort_unstable();
        assert_eq!(parts, whole, "{size} cores");
    }
}
