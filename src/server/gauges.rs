//! The gauges by which servers tell how many requests they have in hand.

/// Running and waiting, by the names of vLLM (and the simulator), SGLang, TGI and llama.cpp.
const IN_HAND: [&str; 8] = [
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "sglang:num_running_reqs",
    "sglang:num_queue_reqs",
    "tgi_batch_current_size",
    "tgi_queue_size",
    "llamacpp:requests_processing",
    "llamacpp:requests_deferred",
];

/// Requests running or waiting, summed over all engines and models of a Prometheus text;
/// `None` when it has no such gauge.
pub(super) fn in_hand(metrics: &str) -> Option<f64> {
    metrics
        .lines()
        .filter_map(sample)
        .filter(|(name, _)| IN_HAND.contains(name))
        .fold(None, |sum, (_, value)| Some(sum.unwrap_or(0.0) + value))
}

/// Name and value of a line such as `name{label="a b"} 1.5 1700000000`.
fn sample(line: &str) -> Option<(&str, f64)> {
    let line = line.trim();
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let rest = if rest.starts_with('{') { &rest[labels_end(rest)?..] } else { rest };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, value))
}

/// Where labels end: after the first `}` that is not inside a quoted value.
fn labels_end(labels: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_of_every_engine() {
        for (metrics, want) in [
            (
                "vllm:num_requests_running{engine=\"0\",model_name=\"a } \\\" b\"} 3.0\nvllm:num_requests_waiting{engine=\"0\"} 2.0\nvllm:num_requests_running{engine=\"1\"} 1.0\n",
                Some(6.0),
            ),
            (
                "# TYPE sglang:num_running_reqs gauge\nsglang:num_running_reqs 0\nsglang:num_queue_reqs 4e0 1700000000\n",
                Some(4.0),
            ),
            ("tgi_batch_current_size 1\ntgi_queue_size 0", Some(1.0)),
            ("llamacpp:requests_processing 0\nllamacpp:requests_deferred 0", Some(0.0)),
            ("vllm:num_requests_running_total 7\nother 1\nbroken{a=\"b 1\n", None),
            ("", None),
        ] {
            assert_eq!(in_hand(metrics), want, "{metrics}");
        }
    }
}
