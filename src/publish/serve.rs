//! The endpoint that Prometheus scrapes.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::registry::Registry;
use super::text;

/// A whole connection: one question and its answer.
const LONGEST: Duration = Duration::from_secs(10);
/// Connections at once: a scraper has one.
const MOST: usize = 16;
/// The path that is scraped.
pub(super) const PATH: &str = "/metrics";

/// How the endpoint is asked.
#[derive(Default)]
pub(super) struct Asked {
    /// Whether all figures are there: the sweep has ended.
    pub complete: Cell<bool>,
    /// Whether somebody was given the whole since then.
    pub had_all: Cell<bool>,
    open: Cell<usize>,
}

/// Serve until dropped.
pub(super) async fn serve(listener: TcpListener, registry: Rc<RefCell<Registry>>, asked: Rc<Asked>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Such as too many open files, which passes.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        if asked.open.get() >= MOST {
            continue;
        }
        asked.open.set(asked.open.get() + 1);
        let (registry, asked) = (Rc::clone(&registry), Rc::clone(&asked));
        spawn_local(async move {
            let whole = Cell::new(false);
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&request, &registry.borrow());
                whole.set(
                    answer.status() == StatusCode::OK && request.uri().path() == PATH && asked.complete.get(),
                );
                async move { Ok::<_, Infallible>(answer) }
            });
            // One answer a connection, so that its end is that of the answer.
            let mut server = hyper::server::conn::http1::Builder::new();
            let connection = server.keep_alive(false).serve_connection(TokioIo::new(stream), service);
            let sent = matches!(timeout(LONGEST, connection).await, Ok(Ok(())));
            asked.open.set(asked.open.get() - 1);
            if sent && whole.get() {
                asked.had_all.set(true);
            }
        });
    }
}

fn answer(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    let known = matches!(request.method(), &Method::GET | &Method::HEAD);
    let (status, kind, body) = match request.uri().path() {
        _ if !known => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
        PATH => (StatusCode::OK, text::CONTENT_TYPE, text::render(&registry.series())),
        "/" => (StatusCode::OK, "text/plain", format!("plimsoll: figures for Prometheus are at {PATH}\n")),
        _ => (StatusCode::NOT_FOUND, "text/plain", format!("only {PATH}\n")),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
