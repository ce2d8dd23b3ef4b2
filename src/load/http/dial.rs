//! Making connections: looked up, connected, through a proxy if there is one, and encrypted.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tower_service::Service as _;
use url::{Host, Url};

use super::io::Io;
use crate::experiment::{Dns, HttpVersion, Target};
use crate::load::failure::{Failure, chain};
use crate::server::{ClientError, Route, tls_config};

/// Makes connections to one target. A clone for each load core.
#[derive(Clone)]
pub(crate) struct Dialer {
    route: Route,
    /// Of the target, without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// The target's addresses, where they are known from the start.
    addresses: Vec<SocketAddr>,
    /// The one that took the last connection: it is asked first.
    good: Cell<Option<SocketAddr>>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
    version: HttpVersion,
    keep_alive: bool,
}

impl Dialer {
    /// For `target` at `base`. Looks its name up, if that is to be done at the start; a name
    /// that isn't found in time is looked up again when it is needed.
    ///
    /// # Errors
    /// When the settings can't be used, such as a certificate's file that can't be read.
    pub(crate) fn new(target: &Target, base: &Url) -> Result<Self, ClientError> {
        let route = Route::to(base, &target.connections, Route::environment)?;
        let host = match base.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(ip)) => ip.to_string(),
            Some(Host::Ipv6(ip)) => ip.to_string(),
            None => return Err(ClientError::Build(format!("{base} has no host"))),
        };
        let port = base.port_or_known_default().unwrap_or(80);
        let version = target.connections.http;
        let tls = match base.scheme() {
            "https" => {
                let mut config = tls_config(&target.tls)?;
                let protocol: &[u8] = if version == HttpVersion::Http2 { b"h2" } else { b"http/1.1" };
                config.alpn_protocols = vec![protocol.to_vec()];
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| ClientError::Build(format!("{host} can't be in a certificate")))?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
            _ => None,
        };
        let timeout = target.connect_timeout.max(Duration::from_millis(1));
        let own_look = matches!(route, Route::Direct | Route::Socks { local_dns: true, .. });
        let by_name = own_look && target.connections.dns == Dns::Start;
        let addresses = if by_name { look_up(&host, port, timeout) } else { Vec::new() };
        let keep_alive = target.connections.keep_alive;
        let good = Cell::new(None);
        Ok(Self { route, host, port, addresses, good, tls, timeout, version, keep_alive })
    }

    pub(crate) const fn version(&self) -> HttpVersion {
        self.version
    }

    /// Limit of making a connection.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) const fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether requests are handed whole to a proxy, and what it wants to know of the sender:
    /// they then name the target's whole URL.
    pub(crate) fn asks_a_proxy(&self) -> Option<Option<&HeaderValue>> {
        match &self.route {
            Route::Http { auth, .. } if !self.tunnels() => Some(auth.as_ref()),
            _ => None,
        }
    }

    fn tunnels(&self) -> bool {
        self.tls.is_some() || self.version == HttpVersion::Http2
    }

    /// A new connection, ready for a request.
    pub(crate) async fn dial(&self) -> Result<Io, Failure> {
        tokio::time::timeout(self.timeout, self.connect())
            .await
            .unwrap_or_else(|_| Err(Failure::connect_timeout()))
    }

    async fn connect(&self) -> Result<Io, Failure> {
        let refused = |e: std::io::Error| Failure::connect(chain(&e));
        let tcp = match &self.route {
            Route::Unix(path) => {
                let socket = UnixStream::connect(path).await;
                let socket =
                    socket.map_err(|e| Failure::connect(format!("the socket {}: {e}", path.display())))?;
                return match &self.tls {
                    None => Ok(Io::Unix(socket)),
                    Some((tls, name)) => {
                        let stream = tls.connect(name.clone(), socket).await.map_err(refused)?;
                        self.check_version(stream.get_ref().1)?;
                        Ok(Io::TlsUnix(Box::new(stream)))
                    }
                };
            }
            Route::Direct => self.first_of(&self.known_addresses().await?).await?,
            Route::Http { proxy, auth } => self.by_http_proxy(proxy, auth.as_ref()).await?,
            Route::Socks { proxy, auth, local_dns } => {
                // Looked up here and not by the connector, which would hold up the whole core.
                let uri = match local_dns {
                    true => {
                        let found = self.known_addresses().await?;
                        let ip = found.first().map(|address| address.ip().to_string());
                        self.uri_of(&ip.ok_or_else(no_address)?)?
                    }
                    false => self.target_uri()?,
                };
                let mut socks = SocksV5::new(proxy.clone(), connector());
                if let Some((name, password)) = auth {
                    socks = socks.with_auth(name.clone(), password.clone());
                }
                let stream = socks.call(uri).await;
                stream.map_err(|e| Failure::connect(format!("the proxy: {}", chain(&e))))?.into_inner()
            }
        };
        tcp.set_nodelay(true).map_err(refused)?;
        let Some((tls, name)) = &self.tls else { return Ok(Io::Tcp(tcp)) };
        let stream = tls
            .connect(name.clone(), tcp)
            .await
            .map_err(|e| Failure::connect(format!("TLS: {}", chain(&e))))?;
        self.check_version(stream.get_ref().1)?;
        Ok(Io::Tls(Box::new(stream)))
    }

    async fn by_http_proxy(&self, proxy: &Uri, auth: Option<&HeaderValue>) -> Result<TcpStream, Failure> {
        let failed = |words: String| Failure::connect(format!("the proxy: {words}"));
        if !self.tunnels() {
            let stream = connector().call(proxy.clone()).await;
            return Ok(stream.map_err(|e| failed(chain(&e)))?.into_inner());
        }
        let mut tunnel = Tunnel::new(proxy.clone(), connector());
        if let Some(auth) = auth {
            tunnel = tunnel.with_auth(auth.clone());
        }
        let stream: TokioIo<TcpStream> =
            tunnel.call(self.target_uri()?).await.map_err(|e| failed(chain(&e)))?;
        Ok(stream.into_inner())
    }

    /// The target's addresses: those known from the start, else looked up now.
    async fn known_addresses(&self) -> Result<Cow<'_, [SocketAddr]>, Failure> {
        if !self.addresses.is_empty() {
            return Ok(Cow::Borrowed(&self.addresses));
        }
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found = found.map_err(|e| Failure::connect(format!("{}: {e}", self.host)))?;
        Ok(Cow::Owned(found.collect()))
    }

    /// A connection to the first address that takes one, beginning with the one that did last
    /// time; else what the last one said. Each has its share of the time: one that swallows
    /// everything, as a way of IPv6 may that leads nowhere, must not use up that of the others.
    async fn first_of(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
        let mut failure = no_address();
        let share = self.timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let good = self.good.get().filter(|good| addresses.contains(good));
        for address in good.into_iter().chain(addresses.iter().copied().filter(|a| Some(*a) != good)) {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    self.good.set(Some(address));
                    return Ok(stream);
                }
                Ok(Err(error)) => failure = Failure::connect(format!("{address}: {error}")),
                Err(_) => failure = Failure::connect_timeout(),
            }
        }
        Err(failure)
    }

    fn target_uri(&self) -> Result<Uri, Failure> {
        self.uri_of(&self.host)
    }

    fn uri_of(&self, host: &str) -> Result<Uri, Failure> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{host}:{}/", self.port)
            .parse()
            .map_err(|_| Failure::connect(format!("{host} can't be asked of a proxy")))
    }

    /// A server that knows no HTTP/2 says so by choosing nothing.
    fn check_version(&self, tls: &rustls::ClientConnection) -> Result<(), Failure> {
        if self.version == HttpVersion::Http2 && tls.alpn_protocol() != Some(b"h2") {
            return Err(Failure::connect("the server doesn't speak HTTP/2 (ALPN)".to_owned()));
        }
        Ok(())
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector
}

fn no_address() -> Failure {
    Failure::connect("the name has no address".to_owned())
}

/// The addresses of a name; none if they are not known within `limit`.
fn look_up(host: &str, port: u16, limit: Duration) -> Vec<SocketAddr> {
    if let Ok(ip) = host.parse() {
        return vec![SocketAddr::new(ip, port)];
    }
    let name = host.to_owned();
    let (found, answer) = mpsc::sync_channel(1);
    // The system's resolver can't be interrupted: a thread that hangs in it is left behind.
    let thread = std::thread::Builder::new().name("plimsoll-dns".to_owned()).spawn(move || {
        let addresses = (name.as_str(), port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
        let _ = found.send(addresses);
    });
    thread.ok().and_then(|_| answer.recv_timeout(limit).ok()).unwrap_or_default()
}
