//! Locust's `_stats.csv`: one cell, of the row of all requests. Response times are milliseconds
//! from when a request was sent to the end of its answer, rounded by Locust.
//!
//! LLM suites put their metrics into the same table as rows of the type METRIC. Where there are
//! any, the row of all mixes them with the requests and is left alone: the requests' own row is
//! taken, and the metrics that are known by name.

use jiff::Timestamp;

use super::content::Content;
use super::look::distribution;
use super::{Asked, Found, ImportError};

/// Names of metrics that suites use, and ours.
const METRICS: [(&[&str], &str); 5] = [
    (&["time_to_first_token", "ttft", "llm_ttft"], "ttft"),
    (&["total_latency"], "e2e"),
    (&["tpot", "llm_tpot", "time_per_output_token"], "tpot"),
    (&["num_tokens", "completion_tokens"], "output_length"),
    (&["prompt_tokens"], "prompt_length"),
];

pub(super) fn recognise(content: &Content) -> bool {
    let header = content.header();
    ["Type", "Name", "Request Count"].iter().all(|name| header.iter().any(|f| f == name))
}

/// A row by the names of its columns.
struct Row<'r> {
    content: &'r Content,
    header: &'r [String],
    line: u64,
    fields: &'r [String],
}

impl Row<'_> {
    fn text(&self, column: &str) -> &str {
        let place = self.header.iter().position(|name| name == column);
        place.and_then(|i| self.fields.get(i)).map_or("", String::as_str)
    }

    fn number(&self, column: &str) -> Result<Option<f64>, ImportError> {
        match self.text(column) {
            "" | "N/A" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                let place = format!("line {}, {column}", self.line);
                self.content.wrong(&place, "a number", &format!("{text:?}"))
            }),
        }
    }

    /// All that the row says of its times.
    fn distribution(&self) -> Result<crate::measure::Distribution, ImportError> {
        let mut stats = Vec::new();
        for (stat, column) in [
            ("mean", "Average Response Time"),
            ("min", "Min Response Time"),
            ("max", "Max Response Time"),
            ("p50", "Median Response Time"),
            ("p75", "75%"),
            ("p90", "90%"),
            ("p95", "95%"),
            ("p99", "99%"),
            ("p999", "99.9%"),
        ] {
            stats.push((stat, self.number(column)?));
        }
        let n = self.count("Request Count")?;
        // Of no request Locust says 0.
        let known = |stat: &str| stats.iter().find(|(name, _)| *name == stat).and_then(|(_, v)| *v);
        Ok(distribution(n, 1.0, |stat| known(stat).filter(|_| n > 0)))
    }

    fn count(&self, column: &str) -> Result<u64, ImportError> {
        Ok(self.number(column)?.map_or(0, |x| x.max(0.0).round() as u64))
    }
}

pub(super) fn read(content: &Content) -> Result<Vec<Found>, ImportError> {
    let lines = content.rows()?;
    let Some(((_, header), rows)) = lines.split_first() else { return Ok(Vec::new()) };
    if header.first().is_some_and(|f| f == "Timestamp") {
        return Err(content.wrong("", "PREFIX_stats.csv", "its history: name the file without _history"));
    }
    let rows: Vec<Row<'_>> =
        rows.iter().map(|(line, fields)| Row { content, header, line: *line, fields }).collect();
    let mut found = Found { tool: "locust", file: content.name.clone(), ..Found::default() };
    let is_metric = |row: &&Row<'_>| row.text("Type") == "METRIC";
    let plain: Vec<&Row<'_>> =
        rows.iter().filter(|r| !is_metric(r) && r.text("Name") != "Aggregated").collect();
    let all = rows.iter().find(|r| r.text("Name") == "Aggregated");
    let metrics = rows.iter().any(|r| is_metric(&r));
    let chosen = match (metrics, all, plain.as_slice()) {
        (false, Some(all), _) => Some(all),
        (_, _, [one]) => Some(*one),
        _ => None,
    };
    totals(&mut found, chosen, &plain)?;
    if let Some(row) = chosen {
        let times = row.distribution()?;
        found.put("e2e", times);
    }
    for row in rows.iter().filter(is_metric) {
        let name = row.text("Name");
        if let Some((_, ours)) = METRICS.iter().find(|(names, _)| names.contains(&name)) {
            let times = row.distribution()?;
            found.put(ours, times);
        }
    }
    if plain.len() > 1 {
        found.hints.push(format!("{} kinds of requests are taken together", plain.len()));
    }
    history(&mut found, content);
    Ok(vec![found])
}

fn totals(found: &mut Found, chosen: Option<&Row<'_>>, plain: &[&Row<'_>]) -> Result<(), ImportError> {
    let rows: Vec<&Row<'_>> = chosen.map_or_else(|| plain.to_vec(), |row| vec![row]);
    let (mut requests, mut failed) = (0, 0);
    let (mut rps, mut failures) = (None, None);
    for row in rows {
        requests += row.count("Request Count")?;
        failed += row.count("Failure Count")?;
        let sum = |so_far: Option<f64>, more: Option<f64>| more.map(|x| so_far.unwrap_or(0.0) + x);
        rps = sum(rps, row.number("Requests/s")?);
        failures = sum(failures, row.number("Failures/s")?);
    }
    found.totals.ok = requests.saturating_sub(failed);
    found.totals.failed = failed;
    found.seconds = rps.filter(|rps| *rps > 0.0).map(|rps| requests as f64 / rps);
    found.put_scalar("sent_rps", rps);
    found.put_scalar("completed_rps", rps.zip(failures).map(|(all, bad)| all - bad));
    if requests > 0 {
        found.put_scalar("error_rate", Some(failed as f64 / requests as f64));
    }
    Ok(())
}

/// What only the history beside it says: how many users there were, and when it began.
fn history(found: &mut Found, content: &Content) {
    let Some(name) = content.name.strip_suffix("_stats.csv").map(|p| format!("{p}_stats_history.csv")) else {
        return;
    };
    let Some(beside) = content.beside(&name) else { return };
    let Ok(lines) = beside.rows() else { return };
    let Some(((_, header), rows)) = lines.split_first() else { return };
    let values = |column: &str| -> Vec<f64> {
        let Some(place) = header.iter().position(|f| f == column) else { return Vec::new() };
        rows.iter().filter_map(|(_, row)| row.get(place)?.parse().ok()).collect()
    };
    let most = values("User Count").into_iter().fold(0.0, f64::max);
    if most >= 1.0 {
        found.load = Asked::Users(most as u32);
    }
    found.started_at = values("Timestamp").first().and_then(|t| Timestamp::from_second(*t as i64).ok());
}
