//! What single steps of the hot path cost: the parts of the CPU per token in the proof table
//! that are this project's own and not the kernel's.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use plimsoll::experiment::Arrivals;
use plimsoll::load::{Schedule, Shard};
use plimsoll::provider::framing::Framer;
use plimsoll::provider::{self, Call, Framing, Provider};

/// Content events in the benched streams.
const EVENTS: usize = 1000;
/// Bytes that one read of a socket brings in a flood.
const READ: usize = 64 << 10;

/// A content chunk as an OpenAI-compatible server writes it.
fn payload(i: usize) -> String {
    format!(
        r#"{{"id":"chatcmpl-123","object":"chat.completion.chunk","created":1700000000,"model":"sim","choices":[{{"index":0,"delta":{{"content":" word{i}"}},"logprobs":null,"finish_reason":null}}]}}"#
    )
}

fn stream() -> Vec<u8> {
    (0..EVENTS).flat_map(|i| format!("data: {}\n\n", payload(i)).into_bytes()).collect()
}

fn chat() -> Box<dyn Provider> {
    (provider::find("openai-chat").expect("a provider of that name").build)(
        &plimsoll::provider::Options::default(),
    )
}

/// Payloads that came out, so that the work can't be left out.
fn frames(chunks: &[&[u8]]) -> usize {
    let mut framer = Framer::new(Framing::Sse);
    let mut count = 0;
    for chunk in chunks {
        framer.push(chunk, |payload| count += usize::from(!payload.is_empty())).expect("frames are short");
    }
    count
}

fn framing(c: &mut Criterion) {
    let stream = stream();
    let mut group = c.benchmark_group("framing, per event");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let floods: Vec<&[u8]> = stream.chunks(READ).collect();
    let each: Vec<&[u8]> = stream.split_inclusive(|b| *b == b'\n').collect();
    let events: Vec<Vec<u8>> = each.chunks(2).map(<[&[u8]]>::concat).collect();
    let events: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
    assert_eq!((frames(&floods), frames(&events)), (EVENTS, EVENTS));
    group.bench_function("64 KiB a read", |b| b.iter(|| frames(black_box(&floods))));
    group.bench_function("one event a read", |b| b.iter(|| frames(black_box(&events))));
    group.finish();
}

fn decoding(c: &mut Criterion) {
    let provider = chat();
    let payloads: Vec<String> = (0..EVENTS).map(payload).collect();
    let mut group = c.benchmark_group("decoding, per content chunk");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for (name, keep_text) in [("text dropped", false), ("text kept", true)] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || provider.decoder(true, keep_text),
                |mut decoder| {
                    let content = payloads.iter().filter(|p| {
                        let delta = decoder.frame(black_box(p.as_bytes())).expect("a chunk of this API");
                        delta.content
                    });
                    assert_eq!(content.count(), EVENTS);
                    decoder
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn request(c: &mut Criterion) {
    let provider = chat();
    let prompt = "word ".repeat(512);
    let call = Call { force_length: true, ..Call::new("sim", &prompt, 128) };
    c.bench_function("request of 512 tokens", |b| b.iter(|| provider.request(black_box(&call))));
}

fn schedule(c: &mut Criterion) {
    const ARRIVALS: usize = 10_000;
    let mut group = c.benchmark_group("schedule, per arrival");
    group.throughput(Throughput::Elements(ARRIVALS as u64));
    for (name, arrivals) in [("poisson", Arrivals::Poisson), ("constant", Arrivals::Constant)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let all = Schedule::new(black_box(1), 1000.0, arrivals, Duration::ZERO);
                all.slice(Shard { rank: 0, size: 1 }).take(ARRIVALS).map(|(_, due_us)| due_us).sum::<u64>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, framing, decoding, request, schedule);
criterion_main!(benches);
