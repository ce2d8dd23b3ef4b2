//! What this client says of itself: its progress, and when it can't do its work.

use std::sync::Arc;

use plimsoll::event::Look;
use plimsoll::load::{Control, Job, JobPart, drive};
use plimsoll::measure::Verdict;
use plimsoll::provider::{Call, Decoder, Framing, Provider, WireRequest};
use plimsoll::record::{Outcome, RecordSink, RequestRecord};

use super::{MS, closed, open, summary, with_job};
use crate::rig::Memory;
use crate::rig::scripted::serve;

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
    let mut sink = Memory::default();
    let run = with_job(&cell, server.address, |job| {
        let provider: Arc<dyn Provider> =
            Arc::new(Slow((plimsoll::provider::find("openai-chat").unwrap().build)(
                &plimsoll::provider::Options::default(),
            )));
        let job =
            Job { cell: job.cell, parts: vec![JobPart { provider, ..job.parts[0].clone() }], traces: None };
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
    let (mut looks, mut ended) = (Vec::new(), 0);
    let run = with_job(&cell, server.address, |job| {
        drive(job, &mut Memory::default(), &Control::default(), &mut |look| match look {
            Look::Live(live) => looks.push(live),
            Look::Ended(requests) => ended += requests.len(),
        })
    })
    .unwrap();
    assert_eq!(run.window.end_us, 1_500_000);
    assert!(looks.len() >= 2);
    let sent: u64 = run.timeline.iter().map(|tick| u64::from(tick.sent)).sum();
    assert_eq!(ended as u64, sent, "each is seen once when it has ended");
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
        let mut part = job.parts[0].clone();
        part.endpoint.headers.push(("x-key".to_owned(), "se\ncret".to_owned()));
        let job = Job { cell: job.cell, parts: vec![part], traces: None };
        drive(&job, &mut Memory::default(), &Control::default(), &mut |_| {})
    });
    let error = result.err().unwrap().to_string();
    assert!(error.contains("x-key") && !error.contains("cret"), "{error}");
    cell.settings.cell.requests = None;
    let result = with_job(&cell, "127.0.0.1:1".parse().unwrap(), |job| {
        drive(job, &mut Memory::default(), &Control::default(), &mut |_| {})
    });
    assert!(result.err().unwrap().to_string().contains("cell.duration"));
}

struct FullDisk;

impl RecordSink for FullDisk {
    fn write(&mut self, _: &[RequestRecord]) -> std::io::Result<()> {
        Err(std::io::Error::new(std::io::ErrorKind::StorageFull, "no space left"))
    }
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
