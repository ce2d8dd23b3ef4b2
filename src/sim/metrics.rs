//! The server's own figures, in Prometheus' text form under vLLM's names.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::engine::{EngineStats, Event, Finish, RequestId};

// vLLM's bucket bounds, in seconds.
const TTFT: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const PER_TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
const REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];
/// Bounds for the simulator's own lateness.
const LATENESS: &[f64] =
    &[0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5];

#[derive(Debug)]
struct Histogram {
    name: &'static str,
    help: &'static str,
    bounds: &'static [f64],
    /// One count a bound, and one for what lies above the last.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Self {
        Self { name, help, bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn record_ns(&mut self, ns: u64) {
        let seconds = ns as f64 / 1e9;
        let at = self.bounds.partition_point(|b| *b < seconds);
        self.counts[at] += 1;
        self.sum += seconds;
    }

    fn write(&self, out: &mut String, model: &str) {
        head(out, self.name, self.help, "histogram");
        let mut below = 0;
        for (at, count) in self.counts.iter().enumerate() {
            below += count;
            let bound = self.bounds.get(at).map_or_else(|| "+Inf".to_owned(), |b| format!("{b:?}"));
            let _ = writeln!(
                out,
                "{}_bucket{{engine=\"0\",le=\"{bound}\",model_name=\"{model}\"}} {:?}",
                self.name, below as f64
            );
        }
        sample(out, &format!("{}_count", self.name), model, below as f64);
        sample(out, &format!("{}_sum", self.name), model, self.sum);
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(out: &mut String, name: &str, model: &str, value: f64) {
    let _ = writeln!(out, "{name}{{engine=\"0\",model_name=\"{model}\"}} {value:?}");
}

/// A request's life inside the engine.
#[derive(Debug, Clone, Copy)]
struct Life {
    arrival_ns: u64,
    prompt_tokens: u32,
    scheduled_ns: u64,
    first_ns: u64,
    last_ns: u64,
    /// Nothing is generated for it.
    pooled: bool,
}

/// All figures of one server. Fed by the engine's thread, once a step.
#[derive(Debug)]
pub(super) struct Metrics {
    engine: EngineStats,
    lives: HashMap<RequestId, Life>,
    prompt_tokens: u64,
    generation_tokens: u64,
    stopped: u64,
    by_length: u64,
    aborted: u64,
    ttft: Histogram,
    itl: Histogram,
    tpot: Histogram,
    e2e: Histogram,
    queue: Histogram,
    prefill: Histogram,
    decode: Histogram,
    inference: Histogram,
    lateness: Histogram,
}

impl Metrics {
    pub fn new(engine: EngineStats) -> Self {
        let request = |name, help| Histogram::new(name, help, REQUEST);
        Self {
            engine,
            lives: HashMap::new(),
            prompt_tokens: 0,
            generation_tokens: 0,
            stopped: 0,
            by_length: 0,
            aborted: 0,
            ttft: Histogram::new("vllm:time_to_first_token_seconds", "Time to first token.", TTFT),
            itl: Histogram::new("vllm:inter_token_latency_seconds", "Time between two tokens.", PER_TOKEN),
            tpot: Histogram::new(
                "vllm:request_time_per_output_token_seconds",
                "Mean time per output token of a request, without the first.",
                PER_TOKEN,
            ),
            e2e: request("vllm:e2e_request_latency_seconds", "Arrival to last token."),
            queue: request("vllm:request_queue_time_seconds", "Time in the queue."),
            prefill: request("vllm:request_prefill_time_seconds", "Admission to first token."),
            decode: request("vllm:request_decode_time_seconds", "First to last token."),
            inference: request("vllm:request_inference_time_seconds", "Admission to last token."),
            lateness: Histogram::new(
                "plimsoll_sim:step_lateness_seconds",
                "How much later than planned a step ended: the simulator's own error.",
                LATENESS,
            ),
        }
    }

    pub fn arrived(&mut self, id: RequestId, arrival_ns: u64, prompt_tokens: u32, pooled: bool) {
        let life = Life { arrival_ns, prompt_tokens, scheduled_ns: 0, first_ns: 0, last_ns: 0, pooled };
        self.lives.insert(id, life);
    }

    pub fn aborted(&mut self, id: RequestId) {
        if self.lives.remove(&id).is_some() {
            self.aborted += 1;
        }
    }

    pub fn step_ended(&mut self, late_ns: u64) {
        self.lateness.record_ns(late_ns);
    }

    pub fn engine(&mut self, stats: EngineStats) {
        self.engine = stats;
    }

    pub fn event(&mut self, event: &Event, now_ns: u64) {
        let Some(life) = self.lives.get_mut(&event.id()) else { return };
        match *event {
            Event::Admitted { at_ns, .. } => {
                life.scheduled_ns = at_ns.max(life.arrival_ns);
                self.queue.record_ns(life.scheduled_ns - life.arrival_ns);
            }
            Event::Preempted { .. } => {}
            Event::Token { id, n, finish } => {
                self.generation_tokens += u64::from(!life.pooled);
                if n == 1 {
                    life.first_ns = now_ns;
                    self.prompt_tokens += u64::from(life.prompt_tokens);
                    if !life.pooled {
                        self.ttft.record_ns(now_ns - life.arrival_ns);
                    }
                    self.prefill.record_ns(now_ns - life.scheduled_ns);
                } else {
                    self.itl.record_ns(now_ns - life.last_ns);
                }
                life.last_ns = now_ns;
                if let Some(finish) = finish {
                    let life = *life;
                    self.lives.remove(&id);
                    self.finished(life, n, finish);
                }
            }
        }
    }

    fn finished(&mut self, life: Life, tokens: u32, finish: Finish) {
        match finish {
            Finish::Stop => self.stopped += 1,
            Finish::Length => self.by_length += 1,
        }
        self.e2e.record_ns(life.last_ns - life.arrival_ns);
        if !life.pooled {
            self.decode.record_ns(life.last_ns - life.first_ns);
        }
        self.inference.record_ns(life.last_ns - life.scheduled_ns);
        if tokens > 1 {
            self.tpot.record_ns((life.last_ns - life.first_ns) / u64::from(tokens - 1));
        }
    }

    /// Prometheus' text form, version 0.0.4.
    pub fn render(&self, model: &str) -> String {
        let model = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let mut out = String::with_capacity(16 * 1024);
        let e = &self.engine;
        let gauges = [
            (
                "vllm:num_requests_running",
                "Number of requests in model execution batches.",
                f64::from(e.running),
            ),
            (
                "vllm:num_requests_waiting",
                "Number of requests waiting to be processed.",
                f64::from(e.waiting),
            ),
            (
                "vllm:kv_cache_usage_perc",
                "KV-cache usage. 1 means 100 percent usage.",
                f64::from(e.kv_used) / f64::from(e.kv_blocks.max(1)),
            ),
        ];
        for (name, help, value) in gauges {
            head(&mut out, name, help, "gauge");
            sample(&mut out, name, &model, value);
        }
        let counters = [
            ("vllm:prefix_cache_queries_total", "Prefix cache queries, in tokens.", e.prefix_queries),
            ("vllm:prefix_cache_hits_total", "Prefix cache hits, in tokens.", e.prefix_hits),
            ("vllm:num_preemptions_total", "Cumulative number of preemptions.", e.preemptions),
            ("vllm:prompt_tokens_total", "Number of prefill tokens processed.", self.prompt_tokens),
            (
                "vllm:generation_tokens_total",
                "Number of generation tokens processed.",
                self.generation_tokens,
            ),
            ("plimsoll_sim:steps_total", "Engine steps.", e.steps),
        ];
        for (name, help, value) in counters {
            head(&mut out, name, help, "counter");
            sample(&mut out, name, &model, value as f64);
        }
        let success = "vllm:request_success_total";
        head(&mut out, success, "Count of finished requests by reason.", "counter");
        for (reason, n) in [("stop", self.stopped), ("length", self.by_length), ("abort", self.aborted)] {
            let _ = writeln!(
                out,
                "{success}{{engine=\"0\",finished_reason=\"{reason}\",model_name=\"{model}\"}} {:?}",
                n as f64
            );
        }
        let histograms = [
            &self.ttft,
            &self.itl,
            &self.tpot,
            &self.e2e,
            &self.queue,
            &self.prefill,
            &self.decode,
            &self.inference,
            &self.lateness,
        ];
        histograms.into_iter().for_each(|h| h.write(&mut out, &model));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_counters_add_up() {
        let mut m = Metrics::new(EngineStats::default());
        m.arrived(1, 0, 7, false);
        m.event(&Event::Admitted { id: 1, at_ns: 2_000_000, cached_tokens: 0 }, 2_000_000);
        m.event(&Event::Token { id: 1, n: 1, finish: None }, 10_000_000);
        m.event(&Event::Token { id: 1, n: 2, finish: None }, 20_000_000);
        m.event(&Event::Token { id: 1, n: 3, finish: Some(Finish::Length) }, 50_000_000);
        m.arrived(2, 0, 7, false);
        m.aborted(2);
        // Of a prompt that is only embedded nothing counts as generated.
        m.arrived(3, 0, 5, true);
        m.event(&Event::Token { id: 3, n: 1, finish: Some(Finish::Stop) }, 1_000_000);
        let text = m.render("a\"b");
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
        let l = "engine=\"0\",model_name=\"a\\\"b\"";
        has(&format!("vllm:prompt_tokens_total{{{l}}} 12.0"));
        has(&format!("vllm:generation_tokens_total{{{l}}} 3.0"));
        has(&format!("vllm:time_to_first_token_seconds_sum{{{l}}} 0.01"));
        let bucket = |name: &str, le: &str, n: &str| {
            has(&format!("{name}_bucket{{engine=\"0\",le=\"{le}\",model_name=\"a\\\"b\"}} {n}"));
        };
        bucket("vllm:time_to_first_token_seconds", "0.005", "0.0");
        bucket("vllm:time_to_first_token_seconds", "0.01", "1.0");
        bucket("vllm:inter_token_latency_seconds", "0.01", "1.0");
        bucket("vllm:inter_token_latency_seconds", "0.05", "2.0");
        bucket("vllm:inter_token_latency_seconds", "+Inf", "2.0");
        bucket("vllm:request_time_per_output_token_seconds", "0.025", "1.0");
        has("vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"a\\\"b\"} 1.0");
        has("vllm:request_success_total{engine=\"0\",finished_reason=\"abort\",model_name=\"a\\\"b\"} 1.0");
    }
}
