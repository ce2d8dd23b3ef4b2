//! The log of the truth: what happened to every inference request, as the server saw it.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::faults::Fault;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum TruthOutcome {
    /// Answered whole.
    Ok,
    /// Refused: a bad request, an unknown model, a full queue, a server not ready.
    Rejected,
    /// The client closed the connection before the answer's end.
    ClientGone,
    /// The server was stopped before the answer's end.
    Stopped,
    /// It went wrong on purpose.
    Fault(Fault),
}

impl From<TruthOutcome> for String {
    fn from(outcome: TruthOutcome) -> Self {
        match outcome {
            TruthOutcome::Ok => "ok".into(),
            TruthOutcome::Rejected => "rejected".into(),
            TruthOutcome::ClientGone => "client_gone".into(),
            TruthOutcome::Stopped => "stopped".into(),
            TruthOutcome::Fault(f) => format!("fault:{}", f.name()),
        }
    }
}

impl TryFrom<String> for TruthOutcome {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Ok(match text.as_str() {
            "ok" => Self::Ok,
            "rejected" => Self::Rejected,
            "client_gone" => Self::ClientGone,
            "stopped" => Self::Stopped,
            other => {
                let fault = other.strip_prefix("fault:").and_then(Fault::by_name);
                Self::Fault(fault.ok_or_else(|| format!("unknown outcome `{other}`"))?)
            }
        })
    }
}

/// One inference request. All times are absolute nanoseconds of `CLOCK_MONOTONIC`; those of
/// tokens and of the end are read just before the system call that writes the bytes, so a
/// client on the same host can never have seen them earlier. `None`: did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthRecord {
    /// The request's `x-request-id`, or a name of the server's own.
    pub request_id: String,
    pub path: String,
    /// Answered as an event stream.
    pub stream: bool,
    /// The read that brought the request's head had returned.
    pub arrival_ns: u64,
    /// The whole body had been read.
    pub prompt_read_ns: Option<u64>,
    /// The engine gave it a slot for the first time.
    pub admitted_ns: Option<u64>,
    /// First chunk with content or reasoning handed to the socket; for an answer that is
    /// not streamed, the answer.
    pub first_token_ns: Option<u64>,
    /// Last such chunk.
    pub last_token_ns: Option<u64>,
    /// The answer's last bytes handed to the socket, or the moment it was given up.
    pub end_ns: u64,
    pub prompt_tokens: Option<u32>,
    /// Prompt tokens found in the prefix cache.
    pub cached_tokens: Option<u32>,
    /// Tokens whose text was handed to the socket.
    pub output_tokens: u32,
    /// Chunks with content or reasoning.
    pub chunks: u32,
    /// Times it lost its KV blocks and was computed again.
    pub preemptions: u32,
    /// HTTP status, if one was sent.
    pub status: Option<u16>,
    pub outcome: TruthOutcome,
    /// The request's `traceparent`, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// All finished requests, in the order in which they ended.
#[derive(Debug)]
pub(super) struct TruthLog {
    inner: Mutex<Inner>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Inner {
    records: VecDeque<TruthRecord>,
    /// Records dropped from the front.
    dropped: u64,
}

impl TruthLog {
    pub fn new(limit: u32) -> Self {
        Self { inner: Mutex::default(), limit: limit as usize }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, record: TruthRecord) {
        let mut inner = self.lock();
        if inner.records.len() == self.limit {
            inner.records.pop_front();
            inner.dropped += 1;
        }
        inner.records.push_back(record);
    }

    pub fn all(&self) -> Vec<TruthRecord> {
        self.lock().records.iter().cloned().collect()
    }

    /// Records from number `from` on, and the number of the next one.
    pub fn since(&self, from: u64) -> (Vec<TruthRecord>, u64) {
        let inner = self.lock();
        let skip = usize::try_from(from.saturating_sub(inner.dropped)).unwrap_or(usize::MAX);
        let next = inner.dropped + inner.records.len() as u64;
        (inner.records.iter().skip(skip).cloned().collect(), next)
    }
}

/// Records as JSON lines.
pub(super) fn write_lines(records: &[TruthRecord], mut to: impl Write) -> std::io::Result<()> {
    for record in records {
        serde_json::to_writer(&mut to, record)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn sample(id: &str) -> TruthRecord {
    TruthRecord {
        request_id: id.into(),
        path: "/v1/completions".into(),
        stream: true,
        arrival_ns: 1,
        prompt_read_ns: None,
        admitted_ns: None,
        first_token_ns: None,
        last_token_ns: None,
        end_ns: 2,
        prompt_tokens: None,
        cached_tokens: None,
        output_tokens: 0,
        chunks: 0,
        preemptions: 0,
        status: None,
        outcome: TruthOutcome::Rejected,
        traceparent: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_line() {
        let outcomes = [TruthOutcome::Ok, TruthOutcome::Stopped, TruthOutcome::Fault(Fault::ResetMid)];
        for outcome in outcomes {
            let record = TruthRecord { outcome, ..sample("a") };
            let mut line = Vec::new();
            write_lines(std::slice::from_ref(&record), &mut line).unwrap();
            assert_eq!(serde_json::from_slice::<TruthRecord>(&line).unwrap(), record);
        }
        assert!(TruthOutcome::try_from("fault:none".to_owned()).is_err());
    }

    #[test]
    fn the_oldest_go_first_and_a_reader_keeps_its_place() {
        let log = TruthLog::new(2);
        log.push(sample("a"));
        let (read, next) = log.since(0);
        assert_eq!((read.len(), next), (1, 1));
        log.push(sample("b"));
        log.push(sample("c"));
        let ids = |r: Vec<TruthRecord>| r.into_iter().map(|r| r.request_id).collect::<Vec<_>>();
        assert_eq!(ids(log.all()), ["b", "c"]);
        let (read, next) = log.since(next);
        assert_eq!((ids(read), next), (vec!["b".to_owned(), "c".to_owned()], 3));
        assert!(log.since(next).0.is_empty());
    }
}
