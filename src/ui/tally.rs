//! The current statistics, as Locust's `/stats/requests` gives them.
//!
//! Counted are the requests that were due in the window of the cell that runs, or of the last that
//! ran: the population of `summary.csv`. Response times are those of good answers, from when a
//! request was due to its last token.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::measure::of_request;
use crate::record::{Outcome, Phase, RequestRecord};

/// Most rows; further tasks are counted in the last.
const MOST_ROWS: usize = 64;

/// Most classes of errors.
const MOST_ERRORS: usize = 500;

/// Seconds over which Locust's current rates are taken.
const RECENT_S: usize = 10;

/// Requests by task, and failures.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    rows: Vec<Row>,
    /// By task and class.
    errors: BTreeMap<(String, String), u64>,
    total: Row,
}

#[derive(Debug, Clone)]
struct Row {
    name: String,
    requests: u64,
    failures: u64,
    /// Microseconds.
    times: Histogram<u32>,
    sum_us: f64,
    /// Of good answers.
    ok: u64,
    bytes: u64,
    recent: Recent,
}

/// Requests that ended in each of the last seconds.
#[derive(Debug, Clone, Default)]
struct Recent {
    newest_s: u64,
    ended: [(u32, u32); RECENT_S],
}

impl Recent {
    fn add(&mut self, end_us: u64, failed: bool) {
        let second = end_us / 1_000_000;
        for missed in (self.newest_s + 1..=second).rev().take(RECENT_S) {
            self.ended[missed as usize % RECENT_S] = (0, 0);
        }
        self.newest_s = self.newest_s.max(second);
        if second + RECENT_S as u64 > self.newest_s {
            let (all, bad) = &mut self.ended[second as usize % RECENT_S];
            *all += 1;
            *bad += u32::from(failed);
        }
    }

    /// Ended and failed requests per second at `now_s` of the cell.
    fn rates(&self, now_s: f64) -> (f64, f64) {
        let seconds = now_s.clamp(1.0, RECENT_S as f64);
        let oldest = (now_s - RECENT_S as f64).max(0.0) as u64;
        let (mut all, mut bad) = (0.0, 0.0);
        for second in self.newest_s.saturating_sub(RECENT_S as u64 - 1)..=self.newest_s {
            if second >= oldest {
                let (a, b) = self.ended[second as usize % RECENT_S];
                all += f64::from(a);
                bad += f64::from(b);
            }
        }
        (all / seconds, bad / seconds)
    }
}

impl Default for Row {
    fn default() -> Self {
        Self::new("Aggregated")
    }
}

impl Row {
    fn new(name: &str) -> Self {
        // Microseconds up to about an hour, three digits.
        let times = Histogram::new_with_bounds(1, 1 << 32, 3);
        Self {
            name: name.to_owned(),
            requests: 0,
            failures: 0,
            times: times.unwrap_or_else(|_| unreachable!("the bounds are right")),
            sum_us: 0.0,
            ok: 0,
            bytes: 0,
            recent: Recent::default(),
        }
    }

    fn add(&mut self, r: &RequestRecord) {
        let failed = r.outcome.is_failure();
        if let Some(end_us) = r.end_us {
            self.recent.add(end_us, failed);
        }
        if r.phase != Phase::Measure {
            return;
        }
        self.requests += 1;
        self.failures += u64::from(failed);
        self.bytes += r.bytes;
        if let Some(ms) = of_request("e2e", r).filter(|_| r.outcome == Outcome::Ok) {
            let us = (ms * 1e3).max(1.0);
            self.times.saturating_record(us as u64);
            self.sum_us += us;
            self.ok += 1;
        }
    }

    fn quantile_ms(&self, q: f64) -> Value {
        if self.ok == 0 { Value::Null } else { json!(self.times.value_at_quantile(q) as f64 / 1e3) }
    }

    fn json(&self, method: &str, (now_s, window_s): (f64, f64)) -> Value {
        let (rps, fails) = self.recent.rates(now_s);
        let over = |n: u64, of: f64| if of > 0.0 { json!(n as f64 / of) } else { json!(0.0) };
        let mean = if self.ok == 0 { Value::Null } else { json!(self.sum_us / 1e3 / self.ok as f64) };
        let end = |us: u64| if self.ok == 0 { Value::Null } else { json!(us as f64 / 1e3) };
        json!({
            "method": method,
            "name": self.name,
            "safe_name": escaped(&self.name),
            "num_requests": self.requests,
            "num_failures": self.failures,
            "avg_response_time": mean,
            "min_response_time": end(self.times.min()),
            "max_response_time": end(self.times.max()),
            "current_rps": rps,
            "current_fail_per_sec": fails,
            "median_response_time": self.quantile_ms(0.5),
            "ninetieth_response_time": self.quantile_ms(0.9),
            "ninety_ninth_response_time": self.quantile_ms(0.99),
            "response_time_percentile_0.95": self.quantile_ms(0.95),
            "response_time_percentile_0.99": self.quantile_ms(0.99),
            "total_rps": over(self.requests, window_s),
            "total_fail_per_sec": over(self.failures, window_s),
            "avg_content_length": over(self.bytes, self.requests as f64),
        })
    }
}

/// What Locust escapes in names.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Tally {
    /// Count a request that has ended; `unnamed`: its name if it is of no task and no endpoint.
    pub(super) fn add(&mut self, r: &RequestRecord, unnamed: &str) {
        let name = r.task.as_deref().or(r.endpoint.as_deref()).unwrap_or(unnamed);
        let place = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            if self.rows.len() < MOST_ROWS {
                self.rows.push(Row::new(if self.rows.len() + 1 == MOST_ROWS { "(others)" } else { name }));
            }
            self.rows.len() - 1
        });
        self.rows[place].add(r);
        self.total.add(r);
        if r.phase == Phase::Measure && r.outcome.is_failure() {
            let class = r.error_class.as_deref().unwrap_or(r.outcome.name());
            let key = (self.rows[place].name.clone(), class.to_owned());
            if self.errors.len() < MOST_ERRORS || self.errors.contains_key(&key) {
                *self.errors.entry(key).or_default() += 1;
            }
        }
    }

    /// The answer to `/stats/requests` without `state` and `user_count`, at `now_s` of the cell, of
    /// which `window_s` were measured. `e2e`: the median and the 95th percentile of the last seconds.
    pub(super) fn json(&self, (now_s, window_s): (f64, f64), e2e: (Value, Value)) -> Map<String, Value> {
        let times = (now_s, window_s);
        let mut stats: Vec<Value> = self.rows.iter().map(|row| row.json("POST", times)).collect();
        let total = self.total.json("", times);
        let take = |name: &str| total.get(name).cloned().unwrap_or_default();
        let fail_ratio = match self.total.requests {
            0 => 0.0,
            n => self.total.failures as f64 / n as f64,
        };
        let errors = self.errors.iter().map(|((name, class), n)| {
            json!({ "method": "POST", "name": escaped(name), "error": escaped(class), "occurrences": n })
        });
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
        put("errors", errors.collect());
        put("total_rps", take("current_rps"));
        put("total_fail_per_sec", take("current_fail_per_sec"));
        put("fail_ratio", json!(fail_ratio));
        put("total_avg_response_time", take("avg_response_time"));
        put("current_response_time_percentile_1", e2e.0.clone());
        put("current_response_time_percentile_2", e2e.1.clone());
        put(
            "current_response_time_percentiles",
            json!({ "response_time_percentile_0.5": e2e.0, "response_time_percentile_0.95": e2e.1 }),
        );
        stats.push(total);
        put("stats", stats.into());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64, due_us: u64, e2e_us: u64) -> RequestRecord {
        let mut r = RequestRecord::blank(seq);
        (r.phase, r.outcome, r.intended_us) = (Phase::Measure, Outcome::Ok, due_us);
        (r.last_token_us, r.end_us) = (Some(due_us + e2e_us), Some(due_us + e2e_us));
        r
    }

    #[test]
    fn only_the_window_counts_and_failures_have_no_response_time() {
        let mut tally = Tally::default();
        for seq in 0..10 {
            tally.add(&record(seq, seq * 100_000, 20_000 + seq * 1000), "chat");
        }
        let mut early = record(10, 0, 1);
        early.phase = Phase::Warmup;
        let mut failed = record(11, 0, 9_000_000);
        (failed.outcome, failed.error_class) = (Outcome::HttpError, Some("5<03".to_owned()));
        for r in [&early, &failed] {
            tally.add(r, "chat");
        }
        let json = tally.json((2.0, 1.0), (json!(24.0), Value::Null));
        let rows = json["stats"].as_array().unwrap();
        assert_eq!(rows.len(), 2);
        for row in rows {
            assert_eq!((&row["num_requests"], &row["num_failures"]), (&json!(11), &json!(1)));
            let close = |name: &str, to: f64| {
                let is = row[name].as_f64().unwrap();
                assert!((is - to).abs() <= to * 0.002, "{name}: {is}");
            };
            close("avg_response_time", 24.5);
            close("median_response_time", 24.0);
            close("max_response_time", 29.0);
            close("min_response_time", 20.0);
        }
        assert_eq!((rows[0]["name"].as_str(), rows[1]["name"].as_str()), (Some("chat"), Some("Aggregated")));
        assert_eq!(json["errors"][0]["error"], "5&lt;03");
        assert!((json["fail_ratio"].as_f64().unwrap() - 1.0 / 11.0).abs() < 1e-12);
    }

    #[test]
    fn current_rates_are_those_of_the_last_ten_seconds() {
        let mut recent = Recent::default();
        for second in 0..30_u64 {
            for _ in 0..=second {
                recent.add(second * 1_000_000, second == 29);
            }
        }
        let (all, bad) = recent.rates(30.0);
        assert_eq!((all, bad), ((21..=30).sum::<u64>() as f64 / 10.0, 3.0));
        // A long silence.
        assert_eq!(recent.rates(60.0), (0.0, 0.0));
        recent.add(100_000_000, false);
        assert_eq!(recent.rates(101.0), (0.1, 0.0));
    }

    #[test]
    fn tasks_without_number_share_a_row() {
        let mut tally = Tally::default();
        for seq in 0..200 {
            let mut r = record(seq, 0, 10);
            r.task = Some(format!("task {seq}"));
            tally.add(&r, "x");
        }
        assert_eq!(tally.rows.len(), MOST_ROWS);
        assert_eq!(tally.rows[MOST_ROWS - 1].requests, 200 - MOST_ROWS as u64 + 1);
        assert_eq!(tally.rows.iter().map(|r| r.requests).sum::<u64>(), tally.total.requests);
    }
}
