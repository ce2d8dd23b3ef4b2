//! Debian's `prometheus` and `prometheus-pushgateway`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::*;

/// A Prometheus that scrapes each second whatever `targets.json` of its directory names.
struct Prometheus {
    addr: SocketAddr,
    dir: tempfile::TempDir,
    _process: Process,
}

impl Prometheus {
    fn start() -> Option<Self> {
        let program = program("prometheus")?;
        let dir = tempfile::tempdir().unwrap();
        let targets = dir.path().join("targets.json");
        std::fs::write(&targets, "[]").unwrap();
        let config = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: test\n  file_sd_configs:\n  - files: [{:?}]\n    refresh_interval: 1s\n",
            targets
        );
        std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut command = Command::new(program);
        command
            .current_dir(dir.path())
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={addr}"))
            .arg("--log.level=warn");
        let process = Process::start(&mut command);
        wait_for("Prometheus", || get(addr, "/-/ready"));
        Some(Self { addr, dir, _process: process })
    }

    fn scrape(&self, target: &str) {
        let text = format!("[{{\"targets\": [{target:?}]}}]");
        // Put in place whole: it watches the file.
        std::fs::write(self.dir.path().join("new"), text).unwrap();
        std::fs::rename(self.dir.path().join("new"), self.dir.path().join("targets.json")).unwrap();
    }

    /// What a query gives, as labels and values; an error's words where it is refused.
    fn try_query(&self, query: &str) -> Result<Vec<(Value, f64)>, String> {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = get(self.addr, &format!("/api/v1/query?query={query}")).ok_or("refused")?;
        let answer: Value = serde_json::from_str(&answer).map_err(|e| e.to_string())?;
        let result = answer["data"]["result"].as_array().ok_or("no vector")?;
        let value = |item: &Value| item["value"][1].as_str().and_then(|x| x.parse().ok()).unwrap_or(f64::NAN);
        Ok(result.iter().map(|item| (item["metric"].clone(), value(item))).collect())
    }

    fn query(&self, query: &str) -> Vec<(Value, f64)> {
        self.try_query(query).unwrap_or_else(|why| panic!("{query}: {why}"))
    }

    /// The one value that a query gives.
    fn one(&self, query: &str) -> f64 {
        let found = self.query(query);
        assert_eq!(found.len(), 1, "{query}: {found:?}");
        found[0].1
    }
}

/// `promtool` has nothing to say against the text.
fn lint(text: &str) {
    let Some(promtool) = program("promtool") else { return };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[test]
fn queries_of_the_real_prometheus_give_the_figures_of_the_summary() {
    let Some(prometheus) = Prometheus::start() else { return };
    // The first cell waits until Prometheus is there.
    let wait = r#"before_sweep = [{ command = ["sh", "-c", "until [ -e go ]; do sleep 0.1; done"], timeout = "2m" }]"#;
    let dir = directory(&format!("{SWEEP}[hooks]\n{wait}\n"));
    let args =
        ["run", "small.toml", "--metrics", "127.0.0.1:0", "--set", "publish.linger=120s", "--no-report"];
    let run = Process::plimsoll(dir.path(), &args, &[]);
    let url = run.line("figures for Prometheus: http://");
    let addr = url.strip_suffix("/metrics").unwrap().to_owned();
    prometheus.scrape(&addr);
    wait_for("a scrape", || (prometheus.query("sum(up)").first()?.1 > 0.0).then_some(()));
    std::fs::write(dir.path().join("go"), "").unwrap();
    let cells =
        || get(addr.parse().unwrap(), "/metrics").filter(|text| text.contains("plimsoll_result_seconds{"));
    lint(&wait_for("a finished cell", cells));
    // It stays until it has been scraped after the end, and so ends by itself.
    let (status, said) = run.end();
    has_run(status, &said);

    let rows = summary(dir.path());
    assert_eq!(rows.len(), 4);
    for row in &rows {
        let cell = number(row, "cell_index") as u32 + 1;
        let of = format!("cell=\"{cell}\",phase=\"measure\"");
        let (users, repeat) = (&row["users"], &row["repeat"]);
        let run = format!("{of},run=\"{}\",users=\"{users}\",repeat=\"{repeat}\"", row["run"]);
        // The client has gone, so its last word is asked for.
        let count = |what: &str| prometheus.one(&format!("sum(last_over_time({what}[1h])) or vector(0)"));
        let requests = |matching: &str| count(&format!("plimsoll_requests_total{{{run},{matching}}}"));
        assert_eq!(requests("outcome=\"ok\""), number(row, "ok"), "cell {cell}");
        assert_eq!(requests("outcome=\"dropped\""), number(row, "dropped"));
        assert_eq!(requests("outcome=\"http_error\",class=\"503\""), number(row, "failed"));
        assert_eq!(requests("outcome!=\"x\""), number(row, "attempted"));
        assert!(number(row, "ok") > 0.0 && number(&rows[3], "failed") > 0.0, "there is something to compare");
        let not_measured = format!("plimsoll_requests_total{{cell=\"{cell}\",phase!=\"measure\"}}");
        assert_eq!(count(&not_measured), number(row, "before_window"));
        for (metric, column) in [
            ("prompt_tokens_total", "tokens_prompt"),
            ("output_tokens_total", "tokens_output"),
            ("retries_total", "retries"),
        ] {
            assert_eq!(
                count(&format!("plimsoll_{metric}{{{of}}}")),
                number(row, column),
                "{metric} of {cell}"
            );
        }
        for (metric, q, stat) in
            [("ttft", 0.5, "p50"), ("ttft", 0.95, "p95"), ("tpot", 0.95, "p95"), ("e2e", 0.9, "p90")]
        {
            let name = format!("plimsoll_{metric}_seconds");
            assert_eq!(count(&format!("{name}_count{{{of}}}")), number(row, &format!("{metric}_n")));
            let mean = count(&format!("{name}_sum{{{of}}}")) / count(&format!("{name}_count{{{of}}}"));
            let exact = number(row, &format!("{metric}_mean_ms")) / 1000.0;
            assert!((mean / exact - 1.0).abs() < 1e-9, "{metric} of {cell}: {mean} and {exact}");
            // A quantile is known to its bucket.
            let estimate = prometheus.one(&format!(
                "histogram_quantile({q}, sum by (le) (last_over_time({name}_bucket{{{of}}}[1h])))"
            ));
            let exact = number(row, &format!("{metric}_{stat}_ms")) / 1000.0;
            let buckets = Buckets::of(&prometheus, &format!("{name}_bucket{{{of}}}"));
            let (low, high) = buckets.of_sample((q * buckets.n()).ceil());
            assert!(
                low <= estimate && estimate <= high,
                "{metric} {stat} of {cell}: {estimate} in {low} to {high}"
            );
            // The summary's lies between two samples, each in its bucket.
            let place = (buckets.n() - 1.0) * q + 1.0;
            let (low, high) = (buckets.of_sample(place.floor()).0, buckets.of_sample(place.ceil()).1);
            assert!(low <= exact && exact <= high, "{metric} {stat} of {cell}: {exact} in {low} to {high}");
            let given = count(&format!(
                "plimsoll_result_seconds{{cell=\"{cell}\",metric=\"{metric}\",stat=\"{stat}\"}}"
            ));
            assert!((given - exact).abs() < 1e-12, "{given} and {exact}");
        }
        for metric in ["output_tps", "completed_rps", "error_rate", "attainment"] {
            let given = count(&format!("plimsoll_result{{cell=\"{cell}\",metric=\"{metric}\"}}"));
            assert_eq!(given, number(row, metric), "{metric} of cell {cell}");
        }
        assert_eq!(count(&format!("plimsoll_slo_status{{cell=\"{cell}\"}}")), 2.0);
    }
    assert_eq!(prometheus.one("last_over_time(plimsoll_cells_finished[1h])"), 4.0);
    assert_eq!(prometheus.one("last_over_time(plimsoll_sweep_running[1h])"), 0.0);
    // The queries of the guide, as they stand there.
    assert!(prometheus.one("sum(rate(plimsoll_requests_total[5m]))") > 0.0);
    let quantile =
        prometheus.one("histogram_quantile(0.95, sum by (le) (rate(plimsoll_ttft_seconds_bucket[5m])))");
    assert!(quantile > 0.0 && quantile < 10.0, "{quantile}");
    for query in dashboard::queries() {
        if let Err(why) = prometheus.try_query(&query) {
            panic!("the dashboard asks {query}: {why}");
        }
    }
}

/// A histogram as Prometheus has it: bounds, and samples up to each.
struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    fn of(prometheus: &Prometheus, series: &str) -> Self {
        let bound = |labels: &Value| labels["le"].as_str().unwrap().parse().unwrap_or(f64::INFINITY);
        let found = prometheus.query(&format!("last_over_time({series}[1h])"));
        let mut all: Vec<(f64, f64)> = found.iter().map(|(labels, below)| (bound(labels), *below)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self(all)
    }

    fn n(&self) -> f64 {
        self.0.last().unwrap().1
    }

    /// The ends of the bucket that holds this sample, counted from 1.
    fn of_sample(&self, number: f64) -> (f64, f64) {
        let at = self.0.iter().position(|(_, below)| *below >= number).unwrap();
        (if at == 0 { 0.0 } else { self.0[at - 1].0 }, self.0[at].0)
    }
}

#[test]
fn the_real_pushgateway_receives_under_both_names() {
    let Some(program) = program("prometheus-pushgateway") else { return };
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut command = Command::new(program);
    let _gateway = Process::start(command.arg(format!("--web.listen-address={addr}")));
    wait_for("the Pushgateway", || get(addr, "/-/ready"));
    let section = format!(
        "[publish.pushgateway]\npushgateway_url = \"{addr}\"\njob_name = \"llm_load_test\"\ninstance_name = \"local/test\"\n\
         push_interval_seconds = 0.5\naliases = true\ngrouping = {{ team = \"blue\" }}\n"
    );
    let dir = directory(&format!("{SWEEP}{section}"));
    let (status, said) = Process::plimsoll(dir.path(), &["run", "small.toml", "--no-report"], &[]).end();
    has_run(status, &said);
    assert!(!said.contains("Pushgateway"), "{said}");

    let text = get(addr, "/metrics").unwrap();
    let value = |name: &str, labels: &[String]| -> Option<f64> {
        let fits = |line: &&str| {
            line.split(['{', ' ']).next() == Some(name)
                && labels.iter().all(|label| line.contains(label.as_str()))
        };
        text.lines().find(fits)?.rsplit(' ').next()?.parse().ok()
    };
    let group = ["job=\"llm_load_test\"", "instance=\"local/test\"", "team=\"blue\""].map(str::to_owned);
    for row in &summary(dir.path()) {
        let cell = format!("cell=\"{}\"", number(row, "cell_index") as u32 + 1);
        let mut labels = group.to_vec();
        labels.extend([cell, "phase=\"measure\"".to_owned(), "outcome=\"ok\"".to_owned()]);
        assert_eq!(value("plimsoll_requests_total", &labels), Some(number(row, "ok")), "{text}");
    }
    let last = summary(dir.path()).pop().unwrap();
    for (alias, column, scale) in [
        ("llm_client_lag_p90_seconds", "e2e_p90_ms", 1000.0),
        ("llm_ttft_p50_seconds", "ttft_p50_ms", 1000.0),
        ("llm_ttft_p99_seconds", "ttft_p99_ms", 1000.0),
        ("llm_tokens_per_second", "output_tps", 1.0),
        ("llm_request_rate_per_second", "completed_rps", 1.0),
        ("llm_error_rate", "error_rate", 1.0),
        ("llm_contention_error_rate", "contention_error_rate", 1.0),
    ] {
        let pushed = value(alias, &group).unwrap_or_else(|| panic!("{alias}\n{text}"));
        let exact = number(&last, column) / scale;
        assert!((pushed - exact).abs() < 1e-9, "{alias}: {pushed}, and {column} is {exact}");
    }

    // The same group, taken away at the end.
    let dir = directory(&format!("{SWEEP}{section}delete = true\n[publish]\nlinger = \"0s\"\n"));
    let args = ["run", "small.toml", "--no-report", "--set", "grid.users=[1]", "--set", "grid.repeats=1"];
    let (status, said) = Process::plimsoll(dir.path(), &args, &[]).end();
    has_run(status, &said);
    assert!(!get(addr, "/metrics").unwrap().contains("plimsoll_"), "the group is gone");
}
