//! Named settings for classes of models and machines.
//!
//! They are plausible, not measured. With weights of `W` bytes, a memory of `B` bytes/s, a
//! peak of `F` FLOP/s, `K` bytes of KV cache per token (2 · layers · KV heads · head size ·
//! 2 bytes, for K and V in bf16) and `P` parameters, all from public data sheets:
//!
//! ```text
//! step_base              W / (0.85 B) + launch overhead: decoding reads every weight once
//! step_per_seq           1000 K / (0.8 B) + about 10 µs: it reads its own context, here 1000 tokens
//! step_per_prefill_token 2 P / (0.45 F): prefill is bound by arithmetic
//! kv_blocks              (0.9 memory − W − activations) / (16 K)
//! ```

use std::time::Duration;

use super::config::Config;

/// A named set of knobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    pub name: &'static str,
    pub help: &'static str,
}

/// Every preset, the default first.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "demo",
        help: "A small fast server whose knee shows within seconds at 16 users (default)",
    },
    Preset { name: "tiny-cpu", help: "A 0.5B model, 8-bit, on an 8-core desktop CPU" },
    Preset { name: "8b-l4", help: "An 8B model, bf16, on one L4 24 GB" },
    Preset { name: "8b-a100", help: "An 8B model, bf16, on one A100 80 GB SXM" },
    Preset { name: "8b-h100", help: "An 8B model, bf16, on one H100 80 GB SXM" },
    Preset { name: "70b-4xh100", help: "A 70B model, bf16, on four H100 80 GB SXM, tensor parallel" },
    Preset { name: "70b-8xa100", help: "A 70B model, bf16, on eight A100 80 GB SXM, tensor parallel" },
    Preset {
        name: "paced",
        help: "No model: the first token after 20 ms, then one every 5 ms, whatever the load",
    },
    Preset { name: "flood", help: "No model: every answer as fast as its client takes it" },
];

/// A server without an engine; its answers may be as long as a client wants to be fed.
fn by_the_clock(name: &str, ttft_ms: u64, tpot_ms: u64) -> Config {
    Config {
        preset: name.to_owned(),
        ttft: Some(Duration::from_millis(ttft_ms)),
        tpot: Some(Duration::from_millis(tpot_ms)),
        max_model_len: 1 << 20,
        kv_blocks: 1 << 16,
        ..Config::default()
    }
}

struct Class {
    base_us: u64,
    seq_us: u64,
    prefill_us: u64,
    seqs: u32,
    batched: u32,
    blocks: u32,
    model_len: u32,
}

pub(super) fn build(name: &str) -> Option<Config> {
    let class = match name {
        "demo" => return Some(Config::default()),
        "paced" => return Some(by_the_clock(name, 20, 5)),
        "flood" => return Some(by_the_clock(name, 0, 0)),
        // 0.5 GB of weights at 50 GB/s: 10 ms / 0.85. 1 GFLOP a token at 1 TFLOP/s with 60 %:
        // 1.6 ms, and decoding is bound by the same arithmetic, a little less of it.
        "tiny-cpu" => Class {
            base_us: 12_000,
            seq_us: 1_200,
            prefill_us: 1_600,
            seqs: 8,
            batched: 512,
            blocks: 1_024,
            model_len: 4_096,
        },
        // 8.03e9 parameters, 32 layers, 8 KV heads of 128: W = 16.1 GB, K = 131 kB.
        // L4: 300 GB/s, 121 TFLOP/s dense bf16, 24 GB.
        "8b-l4" => Class {
            base_us: 63_500,
            seq_us: 560,
            prefill_us: 295,
            seqs: 64,
            batched: 2_048,
            blocks: 2_300,
            model_len: 8_192,
        },
        // A100 SXM: 2.04 TB/s, 312 TFLOP/s, 80 GB.
        "8b-a100" => Class {
            base_us: 10_000,
            seq_us: 90,
            prefill_us: 114,
            seqs: 256,
            batched: 8_192,
            blocks: 25_000,
            model_len: 32_768,
        },
        // H100 SXM: 3.35 TB/s, 989 TFLOP/s, 80 GB.
        "8b-h100" => Class {
            base_us: 6_100,
            seq_us: 59,
            prefill_us: 36,
            seqs: 256,
            batched: 8_192,
            blocks: 25_000,
            model_len: 32_768,
        },
        // 70.6e9 parameters, 80 layers, 8 KV heads of 128: W = 141 GB, K = 328 kB. Two
        // all-reduces a layer at about 15 µs each add 2.4 ms to the base.
        "70b-4xh100" => Class {
            base_us: 15_000,
            seq_us: 41,
            prefill_us: 79,
            seqs: 256,
            batched: 8_192,
            blocks: 25_700,
            model_len: 32_768,
        },
        "70b-8xa100" => Class {
            base_us: 12_800,
            seq_us: 35,
            prefill_us: 126,
            seqs: 256,
            batched: 8_192,
            blocks: 79_000,
            model_len: 32_768,
        },
        _ => return None,
    };
    Some(Config {
        preset: name.to_owned(),
        step_base: Duration::from_micros(class.base_us),
        step_per_seq: Duration::from_micros(class.seq_us),
        step_per_prefill_token: Duration::from_micros(class.prefill_us),
        max_num_seqs: class.seqs,
        max_num_batched_tokens: class.batched,
        kv_blocks: class.blocks,
        max_model_len: class.model_len,
        ..Config::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_in_the_table_is_built_under_its_name() {
        for p in PRESETS {
            assert_eq!(build(p.name).map(|c| c.preset).as_deref(), Some(p.name));
        }
        assert_eq!(build("no-such"), None);
    }
}
