//! Who is taken in, and what is said to who isn't.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{by, experiment, kept, ran, server};
use crate::rig::program::{directory, plimsoll, plimsoll_with, stderr};
use crate::rig::worker::Worker;

const TOKEN: &str = "PLIMSOLL_WORKER_TOKEN";

fn say(stream: &mut TcpStream, message: &Value) {
    let text = message.to_string();
    stream.write_all(&(text.len() as u32).to_be_bytes()).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
}

fn hear(stream: &mut TcpStream) -> Value {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut text = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_worker_with_another_token_takes_nobody_in() {
    let server = server();
    let worker = Worker::start(&[(TOKEN, "the right one, long enough")]);
    let file = experiment(&server.url(), "users = 1", "duration = \"300ms\"");
    for token in ["another one, long enough", ""] {
        let dir = directory(&file);
        let output = plimsoll_with(dir.path(), &by(&worker.address), &[(TOKEN, token)]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("another token"), "{}", stderr(&output));
        assert!(!dir.path().join("runs").exists(), "nothing was begun");
    }
    worker.says("was turned away: it has another token");
    // The token's variable may have another name, in the file.
    let dir =
        directory(&format!("{file}\n[fleet]\nworkers = [\"{}\"]\ntoken_env = \"MINE\"\n", worker.address));
    let args = ["run", "small.toml", "--no-report", "--progress", "none"];
    let output = plimsoll_with(dir.path(), &args, &[("MINE", "the right one, long enough")]);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(&output));
    assert!(!kept(dir.path()).1.is_empty());
    // The token stands nowhere.
    assert_eq!(crate::rig::program::holding(dir.path(), b"the right one"), Vec::<std::path::PathBuf>::new());
    assert!(worker.said().iter().all(|line| !line.contains("the right one")));
}

#[test]
fn another_version_is_refused_on_both_sides_and_both_are_named() {
    let own = env!("CARGO_PKG_VERSION");
    // A worker of another version.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let old = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        say(&mut stream, &json!({ "plimsoll": "0.0.7", "protocol": 1, "number": "00" }));
        hear(&mut stream)
    });
    let dir = directory(&experiment("http://127.0.0.1:9", "users = 1", "duration = \"300ms\""));
    let output = plimsoll(dir.path(), &by(&address));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("0.0.7 (protocol 1)") && said.contains(&format!("{own} (protocol 1)")), "{said}");
    assert_eq!(old.join().unwrap()["plimsoll"], own);

    // A coordinator of another version.
    let worker = Worker::start(&[]);
    let mut stream = TcpStream::connect(&worker.address).unwrap();
    assert_eq!(hear(&mut stream)["plimsoll"], own);
    say(&mut stream, &json!({ "plimsoll": own, "protocol": 99, "number": "00", "proof": "00" }));
    let refused = hear(&mut stream)["refused"]["reason"].as_str().unwrap().to_owned();
    assert!(refused.contains("protocol 1") && refused.contains("protocol 99"), "{refused}");
    worker.says("it is another version");
}

#[test]
fn strangers_do_no_harm() {
    let server = server();
    let worker = Worker::start(&[]);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\x02{}", b"\xff\xff\xff\xff", b""] {
        let mut stream = TcpStream::connect(&worker.address).unwrap();
        hear(&mut stream);
        stream.write_all(bytes).unwrap();
    }
    // One that says nothing stays for a while, and keeps nobody out.
    let _silent = TcpStream::connect(&worker.address).unwrap();
    let dir = directory(&experiment(&server.url(), "users = 1", "duration = \"300ms\""));
    ran(dir.path(), &by(&worker.address));
    assert!(!kept(dir.path()).1.is_empty());
}

#[test]
fn workers_that_are_not_there_are_told_before_anything_is_begun() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let dir = directory(&experiment("http://127.0.0.1:9", "users = 1", "duration = \"300ms\""));
    for (workers, words) in [
        (nobody.as_str(), "plimsoll worker --listen"),
        ("nowhere.invalid:5557", "cannot reach"),
        ("127.0.0.1", "host:port"),
        ("127.0.0.1:5, 127.0.0.1:5", "host:port"),
        ("127.0.0.1:5,127.0.0.1:5", "twice"),
    ] {
        let output = plimsoll(dir.path(), &by(workers));
        assert_eq!(output.status.code(), Some(2), "{workers}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{workers}: {}", stderr(&output));
    }
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn what_a_worker_lacks_is_told_before_anything_is_begun() {
    let server = server();
    let worker = Worker::start(&[]);
    let dir = directory(
        &experiment(&server.url(), "users = 1", "duration = \"300ms\"")
            .replace("[workload]", "[workload]\ntokenizer = \"bundled\"")
            .replace("prompt_tokens = {", "dataset = { file = \"lines.jsonl\" } # {"),
    );
    let lines = dir.path().join("lines.jsonl");
    std::fs::write(&lines, "{\"prompt\": \"a b c\"}\n{\"prompt\": \"d e f\"}\n").unwrap();
    // It was begun in another directory, where there is no such file.
    let output = plimsoll(dir.path(), &by(&worker.address));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&worker.address) && said.contains("lines.jsonl"), "{said}");
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn a_worker_for_all_the_world_needs_a_token() {
    let output = |token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(["worker", "--listen", "0.0.0.0:0"]).env(TOKEN, token).stdin(Stdio::null());
        command.output().unwrap()
    };
    for token in ["", "short"] {
        let output = output(token);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).contains(TOKEN) && stderr(&output).contains("12 characters"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn the_embedded_simulator_is_for_workers_on_this_machine() {
    // This machine's own address beyond loopback; nothing is sent.
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let Some(ip) = own.ok().map(|at| at.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified()) else {
        eprintln!("skipped: this machine has no address beyond loopback");
        return;
    };
    let token = [(TOKEN, "for this test alone")];
    let worker = Worker::at(&format!("{ip}:0"), &token);
    let dir = directory(&experiment("sim:", "users = 1", "duration = \"300ms\""));
    let output = plimsoll_with(dir.path(), &by(&worker.address), &token);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("plimsoll sim"), "{}", stderr(&output));
    assert!(!dir.path().join("runs").exists());
}
