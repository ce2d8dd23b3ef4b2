//! Loads that depend on what was answered, or on a file: conversations, traces, data sets that end.

use std::collections::BTreeMap;
use std::io::Write;

use plimsoll::record::{EndedBy, Outcome, RequestRecord};
use plimsoll::sim::TruthRecord;

use super::{Held, hold};

/// A file that lasts as long as its test.
fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("it can be written");
    file
}

fn asked(workload: &str, load: &str, cell: &str) -> Held {
    hold(&format!(
        "name = \"talks\"\nseed = 5\n[target]\nurl = \"sim:\"\n[sim]\nstep_base = \"1ms\"\n[workload]\ntokenizer = \"server\"\n\
         {workload}\n[load]\n{load}\n[cell]\n{cell}\n"
    ))
}

type Turns<'a> = BTreeMap<u64, Vec<(&'a RequestRecord, &'a TruthRecord)>>;

/// Every request that ended, with the server's account, by conversation and in the order of turns.
fn conversations(held: &Held) -> Turns<'_> {
    let mut by: Turns<'_> = BTreeMap::new();
    for record in held.records.iter().filter(|r| r.sent_us.is_some() && r.outcome != Outcome::Censored) {
        assert_eq!(record.outcome, Outcome::Ok, "{record:?}");
        let tries = &held.truth[&record.seq];
        assert_eq!(tries.len(), 1, "{record:?}");
        by.entry(record.session.expect("a turn of a conversation")).or_default().push((record, &tries[0]));
    }
    by.values_mut().for_each(|turns| turns.sort_by_key(|(record, _)| record.turn));
    by
}

/// Turns follow one another, each due a pause after the answer before it, and each bears what was
/// said before: the server finds it in its cache.
fn hold_to_each_other(turns: &[(&RequestRecord, &TruthRecord)], pause_us: u64) {
    for (k, (record, truth)) in turns.iter().enumerate() {
        assert_eq!(record.turn, Some(k as u32), "{record:?}");
        assert_eq!(truth.prompt_tokens, record.prompt_tokens);
        if k == 0 {
            continue;
        }
        let (before, _) = turns[k - 1];
        assert_eq!(
            Some(record.intended_us),
            before.end_us.map(|end| end + pause_us),
            "{record:?}\n{before:?}"
        );
        let said = before.prompt_tokens.unwrap() + before.output_tokens.unwrap();
        assert!(truth.prompt_tokens.unwrap() >= said + 48, "{record:?}\n{before:?}");
        // The prompt before is the beginning of this one: whole blocks of 16 of it, without what the
        // template puts at its end.
        let cached = truth.cached_tokens.unwrap();
        assert!(cached + 32 >= before.prompt_tokens.unwrap(), "{cached}: {record:?}\n{before:?}");
    }
}

#[test]
fn users_go_through_conversations_with_the_answers_that_came() {
    let workload = "prompt_tokens = 64\nmax_tokens = 48\nforce_length = \"always\"\nsession = { turns = 3, think = \"40ms\" }";
    let held = asked(workload, "users = 3", "requests = 36\nduration = \"60s\"\nwarmup = \"0s\"");
    let by = conversations(&held);
    let whole = by.values().filter(|turns| turns.len() == 3).count();
    assert!(whole >= 9, "{whole} of {}", by.len());
    for turns in by.values() {
        hold_to_each_other(turns, 40_000);
        assert!(
            turns.iter().all(|(record, _)| record.user == turns[0].0.user),
            "one user has the whole of it"
        );
    }
    assert_eq!(held.summary.counts.attempted, 36, "turns are requests");
}

#[test]
fn in_an_open_loop_the_schedule_has_the_first_turns() {
    let workload = "prompt_tokens = 64\nmax_tokens = 16\nforce_length = \"always\"\nsession = { turns = 2, think = \"100ms\" }";
    let held = asked(workload, "qps = 20", "duration = \"2s\"\nwarmup = \"0s\"\ndrain = \"20s\"");
    let by = conversations(&held);
    by.values().for_each(|turns| hold_to_each_other(turns, 100_000));
    let later = held.records.iter().filter(|r| r.turn == Some(1)).count() as u64;
    assert!(later >= 10, "{later}");
    assert_eq!(held.run.planned, Some(by.len() as u64));
    assert_eq!(held.summary.counts.planned, by.len() as u64 + later);
    assert_eq!(held.summary.counts.planned, held.summary.counts.sent);
    assert_eq!(held.summary.validity.signals["sent_off_plan"], 0.0, "{:?}", held.summary.validity);
}

/// Whoever still thinks when the window closes is not waited for, and nothing is due before then.
#[test]
fn who_thinks_past_the_windows_end_sends_no_more() {
    let workload = "prompt_tokens = 16\nmax_tokens = 4\nsession = { turns = 3, think = \"5s\" }";
    for (cell, by) in
        [("duration = \"600ms\"", EndedBy::Duration), ("requests = 6\nduration = \"8s\"", EndedBy::Requests)]
    {
        let held = asked(workload, "users = 4", &format!("{cell}\nwarmup = \"0s\""));
        assert_eq!(held.run.window.ended_by, by);
        for record in &held.records {
            assert!(record.intended_us < held.run.window.end_us, "{record:?}");
            let lag = record.sent_us.expect("sent") - record.intended_us;
            assert!(lag < 2_000_000, "a due time of before the pause: {record:?}");
        }
        let first: Vec<_> = held.records.iter().filter(|r| r.turn == Some(0)).collect();
        assert_eq!(first.len(), 4, "no user begins a second conversation in its first pause");
    }
}

#[test]
fn conversations_of_a_file_are_asked_as_they_stand_there() {
    let talk = |a: &str, b: &str| {
        format!(
            "{{\"conversations\":[{{\"from\":\"human\",\"value\":\"{a}\"}},{{\"from\":\"gpt\",\"value\":\"yes\"}},{{\"from\":\"human\",\"value\":\"{b}\"}},{{\"from\":\"gpt\",\"value\":\"no\"}}]}}"
        )
    };
    let data = file(&format!("[{},{}]", talk("one two three", "four"), talk("five six", "seven eight nine")));
    let workload = format!("max_tokens = 8\nconversations = {{ file = {:?} }}", data.path());
    let held = asked(&workload, "users = 1", "requests = 8\nduration = \"30s\"\nwarmup = \"0s\"");
    let turns: Vec<(u64, u32)> = held
        .records
        .iter()
        .map(|r| (r.session.unwrap(), r.turn.unwrap()))
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    assert_eq!(turns, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]);
    for turns in conversations(&held).values() {
        let prompts: Vec<u32> = turns.iter().map(|(_, truth)| truth.prompt_tokens.unwrap()).collect();
        assert!(prompts[1] > prompts[0], "{prompts:?}");
    }
}

#[test]
fn a_trace_is_repeated_when_and_as_it_was() {
    let rows = [(0.0, 40, 3), (0.05, 17, 5), (0.05, 90, 2), (0.31, 33, 9), (0.9, 64, 4)];
    let lines: String = rows.iter().map(|(at, prompt, max)| format!("{at},{prompt},{max}\n")).collect();
    let data = file(&format!("at_s,prompt_tokens,max_tokens\n{lines}"));
    let workload = format!("force_length = \"always\"\ntrace = {{ file = {:?}, scale = 0.5 }}", data.path());
    let held = asked(&workload, "", "drain = \"20s\"");
    assert_eq!(held.all_ok().len(), rows.len());
    for (record, (at, prompt, max)) in held.records.iter().zip(rows) {
        assert_eq!(record.intended_us, (at * 0.5 * 1e6) as u64);
        assert_eq!((record.prompt_tokens, record.output_tokens), (Some(prompt), Some(max)));
    }
    assert_eq!((held.summary.counts.planned, held.summary.counts.attempted), (5, 5));
    assert_eq!(held.run.window.end_us, 450_001, "just after the last");
}

#[test]
fn a_data_set_that_is_not_to_repeat_ends_the_cell() {
    let lines: String =
        (0..10).map(|k| format!("{{\"prompt\":\"line {k} of ten\",\"max_tokens\":3}}\n")).collect();
    let data = file(&lines);
    let workload =
        format!("force_length = \"always\"\ndataset = {{ file = {:?}, repeat = false }}", data.path());
    for load in ["users = 2", "qps = 100\narrivals = \"constant\""] {
        let held = asked(&workload, load, "duration = \"60s\"\nwarmup = \"0s\"\ndrain = \"20s\"");
        assert_eq!(held.all_ok().len(), 10, "{load}: each line once");
        assert_eq!(held.run.window.ended_by, EndedBy::Requests, "{load}");
        assert!(held.run.window.seconds() < 30.0, "{load}");
    }
}

#[test]
fn bursts_of_a_data_set_that_ends_are_whole_on_any_number_of_cores() {
    let lines: String =
        (0..10).map(|k| format!("{{\"prompt\":\"line {k} of ten\",\"max_tokens\":3}}\n")).collect();
    let data = file(&lines);
    let workload =
        format!("force_length = \"always\"\ndataset = {{ file = {:?}, repeat = false }}", data.path());
    for threads in [1, 2] {
        let load = format!("users = 4\nburst = \"300ms\"\n[client]\nthreads = {threads}");
        let held = asked(&workload, &load, "duration = \"60s\"\ndrain = \"20s\"");
        assert_eq!(held.all_ok().len(), 10, "on {threads}");
        assert_eq!((held.summary.counts.planned, held.summary.counts.attempted), (10, 10), "on {threads}");
        assert_eq!(held.run.window.end_us, 600_001, "just after the third burst, of two");
    }
}
