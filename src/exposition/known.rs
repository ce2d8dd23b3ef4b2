//! What servers call their figures: the one table by which they are understood.

use super::label_pairs;
use crate::record::{Reading, inside};

/// What the known servers have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Common {
    /// Requests that the server works at now.
    Running,
    /// Requests that wait for their turn.
    Waiting,
    /// Share of the KV cache that is in use, 0 to 1.
    KvUse,
    /// Share of prompt tokens that the prefix cache had, 0 to 1, where the server tells it so.
    PrefixHitShare,
    /// Prompt tokens looked for in the prefix cache, and found there.
    PrefixQueries,
    PrefixHits,
    Preemptions,
    /// Seconds that requests were queued, and how many were.
    QueueSeconds,
    QueueCount,
    PrefillSeconds,
    PrefillCount,
    DecodeSeconds,
    DecodeCount,
    PromptTokens,
    OutputTokens,
    /// Requests that ended well.
    RequestsOk,
    RequestsFailed,
    /// Requests whose client went away.
    RequestsAborted,
    /// Cores that the server's processes keep busy.
    ServerCores,
    /// Bytes of memory that they have.
    ServerMemory,
    ServerFiles,
    ServerThreads,
    /// Share of the time in which the GPUs compute, and of their memory that is taken.
    GpuUse,
    GpuMemory,
    GpuWatts,
    GpuMhz,
    GpuCelsius,
    /// 1 while one is held back.
    GpuThrottled,
    /// Of the machine that this runs on.
    MachineCpu,
    MachineReceived,
    MachineSent,
}

/// What is made of several series of one thing, such as one for each engine or model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    Sum,
    Mean,
    Max,
}

impl Common {
    /// The name and the unit's factor of what is shown while a cell runs.
    #[must_use]
    pub const fn live(self) -> Option<(&'static str, f64)> {
        match self {
            Self::Running => Some(("running", 1.0)),
            Self::Waiting => Some(("waiting", 1.0)),
            Self::KvUse => Some(("kv_use", 100.0)),
            _ => None,
        }
    }

    /// How several series become one.
    #[must_use]
    pub const fn merge(self) -> Merge {
        match self {
            Self::KvUse | Self::PrefixHitShare | Self::GpuUse | Self::GpuMemory | Self::GpuMhz => Merge::Mean,
            // What the kernel and the server itself say of one memory must not be added up.
            Self::ServerMemory | Self::GpuCelsius | Self::GpuThrottled => Merge::Max,
            _ => Merge::Sum,
        }
    }
}

/// A series of a server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// Its name, with its ending.
    pub name: &'static str,
    /// A label that it must have, where several things share the name.
    pub label: Option<(&'static str, &'static str)>,
    pub common: Common,
    /// What its value is multiplied with to be in the common unit.
    pub scale: f64,
}

const fn of(name: &'static str, common: Common) -> Known {
    Known { name, label: None, common, scale: 1.0 }
}

const fn with(name: &'static str, label: &'static str, value: &'static str, common: Common) -> Known {
    Known { name, label: Some((label, value)), common, scale: 1.0 }
}

const fn micros(name: &'static str, common: Common) -> Known {
    Known { name, label: None, common, scale: 1e-6 }
}

use Common as C;

/// Every series that is understood, of vLLM (and the simulator, which has its names), SGLang, TGI,
/// Triton with and without TensorRT-LLM, and llama.cpp.
pub const KNOWN: &[Known] = &[
    of("vllm:num_requests_running", C::Running),
    of("vllm:num_requests_waiting", C::Waiting),
    of("vllm:kv_cache_usage_perc", C::KvUse),
    // Of versions before 0.10.
    of("vllm:gpu_cache_usage_perc", C::KvUse),
    of("vllm:prefix_cache_queries_total", C::PrefixQueries),
    of("vllm:prefix_cache_hits_total", C::PrefixHits),
    of("vllm:gpu_prefix_cache_queries_total", C::PrefixQueries),
    of("vllm:gpu_prefix_cache_hits_total", C::PrefixHits),
    of("vllm:num_preemptions_total", C::Preemptions),
    of("vllm:request_queue_time_seconds_sum", C::QueueSeconds),
    of("vllm:request_queue_time_seconds_count", C::QueueCount),
    of("vllm:request_prefill_time_seconds_sum", C::PrefillSeconds),
    of("vllm:request_prefill_time_seconds_count", C::PrefillCount),
    of("vllm:request_decode_time_seconds_sum", C::DecodeSeconds),
    of("vllm:request_decode_time_seconds_count", C::DecodeCount),
    of("vllm:prompt_tokens_total", C::PromptTokens),
    of("vllm:generation_tokens_total", C::OutputTokens),
    with("vllm:request_success_total", "finished_reason", "stop", C::RequestsOk),
    with("vllm:request_success_total", "finished_reason", "length", C::RequestsOk),
    with("vllm:request_success_total", "finished_reason", "repetition", C::RequestsOk),
    with("vllm:request_success_total", "finished_reason", "abort", C::RequestsAborted),
    with("vllm:request_success_total", "finished_reason", "error", C::RequestsFailed),
    of("sglang:num_running_reqs", C::Running),
    of("sglang:num_queue_reqs", C::Waiting),
    of("sglang:token_usage", C::KvUse),
    of("sglang:cache_hit_rate", C::PrefixHitShare),
    of("sglang:num_retracted_requests_total", C::Preemptions),
    of("sglang:queue_time_seconds_sum", C::QueueSeconds),
    of("sglang:queue_time_seconds_count", C::QueueCount),
    of("sglang:prompt_tokens_total", C::PromptTokens),
    of("sglang:generation_tokens_total", C::OutputTokens),
    of("sglang:num_requests_total", C::RequestsOk),
    of("sglang:num_aborted_requests_total", C::RequestsAborted),
    of("tgi_batch_current_size", C::Running),
    of("tgi_queue_size", C::Waiting),
    of("tgi_request_queue_duration_sum", C::QueueSeconds),
    of("tgi_request_queue_duration_count", C::QueueCount),
    of("tgi_request_input_length_sum", C::PromptTokens),
    of("tgi_request_generated_tokens_sum", C::OutputTokens),
    of("tgi_request_success", C::RequestsOk),
    of("tgi_request_failure", C::RequestsFailed),
    with("nv_trt_llm_request_metrics", "request_type", "scheduled", C::Running),
    with("nv_trt_llm_request_metrics", "request_type", "waiting", C::Waiting),
    with("nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "fraction", C::KvUse),
    of("nv_inference_pending_request_count", C::Waiting),
    micros("nv_inference_queue_duration_us", C::QueueSeconds),
    of("nv_inference_count", C::QueueCount),
    of("nv_inference_request_success", C::RequestsOk),
    of("nv_inference_request_failure", C::RequestsFailed),
    of("llamacpp:requests_processing", C::Running),
    of("llamacpp:requests_deferred", C::Waiting),
    // Of versions before the middle of 2025.
    of("llamacpp:kv_cache_usage_ratio", C::KvUse),
    // What was processed and what the cache had are counted apart.
    of("llamacpp:prompt_tokens_total", C::PromptTokens),
    of("llamacpp:prompt_tokens_cached_total", C::PromptTokens),
    of("llamacpp:tokens_predicted_total", C::OutputTokens),
    // What we read ourselves.
    of(inside::CPU_CORES, C::ServerCores),
    of(inside::MEMORY, C::ServerMemory),
    of(inside::OPEN_FILES, C::ServerFiles),
    of(inside::THREADS, C::ServerThreads),
    of(inside::GPU, C::GpuUse),
    of(inside::GPU_MEMORY_SHARE, C::GpuMemory),
    of(inside::GPU_POWER, C::GpuWatts),
    of(inside::GPU_CLOCK, C::GpuMhz),
    of(inside::GPU_TEMPERATURE, C::GpuCelsius),
    of(inside::GPU_THROTTLED, C::GpuThrottled),
    of(inside::MACHINE_CPU, C::MachineCpu),
    of(inside::MACHINE_RECEIVED, C::MachineReceived),
    of(inside::MACHINE_SENT, C::MachineSent),
];

impl Known {
    /// What a reading is, where it is known.
    #[must_use]
    pub fn of(reading: &Reading) -> Option<&'static Self> {
        Self::find(&reading.name, &reading.labels)
    }

    /// As [`Known::of`], by name and labels.
    #[must_use]
    pub fn find(name: &str, labels: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| {
            let has =
                |(label, value): (&str, &str)| label_pairs(labels).any(|(n, v)| n == label && v == value);
            known.name == name && known.label.is_none_or(has)
        })
    }
}

/// Requests running or waiting, summed over all engines and models; `None` where it isn't told how
/// many run.
#[must_use]
pub fn in_hand(readings: &[Reading]) -> Option<f64> {
    let (mut running, mut sum) = (false, 0.0);
    for reading in readings {
        let common = Known::of(reading).map(|known| known.common);
        if matches!(common, Some(Common::Running | Common::Waiting)) {
            running |= common == Some(Common::Running);
            sum += reading.value;
        }
    }
    running.then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::parse;

    #[test]
    fn requests_in_hand_of_every_engine() {
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
            // Of a server that says only what waits it isn't known what runs.
            ("nv_inference_pending_request_count{model=\"m\"} 0", None),
            ("vllm:num_requests_running_total 7\nother 1\nbroken{a=\"b 1\n", None),
            ("", None),
        ] {
            assert_eq!(in_hand(&parse(metrics).readings), want, "{metrics}");
        }
    }

    #[test]
    fn a_series_is_known_by_its_name_and_where_that_is_shared_by_a_label() {
        let common = |name: &str, labels: &str| Known::find(name, labels).map(|known| known.common);
        assert_eq!(common("vllm:num_requests_running", "engine=\"0\""), Some(Common::Running));
        let success = "vllm:request_success_total";
        assert_eq!(common(success, "engine=\"0\",finished_reason=\"length\""), Some(Common::RequestsOk));
        assert_eq!(common(success, "finished_reason=\"abort\""), Some(Common::RequestsAborted));
        assert_eq!(common(success, "finished_reason=\"new\""), None);
        assert_eq!(common("nv_trt_llm_request_metrics", "request_type=\"max\""), None);
        assert_eq!(common("other", ""), None);
        let micros = Known::find("nv_inference_queue_duration_us", "model=\"m\"").unwrap();
        assert_eq!(micros.scale, 1e-6);
    }

    #[test]
    fn no_series_is_named_twice() {
        for (i, known) in KNOWN.iter().enumerate() {
            let same = KNOWN[..i].iter().find(|other| (other.name, other.label) == (known.name, known.label));
            assert_eq!(same, None);
        }
    }
}
