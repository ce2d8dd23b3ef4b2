//! Bodies as they arrive: lines of a data set, seeds.

use std::sync::{Arc, Mutex};

use plimsoll::experiment::{DataFile, Dataset, Lengths, Sessions, Shuffle, Workload};
use plimsoll::record::Outcome;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{closed, run};
use crate::rig::scripted::serve;

/// The bodies of `requests` requests of one user, in the order in which they came.
fn bodies(requests: u64, change: impl FnOnce(&mut Workload)) -> Vec<Value> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let server = serve(move |conn| {
        let body = serde_json::from_slice(conn.body).expect("a body is JSON");
        into.lock().expect("no test panics while it holds this").push(body);
        conn.answer(1);
        true
    });
    let mut cell = closed(1);
    cell.settings.cell.requests = Some(requests);
    change(&mut cell.settings.workload);
    let (_, records) = run(&cell, server.address);
    assert!(records.iter().all(|r| r.outcome == Outcome::Ok), "{records:?}");
    let seen = seen.lock().expect("no test panics while it holds this");
    assert_eq!(seen.len(), records.len());
    seen.clone()
}

#[test]
fn lines_of_a_data_set_are_the_bodies() {
    let lines = [
        json!({"prompt": "first of all", "temperature": 0.25, "max_tokens": 3}),
        json!({"messages": [
            {"role": "user", "content": "how high is the tide"}, {"role": "tool", "content": "4.2 m"},
        ], "user": "someone"}),
    ];
    let text = lines.map(|line| line.to_string()).join("\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.jsonl");
    std::fs::write(&path, &text).unwrap();
    let sha256 = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    let dataset =
        Dataset { file: DataFile { path, sha256 }, limit: None, shuffle: Shuffle::No, repeat: true };
    let bodies = bodies(3, |workload| {
        workload.dataset = Some(dataset);
        workload.sampling.insert("temperature".to_owned(), json!(1));
    });
    assert_eq!(bodies[0]["messages"], json!([{"role": "user", "content": "first of all"}]));
    assert_eq!((&bodies[0]["temperature"], &bodies[0]["max_tokens"]), (&json!(0.25), &json!(3)));
    assert_eq!(bodies[1]["messages"][1], json!({"role": "tool", "content": "4.2 m"}));
    assert_eq!((&bodies[1]["temperature"], &bodies[1]["user"]), (&json!(1), &json!("someone")));
    assert_eq!(bodies[1]["max_tokens"], json!(4));
    assert_eq!(bodies[2]["messages"], bodies[0]["messages"], "after the last line, the first again");
}

#[test]
fn each_body_has_a_seed_of_its_own() {
    let bodies = bodies(4, |workload| workload.seed_per_request = true);
    let mut seeds: Vec<u64> = bodies.iter().map(|body| body["seed"].as_u64().expect("a seed")).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 4);
}

#[test]
fn a_conversation_goes_on_with_what_was_answered() {
    let bodies = bodies(6, |workload| {
        workload.session = Some(Sessions { turns: Lengths::constant(3), think: None });
    });
    let conversations: Vec<&[Value]> = bodies.chunks(3).collect();
    for turns in &conversations {
        for (k, body) in turns.iter().enumerate() {
            let messages = body["messages"].as_array().expect("messages");
            assert_eq!(messages.len(), 2 * k + 1);
            for (place, message) in messages.iter().enumerate() {
                if place % 2 == 1 {
                    // What the scripted server says, and no file or generator.
                    assert_eq!(message, &json!({"role": "assistant", "content": "word "}));
                } else {
                    let asked = &turns[place / 2]["messages"][place];
                    assert_eq!((message, &message["role"]), (asked, &json!("user")));
                }
            }
        }
    }
    assert_ne!(conversations[0][0]["messages"], conversations[1][0]["messages"], "each is its own");
}
