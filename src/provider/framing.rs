//! Cuts a byte stream into frames: server-sent events, JSON lines, or one whole body.
//!
//! Bytes come as the socket gives them, so a frame may be split at any byte and one read
//! may hold many frames. A frame that lies wholly inside one read is handed on as a slice of
//! it; only what straddles two reads is copied.

use memchr::memchr2;

use super::Framing;

/// Longest frame that is held, in bytes. A server that sends more without an end of frame
/// is taken for broken, before it takes the client's memory.
pub const MAX_FRAME: usize = 16 << 20;

/// UTF-8's byte order mark, allowed once at the start of a stream.
const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// A stream that cannot be cut into frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More than `limit` bytes without an end of frame.
    #[error("no end of frame within {limit} bytes")]
    TooLong { limit: usize },
}

/// Cuts one answer's bytes into payloads.
#[derive(Debug)]
pub struct Framer {
    framing: Framing,
    limit: usize,
    /// Bytes of the byte order mark seen so far; `None` once the stream has begun.
    bom: Option<usize>,
    /// Whether the first byte after the mark is still to come.
    fresh: bool,
    /// The last byte was a carriage return: a line feed next belongs to it.
    after_cr: bool,
    /// A line without its end, or the whole body so far.
    partial: Vec<u8>,
    /// Data lines of an event without its end, joined by line feeds.
    data: Vec<u8>,
    has_data: bool,
}

impl Framer {
    /// A framer at the start of a stream.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self::with_limit(framing, MAX_FRAME)
    }

    /// As [`Framer::new`], with another limit on a frame's bytes.
    #[must_use]
    pub fn with_limit(framing: Framing, limit: usize) -> Self {
        Self {
            framing,
            limit,
            bom: Some(0),
            fresh: true,
            after_cr: false,
            partial: Vec::new(),
            data: Vec::new(),
            has_data: false,
        }
    }

    /// Take in `bytes` and hand each payload that they complete to `sink`.
    ///
    /// # Errors
    /// [`FrameError::TooLong`]; the framer is of no use afterwards.
    pub fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Result<(), FrameError> {
        let bytes = self.skip_bom(bytes);
        if self.fresh && !bytes.is_empty() {
            self.fresh = false;
            // Some servers answer a request for a stream with one JSON document. No field of
            // an event stream begins with a brace, so nothing is mistaken.
            if self.framing == Framing::Sse && first_byte(&self.partial, bytes) == b'{' {
                self.framing = Framing::Whole;
            }
        }
        let bytes = self.skip_line_feed(bytes);
        match self.framing {
            Framing::Sse => self.push_sse(bytes, &mut sink)?,
            Framing::JsonLines => self.push_lines(bytes, &mut sink),
            Framing::Whole => self.partial.extend_from_slice(bytes),
        }
        if self.partial.len() + self.data.len() > self.limit {
            return Err(FrameError::TooLong { limit: self.limit });
        }
        Ok(())
    }

    /// The stream has ended: hand on what was left without its end of frame, as servers
    /// leave out the last blank line. A payload from here that cannot be decoded was cut
    /// off: the answer is truncated rather than malformed.
    pub fn end(&mut self, mut sink: impl FnMut(&[u8])) {
        if let Some(seen) = self.bom.take() {
            self.partial.extend_from_slice(&BOM[..seen]);
        }
        let line = std::mem::take(&mut self.partial);
        match self.framing {
            Framing::Sse => {
                if let Some(value) = data_field(&line) {
                    self.keep(value);
                }
                if self.has_data {
                    sink(&self.data);
                }
                self.data.clear();
                self.has_data = false;
            }
            Framing::JsonLines | Framing::Whole => {
                if !line.trim_ascii().is_empty() {
                    sink(&line);
                }
            }
        }
    }

    /// `bytes` without the byte order mark at the start of the stream.
    fn skip_bom<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while let (Some(seen), Some(&first)) = (self.bom, bytes.first()) {
            if first == BOM[seen] {
                bytes = &bytes[1..];
                self.bom = (seen + 1 < BOM.len()).then_some(seen + 1);
            } else {
                // Not a mark after all: what looked like one is content.
                self.partial.extend_from_slice(&BOM[..seen]);
                self.bom = None;
            }
        }
        bytes
    }

    /// `bytes` without the line feed that belongs to a carriage return of the last read.
    fn skip_line_feed<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            return bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        bytes
    }

    fn push_sse(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<(), FrameError> {
        // The one data line of an event that lies in `bytes`, as long as nothing has to be
        // joined to it.
        let mut held: Option<&[u8]> = None;
        let mut rest = bytes;
        while let Some((line, next)) = self.split_line(rest) {
            rest = next;
            if !self.partial.is_empty() {
                self.partial.extend_from_slice(line);
                let whole = std::mem::take(&mut self.partial);
                self.straddling_line(&whole, &mut held);
                self.partial = whole;
                self.partial.clear();
            } else if line.is_empty() {
                if let Some(payload) = held.take() {
                    sink(payload);
                } else if self.has_data {
                    sink(&self.data);
                    self.data.clear();
                    self.has_data = false;
                }
            } else if let Some(value) = data_field(line) {
                if self.has_data {
                    self.keep(value);
                } else if let Some(before) = held.replace(value) {
                    held = None;
                    self.keep(before);
                    self.keep(value);
                }
            }
            if self.data.len() > self.limit {
                return Err(FrameError::TooLong { limit: self.limit });
            }
        }
        self.partial.extend_from_slice(rest);
        if let Some(value) = held {
            self.keep(value);
        }
        Ok(())
    }

    /// A line that began in an earlier read. It is never blank.
    fn straddling_line(&mut self, line: &[u8], held: &mut Option<&[u8]>) {
        if let Some(value) = data_field(line) {
            if let Some(before) = held.take() {
                self.keep(before);
            }
            self.keep(value);
        }
    }

    fn push_lines(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some((line, next)) = self.split_line(rest) {
            rest = next;
            if self.partial.is_empty() {
                if !line.trim_ascii().is_empty() {
                    sink(line);
                }
            } else {
                self.partial.extend_from_slice(line);
                if !self.partial.trim_ascii().is_empty() {
                    sink(&self.partial);
                }
                self.partial.clear();
            }
        }
        self.partial.extend_from_slice(rest);
    }

    /// The first line of `bytes` without its end, and what follows it.
    fn split_line<'a>(&mut self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let at = memchr2(b'\n', b'\r', bytes)?;
        let mut next = at + 1;
        if bytes[at] == b'\r' {
            match bytes.get(next) {
                Some(b'\n') => next += 1,
                Some(_) => {}
                None => self.after_cr = true,
            }
        }
        Some((&bytes[..at], &bytes[next..]))
    }

    /// Join a data line to the event.
    fn keep(&mut self, value: &[u8]) {
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.has_data = true;
    }
}

/// First byte of two slices one after the other; `b` is not empty.
fn first_byte(a: &[u8], b: &[u8]) -> u8 {
    a.first().copied().unwrap_or(b[0])
}

/// The value of a `data` field; `None` for comments and all other fields, which no API
/// here makes use of.
fn data_field(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"data")?;
    match rest.first() {
        None => Some(rest),
        Some(b':') => Some(rest[1..].strip_prefix(b" ").unwrap_or(&rest[1..])),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Payloads of `stream` when it comes in pieces cut at `cuts`.
    fn frames(framing: Framing, stream: &[u8], cuts: &[usize]) -> Vec<String> {
        let mut framer = Framer::new(framing);
        let mut out = Vec::new();
        let mut from = 0;
        for &to in cuts.iter().chain([&stream.len()]) {
            framer
                .push(&stream[from..to], |p| out.push(String::from_utf8_lossy(p).into_owned()))
                .expect("short frames");
            from = to;
        }
        framer.end(|p| out.push(String::from_utf8_lossy(p).into_owned()));
        out
    }

    const STREAMS: &[(&str, &[&str])] = &[
        ("data: a\n\ndata: b\n\n", &["a", "b"]),
        ("data:a\n\ndata:  b\n\n", &["a", " b"]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
        ("data: a\r\rdata: b\r\r", &["a", "b"]),
        ("data: a\r\n\ndata: b\n\r\n", &["a", "b"]),
        (": ping\n\n:\n\ndata: a\n: in between\ndata: b\n\n", &["a\nb"]),
        ("event: x\nid: 3\nretry: 10\ndata: a\n\n", &["a"]),
        ("data: a\ndata\ndata: c\n\n", &["a\n\nc"]),
        ("data\n\ndata:\n\n", &["", ""]),
        ("database: no\n\ndata: a\n\n", &["a"]),
        ("\u{feff}data: a\n\n", &["a"]),
        ("\n\n\ndata: a\n\n\n\n", &["a"]),
        ("data: last without its blank line", &["last without its blank line"]),
        ("data: a\n\ndata: b\n", &["a", "b"]),
        ("data: \u{feff}é\n\n", &["\u{feff}é"]),
        ("{\"error\":\n\"no stream\"}", &["{\"error\":\n\"no stream\"}"]),
        ("", &[]),
        (": only a comment", &[]),
    ];

    #[test]
    fn sse_by_its_specification() {
        for (stream, want) in STREAMS {
            assert_eq!(&frames(Framing::Sse, stream.as_bytes(), &[]), want, "{stream:?}");
        }
    }

    #[test]
    fn sse_split_anywhere() {
        for (stream, want) in STREAMS {
            let bytes = stream.as_bytes();
            for cut in 0..=bytes.len() {
                assert_eq!(&frames(Framing::Sse, bytes, &[cut]), want, "{stream:?} cut at {cut}");
            }
            let every: Vec<usize> = (0..bytes.len()).collect();
            assert_eq!(&frames(Framing::Sse, bytes, &every), want, "{stream:?} byte by byte");
        }
    }

    #[test]
    fn a_frame_inside_one_read_is_not_copied() {
        let stream = b"data: one\n\ndata: two\n\n";
        let range = stream.as_ptr_range();
        let mut seen = 0;
        Framer::new(Framing::Sse)
            .push(stream, |p| {
                assert!(range.contains(&p.as_ptr()), "a slice of the input");
                seen += 1;
            })
            .expect("short frames");
        assert_eq!(seen, 2);
    }

    #[test]
    fn a_frame_comes_with_its_last_byte() {
        let mut framer = Framer::new(Framing::Sse);
        let mut seen = Vec::new();
        framer.push(b"data: a\r\n\r", |p| seen.push(p.to_vec())).expect("short");
        assert_eq!(seen, [b"a"], "the line feed after the last carriage return is not awaited");
        framer.push(b"\ndata: b\n\n", |p| seen.push(p.to_vec())).expect("short");
        assert_eq!(seen, [b"a", b"b"]);
    }

    #[test]
    fn lines_and_whole_bodies() {
        let lines = b"{\"a\":1}\r\n\n  \n{\"b\":2}\n{\"c\":3}";
        for cut in 0..=lines.len() {
            assert_eq!(frames(Framing::JsonLines, lines, &[cut]), ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
        }
        let whole = "\u{feff}{\n\n\"a\": 1}\n".as_bytes();
        for cut in 0..=whole.len() {
            assert_eq!(frames(Framing::Whole, whole, &[cut]), ["{\n\n\"a\": 1}\n"]);
        }
        assert!(frames(Framing::Whole, b"", &[]).is_empty());
    }

    #[test]
    fn an_endless_frame_is_an_error() {
        let limit = 64;
        let too_long = Err(FrameError::TooLong { limit });
        let feed = |framing, chunk: &[u8], times: usize| {
            let mut framer = Framer::with_limit(framing, limit);
            (0..times).try_for_each(|_| framer.push(chunk, |_| ()))
        };
        assert_eq!(feed(Framing::Sse, b"data: 0123456789", 5), too_long);
        assert_eq!(feed(Framing::Sse, b"data: 0123456789\n", 9), too_long);
        assert_eq!(feed(Framing::Sse, &b"data: 0123456789\n".repeat(9), 1), too_long);
        assert_eq!(feed(Framing::JsonLines, b"0123456789", 9), too_long);
        assert_eq!(feed(Framing::Whole, b"0123456789", 9), too_long);
        assert_eq!(feed(Framing::Sse, b"data: 0123456789\n\n", 99), Ok(()));
    }

    proptest! {
        /// Whatever the bytes and the cuts, pieces yield what the whole yields.
        #[test]
        fn cuts_change_nothing(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["data", ":", " ", "\n", "\r", "x", "{", "é", "\u{feff}", "id"]), 0..40),
            mut cuts in prop::collection::vec(0usize..200, 0..8),
        ) {
            let stream = pieces.concat().into_bytes();
            cuts.retain(|c| *c <= stream.len());
            cuts.sort_unstable();
            for framing in [Framing::Sse, Framing::JsonLines, Framing::Whole] {
                prop_assert_eq!(frames(framing, &stream, &cuts), frames(framing, &stream, &[]));
            }
        }
    }
}
