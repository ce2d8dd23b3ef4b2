//! The live page: in a real browser during real sweeps, and from outside, as a stranger asks.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::rig::browser::Tab;
use crate::rig::program::{directory, only_run, plimsoll};
use crate::rig::wait_for;

/// A sweep that is long enough to be watched: three cells of some seconds.
const WATCHED: &str = r#"
name = "watched"
seed = 7
[target]
url = "sim:"
[workload]
prompt_tokens = 16
max_tokens = 8
[grid]
users = [1, 2, 4]
[cell]
duration = "5s"
warmup = "0s"
drain = "2s"
cooldown = { min = "50ms", max = "2s" }
"#;

/// A program with a page, ended with the test that fails.
struct Paged {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// `http://127.0.0.1:port/`, with what follows.
    url: String,
}

impl Paged {
    fn new(dir: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut paged = Self { child, lines, seen: Vec::new(), url: String::new() };
        let said = paged.line("http://");
        paged.url = said.split_once(": ").unwrap().1.to_owned();
        paged
    }

    /// The next line of standard error that has this in it.
    fn line(&mut self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(90));
            let line = line.unwrap_or_else(|_| panic!("{part:?} was never said: {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://").split('/').next().unwrap()
    }

    /// Its answer to a request with these headers: status and body.
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let answer = self.raw(method, path, headers, body);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut socket = TcpStream::connect(self.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = if named { String::new() } else { format!("Host: {}\r\n", self.address()) };
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let asked = format!(
            "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(asked.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, &[], "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
    }

    /// The token that is in the page.
    fn token(&self) -> String {
        let (_, page) = self.ask("GET", "/", &[], "");
        let (_, rest) = page.split_once("plimsoll-token\" content=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    fn press(&self, button: &str, body: &str) -> (u16, String) {
        self.ask("POST", &format!("/api/{button}"), &[("X-Plimsoll-Token", &self.token())], body)
    }

    fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    }

    /// How it ended.
    fn end(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Paged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rows of the run's summary.csv, by column.
fn summary(dir: &Path) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(only_run(dir).join("summary.csv")).unwrap();
    reader.deserialize().map(|row| row.unwrap()).collect()
}

#[test]
fn a_sweep_is_seen_as_it_runs() {
    let dir = directory(WATCHED);
    let Some(mut tab) = Tab::open(1400) else { return };
    let mut live = Paged::new(dir.path(), &["run", "small.toml", "--ui", "127.0.0.1:0", "--ui-keep"]);
    tab.go(&live.url);
    // Figures move.
    tab.until("/^Cell [1-3] of 3/.test(document.getElementById('headline').textContent)");
    tab.until("parseFloat(document.getElementById('t-rps').textContent) > 0");
    tab.until("document.querySelectorAll('#figure-rps .scatterlayer .trace').length === 3");
    tab.until("document.getElementById('figure-rps').querySelector('.live-plot').data[0].y.length >= 3");
    let points = "document.getElementById('figure-rps').querySelector('.live-plot').data[0].y.length";
    let before = tab.value(points).as_u64().unwrap();
    tab.until(&format!("{points} !== {before}"));
    assert!(tab.text("of").contains("-watched"), "the run's id is shown");
    // Nothing moves: the places of headings are as they were when cells come.
    let places =
        "JSON.stringify(['now', 'course', 'cells'].map(id => document.getElementById(id).offsetTop))";
    let place = tab.value(places);
    // Of the server, what is of one kind shares an axis.
    let traces =
        |id: &str| format!("document.querySelectorAll('#figure-of-{id} .scatterlayer .trace').length");
    tab.until(&format!(
        "document.getElementById('figure-of-In-the-server').scrollIntoView() || {} === 2",
        traces("In-the-server")
    ));
    tab.until(&format!(
        "document.getElementById('figure-of-KV-cache-in-use').scrollIntoView() || {} === 1",
        traces("KV-cache-in-use")
    ));
    // Finished cells come in, in table and figures.
    tab.until("document.querySelectorAll('#cell-rows tr').length >= 2");
    assert_eq!(tab.value(places), place);
    tab.value("document.getElementById('over-load').scrollIntoView()");
    tab.until("document.querySelectorAll('#figure-load-tps .scatterlayer .point').length >= 2");
    tab.until("document.getElementById('headline').textContent === 'Finished'");
    tab.until("!document.getElementById('report').hidden");
    assert_eq!(tab.value("document.querySelectorAll('#cell-rows tr').length"), 3);
    // By keyboard: the theme's button is reached and pressed.
    let theme = "document.documentElement.dataset.theme";
    let was = tab.value(theme);
    tab.value("document.getElementById('theme').focus()");
    tab.key("Enter");
    assert_ne!(tab.value(theme), was);
    for width in [1400, 500] {
        tab.resize(width);
        tab.until(&format!("innerWidth === {width}"));
        // Figures follow the window a moment later.
        tab.until("document.documentElement.scrollWidth <= document.documentElement.clientWidth + 1");
    }
    // Figures of the table are those of the files.
    let rows = summary(dir.path());
    let cells = live.get("/api/cells");
    for (cell, row) in cells["cells"].as_array().unwrap().iter().zip(&rows) {
        assert_eq!(cell["ok"].to_string(), row["ok"]);
        let (shown, kept) =
            (cell["figures"]["ttft_p95_ms"].as_f64().unwrap(), row["ttft_p95_ms"].parse::<f64>());
        assert!((shown - kept.unwrap()).abs() < 1e-6);
    }
    let (status, page) = live.ask("GET", "/report/index.html", &[], "");
    assert!(status == 200 && page.contains("Plimsoll report"), "{status}");
    assert_eq!(tab.complaints, Vec::<String>::new());
    live.interrupt();
    assert!(matches!(live.end(), Some(0 | 4)), "{:#?}", live.seen);
}

#[test]
fn a_sweep_is_paused_skipped_and_stopped_from_the_page() {
    let dir = directory(&WATCHED.replace("\"5s\"", "\"60s\""));
    let Some(mut tab) = Tab::open(1000) else { return };
    let mut live = Paged::new(dir.path(), &["run", "small.toml", "--ui", "127.0.0.1:0", "--no-report"]);
    tab.go(&live.url);
    tab.until(
        "document.getElementById('t-rps').textContent !== '–' && !document.getElementById('skip').disabled",
    );
    // By keyboard alone: pause, then skip, which is asked twice.
    tab.value("document.getElementById('pause').focus()");
    tab.key("Enter");
    tab.until("document.getElementById('pause').textContent === 'Go on'");
    tab.key("Tab");
    tab.key("Enter");
    tab.until("document.getElementById('skip').textContent.includes('again')");
    tab.key("Enter");
    tab.until("document.getElementById('headline').textContent.startsWith('Paused')");
    tab.until("document.querySelectorAll('#cell-rows tr').length === 1");
    assert!(tab.text("cell-rows").contains("not measured"), "{}", tab.text("cell-rows"));
    assert!(live.get("/api/state")["held"] == true);
    assert_eq!(live.press("skip", "{\"cell\":0}").0, 409, "no cell runs that could be skipped");
    tab.value("document.getElementById('pause').click()");
    tab.until("document.getElementById('headline').textContent.startsWith('Cell 2 of 3')");
    tab.until("!document.getElementById('stop').disabled");
    tab.value("document.getElementById('stop').click()");
    tab.until("document.getElementById('stop').textContent.includes('again')");
    tab.value("document.getElementById('stop').click()");
    assert_eq!(live.end(), Some(130), "as one Ctrl-C: {:#?}", live.seen);
    // The skipped cell is noted as one, and is not gone through again.
    let run = only_run(dir.path());
    let skipped: Value = serde_json::from_slice(
        &std::fs::read(crate::rig::program::find(&run, "skipped.json").unwrap()).unwrap(),
    )
    .unwrap();
    assert_eq!((&skipped["cell_index"], &skipped["failed"]), (&json!(0), &json!(true)));
    assert!(skipped["reason"].as_str().unwrap().contains("a person"), "{skipped}");
    let plan = std::fs::read_to_string(dir.path().join("small.toml")).unwrap();
    assert!(plan.contains("60s"));
    let data = plimsoll::analysis::RunData::load(&run).unwrap();
    assert!(data.cells[0].summary.is_none(), "what it had measured when it was skipped is no result");
    assert!(data.cells[0].skipped.as_ref().is_some_and(|skipped| skipped.failed));
    assert!(summary(dir.path()).iter().all(|row| row["ok"].is_empty() || row["cell_index"] != "0"));
}

#[test]
fn a_sweep_is_started_from_the_page() {
    let file = WATCHED
        .replace("users = [1, 2, 4]", "repeats = 1")
        .replace("[workload]", "[load]\nusers = 7\n[workload]");
    let dir = directory(&file);
    let Some(mut tab) = Tab::open(1000) else { return };
    let mut live = Paged::new(dir.path(), &["run", "small.toml", "--ui", "127.0.0.1:0", "--wait"]);
    tab.go(&live.url);
    let field = |key: &str| format!("document.getElementById('field-{}')", key.replace('.', "-"));
    tab.until(&format!("{}.value === '7'", field("load.users")));
    assert_eq!(tab.text("headline"), "Ready to start");
    assert!(!dir.path().join("runs").exists(), "nothing runs before it is told to");
    // A mistake comes back with the file's own words, at its field.
    tab.value(&format!("{}.value = '2 parsecs'", field("cell.duration")));
    tab.value("document.getElementById('start').click()");
    tab.until("document.getElementById('field-cell-duration-wrong').textContent.includes('no unit')");
    assert_eq!(tab.value(&format!("{}.getAttribute('aria-invalid')", field("cell.duration"))), "true");
    assert!(!dir.path().join("runs").exists());
    tab.value(&format!("{}.value = '1s'", field("cell.duration")));
    tab.value(&format!("{}.value = '3'", field("load.users")));
    tab.value(&format!("{}.focus()", field("load.users")));
    tab.key("Enter");
    tab.until("document.getElementById('headline').textContent === 'Finished'");
    tab.until("!document.getElementById('report').hidden && !document.getElementById('start-form').hidden");
    let run: Value =
        serde_json::from_slice(&std::fs::read(only_run(dir.path()).join("run.json")).unwrap()).unwrap();
    assert_eq!(run["set"], json!(["cell.duration=1s", "load.users=3"]));
    assert_eq!(summary(dir.path())[0]["users"], "3");
    // Another one, as in Locust; the board is wiped for it.
    tab.value("document.getElementById('start').click()");
    tab.until("document.getElementById('headline').textContent.startsWith('Cell 1 of 1')");
    live.line("the page stays");
    live.line("the page stays");
    tab.until("document.getElementById('headline').textContent === 'Finished'");
    assert_eq!(tab.value("document.querySelectorAll('#cell-rows tr').length"), 1);
    assert_eq!(
        std::fs::read_dir(dir.path().join("runs")).unwrap().flatten().filter(|e| e.path().is_dir()).count(),
        2
    );
    assert_eq!(tab.complaints.iter().filter(|c| !c.contains("422")).count(), 0, "{:?}", tab.complaints);
    live.interrupt();
    assert!(matches!(live.end(), Some(0 | 4)));
}

#[test]
fn statistics_are_those_of_locust_and_of_the_files() {
    let dir = directory(&WATCHED.replace("[1, 2, 4]", "[2]"));
    let mut live = Paged::new(dir.path(), &["run", "small.toml", "--ui", "127.0.0.1:0", "--ui-keep"]);
    let stats = wait_for("a request", || {
        let stats = live.get("/stats/requests");
        (stats["stats"][0]["num_requests"].as_u64() > Some(0)).then_some(stats)
    });
    assert!(["running", "cleanup", "stopped"].contains(&stats["state"].as_str().unwrap()), "{stats}");
    live.line("the page stays");
    let stats = live.get("/stats/requests");
    let row = &summary(dir.path())[0];
    let of = |name: &str| row[name].parse::<f64>().unwrap();
    let rows = stats["stats"].as_array().unwrap();
    assert_eq!((rows.len(), rows[1]["name"].as_str()), (2, Some("Aggregated")));
    for shown in rows {
        assert_eq!(shown["num_requests"].as_f64(), Some(of("attempted")));
        assert_eq!(shown["num_failures"].as_f64(), Some(of("failed")));
        let pairs = [
            ("avg_response_time", "e2e_mean_ms"),
            ("min_response_time", "e2e_min_ms"),
            ("max_response_time", "e2e_max_ms"),
            ("median_response_time", "e2e_p50_ms"),
        ];
        for (name, column) in pairs {
            let (shown, kept) = (shown[name].as_f64().unwrap(), of(column));
            // A histogram of three digits, and quantiles that don't lie between samples.
            assert!((shown - kept).abs() <= 0.02 * kept, "{name}: {shown}, and {column} {kept}");
        }
    }
    assert_eq!((&stats["state"], &stats["user_count"]), (&json!("stopped"), &json!(0)));
    for name in
        ["errors", "total_rps", "total_fail_per_sec", "fail_ratio", "current_response_time_percentiles"]
    {
        assert!(!stats[name].is_null(), "{name}");
    }
    live.interrupt();
    // On a busy machine the cell may be invalid; its counts are what they are.
    assert!(matches!(live.end(), Some(0 | 4)));
}

#[test]
fn strangers_are_refused() {
    let dir = directory(&WATCHED.replace("\"5s\"", "\"60s\""));
    let mut live = Paged::new(dir.path(), &["run", "small.toml", "--ui", "127.0.0.1:0", "--no-report"]);
    live.line("cell 1/3");
    let token = live.token();
    let address = live.address().to_owned();
    let own = format!("http://{address}");
    let status = |method: &str, path: &str, headers: &[(&str, &str)]| live.ask(method, path, headers, "{}").0;
    for path in ["/", "/api/state", "/api/events", "/stats/requests"] {
        assert_eq!(status("GET", path, &[("Host", "evil.example")]), 403, "{path}");
        assert_eq!(status("GET", path, &[("Origin", "http://evil.example")]), 403, "{path}");
    }
    for button in ["pause", "resume", "skip", "stop", "start"] {
        let path = format!("/api/{button}");
        let with = ("X-Plimsoll-Token", token.as_str());
        assert_eq!(status("POST", &path, &[]), 403, "without the token");
        assert_eq!(status("POST", &path, &[("X-Plimsoll-Token", "0")]), 403, "with another token");
        assert_eq!(
            status("POST", &path, &[with, ("Origin", "http://evil.example")]),
            403,
            "from another site"
        );
        assert_eq!(status("POST", &path, &[with, ("Origin", "null")]), 403, "from nowhere");
        assert_eq!(status("POST", &path, &[with, ("Host", "evil.example")]), 403, "by another name");
        assert_eq!(status("GET", &path, &[with]), 404, "by a link");
    }
    let state = live.get("/api/state");
    assert_eq!(
        (&state["paused"], &state["stopping"], &state["phase"]),
        (&json!(false), &json!(false), &json!("running"))
    );
    let long = "x".repeat(20_000);
    assert_eq!(live.ask("POST", "/api/pause", &[("X-Plimsoll-Token", &token)], &long).0, 400);
    assert_eq!(status("POST", "/api/nonsense", &[("X-Plimsoll-Token", &token)]), 409);
    // And who may, can.
    let with = [("X-Plimsoll-Token", token.as_str()), ("Origin", own.as_str())];
    assert_eq!(status("POST", "/api/pause", &with), 200);
    assert_eq!(live.get("/api/state")["paused"], true);
    assert_eq!(status("POST", "/api/stop", &with), 200);
    assert_eq!(live.end(), Some(130));
}

#[test]
fn other_addresses_need_the_token_that_the_terminal_shows() {
    let dir = directory(&WATCHED.replace("\"5s\"", "\"60s\""));
    let mut live = Paged::new(dir.path(), &["run", "small.toml", "--ui", "0.0.0.0:0", "--no-report"]);
    live.line("cell 1/3");
    let (_, token) = live.url.split_once("?token=").expect("the address has the token in it");
    let token = token.to_owned();
    assert!(token.len() >= 32);
    for path in ["/", "/api/state", "/stats/requests", "/page.css", "/?token=0123456789"] {
        assert_eq!(live.ask("GET", path, &[], "").0, 401, "{path}");
    }
    assert_eq!(live.ask("POST", "/api/stop", &[], "").0, 401);
    assert_eq!(live.ask("POST", "/login", &[], "token=wrong").0, 401);
    assert_eq!(
        live.ask("POST", "/login", &[("Origin", "http://evil.example")], &format!("token={token}")).0,
        403
    );
    let answer = live.raw("GET", &format!("/?token={token}"), &[], "");
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    let cookie = answer.lines().find_map(|l| l.strip_prefix("set-cookie: ")).expect("a cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(&token), "the cookie is not the token");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(live.ask("GET", "/api/state", &[("Cookie", cookie)], "").0, 200);
    let bearer = format!("Bearer {token}");
    assert_eq!(live.ask("GET", "/api/state", &[("Authorization", &bearer)], "").0, 200);
    assert_eq!(
        live.ask("POST", "/api/stop", &[("Cookie", cookie)], "").0,
        403,
        "a cookie is not the page's token"
    );
    live.interrupt();
    assert_eq!(live.end(), Some(130));
    // The token is said once, and written nowhere.
    assert_eq!(live.seen.iter().filter(|line| line.contains(&token)).count(), 1);
    assert_eq!(crate::rig::program::holding(dir.path(), token.as_bytes()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_short_token_and_a_bad_address_are_usage() {
    let dir = directory(WATCHED);
    for (args, word) in [
        (&["run", "small.toml", "--ui", "nonsense"][..], "no address"),
        (&["run", "--ui", "small.toml"], ""),
        (&["run", "small.toml", "--wait"], "--ui"),
        (&["run", "small.toml", "--ui", "127.0.0.1:0", "--ui-token", "short"], "at least 16"),
    ] {
        let out = plimsoll(dir.path(), args);
        let said = crate::rig::program::stderr(&out);
        assert!(out.status.code() == Some(2) && said.contains(word), "{args:?}: {said}");
    }
}

#[test]
fn past_runs_are_browsed_and_compared() {
    let dir = directory(crate::rig::program::SMALL);
    for _ in 0..2 {
        let out = plimsoll(dir.path(), &["run", "small.toml", "--no-report", "--progress", "none"]);
        assert_eq!(out.status.code(), Some(0), "{}", crate::rig::program::stderr(&out));
    }
    let Some(mut tab) = Tab::open(1000) else { return };
    let mut shelf = Paged::new(dir.path(), &["ui", "127.0.0.1:0"]);
    tab.go(&shelf.url);
    tab.until("document.querySelectorAll('#run-rows tr').length === 2");
    let runs = shelf.get("/api/runs");
    let ids: Vec<&str> = runs.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert!(ids[0] > ids[1], "newest first: {ids:?}");
    assert_eq!(runs[0]["finished"], 4);
    assert!(!runs[0]["headline"]["text"].as_str().unwrap().is_empty());
    assert!(!dir.path().join("reports").exists(), "a list makes no report");
    // A run's report is made when it is wanted.
    tab.value("document.querySelector('#run-rows a').click()");
    tab.until("location.pathname.startsWith('/reports/') && document.querySelector('.brand').textContent.includes('report')");
    assert!(dir.path().join("reports").join(ids[0]).join("index.html").is_file());
    // Two are compared.
    tab.go(&shelf.url);
    tab.until("document.querySelectorAll('#run-rows tr').length === 2");
    assert_eq!(tab.value("document.getElementById('do-compare').disabled"), true);
    tab.value("document.querySelectorAll('#run-rows input[name=a]')[1].click()");
    tab.value("document.querySelectorAll('#run-rows input[name=b]')[0].click()");
    tab.until("!document.getElementById('do-compare').disabled");
    tab.value("document.getElementById('do-compare').click()");
    tab.until("location.pathname.includes('/compare-') && document.querySelector('.brand').textContent.includes('comparison')");
    let compared = format!("compare-{}-{}", ids[1], ids[0]);
    assert!(dir.path().join("reports").join(compared).join("index.html").is_file());
    // And the experiment's history.
    tab.go(&format!("{}history/small", shelf.url));
    tab.until("location.pathname.includes('/reports/history-small') && document.querySelector('h1').textContent === 'small'");
    let (status, page) = shelf.ask("GET", "/runs/nonsense", &[], "");
    assert!(status == 404 && page.contains("no run"), "{status}");
    assert_eq!(shelf.ask("GET", "/", &[("Host", "evil.example")], "").0, 403);
    let token = [("X-Plimsoll-Token", "x")];
    assert_eq!(shelf.ask("POST", "/api/stop", &token, "").0, 403);
    assert_eq!(tab.complaints, Vec::<String>::new());
    shelf.interrupt();
    assert_eq!(shelf.end(), Some(0));
}
