//! The diagnosis of runs against the simulator: a server with a knee, one with faults, a
//! healthy one; and a gate in the file.

use plimsoll::analysis::RunData;
use plimsoll::analysis::diagnosis::{CLIENT_SIGNALS, Finding, Severity, diagnose};
use plimsoll::measure::Verdict;

use crate::rig::program::{directory, only_run, plimsoll, stderr, stdout};

/// A sweep over `grid` with these knobs: what it printed, and the run. A machine that is too busy
/// to measure on is given another chance.
fn swept(grid: &str, cell: &str, knobs: &str) -> (String, RunData) {
    let file = format!(
        "name = \"small\"\nseed = 7\n[target]\nurl = \"sim:\"\n[grid]\n{grid}\n[cell]\n{cell}\nwarmup = \"500ms\"\n\
         cooldown = {{ min = \"50ms\", max = \"5s\" }}\n[sim]\n{knobs}\n"
    );
    let mut tries = 0;
    loop {
        tries += 1;
        let dir = directory(&file);
        let output = plimsoll(dir.path(), &["run", "small.toml", "--no-report", "--progress", "none"]);
        let run = RunData::load(&only_run(dir.path())).unwrap();
        let calm = !disturbed(&run);
        assert!(!calm || output.status.code() == Some(0), "{}{}", stdout(&output), stderr(&output));
        if calm || tries == 3 {
            return (stdout(&output), run);
        }
    }
}

fn disturbed(run: &RunData) -> bool {
    diagnose(run).iter().any(|f| f.kind.code == "client_limit")
}

/// The findings about the server as if the client had been above suspicion: a knee and a fault
/// are the simulator's whatever else this machine does.
fn about_the_server(mut run: RunData) -> Vec<Finding> {
    for summary in run.cells.iter_mut().filter_map(|c| c.summary.as_mut()) {
        let validity = &mut summary.validity;
        validity.reasons.retain(|r| !CLIENT_SIGNALS.contains(&r.signal.as_str()));
        validity.signals.retain(|name, _| !CLIENT_SIGNALS.contains(&name.as_str()));
        validity.verdict = validity.reasons.iter().map(|r| r.verdict).max().unwrap_or(Verdict::Valid);
    }
    diagnose(&run)
}

fn find<'a>(findings: &'a [Finding], code: &str) -> &'a Finding {
    findings.iter().find(|f| f.kind.code == code).unwrap_or_else(|| panic!("no {code} in {findings:#?}"))
}

#[test]
fn beyond_the_knee_a_queue_is_found() {
    let grid = "users = [1, 4, 24]\nprompt_tokens = [64]\nmax_tokens = [32]";
    let (text, run) = swept(grid, "duration = \"4s\"", "max_num_seqs = 4");
    let calm = !disturbed(&run);
    let findings = about_the_server(run);
    let found = find(&findings, "saturated");
    assert_eq!(found.severity, Severity::Warning);
    assert!(found.evidence.contains("From 4 users to 24 users"), "{}", found.evidence);
    assert!(found.evidence.contains("what is added waits. At 1 user"), "{}", found.evidence);
    assert!(text.contains("What points to what"), "{text}");
    assert!(!calm || text.contains(found.kind.title), "{text}");
    assert!(findings.iter().any(|f| f.kind.code == "server_gauges"));
}

#[test]
fn faults_are_told_by_their_class() {
    let grid = "users = [4]\nprompt_tokens = [16]\nmax_tokens = [8]";
    let knobs = "fault_429 = 0.1\nfault_no_end = 0.1\nfault_503 = 0.05";
    let (text, run) = swept(grid, "requests = 400", knobs);
    let findings = about_the_server(run);
    let refused = find(&findings, "refused");
    assert!(refused.severity >= Severity::Warning, "{refused:?}");
    assert!(refused.evidence.contains("× 429, first with"), "{}", refused.evidence);
    assert!(find(&findings, "unavailable").evidence.contains("× 503"));
    assert!(find(&findings, "broken_answers").evidence.contains("× truncated"));
    assert!(text.contains("Requests were refused (429)"), "{text}");
    assert!(findings.iter().all(|f| f.kind.code != "healthy"));
}

#[test]
fn a_healthy_run_is_called_so_without_a_warning() {
    let grid = "users = [1, 4]\nprompt_tokens = [64]\nmax_tokens = [16]";
    let (text, run) = swept(grid, "duration = \"5s\"", "");
    if disturbed(&run) {
        // Then the simulator, which runs beside the client, is not healthy either.
        eprintln!("SKIPPED: this machine is too busy for a healthy run");
        return;
    }
    let findings = diagnose(&run);
    let warned: Vec<&Finding> = findings.iter().filter(|f| f.severity >= Severity::Warning).collect();
    assert_eq!(warned, Vec::<&Finding>::new());
    assert!(text.contains("PASS     Nothing points to trouble"), "{text}");
}

#[test]
fn the_file_can_set_the_gate() {
    let file = |slo: &str| {
        format!(
            "name = \"small\"\n[target]\nurl = \"sim:\"\n[grid]\nusers = [1]\nprompt_tokens = [16]\nmax_tokens = [8]\n\
             [cell]\nrequests = 12\nwarmup = \"100ms\"\n[slo]\n{slo}\n"
        )
    };
    let missed = "ttft_p95 = \"1us\"";
    let warned = "ttft_p95 = { target = \"1us\", acceptable = \"60s\" }";
    for (slo, more, code) in [
        (format!("{missed}\ngate = true"), None, 1),
        (missed.to_owned(), None, 0),
        (format!("{missed}\ngate = false"), Some("--gate"), 1),
        (format!("{warned}\ngate = true"), None, 0),
        (format!("{warned}\ngate = \"target\""), None, 1),
        (warned.to_owned(), Some("--gate"), 0),
        ("preset = \"p95-5s\"\ngate = true".to_owned(), None, 0),
    ] {
        let mut args = vec!["run", "small.toml", "--no-report", "--progress", "none"];
        args.extend(more);
        // A cell that a busy machine made invalid can't be gated: again.
        let (dir, output) = (0..5)
            .map(|_| {
                let dir = directory(&file(&slo));
                let output = plimsoll(dir.path(), &args);
                (dir, output)
            })
            .find(|(_, output)| output.status.code() != Some(4))
            .expect("a machine that can measure twelve requests");
        assert_eq!(output.status.code(), Some(code), "{slo}: {}{}", stdout(&output), stderr(&output));
        if slo.starts_with(warned) {
            assert!(
                stdout(&output).contains("WARNING  TTFT p95 ≤ 0.0010 ms (acceptable 60,000 ms)"),
                "{}",
                stdout(&output)
            );
            let csv = std::fs::read_to_string(only_run(dir.path()).join("summary.csv")).unwrap();
            assert!(csv.contains("(target 0.001, limit 60000) warning"), "{csv}");
        }
    }
}
