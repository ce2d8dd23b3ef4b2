//! A server on the loopback that does with each request what a script says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A connection that has just brought a request.
pub struct Conn<'a> {
    pub stream: &'a mut TcpStream,
    /// Number of the request at the server, from 0.
    pub number: usize,
    /// Number of the request on its connection, from 0.
    pub on_connection: usize,
    /// The request line and the headers, a line each.
    pub head: &'a str,
    pub body: &'a [u8],
}

impl Conn<'_> {
    /// Write it as it is.
    pub fn raw(&mut self, text: &str) {
        // The client may have gone, which is some tests' point.
        let _ = self.stream.write_all(text.as_bytes());
    }

    /// Status line and headers of a stream.
    pub fn head(&mut self) {
        self.raw("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    /// One event of the stream.
    pub fn event(&mut self, data: &str) {
        let body = format!("data: {data}\n\n");
        self.raw(&format!("{:x}\r\n{body}\r\n", body.len()));
    }

    /// A chunk with one token.
    pub fn token(&mut self) {
        self.event(
            r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}"#,
        );
    }

    /// The last, empty chunk of the framing.
    pub fn end(&mut self) {
        self.raw("0\r\n\r\n");
    }

    /// A whole answer of `n` tokens, with usage.
    pub fn answer(&mut self, n: u32) {
        self.head();
        for _ in 0..n {
            self.token();
        }
        self.finish(n);
    }

    /// What comes after the last of `n` tokens.
    pub fn finish(&mut self, n: u32) {
        self.event(
            r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#,
        );
        self.event(&format!(
            r#"{{"object":"chat.completion.chunk","choices":[],"usage":{{"prompt_tokens":8,"completion_tokens":{n},"total_tokens":{}}}}}"#,
            n + 8
        ));
        self.event("[DONE]");
        self.end();
    }
}

/// What a scripted server does with a request; `false` closes the connection.
type Script = dyn Fn(&mut Conn<'_>) -> bool + Send + Sync;

/// A server on the loopback, under way until the tests end.
pub struct Scripted {
    pub address: SocketAddr,
    pub requests: Arc<AtomicUsize>,
    /// The `x-request-id` of each.
    pub ids: Arc<Mutex<Vec<String>>>,
}

/// Start one that does with each request what `script` says.
pub fn serve(script: impl Fn(&mut Conn<'_>) -> bool + Send + Sync + 'static) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback can be bound");
    let address = listener.local_addr().expect("a bound socket has an address");
    let requests = Arc::new(AtomicUsize::new(0));
    let ids = Arc::new(Mutex::new(Vec::new()));
    let script: Arc<Script> = Arc::new(script);
    let (counter, seen) = (Arc::clone(&requests), Arc::clone(&ids));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let (script, counter, seen) = (Arc::clone(&script), Arc::clone(&counter), Arc::clone(&seen));
            std::thread::spawn(move || attend(stream, &*script, &counter, &seen));
        }
    });
    Scripted { address, requests, ids }
}

fn attend(mut stream: TcpStream, script: &Script, counter: &AtomicUsize, seen: &Mutex<Vec<String>>) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    for on_connection in 0.. {
        let (mut length, mut id, mut head) = (0, String::new(), String::new());
        loop {
            let start = head.len();
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
            let line = head[start..].trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().expect("it parses"),
                    "x-request-id" => id = value.trim().to_owned(),
                    _ => {}
                }
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let number = counter.fetch_add(1, Ordering::SeqCst);
        seen.lock().expect("no test panics while it holds this").push(id);
        let mut conn = Conn { stream: &mut stream, number, on_connection, head: &head, body: &body };
        if !script(&mut conn) {
            return;
        }
    }
}
