//! Connections that are kept, die, are reset or never made.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;

use plimsoll::record::Outcome;

use super::{MS, closed, one, run, summary};
use crate::rig::scripted::serve;

#[test]
fn a_dead_kept_alive_connection_costs_no_error() {
    // The second request of each connection finds it closed: read, and hung up on.
    let server = serve(|conn| {
        if conn.on_connection == 0 {
            conn.answer(2);
        }
        conn.on_connection == 0
    });
    let mut cell = closed(2);
    cell.settings.cell.requests = Some(40);
    let (run, records) = run(&cell, server.address);
    assert!(records.iter().all(|r| r.outcome == Outcome::Ok), "{records:?}");
    let retries: u64 = records.iter().map(|r| u64::from(r.retries)).sum();
    // Three such tell what this server does; the other user may be on its way into a fourth.
    // From then on each request has its own connection, and nothing is sent twice.
    assert!((3..=4).contains(&retries), "{retries} retries");
    assert_eq!(server.requests.load(Ordering::SeqCst) as u64, records.len() as u64 + retries);
    assert_eq!(summary(&cell, &run, &records).counts.retries, retries);
}

#[test]
fn a_fresh_connection_that_dies_is_an_error_and_not_asked_again() {
    let r = one(|_| {}, |_| false);
    assert_eq!((r.outcome, r.error_class.as_deref(), r.retries), (Outcome::Reset, Some("reset"), 0));
    assert!(r.end_us.is_some() && r.headers_us.is_none() && r.detail.is_some());
}

#[test]
fn a_connection_that_is_never_made_times_out() {
    // A full backlog answers no SYN.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let _filled: Vec<_> =
        (0..4).filter_map(|_| TcpStream::connect_timeout(&address, 100 * MS).ok()).collect();
    let mut cell = closed(1);
    cell.settings.cell.requests = Some(1);
    cell.settings.target.connect_timeout = 200 * MS;
    let (_, records) = run(&cell, address);
    assert_eq!(records[0].outcome, Outcome::Timeout);
    assert_eq!(records[0].error_class.as_deref(), Some("timeout_connect"));
}

#[test]
fn a_reset_is_a_reset() {
    // Closing with unread bytes makes the system send RST in place of FIN.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0u8; 16]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        }
    });
    let mut cell = closed(1);
    cell.settings.cell.requests = Some(1);
    let (_, records) = run(&cell, address);
    assert_eq!((records[0].outcome, records[0].error_class.as_deref()), (Outcome::Reset, Some("reset")));
}

#[test]
fn a_dead_server_is_not_hammered() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut cell = closed(2);
    cell.settings.cell.duration = Some(500 * MS);
    let (run, records) = run(&cell, address);
    assert!(records.iter().all(|r| r.outcome == Outcome::ConnectError && r.status.is_none()));
    // A pause of 100 ms after each: six of each user at the very most.
    assert!((2..=12).contains(&records.len()), "{} requests", records.len());
    let s = summary(&cell, &run, &records);
    assert_eq!(s.scalars["error_rate"], 1.0);
    assert_eq!(s.counts.errors["connect"], s.counts.failed);
    assert!(s.distributions.keys().all(|k| k == "lag"), "no answer, no latency");
}
