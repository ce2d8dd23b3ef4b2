//! The body of an HTTP/1 answer out of the bytes on the wire (RFC 9112 §6 and §7.1).

/// Bytes of a chunk's size line or of one trailer line, at most.
const MAX_LINE: u32 = 4096;

/// Takes the framing off a body's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BodyDecoder(State);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    Chunked(Chunked),
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Chunked {
    /// In a size's digits; so many have come.
    Size {
        size: u64,
        digits: u32,
    },
    /// After the size, up to the line feed.
    Extension {
        size: u64,
        length: u32,
    },
    SizeLf {
        size: u64,
    },
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the last blank one.
    Trailer {
        length: u32,
    },
    TrailerLf {
        length: u32,
    },
}

/// Bytes that are no body of the kind that the head promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl BodyDecoder {
    pub(super) const fn empty() -> Self {
        Self(State::Done)
    }

    pub(super) const fn of_length(length: u64) -> Self {
        Self(if length == 0 { State::Done } else { State::Length(length) })
    }

    pub(super) const fn until_close() -> Self {
        Self(State::UntilClose)
    }

    pub(super) const fn chunked() -> Self {
        Self(State::Chunked(Chunked::START))
    }

    pub(super) const fn done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    pub(super) const fn ends_with_connection(&self) -> bool {
        matches!(self.0, State::UntilClose)
    }

    /// Take in `bytes`, hand what is body to `sink`, and tell how many belonged to it: fewer
    /// than all only once it is [`done`](Self::done).
    pub(super) fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        mut sink: impl FnMut(&'a [u8]),
    ) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.0 {
                State::Done => break,
                State::UntilClose => {
                    sink(&bytes[at..]);
                    at = bytes.len();
                }
                State::Length(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    sink(&bytes[at..at + n]);
                    at += n;
                    *left -= n as u64;
                    if *left == 0 {
                        self.0 = State::Done;
                    }
                }
                State::Chunked(Chunked::Data(left)) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    sink(&bytes[at..at + n]);
                    at += n;
                    *left -= n as u64;
                    if *left == 0 {
                        let whole = bytes[at..].starts_with(b"\r\n");
                        at += if whole { 2 } else { 0 };
                        self.0 = State::Chunked(if whole { Chunked::START } else { Chunked::DataCr });
                    }
                }
                State::Chunked(state) => {
                    if *state == Chunked::START
                        && let Some((size, length)) = plain_size(&bytes[at..])
                    {
                        *state = Chunked::Data(size);
                        at += length;
                        continue;
                    }
                    match state.step(bytes[at])? {
                        Some(next) => *state = next,
                        None => self.0 = State::Done,
                    }
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    /// The connection has ended: whether that is the body's end.
    pub(super) fn closed(&mut self) -> bool {
        if self.ends_with_connection() {
            self.0 = State::Done;
        }
        self.done()
    }
}

/// The size of a chunk that has some, and the bytes of its line, where that line is plain and
/// whole: what nearly every chunk begins with. Byte by byte it would cost as much as the rest.
fn plain_size(bytes: &[u8]) -> Option<(u64, usize)> {
    /// So that no size is beyond bounds.
    const DIGITS: usize = 8;
    let mut size = 0;
    for (i, &byte) in bytes.iter().take(DIGITS + 1).enumerate() {
        match (byte as char).to_digit(16) {
            Some(digit) if i < DIGITS => size = size << 4 | u64::from(digit),
            _ => return (size > 0 && bytes[i..].starts_with(b"\r\n")).then_some((size, i + 2)),
        }
    }
    None
}

impl Chunked {
    /// Before the first digit of a size.
    const START: Self = Self::Size { size: 0, digits: 0 };

    /// The state after `byte`, which is not data; `None`: that was the end of the body.
    fn step(&self, byte: u8) -> Result<Option<Self>, Malformed> {
        Ok(Some(match (self, byte) {
            (&Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if size >> 60 != 0 {
                    return Err(Malformed("a chunk's size is beyond all bounds"));
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                Self::Size { size: size << 4 | u64::from(digit), digits: (digits + 1).min(MAX_LINE) }
            }
            (Self::Size { digits: 0, .. }, _) => return Err(Malformed("a chunk without a size")),
            (&Self::Size { size, .. }, b'\r') => Self::SizeLf { size },
            (&Self::Size { size, .. }, b';' | b' ' | b'\t') => Self::Extension { size, length: 0 },
            (Self::Size { .. }, _) => return Err(Malformed("a chunk's size is no number")),
            (&Self::Extension { size, .. }, b'\r') => Self::SizeLf { size },
            (&Self::Extension { size, length }, _) if length < MAX_LINE && byte != b'\n' => {
                Self::Extension { size, length: length + 1 }
            }
            (Self::Extension { .. }, _) => return Err(Malformed("a chunk's size line has no end")),
            (Self::SizeLf { size: 0 }, b'\n') => Self::Trailer { length: 0 },
            (&Self::SizeLf { size }, b'\n') => Self::Data(size),
            (Self::SizeLf { .. }, _) => return Err(Malformed("a chunk's size line has no end")),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::START,
            (Self::DataCr | Self::DataLf, _) => return Err(Malformed("a chunk is longer than its size")),
            (&Self::Trailer { length }, b'\r') => Self::TrailerLf { length },
            (&Self::Trailer { length }, _) if length < MAX_LINE && byte != b'\n' => {
                Self::Trailer { length: length + 1 }
            }
            (Self::TrailerLf { length: 0 }, b'\n') => return Ok(None),
            (Self::TrailerLf { .. }, b'\n') => Self::Trailer { length: 0 },
            (Self::Trailer { .. } | Self::TrailerLf { .. }, _) => {
                return Err(Malformed("a trailer line has no end"));
            }
            (Self::Data(_), _) => unreachable!("data is taken in one piece"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The body of `wire` when it comes in pieces cut at `cuts`, and the bytes taken.
    fn decode(
        mut decoder: BodyDecoder,
        wire: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let (mut body, mut taken, mut from) = (Vec::new(), 0, 0);
        for &to in cuts.iter().chain([&wire.len()]) {
            taken += decoder.take(&wire[from..to], |data| body.extend_from_slice(data))?;
            from = to;
        }
        Ok((body, taken, decoder.done()))
    }

    const WIRE: &[u8] =
        b"5\r\nhello\r\n6;name=\"v\"\r\n world\r\n00A \r\n0123456789\r\n0\r\nX-Trailer: y\r\n\r\nnext";

    #[test]
    fn chunks_split_anywhere() {
        for cut in 0..=WIRE.len() {
            let (body, taken, done) = decode(BodyDecoder::chunked(), WIRE, &[cut]).unwrap();
            assert_eq!((body.as_slice(), taken, done), (&b"hello world0123456789"[..], WIRE.len() - 4, true));
        }
        let every: Vec<usize> = (0..WIRE.len()).collect();
        assert_eq!(decode(BodyDecoder::chunked(), WIRE, &every).unwrap().0, b"hello world0123456789");
    }

    #[test]
    fn a_chunk_in_one_read_is_handed_on_as_a_slice_of_it() {
        let range = WIRE.as_ptr_range();
        let mut pieces = 0;
        let mut decoder = BodyDecoder::chunked();
        decoder
            .take(WIRE, |data| {
                assert!(range.contains(&data.as_ptr()));
                pieces += 1;
            })
            .unwrap();
        assert_eq!(pieces, 3);
    }

    #[test]
    fn other_bodies_end_where_they_should() {
        let (body, taken, done) = decode(BodyDecoder::of_length(3), b"abcdef", &[1]).unwrap();
        assert_eq!((body.as_slice(), taken, done), (&b"abc"[..], 3, true));
        assert!(!decode(BodyDecoder::of_length(3), b"ab", &[]).unwrap().2);
        assert_eq!(decode(BodyDecoder::empty(), b"ab", &[]).unwrap(), (Vec::new(), 0, true));
        let mut open = BodyDecoder::until_close();
        assert_eq!(open.take(b"ab", |_| ()), Ok(2));
        assert!(!open.done() && open.closed());
        assert!(!BodyDecoder::chunked().closed() && !BodyDecoder::of_length(1).closed());
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for wire in [
            &b"\r\n"[..],
            b"x\r\n",
            b"5\nhello",
            b"5\rhello",
            b"2\r\nabc",
            b"2\r\nab\n",
            b"11111111111111111\r\n",
            b"0\r\nX\n",
            b"5;x\n",
        ] {
            assert!(decode(BodyDecoder::chunked(), wire, &[]).is_err(), "{}", wire.escape_ascii());
        }
        let long = [b"1;".as_slice(), &vec![b'x'; 5000]].concat();
        assert!(decode(BodyDecoder::chunked(), &long, &[]).is_err());
    }

    proptest! {
        /// Whatever the chunks and the cuts, the body comes out and nothing of what follows.
        #[test]
        fn encoded_and_decoded(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..12),
            mut cuts in prop::collection::vec(0usize..400, 0..10),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\nHTTP/1.1");
            cuts.retain(|c| *c <= wire.len());
            cuts.sort_unstable();
            let (body, taken, done) = decode(BodyDecoder::chunked(), &wire, &cuts).unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(taken, wire.len() - 8);
            prop_assert!(done);
        }

        /// Garbage is refused or taken, but never panics.
        #[test]
        fn garbage(wire in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(BodyDecoder::chunked(), &wire, &[]);
            let _ = super::super::head::parse(&wire);
        }
    }
}
