//! The log of a cell that runs: one JSON line per record, appended as they come. A line is the
//! array of a record's values, in the order of its fields: names would be two thirds of
//! it.
//!
//! JSON lines survive a kill at any byte: all lines but a torn last one can be read. A
//! column file can't be read without its footer, so it is made only at the cell's end.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::StoreError;
use super::answers::AnswerLog;
use crate::record::{KeptAnswer, RecordSink, RequestRecord};

/// Takes the records of one cell. Every batch is handed to the operating system before
/// [`RecordSink::write`] returns, so a killed process loses no batch.
#[derive(Debug)]
pub struct CellLog {
    path: PathBuf,
    file: File,
    line_buffer: Vec<u8>,
    /// Bytes of the file that are whole lines.
    good_len: u64,
    records: u64,
    /// A torn line could not be cut off: nothing may follow it.
    broken: bool,
    answers: AnswerLog,
}

impl CellLog {
    pub(super) fn create(path: PathBuf) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        let answers = AnswerLog::beside(&path);
        Ok(Self { path, file, line_buffer: Vec::new(), good_len: 0, records: 0, broken: false, answers })
    }

    /// Records taken so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Why not all texts of answers were kept that were to be, if so.
    #[must_use]
    pub fn answers_refused(&self) -> Option<&str> {
        self.answers.refused()
    }

    /// End the log and make it last through a power cut.
    ///
    /// # Errors
    /// When the disk refuses to sync it.
    pub fn seal(self) -> Result<SealedLog, StoreError> {
        self.file.sync_all().map_err(StoreError::io("sync", &self.path))?;
        Ok(SealedLog { path: self.path, records: self.records })
    }
}

impl RecordSink for CellLog {
    fn write(&mut self, batch: &[RequestRecord]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the log ends in a torn line after an earlier failure"));
        }
        self.line_buffer.clear();
        for record in batch {
            serde_json::to_writer(&mut self.line_buffer, &Line(record))?;
            self.line_buffer.push(b'\n');
        }
        if let Err(error) = self.file.write_all(&self.line_buffer) {
            // Part of the batch may be on disk: cut it off, so that a later batch starts
            // on a line of its own and no record counts that the caller takes for lost.
            self.broken = self.file.set_len(self.good_len).is_err();
            return Err(error);
        }
        self.good_len += self.line_buffer.len() as u64;
        self.records += batch.len() as u64;
        Ok(())
    }

    fn keep(&mut self, answers: &[KeptAnswer]) {
        self.answers.keep(answers);
    }
}

/// A record as a log's line. The derived reader of a record takes arrays and maps alike.
struct Line<'a>(&'a RequestRecord);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A field that is new has no place yet: this doesn't compile until it gets one.
        macro_rules! values {
            ($($field:ident),+ $(,)?) => {{
                let RequestRecord { $($field),+ } = self.0;
                let mut line = serializer.serialize_seq(Some([$(stringify!($field)),+].len()))?;
                $(line.serialize_element($field)?;)+
                line.end()
            }};
        }
        values!(
            seq,
            user,
            shard,
            phase,
            intended_us,
            sent_us,
            headers_us,
            first_token_us,
            first_visible_us,
            second_chunk_us,
            last_token_us,
            end_us,
            prompt_tokens_asked,
            prompt_tokens_counted,
            prompt_tokens,
            max_tokens,
            output_tokens,
            cached_tokens,
            token_source,
            chunks,
            chunks_in_window,
            max_gap_us,
            bytes,
            status,
            finish_reason,
            retries,
            cap_blocked,
            outcome,
            error_class,
            detail,
            task,
            endpoint,
            stage,
            session,
            turn,
            server_ttft_us,
            server_e2e_us,
            choices,
            trace_id,
        )
    }
}

/// The log of a cell that ended: read as often as needed, then handed to
/// [`super::RunDir::commit_cell`].
#[derive(Debug)]
pub struct SealedLog {
    path: PathBuf,
    records: u64,
}

impl SealedLog {
    /// A log as it lies on disk, such as an `interrupted-1.jsonl`.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut log = Self { path: path.to_owned(), records: 0 };
        let mut count = 0;
        for record in log.records()? {
            record?;
            count += 1;
        }
        log.records = count;
        Ok(log)
    }

    /// Number of whole records in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.records
    }

    /// Whether no record came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All records in the order written, one at a time.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn records(&self) -> Result<Records, StoreError> {
        let file = File::open(&self.path).map_err(StoreError::io("open", &self.path))?;
        Ok(Records {
            path: self.path.clone(),
            reader: BufReader::with_capacity(1 << 16, file),
            line: Vec::new(),
            number: 0,
        })
    }
}

/// Iterator over a log. A torn last line is left out; any other line that can't be read is
/// an error.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    number: u64,
}

impl Iterator for Records {
    type Item = Result<RequestRecord, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line.clear();
        match self.reader.read_until(b'\n', &mut self.line) {
            Err(e) => return Some(Err(StoreError::io("read", &self.path)(e))),
            Ok(_) if self.line.last() != Some(&b'\n') => return None,
            Ok(_) => self.number += 1,
        }
        Some(serde_json::from_slice(&self.line).map_err(|e| StoreError::Corrupt {
            path: self.path.clone(),
            line: Some(self.number),
            what: e.to_string(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;

    #[test]
    fn every_truncation_yields_the_whole_lines_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        let mut log = CellLog::create(path.clone()).unwrap();
        let records: Vec<_> = (0..3).map(record).collect();
        log.write(&records[..2]).unwrap();
        log.write(&records[2..]).unwrap();
        assert_eq!(log.seal().unwrap().len(), 3);
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let sealed = SealedLog::open(&path).unwrap();
            let whole = bytes[..cut].iter().filter(|b| **b == b'\n').count();
            let read: Vec<_> = sealed.records().unwrap().map(Result::unwrap).collect();
            assert_eq!(read, records[..whole], "cut at {cut}");
        }
    }

    #[test]
    fn lines_hold_values_without_names_and_lines_with_names_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        let mut log = CellLog::create(path.clone()).unwrap();
        log.write(&[record(0), record(1)]).unwrap();
        drop(log);
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"[0,3,1,\"ramp\",0,5,"), "{}", String::from_utf8_lossy(&bytes));
        let named = serde_json::to_vec(&record(2)).unwrap();
        std::fs::write(&path, [&bytes[..], &named[..], b"\n"].concat()).unwrap();
        let read: Vec<_> = SealedLog::open(&path).unwrap().records().unwrap().map(Result::unwrap).collect();
        assert_eq!(read, [record(0), record(1), record(2)]);
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        let mut log = CellLog::create(path.clone()).unwrap();
        log.write(&[record(0)]).unwrap();
        drop(log);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{}\n");
        std::fs::write(&path, bytes).unwrap();
        let error = SealedLog::open(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt { line: Some(2), .. }), "{error}");
    }

    /// `/dev/full` takes no byte, as a full disk.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_and_nothing_counts() {
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut log = CellLog {
            path: "/dev/full".into(),
            file,
            line_buffer: Vec::new(),
            good_len: 0,
            records: 0,
            broken: false,
            answers: AnswerLog::beside(Path::new("/dev/full")),
        };
        let error = log.write(&[record(0)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(log.records(), 0);
    }
}
