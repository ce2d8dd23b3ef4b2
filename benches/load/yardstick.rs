//! What a machine can do at all: figures of two machines, or of one at two times, can be compared
//! as multiples of it.
//!
//! [`discard`] is the least that a client can do: send the same requests, read the answers, look at
//! nothing. What system calls cost differs several times over from one machine to the next, and
//! with it every client's CPU time; this one is nearly nothing but system calls, one thread and one
//! `epoll`. [`bare_timer`] does nothing but wake up on time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::latency::quantile;
use super::process::monotonic_ns;

/// The bench runs itself as a process of its own with this first argument, followed by address,
/// users, requests and body.
pub const DISCARD: &str = "--read-and-discard";
/// The same, followed by wake-ups per second and their number.
pub const BARE_TIMER: &str = "--bare-timer";

/// How late, in ms, a thread wakes that does nothing else; prints the p99.
pub fn bare_timer(arguments: &[String]) -> io::Result<()> {
    let [rate, count] = arguments else { return Err(io::Error::other("wants a rate and a number")) };
    let number = |text: &String| text.parse::<u64>().map_err(io::Error::other);
    let (rate, count) = (number(rate)?, number(count)?);
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let start = monotonic_ns();
    let mut late = Vec::new();
    for k in 1..=count {
        let due = start + k * 1_000_000_000 / rate;
        let at = Timespec { tv_sec: (due / 1_000_000_000) as i64, tv_nsec: (due % 1_000_000_000) as i64 };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once)?;
        rustix::io::read(&timer, &mut [0; 8])?;
        late.push(monotonic_ns().saturating_sub(due) as f64 / 1e6);
    }
    late.sort_unstable_by(f64::total_cmp);
    println!("{}", quantile(&late, 0.99));
    Ok(())
}

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

/// Ask, read, discard. `arguments` are those after [`DISCARD`].
pub fn discard(arguments: &[String]) -> io::Result<()> {
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
