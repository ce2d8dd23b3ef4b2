//! The least that a client can do: send the same requests, read the answers, look at nothing.
//!
//! What system calls cost differs several times over from one machine to the next, and with it
//! every client's CPU time. This one is nearly nothing but system calls, one thread and one
//! `epoll`: figures of two machines can be compared as multiples of it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use rustix::event::epoll;

/// The bench runs itself as a process of its own with this first argument, followed by address,
/// users, requests and body.
pub const ARGUMENT: &str = "--read-and-discard";

/// End of a chunked answer; no chunk of the simulator's ends so.
const LAST_CHUNK: [u8; 5] = *b"0\r\n\r\n";
const BUFFER: usize = 16 << 10;

struct User {
    stream: TcpStream,
    /// Bytes of the answer that are still to come; `None`: until the last chunk.
    left: Option<usize>,
    /// No byte of the answer has come yet.
    fresh: bool,
    /// The last bytes that came: a read may end within the last chunk.
    tail: [u8; LAST_CHUNK.len()],
}

/// Work as that process. `arguments` are those after [`ARGUMENT`].
pub fn run(arguments: &[String]) -> io::Result<()> {
    let [address, users, requests, body] = arguments else {
        return Err(io::Error::other("wants address, users, requests and body"));
    };
    let number = |text: &String| text.parse::<usize>().map_err(io::Error::other);
    let (users, requests) = (number(users)?, number(requests)?);
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut streams = Vec::new();
    for number in 0..users.min(requests) {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        (&stream).write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&poller, stream.as_fd(), data, epoll::EventFlags::IN)?;
        streams.push(User { stream, left: None, fresh: true, tail: [0; LAST_CHUNK.len()] });
    }
    let (mut sent, mut answered) = (streams.len(), 0);
    let mut events = Vec::with_capacity(users);
    let mut buffer = vec![0; BUFFER];
    while answered < requests {
        events.clear();
        epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let user = &mut streams[event.data.u64() as usize];
            if !user.read(&mut buffer)? {
                continue;
            }
            answered += 1;
            if sent < requests {
                sent += 1;
                user.fresh = true;
                user.stream.write_all(request.as_bytes())?;
            }
        }
    }
    println!("{answered}");
    Ok(())
}

impl User {
    /// Read once. Whether that was the end of the answer.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let size = match self.stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        let read = &buffer[..size];
        if self.fresh {
            self.fresh = false;
            self.left = length(read)?;
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(size);
            return Ok(*left == 0);
        }
        let new = size.min(self.tail.len());
        self.tail.rotate_left(new);
        let kept = self.tail.len() - new;
        self.tail[kept..].copy_from_slice(&read[size - new..]);
        Ok(self.tail == LAST_CHUNK)
    }
}

/// Bytes of a whole answer that has a length, head included. The simulator writes a head at once.
fn length(read: &[u8]) -> io::Result<Option<usize>> {
    let text = String::from_utf8_lossy(read);
    if !text.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(text.lines().next().unwrap_or_default().to_owned()));
    }
    let (head, _) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
    });
    Ok(length.map(|body| head.len() + 4 + body))
}
