//! Messages over TCP: length, seal, JSON. The seal says that a message is from whoever shook hands,
//! and in its place; it hides nothing.

use std::io::{self, BufReader, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// Longest message that is taken in, in bytes: the time line of a cell of a week fits.
const LONGEST: usize = 1 << 30;
/// Longest one before hands were shaken.
const LONGEST_HELLO: usize = 64 << 10;
/// Block of SHA-256, in bytes.
const BLOCK: usize = 64;
/// Bytes of a seal.
const SEAL: usize = 32;

/// HMAC-SHA-256 (RFC 2104) of the parts one after the other.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; SEAL] {
    let mut block = [0u8; BLOCK];
    if key.len() > BLOCK {
        block[..SEAL].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let hash = |pad: u8, parts: &[&[u8]]| {
        let mut hash = Sha256::new();
        hash.update(block.map(|byte| byte ^ pad));
        parts.iter().for_each(|part| hash.update(part));
        hash.finalize()
    };
    hash(0x5c, &[&hash(0x36, parts)]).into()
}

/// Whether two seals are equal, in a time that doesn't tell where they differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

/// Which way messages go: one that is sent back to its sender has a wrong seal.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    ToWorker = 1,
    ToCoordinator = 2,
}

/// Seals messages of one way, in order.
struct Seals {
    key: [u8; SEAL],
    way: Way,
    next: u64,
}

impl Seals {
    fn next(&mut self, message: &[u8]) -> [u8; SEAL] {
        let number = self.next.to_be_bytes();
        self.next += 1;
        hmac(&self.key, &[&[self.way as u8], &number, message])
    }
}

/// The end that sends.
pub(super) struct Sender {
    stream: TcpStream,
    seals: Seals,
    /// A message was sent in part: what followed could not be read.
    broken: bool,
}

impl Sender {
    pub(super) fn new(stream: TcpStream, key: [u8; SEAL], way: Way) -> Self {
        Self { stream, seals: Seals { key, way, next: 0 }, broken: false }
    }

    /// # Errors
    /// When the other side is gone, or takes nothing.
    pub(super) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let message = serde_json::to_vec(message)?;
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(4 + SEAL + message.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&self.seals.next(&message));
        frame.extend_from_slice(&message);
        let sent = self.stream.write_all(&frame);
        self.broken = sent.is_err();
        sent
    }

    /// End both ways: whoever reads on either side is told.
    pub(super) fn hang_up(&mut self) {
        self.broken = true;
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// The end that reads.
pub(super) struct Reader {
    stream: BufReader<TcpStream>,
    seals: Seals,
}

impl Reader {
    pub(super) fn new(stream: TcpStream, key: [u8; SEAL], way: Way) -> Self {
        Self { stream: BufReader::with_capacity(1 << 16, stream), seals: Seals { key, way, next: 0 } }
    }

    /// The next message; blocks for as long as the stream's time-out lets.
    ///
    /// # Errors
    /// When the other side is gone or silent, or what comes is no message of it.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut head = [0; 4 + SEAL];
        self.stream.read_exact(&mut head)?;
        let (length, seal) = head.split_at(4);
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let message = body(&mut self.stream, length, LONGEST)?;
        if !same(seal, &self.seals.next(&message)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message with a wrong seal"));
        }
        Ok(serde_json::from_slice(&message)?)
    }
}

/// One message before hands are shaken: length and JSON.
///
/// # Errors
/// As [`Sender::send`].
pub(super) fn say(stream: &mut TcpStream, message: &impl Serialize) -> io::Result<()> {
    let message = serde_json::to_vec(message)?;
    let mut frame = (message.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&message);
    stream.write_all(&frame)
}

/// The other side's.
///
/// # Errors
/// As [`Reader::next`].
/// It has come in whole by `until`, however slowly it comes.
pub(super) fn hear<T: DeserializeOwned>(stream: &TcpStream, until: Instant) -> io::Result<T> {
    let mut stream = Until { stream, until };
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let message = body(&mut stream, u32::from_be_bytes(length) as usize, LONGEST_HELLO)?;
    Ok(serde_json::from_slice(&message)?)
}

/// Reads until an instant: who sends a byte now and then holds nobody up for longer.
struct Until<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        (&mut &*self.stream).read(buffer)
    }
}

fn body(from: &mut impl io::Read, length: usize, longest: usize) -> io::Result<Vec<u8>> {
    if length > longest {
        let text = format!("a message of {length} bytes: no plimsoll of this version is on the other side");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // Grows with what comes: a length costs nobody memory.
    let mut message = Vec::new();
    from.take(length as u64).read_to_end(&mut message)?;
    if message.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Cases 2 and 6 of RFC 4231.
    #[test]
    fn hmac_is_that_of_the_standard() {
        let short = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex(&short), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        assert_eq!(hex(&long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    #[test]
    fn messages_come_as_they_were_sent() {
        let (a, b) = pair();
        let mut sender = Sender::new(a, [7; 32], Way::ToWorker);
        let mut reader = Reader::new(b, [7; 32], Way::ToWorker);
        for text in ["one", "", "three"] {
            sender.send(&text).unwrap();
            assert_eq!(reader.next::<String>().unwrap(), text);
        }
        sender.hang_up();
        assert!(reader.next::<String>().is_err() && sender.send(&"x").is_err());
    }

    #[test]
    fn another_key_another_way_and_a_repeated_message_are_refused() {
        let refused = |key, way| {
            let (a, b) = pair();
            Sender::new(a, [7; 32], Way::ToWorker).send(&"x").unwrap();
            let error = Reader::new(b, key, way).next::<String>().unwrap_err();
            assert!(error.to_string().contains("seal"), "{error}");
        };
        refused([8; 32], Way::ToWorker);
        refused([7; 32], Way::ToCoordinator);
        let (a, b) = pair();
        let mut reader = Reader::new(b, [7; 32], Way::ToWorker);
        Sender::new(a.try_clone().unwrap(), [7; 32], Way::ToWorker).send(&"x").unwrap();
        assert_eq!(reader.next::<String>().unwrap(), "x");
        // The same bytes once more.
        Sender::new(a, [7; 32], Way::ToWorker).send(&"x").unwrap();
        assert!(reader.next::<String>().is_err());
    }

    #[test]
    fn a_length_that_no_message_has_is_refused() {
        let (mut a, b) = pair();
        a.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let error = hear::<String>(&b, Instant::now() + Duration::from_secs(60)).unwrap_err();
        assert!(error.to_string().contains("no plimsoll"), "{error}");
    }

    #[test]
    fn who_sends_a_byte_now_and_then_is_waited_for_no_longer() {
        let (mut a, b) = pair();
        let drip = std::thread::spawn(move || {
            // Each read has something; the message is never whole. Ends when the other side hangs up.
            let mut length = [0, 0, 4, 0].into_iter().chain(std::iter::repeat(b' '));
            while length.next().is_some_and(|byte| a.write_all(&[byte]).is_ok()) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let error = hear::<String>(&b, Instant::now() + Duration::from_millis(300)).unwrap_err();
        assert!([io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock].contains(&error.kind()), "{error}");
        drop(b);
        drip.join().unwrap();
    }
}
