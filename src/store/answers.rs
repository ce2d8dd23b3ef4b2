//! A cell's `answers.jsonl`: the texts of some requests, where the experiment asks for them. It
//! is beside the measurement: nothing is computed from it, and when it can't be written the cell
//! is none the worse.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{StoreError, atomic};
use crate::record::KeptAnswer;

/// Name of the file in a cell's directory.
pub const ANSWERS: &str = "answers.jsonl";

/// Most bytes of one file. What would go beyond is left out.
const MOST: u64 = 32 << 20;

/// Takes answers as they come, a JSON line each. There is no file before the first.
#[derive(Debug)]
pub(super) struct AnswerLog {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    /// Why the rest is left out.
    refused: Option<String>,
}

impl AnswerLog {
    /// Beside the cell's log of records.
    pub(super) fn beside(log: &Path) -> Self {
        Self { path: log.with_file_name(ANSWERS), file: None, bytes: 0, refused: None }
    }

    /// Why not all answers were kept that were to be.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    pub(super) fn keep(&mut self, answers: &[KeptAnswer]) {
        for answer in answers {
            if self.refused.is_some() {
                return;
            }
            if let Err(why) = self.line(answer) {
                self.refused = Some(why);
            }
        }
    }

    fn line(&mut self, answer: &KeptAnswer) -> Result<(), String> {
        let mut line = serde_json::to_vec(answer).map_err(|e| e.to_string())?;
        line.push(b'\n');
        if self.bytes + line.len() as u64 > MOST {
            return Err(format!("the file has the {} MiB that it may have", MOST >> 20));
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().create_new(true).append(true).open(&self.path);
                self.file.insert(file.map_err(|e| e.to_string())?)
            }
        };
        if let Err(error) = file.write_all(&line) {
            // Half a line is no answer.
            let _ = file.set_len(self.bytes);
            return Err(error.to_string());
        }
        self.bytes += line.len() as u64;
        Ok(())
    }
}

/// The answers of a cell that are kept at `path`, in the order in which they ended; none where
/// there is no file. A torn last line is left out.
///
/// # Errors
/// When the file can't be read or another line isn't an answer's.
pub fn read_answers(path: &Path) -> Result<Vec<KeptAnswer>, StoreError> {
    let Some(bytes) = atomic::read_if_there(path)? else { return Ok(Vec::new()) };
    let lines = bytes.split_inclusive(|b| *b == b'\n').filter(|line| line.last() == Some(&b'\n'));
    let parse = |(i, line): (usize, &[u8])| {
        serde_json::from_slice(line).map_err(|e| StoreError::Corrupt {
            path: path.to_owned(),
            line: Some(i as u64 + 1),
            what: e.to_string(),
        })
    };
    lines.enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Excerpt, Texts};
    use crate::store::tests::record;

    fn answer(seq: u64, bytes: usize) -> KeptAnswer {
        let text = |text: &str| Some(Excerpt::of(text, usize::MAX));
        let texts = Texts { prompt: text("ask\nö"), answer: text(&"x".repeat(bytes)), body: None };
        texts.of(&record(seq))
    }

    #[test]
    fn answers_come_back_and_a_torn_line_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AnswerLog::beside(&dir.path().join("records.jsonl"));
        let path = dir.path().join(ANSWERS);
        assert_eq!(read_answers(&path).unwrap(), []);
        log.keep(&[]);
        assert!(!path.exists(), "no answer, no file");
        let kept = [answer(0, 3), answer(1, 0)];
        log.keep(&kept);
        assert_eq!(log.refused(), None);
        assert_eq!(read_answers(&path).unwrap(), kept);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read_answers(&path).unwrap(), kept[..1]);
        std::fs::write(&path, b"{}\n").unwrap();
        let error = read_answers(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt { line: Some(1), .. }), "{error}");
    }

    /// What an attempt that counts for nothing had been told is of no run.
    #[test]
    fn a_cell_that_runs_again_begins_without_the_answers_of_the_attempt_before() {
        use crate::record::RecordSink as _;
        use crate::store::tests::{cell, create, finish};
        let root = tempfile::tempdir().unwrap();
        let run = create(root.path(), 1);
        let mut log = run.begin_cell(&cell(0)).unwrap();
        log.write(&[record(0)]).unwrap();
        log.keep(&[answer(0, 3)]);
        drop(log);
        assert_eq!(run.answers(&cell(0)).unwrap().len(), 1, "a killed process leaves what it had");
        let mut log = run.begin_cell(&cell(0)).unwrap();
        assert_eq!(run.answers(&cell(0)).unwrap(), []);
        log.keep(&[answer(1, 3)]);
        assert_eq!(log.answers_refused(), None);
        drop(log);
        finish(&run, 0, 2);
        assert_eq!(run.answers(&cell(0)).unwrap(), [], "a cell that was asked to keep none has none");
    }

    #[test]
    fn the_file_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AnswerLog::beside(&dir.path().join("records.jsonl"));
        for seq in 0..5 {
            log.keep(&[answer(seq, 10 << 20)]);
        }
        assert!(log.refused().is_some_and(|why| why.contains("32 MiB")), "{:?}", log.refused());
        let path = dir.path().join(ANSWERS);
        assert!(path.metadata().unwrap().len() <= MOST);
        assert_eq!(read_answers(&path).unwrap().len(), 3);
    }

    #[test]
    fn a_file_that_cannot_be_made_is_told_and_nothing_more() {
        let mut log = AnswerLog::beside(Path::new("/nowhere/at/all/records.jsonl"));
        log.keep(&[answer(0, 1)]);
        assert!(log.refused().is_some_and(|why| why.contains("No such file")), "{:?}", log.refused());
    }
}
