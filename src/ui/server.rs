//! The page's server: HTTP/1.1 on a thread of its own, which gives way to the load.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::events;
use super::form::Order;
use super::guard::{Guard, Refusal};
use super::live::Live;
use super::reply::{self, Reply};
use super::shelf::Shelf;
use super::{Place, UiError};
use crate::report::page;

/// Most connections at a time, and of those the readers of events.
const MOST_CONNECTIONS: usize = 64;
const MOST_READERS: usize = 16;

/// Most bytes of what is sent here.
const MOST_BYTES: usize = 16 * 1024;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server has to show.
#[derive(Clone)]
pub enum Site {
    /// A sweep.
    Live(Arc<Live>),
    /// Past runs.
    Shelf(Arc<Shelf>),
}

/// A page that is served. It goes when it is dropped.
pub struct Open {
    addr: SocketAddr,
    guard: Arc<Guard>,
    quit: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

struct Desk {
    site: Site,
    guard: Arc<Guard>,
    readers: Arc<Semaphore>,
    script: Bytes,
}

impl Open {
    /// Serve `site` at `place`.
    ///
    /// # Errors
    /// When it can't be listened there, the token is none, or a thread can't be started.
    pub fn new(site: Site, place: &Place) -> Result<Self, UiError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .build()
            .map_err(|source| UiError::Start { what: "runtime", source })?;
        let bind = |source| UiError::Bind { addr: place.addr, source };
        let listener = runtime.block_on(TcpListener::bind(place.addr)).map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        let guard = Arc::new(Guard::new(place, addr.port())?);
        let desk = Arc::new(Desk {
            site,
            guard: Arc::clone(&guard),
            readers: Arc::new(Semaphore::new(MOST_READERS)),
            script: page::drawing_library().into(),
        });
        let (quit, told) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("ui".to_owned())
            .spawn(move || {
                crate::event::give_way();
                runtime.block_on(serve(listener, desk, told));
            })
            .map_err(|source| UiError::Start { what: "thread", source })?;
        Ok(Self { addr, guard, quit, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What is to be opened: with the access token, where there is one, so that it is for a terminal
    /// and for nothing else.
    #[must_use]
    pub fn url(&self) -> String {
        let mut addr = self.addr;
        if addr.ip().is_unspecified() {
            // Nobody can open 0.0.0.0; this machine's name is a better guess, an address is safer.
            addr.set_ip(if addr.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        match self.guard.access() {
            Some(token) => format!("http://{addr}/?token={token}"),
            None => format!("http://{addr}/"),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = self.quit.send(true);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has already said so.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, desk: Arc<Desk>, mut told: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let accept = async {
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                // Out of descriptors, most likely: the load has them.
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            // Who finds no room is sent away.
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
            let desk = Arc::clone(&desk);
            tokio::spawn(async move {
                connection(socket, desk).await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        _ = told.wait_for(|quit| *quit) => {
            // Readers see the end before the line goes.
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    }
}

async fn connection(socket: TcpStream, desk: Arc<Desk>) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, std::convert::Infallible>(answer(&desk, request).await) }
    });
    // What a client breaks off is its own affair.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

async fn answer(desk: &Desk, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    let query = words(request.uri().query().unwrap_or_default());
    let headers = request.headers();
    let guard = &desk.guard;
    if let Err(why) = guard.check_host(headers) {
        return refused(why);
    }
    match *request.method() {
        Method::GET | Method::HEAD => {
            if let Some(reply) = sign_in_by_address(guard, &path, &query) {
                return reply;
            }
            match guard.check_look(headers) {
                Ok(()) => look(desk, &path, &query).await,
                Err(Refusal::SignIn) if path == "/" => sign_in_page(),
                Err(why) => refused(why),
            }
        }
        Method::POST if path == "/login" => {
            if let Err(why) = guard.check_origin(headers) {
                return refused(why);
            }
            let body = body(request).await;
            match body.as_deref().map(words) {
                Ok(said) if said.get("token").is_some_and(|token| guard.lets_in(token)) => signed_in(guard),
                Ok(_) => refused(Refusal::SignIn),
                Err(why) => reply::refuse(StatusCode::BAD_REQUEST, why),
            }
        }
        Method::POST => match guard.check_change(headers) {
            Ok(()) => match body(request).await {
                Ok(body) => change(desk, &path, &body),
                Err(why) => reply::refuse(StatusCode::BAD_REQUEST, why),
            },
            Err(why) => refused(why),
        },
        _ => reply::refuse(StatusCode::METHOD_NOT_ALLOWED, "GET looks, POST changes"),
    }
}

fn refused(why: Refusal) -> Reply {
    let status = if why == Refusal::SignIn { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
    reply::refuse(status, why.text())
}

async fn body(request: Request<Incoming>) -> Result<String, &'static str> {
    let read = tokio::time::timeout(PATIENCE, Limited::new(request.into_body(), MOST_BYTES).collect());
    let read = read.await.map_err(|_| "what was sent never ended")?;
    let bytes = read.map_err(|_| "too much was sent")?.to_bytes();
    String::from_utf8(bytes.to_vec()).map_err(|_| "what was sent is no text")
}

/// `a=b&c=d`, decoded.
fn words(text: &str) -> HashMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// The address that the terminal shows: the token becomes a cookie and leaves the address.
fn sign_in_by_address(guard: &Guard, path: &str, query: &HashMap<String, String>) -> Option<Reply> {
    let token = query.get("token").filter(|_| path == "/")?;
    if guard.access().is_none() {
        return Some(reply::to("/"));
    }
    Some(if guard.lets_in(token) { signed_in(guard) } else { refused(Refusal::SignIn) })
}

fn signed_in(guard: &Guard) -> Reply {
    let mut reply = reply::to("/");
    if let Ok(cookie) = guard.cookie().parse() {
        reply.headers_mut().insert(hyper::header::SET_COOKIE, cookie);
    }
    reply
}

fn sign_in_page() -> Reply {
    let mut reply = reply::html(include_str!("page/login.html").to_owned());
    *reply.status_mut() = StatusCode::UNAUTHORIZED;
    reply
}

fn not_there() -> Reply {
    reply::refuse(StatusCode::NOT_FOUND, "there is no such page")
}

/// What both kinds of site have, then what each has.
async fn look(desk: &Desk, path: &str, query: &HashMap<String, String>) -> Reply {
    match path {
        "/page.css" => {
            let css = format!("{}{}", page::style(), include_str!("page/live.css"));
            return reply::lasting("text/css; charset=utf-8", css);
        }
        "/plotly.js" => return reply::lasting("text/javascript; charset=utf-8", desk.script.clone()),
        "/theme.js" => {
            return reply::lasting("text/javascript; charset=utf-8", include_str!("page/theme.js"));
        }
        _ => {}
    }
    match &desk.site {
        Site::Live(live) => look_live(desk, live, path),
        Site::Shelf(shelf) => {
            let (shelf, path, query) = (Arc::clone(shelf), path.to_owned(), query.clone());
            // Reports are read and drawn: that takes a while.
            let made = tokio::task::spawn_blocking(move || shelf.look(&path, &query)).await;
            made.unwrap_or_else(|_| {
                reply::refuse(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made")
            })
        }
    }
}

fn look_live(desk: &Desk, live: &Arc<Live>, path: &str) -> Reply {
    let script = "text/javascript; charset=utf-8";
    match path {
        "/" => reply::html(
            include_str!("page/live.html")
                .replace("{{token}}", desk.guard.page_token())
                .replace("{{version}}", env!("CARGO_PKG_VERSION")),
        ),
        "/live.js" => {
            let text = concat!(include_str!("page/figures.js"), include_str!("page/live.js"));
            reply::lasting(script, text)
        }
        "/api/state" => reply::json(StatusCode::OK, &live.state()),
        "/api/cells" => {
            let cells = live.board().cells();
            reply::json(StatusCode::OK, &cells)
        }
        "/api/form" => reply::json(StatusCode::OK, &live.form()),
        "/stats/requests" => {
            let stats = live.board().requests();
            reply::json(StatusCode::OK, &stats)
        }
        "/api/events" => match Arc::clone(&desk.readers).try_acquire_owned() {
            Ok(place) => {
                let (out, coming) = mpsc::channel(2);
                let live = Arc::clone(live);
                tokio::spawn(async move {
                    events::stream(live, out).await;
                    drop(place);
                });
                reply::events(coming)
            }
            Err(_) => reply::refuse(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open"),
        },
        _ => match path.strip_prefix("/report/") {
            Some(name) => match live.report().as_deref() {
                Some(dir) => reply::file(dir, name),
                None => reply::refuse(StatusCode::NOT_FOUND, "there is no report yet"),
            },
            None => not_there(),
        },
    }
}

fn change(desk: &Desk, path: &str, body: &str) -> Reply {
    let Site::Live(live) = &desk.site else { return not_there() };
    let Some(button) = path.strip_prefix("/api/") else { return not_there() };
    let said: serde_json::Value = match serde_json::from_str(if body.is_empty() { "{}" } else { body }) {
        Ok(said) => said,
        Err(error) => return reply::refuse(StatusCode::BAD_REQUEST, &format!("that is no JSON: {error}")),
    };
    if button == "start" {
        let Ok(order) = serde_json::from_value::<Order>(said) else {
            return reply::refuse(StatusCode::BAD_REQUEST, "texts by the keys of /api/form are wanted");
        };
        return match live.start(&order) {
            Ok(()) => reply::json(StatusCode::OK, &live.state()),
            Err(mistakes) => {
                reply::json(StatusCode::UNPROCESSABLE_ENTITY, &serde_json::json!({ "mistakes": mistakes }))
            }
        };
    }
    let cell = said.get("cell").and_then(serde_json::Value::as_u64).and_then(|cell| u32::try_from(cell).ok());
    match live.press(button, cell) {
        Ok(()) => reply::json(StatusCode::OK, &live.state()),
        Err(why) => reply::refuse(StatusCode::CONFLICT, why),
    }
}
