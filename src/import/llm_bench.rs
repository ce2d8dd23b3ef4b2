//! llm_bench's summary CSV: a cell for each row. Times are means and percentiles in milliseconds
//! from when a request was sent. Rows of runs with other options may have other columns than the
//! header says: such a row is refused, for nobody can say what stands where.

use std::collections::BTreeMap;

use super::content::Content;
use super::look::distribution;
use super::{Asked, Found, ImportError};

pub(super) fn recognise(content: &Content) -> bool {
    let header = content.header();
    ["Provider", "Total Latency", "Concurrency"].iter().all(|name| header.iter().any(|f| f == name))
}

pub(super) fn read(content: &Content) -> Result<Vec<Found>, ImportError> {
    let mut header: Vec<String> = Vec::new();
    let mut cells = Vec::new();
    for (line, fields) in content.rows()? {
        if fields.first().is_some_and(|f| f == "Provider") {
            header = fields;
            continue;
        }
        if header.is_empty() {
            return Err(content.wrong("line 1", "a header with Provider, Model, …", &content.outline()));
        }
        if fields.len() != header.len() {
            return Err(content.wrong(
                &format!("line {line}"),
                &format!("{} fields, as its header has", header.len()),
                &format!("{} (a run with other options was appended; give each its own file)", fields.len()),
            ));
        }
        cells.push(cell(&Row { content, line, header: &header, fields: &fields })?);
    }
    Ok(cells)
}

/// One row, by the names of its columns.
struct Row<'r> {
    content: &'r Content,
    line: u64,
    header: &'r [String],
    fields: &'r [String],
}

impl Row<'_> {
    fn text(&self, column: &str) -> Option<&str> {
        let place = self.header.iter().position(|name| name == column)?;
        self.fields.get(place).map(String::as_str).filter(|f| !f.is_empty())
    }

    fn number(&self, column: &str) -> Result<Option<f64>, ImportError> {
        let Some(text) = self.text(column) else { return Ok(None) };
        let value: Option<f64> = text.parse().ok().filter(|x: &f64| x.is_finite());
        match value {
            None => Err(self.wrong(column, "a number", text)),
            known => Ok(known),
        }
    }

    fn wrong(&self, column: &str, expected: &str, found: &str) -> ImportError {
        self.content.wrong(&format!("line {}, {column}", self.line), expected, &format!("{found:?}"))
    }
}

fn cell(row: &Row<'_>) -> Result<Found, ImportError> {
    let requests = row.number("Num Requests")?;
    let n = requests.map_or(0, |n| n.max(0.0).round() as u64);
    let qps = row.number("Qps")?;
    let mut found = Found {
        tool: "llm-bench",
        file: row.content.name.clone(),
        load: load(row)?,
        prompt_tokens: whole(row.number("Prompt Tokens")?),
        max_tokens: whole(row.number("Generation Tokens")?),
        api: row.text("Provider").filter(|p| p.starts_with("openai-")).map(str::to_owned),
        model: row.text("Model").map(str::to_owned),
        stream: row.text("Stream").map(|word| word == "True"),
        sampling: sampling(row)?,
        seconds: requests.zip(qps).map(|(n, qps)| n / qps).filter(|s| s.is_finite()),
        ..Found::default()
    };
    found.totals.ok = n;
    found.put_scalar("completed_rps", qps);
    figures(&mut found, row, n)?;
    found.notes.push("llm_bench doesn't write failures: how many there were is not known".to_owned());
    Ok(found)
}

fn figures(found: &mut Found, row: &Row<'_>, n: u64) -> Result<(), ImportError> {
    for (theirs, ours) in [("Time To First Token", "ttft"), ("Total Latency", "e2e")] {
        let mut stats = vec![("mean", row.number(theirs)?)];
        for (stat, p) in [("p50", "P50"), ("p90", "P90"), ("p95", "P95"), ("p99", "P99"), ("p999", "P99.9")] {
            stats.push((stat, row.number(&format!("{p} {theirs}"))?));
        }
        let value = |stat: &str| stats.iter().find(|(name, _)| *name == stat).and_then(|(_, v)| *v);
        found.put(ours, distribution(n, 1.0, value));
    }
    let tokens = row.number("Completion Tokens")?.or(row.number("Num Tokens")?);
    let prompt = row.number("Prompt Tokens")?;
    let mean = |value: Option<f64>| distribution(n, 1.0, |stat| value.filter(|_| stat == "mean"));
    found.put("output_length", mean(tokens));
    found.put("prompt_length", mean(prompt));
    found.put("normalised_latency", mean(row.number("Overall Latency Per Token")?));
    // Theirs divides by all tokens, ours by those after the first.
    let per_token = row.number("Latency Per Token")?.zip(tokens.filter(|n| *n > 1.0));
    found.put("tpot", mean(per_token.map(|(ms, n)| ms * n / (n - 1.0))));
    let sum = |mean: Option<f64>| mean.filter(|_| n > 0).map(|mean| (mean * n as f64).round() as u64);
    found.totals.output_tokens = sum(tokens);
    found.totals.prompt_tokens = sum(prompt);
    if let (Some(tokens), Some(seconds)) = (found.totals.output_tokens, found.seconds) {
        found.put_scalar("output_tps", Some(tokens as f64 / seconds));
        found.put_scalar("whole_run_output_tps", Some(tokens as f64 / seconds));
    }
    Ok(())
}

/// What was asked of the sampling: rows that differ in it are no repeats of one another.
fn sampling(row: &Row<'_>) -> Result<BTreeMap<&'static str, String>, ImportError> {
    let mut asked = BTreeMap::new();
    if let Some(text) = row.text("Temperature") {
        let degrees = text.parse().ok().filter(|t: &f64| (0.0..=2.0).contains(t));
        let degrees = degrees.ok_or_else(|| row.wrong("Temperature", "a number from 0 to 2", text))?;
        asked.insert("temperature", degrees.to_string());
    }
    if let Some(text) = row.text("Logprobs") {
        let value = match text {
            "True" => "true".to_owned(),
            "False" => "false".to_owned(),
            number => whole_or_0(number)
                .filter(|n| *n <= 100)
                .ok_or_else(|| row.wrong("Logprobs", "True, False or a whole number up to 100", text))?
                .to_string(),
        };
        asked.insert("logprobs", value);
    }
    Ok(asked)
}

/// `5`, or `5.0` as a table with gaps has it.
fn whole_or_0(text: &str) -> Option<u32> {
    let number: f64 = text.parse().ok()?;
    whole(Some(number)).or((number == 0.0).then_some(0))
}

/// `8`, or `QPS 20.0 constant`.
fn load(row: &Row<'_>) -> Result<Asked, ImportError> {
    let Some(text) = row.text("Concurrency") else { return Ok(Asked::Unknown) };
    let expected = "a number of users, or QPS with a rate and a spacing";
    let wrong = || row.wrong("Concurrency", expected, text);
    let Some(rate) = text.strip_prefix("QPS ") else {
        let users: f64 = text.parse().map_err(|_| wrong())?;
        return whole(Some(users)).map(Asked::Users).ok_or_else(wrong);
    };
    let mut words = rate.split_whitespace();
    let qps = words.next().and_then(|w| w.parse::<f64>().ok()).filter(|qps| *qps > 0.0).ok_or_else(wrong)?;
    let arrivals = words.next().map(|w| if w == "exponential" { "poisson" } else { w }.to_owned());
    Ok(Asked::Rate { qps, arrivals, cap: None })
}

/// A whole number of at least 1: a mean that isn't one was not asked for.
fn whole(x: Option<f64>) -> Option<u32> {
    x.filter(|x| x.fract() == 0.0 && *x >= 1.0 && *x <= f64::from(u32::MAX)).map(|x| x as u32)
}
