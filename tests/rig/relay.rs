//! What stands between a client and a server: proxies, a Unix socket, TLS, HTTP/2. Each hands
//! everything on to one server and writes down what it saw.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

/// A relay that lives as long as the test's process.
pub struct Relay {
    /// Where it listens; for a Unix socket that of the server behind it.
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// First lines of requests, or what a proxy was asked for, and its credentials.
    lines: Mutex<Vec<String>>,
}

impl Relay {
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub fn lines(&self) -> Vec<String> {
        self.seen.lines.lock().unwrap().clone()
    }

    /// On a Unix socket.
    pub fn unix(path: &Path, server: SocketAddr) -> Self {
        let (path, seen) = (path.to_owned(), Arc::new(Seen::default()));
        let count = Arc::clone(&seen);
        in_background(move || {
            let listener = UnixListener::bind(path).unwrap();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    count.connections.fetch_add(1, Ordering::SeqCst);
                    tokio::task::spawn_local(pass_on(stream, server));
                }
            }
        });
        Self { address: server, seen }
    }

    /// Bytes as they are.
    pub fn plain(server: SocketAddr) -> Self {
        Self::tcp(move |stream, _| pass_on(stream, server))
    }

    /// An HTTP proxy for plain requests and for tunnels, whatever server is asked for.
    pub fn http_proxy(server: SocketAddr) -> Self {
        Self::tcp(move |stream, seen| proxy_http(stream, server, seen))
    }

    /// A SOCKS5 proxy that wants a name and a password.
    pub fn socks(server: SocketAddr) -> Self {
        Self::tcp(move |stream, seen| async move {
            let _ = proxy_socks(stream, server, seen).await;
        })
    }

    /// TLS before the server.
    pub fn tls(server: SocketAddr, config: rustls::ServerConfig) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::tcp(move |stream, _| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    pass_on(stream, server).await;
                }
            }
        })
    }

    /// HTTP/2 before the server, in clear or in TLS.
    pub fn http2(server: SocketAddr, tls: Option<rustls::ServerConfig>) -> Self {
        Self::http2_allowing(200, server, tls)
    }

    /// The same, with so many requests at once on a connection.
    pub fn http2_allowing(at_once: u32, server: SocketAddr, tls: Option<rustls::ServerConfig>) -> Self {
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        Self::tcp(move |stream, seen| {
            let acceptor = acceptor.clone();
            async move {
                match acceptor {
                    None => speak_http2(stream, server, seen, at_once).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            speak_http2(stream, server, seen, at_once).await;
                        }
                    }
                }
            }
        })
    }

    fn tcp<F>(serve: impl Fn(TcpStream, Arc<Seen>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Seen::default()));
        let noted = Arc::clone(&seen);
        in_background(move || {
            let listener = TcpListener::from_std(listener).unwrap();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    noted.connections.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.set_nodelay(true);
                    tokio::task::spawn_local(serve(stream, Arc::clone(&noted)));
                }
            }
        });
        Self { address, seen }
    }
}

/// `start` what listens, inside a runtime of its own, and go on once it does.
fn in_background<F: Future<Output = ()>>(start: impl FnOnce() -> F + Send + 'static) {
    let (ready, listening) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let serve = start();
            ready.send(()).unwrap();
            serve.await;
        });
    });
    listening.recv().unwrap();
}

async fn pass_on(mut stream: impl AsyncRead + AsyncWrite + Unpin, server: SocketAddr) {
    let Ok(mut behind) = TcpStream::connect(server).await else { return };
    let _ = behind.set_nodelay(true);
    let _ = copy_bidirectional(&mut stream, &mut behind).await;
}

/// One request's head, or as much as came.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|x| x.1)
}

/// Request for request, as a proxy sees them.
async fn proxy_http(mut stream: TcpStream, server: SocketAddr, seen: Arc<Seen>) {
    let mut behind = TcpStream::connect(server).await.unwrap();
    loop {
        let head = head(&mut stream).await;
        let Some(line) = head.lines().next().filter(|line| !line.is_empty()) else { return };
        let auth = field(&head, "proxy-authorization").unwrap_or("nobody");
        seen.lines.lock().unwrap().push(format!("{line} | {auth}"));
        if line.starts_with("CONNECT ") {
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut behind).await;
            return;
        }
        let length: usize = field(&head, "content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        behind.write_all(head.as_bytes()).await.unwrap();
        behind.write_all(&body).await.unwrap();
        // What comes back before the client's next request is its answer.
        let (mut buffer, mut first) = (vec![0; 1 << 16], [0]);
        loop {
            tokio::select! {
                read = behind.read(&mut buffer) => match read {
                    Ok(n) if n > 0 => stream.write_all(&buffer[..n]).await.unwrap(),
                    _ => return,
                },
                next = stream.peek(&mut first) => match next {
                    Ok(1) => break,
                    _ => return,
                },
            }
        }
    }
}

/// RFC 1928 and 1929, as far as one client needs it.
async fn proxy_socks(mut stream: TcpStream, server: SocketAddr, seen: Arc<Seen>) -> std::io::Result<()> {
    let mut two = [0; 2];
    stream.read_exact(&mut two).await?;
    let mut methods = vec![0; usize::from(two[1])];
    stream.read_exact(&mut methods).await?;
    assert!(methods.contains(&2), "a name and password are offered");
    stream.write_all(&[5, 2]).await?;
    stream.read_u8().await?;
    let mut words = Vec::new();
    for _ in 0..2 {
        let mut word = vec![0; usize::from(stream.read_u8().await?)];
        stream.read_exact(&mut word).await?;
        words.push(String::from_utf8(word).unwrap());
    }
    stream.write_all(&[1, 0]).await?;
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    assert_eq!(request, [5, 1, 0, 3], "a connection to a name");
    let mut host = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut host).await?;
    let port = stream.read_u16().await?;
    let host = String::from_utf8(host).unwrap();
    seen.lines.lock().unwrap().push(format!("{host}:{port} | {}", words.join(":")));
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    pass_on(stream, server).await;
    Ok(())
}

async fn speak_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    server: SocketAddr,
    seen: Arc<Seen>,
    at_once: u32,
) {
    // An error would mean that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (client, seen) = (client.clone(), Arc::clone(&seen));
        async move {
            let (parts, body) = request.into_parts();
            assert_eq!(parts.version, hyper::Version::HTTP_2);
            seen.lines.lock().unwrap().push(format!("{} {}", parts.method, parts.uri.path()));
            let url = format!("http://{server}{}", parts.uri.path());
            let mut onward = client.request(parts.method, url).body(reqwest::Body::wrap(body));
            for (name, value) in parts.headers.iter().filter(|(name, _)| *name != hyper::header::HOST) {
                onward = onward.header(name, value);
            }
            let mut answer = hyper::Response::from(onward.send().await?);
            // Of the connection behind, which is another.
            for name in ["connection", "transfer-encoding", "keep-alive"] {
                answer.headers_mut().remove(name);
            }
            Ok::<_, reqwest::Error>(answer)
        }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(at_once);
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}
