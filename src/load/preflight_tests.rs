use std::path::Path;

use super::*;
use crate::experiment::Experiment;
use crate::plan;

fn found(file: &str, allowed: &Allowed) -> Vec<Finding> {
    let text = format!("name = \"x\"\n[target]\nurl = \"http://10.0.0.1:8000\"\n{file}");
    let experiment = Experiment::parse(Path::new("x.toml"), &text, &[]).unwrap();
    let plan = plan::build(&experiment).unwrap();
    preflight(&plan.cells.iter().collect::<Vec<_>>(), allowed)
}

fn plenty() -> Allowed {
    Allowed {
        open_files: Some(1_000_000),
        local_ports: Some(28_232),
        port_rest_s: (60.0, 1.0),
        threads: Some(4_096),
        processors: 4,
    }
}

#[test]
fn what_fits_is_passed_in_silence() {
    assert_eq!(found("[grid]\nusers = [1, 1000]\n[cell]\nduration = \"30s\"", &plenty()), []);
    assert_eq!(found("[grid]\nqps = [1, 400]\n[cell]\nduration = \"30s\"", &plenty()), []);
    let no_limits = Allowed { processors: 4, ..Allowed::default() };
    assert_eq!(found("[grid]\nusers = [1, 1000000]\n[cell]\nduration = \"30s\"", &no_limits), []);
}

#[test]
fn too_many_users_are_told_with_the_cell_and_the_limit_that_would_do() {
    let few = Allowed { open_files: Some(1_024), ..plenty() };
    let file = "[grid]\nusers = [1, 2000, 3000, 4]\n[cell]\nduration = \"30s\"";
    let findings = found(file, &few);
    assert_eq!(findings.len(), 1, "{findings:?}");
    // 3000 connections, 128 to spare and 8 for each of four cores.
    let Finding { cell, certain, text } = &findings[0];
    assert_eq!((*cell, *certain), (3, true));
    for part in [
        "cell 3 (3000 users, as in one more cell)",
        "3160 open files",
        "1024 are allowed",
        "`ulimit -n 3160`",
    ] {
        assert!(text.contains(part), "{part} not in {text}");
    }
    assert_eq!(found(file, &Allowed { open_files: Some(3_160), ..plenty() }), []);
    let exactly_too_few = found(file, &Allowed { open_files: Some(3_159), ..plenty() });
    assert!(exactly_too_few[0].text.starts_with("cell 3 (3000 users): "), "{exactly_too_few:?}");
}

#[test]
fn several_targets_may_each_have_a_connection_of_every_user() {
    let mix = "[endpoint.a]\n[endpoint.b]\nurl = \"http://10.0.0.2:8000\"\ntimeout = \"300s\"\n";
    let closed = format!("{mix}[grid]\nusers = [1000]\n[cell]\nduration = \"30s\"");
    let allowed = |open_files| Allowed { open_files: Some(open_files), ..plenty() };
    // Twice 1000 connections, 128 to spare and 8 for each of four cores.
    assert_eq!(found(&closed, &allowed(2_160)), []);
    let findings = found(&closed, &allowed(2_159));
    assert_eq!((findings.len(), findings[0].certain), (1, false), "{findings:?}");
    assert!(findings[0].text.contains("each of 2 targets"), "{findings:?}");
    assert!(findings[0].text.contains("`ulimit -n 2160`"), "{findings:?}");
    assert!(found(&closed, &allowed(1_159))[0].certain, "one for each user there is for sure");
    // Tasks at one target share its connections.
    let tasks = "[task.a]\n[task.b]\n[grid]\nusers = [1000]\n[cell]\nduration = \"30s\"";
    assert_eq!(found(tasks, &allowed(1_160)), []);
    // No address is sure to have more than its half of the ports.
    let many = format!("{mix}[grid]\nusers = [40000]\n[cell]\nduration = \"30s\"");
    assert!(found(&many, &plenty()).iter().all(|finding| !finding.certain));
    // The slowest target decides how many may pile up.
    let open = format!("{mix}[grid]\nqps = [4000]\n[cell]\nduration = \"1h\"");
    let most = in_flight(
        &plan::build(
            &Experiment::parse(
                Path::new("x.toml"),
                &format!("[target]\nurl = \"http://10.0.0.1:8000\"\n{open}"),
                &[],
            )
            .unwrap(),
        )
        .unwrap()
        .cells[0]
            .settings,
    );
    assert_eq!(most, (0, 1_200_000));
}

#[test]
fn the_simulators_ends_are_files_of_the_same_process() {
    let file = "[grid]\nusers = [1000]\n[cell]\nduration = \"30s\"";
    let allowed = Allowed { open_files: Some(2_000), ..plenty() };
    assert_eq!(found(file, &allowed), []);
    let text = format!("name = \"x\"\n[target]\nurl = \"sim:\"\n{file}");
    let experiment = Experiment::parse(Path::new("x.toml"), &text, &[]).unwrap();
    let plan = plan::build(&experiment).unwrap();
    let findings = preflight(&plan.cells.iter().collect::<Vec<_>>(), &allowed);
    assert!(findings[0].certain && findings[0].text.contains("2160 open files (both ends"), "{findings:?}");
}

#[test]
fn more_users_than_local_ports_are_told() {
    let findings = found("[grid]\nusers = [30000]\n[cell]\nduration = \"30s\"", &plenty());
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].certain);
    assert!(findings[0].text.contains("28232 local ports"), "{findings:?}");
    assert!(findings[0].text.contains("ip_local_port_range"), "{findings:?}");
}

const H2: &str = "http = \"2\"\n";

#[test]
fn a_unix_socket_needs_no_local_ports() {
    let socket = "unix_socket = \"/tmp/x\"\n";
    for load in ["users = [30000]", "qps = [20000]"] {
        let file = format!("[grid]\n{load}\n[cell]\nduration = \"300s\"\nwarmup = \"0s\"");
        assert!(found(&file, &plenty()).iter().any(|f| f.text.contains("local ports")), "{load}");
        let no_file_limit = Allowed { open_files: None, ..plenty() };
        assert_eq!(found(&format!("{socket}{file}"), &no_file_limit), [], "{load}");
    }
    let few = Allowed { open_files: Some(1_000), ..plenty() };
    let file = format!("{socket}[grid]\nusers = [1000]\n[cell]\nduration = \"30s\"");
    assert!(found(&file, &few)[0].text.contains("1160 open files"), "but files it does");
}

#[test]
fn requests_share_connections_of_http2() {
    let users = "[grid]\nusers = [30000]\n[cell]\nduration = \"30s\"";
    // 300 connections and one for each of four cores; 128 files to spare, 8 for each core.
    let enough = Allowed { open_files: Some(464), local_ports: Some(304), ..plenty() };
    assert_eq!(found(&format!("{H2}{users}"), &enough), []);
    let few = Allowed { open_files: Some(463), local_ports: Some(303), ..plenty() };
    let findings = found(&format!("{H2}{users}"), &few);
    assert!(findings.iter().all(|f| f.certain) && findings.len() == 2, "{findings:?}");
    assert!(findings[0].text.contains("464 open files"), "{findings:?}");
    assert!(findings[1].text.contains("304 connections"), "{findings:?}");
    // A fresh connection for each request bears no other.
    let findings = found(&format!("{H2}keep_alive = false\n{users}"), &plenty());
    assert!(findings[0].text.contains("30000 connections"), "{findings:?}");
}

#[test]
fn an_open_loop_over_http2_runs_out_a_hundred_times_later() {
    let qps = "[grid]\nqps = [600]\n[cell]\nduration = \"300s\"\nwarmup = \"0s\"";
    assert_eq!(found(qps, &plenty()).len(), 1);
    assert_eq!(found(&format!("{H2}{qps}"), &plenty()), []);
    // 20 connections bear 2000 requests.
    let findings = found(&format!("{H2}{qps}"), &Allowed { local_ports: Some(20), ..plenty() });
    assert!(findings[0].text.contains("once answers take 3.3 s"), "{findings:?}");
}

#[test]
fn too_few_threads_are_told() {
    let file = "[grid]\nusers = [1000]\n[client]\nthreads = 40\n[cell]\nduration = \"30s\"";
    assert_eq!(found(file, &Allowed { threads: Some(96), ..plenty() }), []);
    let findings = found(file, &Allowed { threads: Some(95), ..plenty() });
    assert!(findings[0].certain && findings[0].text.contains("96 threads are needed and 95"), "{findings:?}");
}

#[test]
fn what_only_a_slow_server_would_need_is_a_warning() {
    let tight = Allowed { open_files: Some(1_136), ..plenty() };
    let file = "[grid]\nqps = [10, 200]\n[cell]\nduration = \"30s\"\nwarmup = \"0s\"";
    let findings = found(file, &tight);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].cell, findings[0].certain), (2, false));
    // A thousand connections at 200 a second.
    assert!(findings[0].text.contains("once answers take 5.0 s"), "{findings:?}");
    // A cap, or fewer arrivals in all, can't run out.
    assert_eq!(found(&file.replace("[grid]", "[load]\nusers = 500\n[grid]"), &tight), []);
    assert_eq!(found(&file.replace("30s", "4s"), &tight), []);
}

#[test]
fn a_server_that_closes_connections_uses_ports_up() {
    let file = "[grid]\nqps = [600]\n[cell]\nduration = \"300s\"\nwarmup = \"0s\"";
    let findings = found(file, &plenty());
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(!findings[0].certain);
    assert!(findings[0].text.contains("36000 local ports would rest for 60 s"), "{findings:?}");
    // Over loopback the kernel uses them again at once, and a short cell has too few arrivals.
    let reused = Allowed { port_rest_s: (1.0, 1.0), ..plenty() };
    assert_eq!(found(file, &reused), []);
    assert_eq!(found(&file.replace("300s", "30s"), &plenty()), []);
}

#[test]
fn loopback_is_known_by_its_name() {
    for (url, want) in [
        ("sim:", true),
        ("http://127.0.0.1:1", true),
        ("http://localhost:1", true),
        ("http://model.localhost:1", true),
        ("http://[::1]:1", true),
        ("http://10.0.0.1:1", false),
        ("https://example.com", false),
    ] {
        let text = format!(
            "name = \"x\"\n[target]\nurl = \"{url}\"\n[grid]\nusers = [1]\n[cell]\nduration = \"1s\""
        );
        let experiment = Experiment::parse(Path::new("x.toml"), &text, &[]).unwrap();
        let plan = plan::build(&experiment).unwrap();
        assert_eq!(is_loopback(&plan.cells[0].settings), want, "{url}");
    }
}
