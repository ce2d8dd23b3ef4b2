//! Every kind of finding: when it is told, what likely lies behind it, what to try. Held to
//! `docs/analysis.md` by a test.

/// One kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name for programs.
    pub code: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// When it is told.
    pub when: &'static str,
    /// Likely causes, likeliest first.
    pub causes: &'static [&'static str],
    /// What to try.
    pub remedies: &'static [&'static str],
    /// Whether it points to the server.
    pub server: bool,
}

const fn server(
    code: &'static str,
    title: &'static str,
    when: &'static str,
    causes: &'static [&'static str],
    remedies: &'static [&'static str],
) -> Kind {
    Kind { code, title, when, causes, remedies, server: true }
}

pub(super) const CLIENT_LIMIT: Kind = Kind {
    server: false,
    ..server(
        "client_limit",
        "This client may have been a limit",
        "A validity signal about the client fired: lag, late timers, a stall, a busy load core, a CPU quota, lost records.",
        &[
            "The machine that makes the load was busy with other work, or has too few processors for it.",
            "A CPU quota, a suspended machine or neighbours on the same host took time from it.",
        ],
        &[
            "Run the client on a machine of its own and repeat these cells before anything is said about the server.",
            "Raise client.threads, or give each load core a processor with client.pin.",
            "plimsoll calibrate tells what this machine can do; stay below it.",
        ],
    )
};
pub(super) const REFUSED: Kind = server(
    "refused",
    "Requests were refused (429)",
    "Failures of class 429: information below 1 % of a cell's requests, a warning from 1 %, failing from 10 %.",
    &[
        "A rate limit of the service, or of a gateway before it.",
        "The server's queue is full and it sheds load on purpose.",
    ],
    &[
        "Put less load on it, or have the limit raised.",
        "Let its queue be longer where waiting is better than being refused.",
        "Read goodput and attainment beside latencies: a refused request is in none of those.",
    ],
);
pub(super) const UNAVAILABLE: Kind = server(
    "unavailable",
    "The server was unavailable at times (503)",
    "Failures of class 503, by the same shares.",
    &[
        "More load than it takes in, or several models in contention for one GPU.",
        "A load balancer that had no healthy server behind it.",
        "A model that was still being loaded.",
    ],
    &[
        "Find the load at which it begins, and stay below it.",
        "Add replicas or slots; give contending models hardware of their own.",
        "Wait until the model is loaded before the first cell.",
    ],
);
pub(super) const SERVER_ERRORS: Kind = server(
    "server_errors",
    "The server failed (5xx)",
    "Failures of class 5xx or server_error, by the same shares.",
    &["Out of memory or a crash of the engine under load.", "A bug that some requests meet."],
    &[
        "Read the server's log at the time of the first failure; its words are in the records.",
        "Lower the largest batch or context, or quantise, if memory ran out.",
    ],
);
pub(super) const BAD_REQUESTS: Kind = Kind {
    server: false,
    ..server(
        "bad_requests",
        "The server did not accept the requests (3xx, 4xx)",
        "Failures of class 3xx or 4xx, by the same shares.",
        &[
            "The URL, the model's name or the key is not what the server expects.",
            "Prompt and answer together are longer than its context.",
            "A sampling key that it does not know.",
        ],
        &["Read its words in the report and put the experiment right; load has no part in this."],
    )
};
pub(super) const TIMEOUTS: Kind = server(
    "timeouts",
    "Requests ran out of time",
    "Failures of a time-out class (connect, first token, between chunks, whole), by the same shares.",
    &[
        "The wait in the server's queue is longer than the limit.",
        "The server hangs, or stalls in mid-answer.",
        "target.timeout is shorter than such answers take.",
    ],
    &[
        "Look which of the limits ran out: the first token's speaks for a queue, the one between chunks for a stall.",
        "Put less load on it; if the same happens with one user, raise target.timeout.",
    ],
);
pub(super) const CONNECTIONS: Kind = server(
    "connections",
    "Connections failed or broke",
    "Failures of class connect or reset, by the same shares.",
    &[
        "Nothing listens there, or the server restarted.",
        "Its backlog or its limit on open files is exhausted.",
        "A proxy or balancer between them closes connections.",
    ],
    &[
        "Ask the server directly, without a proxy, at the same load.",
        "Raise its backlog and its limit on open files.",
        "Look in its log for a restart.",
    ],
);
pub(super) const BROKEN_ANSWERS: Kind = server(
    "broken_answers",
    "Answers broke off or could not be read",
    "Failures of class truncated or bad_stream, by the same shares.",
    &[
        "A worker died in mid-answer, or a proxy's own time-out cut it.",
        "The answer is not in the format that target.api stands for.",
    ],
    &[
        "Compare with a direct connection, without a proxy.",
        "Look in the server's log for the requests that broke off.",
    ],
);
pub(super) const OTHER_FAILURES: Kind = Kind {
    server: false,
    ..server(
        "other_failures",
        "Requests failed, and nothing tells how",
        "Failures of any other class, as of results that were imported, by the same shares.",
        &[],
        &["Look in the log of the tool that measured, and of the server, for what was said."],
    )
};
pub(super) const ERRORS_GROW: Kind = server(
    "errors_grow",
    "Failures became more over a cell",
    "The share of failures, by when requests were due, drifts: it grows by 1 percentage point over the window and more than chance (one-sided 99 %).",
    &[
        "A queue that reached a limit: of its length, of the time-out, of memory.",
        "Something leaks: memory, connections, open files.",
    ],
    &[
        "Run the cell longer and watch the server's memory and open files.",
        "Put less load on it: failures that no longer grow were a queue's.",
    ],
);
pub(super) const SATURATED: Kind = server(
    "saturated",
    "Beyond some load requests only wait",
    "From some level of load on, completed requests stay within 5 % of their greatest rate (open loop: below nine tenths of what is offered, or the cell is marked overloaded), while TTFT p50 rises by half and more. E2E where nothing is streamed.",
    &[
        "All slots of the server's batch are taken, and what comes on top waits for one.",
        "The cache for keys and values is full before the slots are: long prompts or answers.",
        "Each request takes long, so that slots become free seldom.",
    ],
    &[
        "Plan with the last level before it; that is what this server carries.",
        "Raise the largest number of sequences if the GPU is not yet busy, else add replicas.",
        "Shorten answers (max_tokens), or quantise for more room and faster steps.",
        "Refuse early with a short queue, if a late answer is of no use.",
    ],
);
pub(super) const QUEUE_GROWS: Kind = server(
    "queue_grows",
    "The queue grows as long as the cell runs",
    "The cell is marked overloaded; or requests in flight and TTFT rise by half over the window, each more than chance, while completed requests do not.",
    &[
        "More requests arrive than the server completes.",
        "Requests take longer than they did: longer prompts, memory pressure, a slower GPU clock.",
    ],
    &[
        "Take latencies of this cell as a matter of its length; quote none.",
        "Lower the rate below what is completed, or add workers.",
        "Bound the queue at the server.",
    ],
);
pub(super) const TTFT_LOAD: Kind = server(
    "ttft_load",
    "TTFT is high under load alone",
    "TTFT is beyond a limit at some level, at least twice that of the lowest level, which is within it; and the cell is not saturated.",
    &[
        "Requests wait for a slot or for others' prefill.",
        "Prefill and decoding share each step of the engine.",
    ],
    &[
        "Chunked prefill with a smaller chunk, or prefill and decoding on machines of their own.",
        "More slots or replicas; a shorter queue.",
    ],
);
pub(super) const TTFT_ALWAYS: Kind = server(
    "ttft_always",
    "TTFT is high even at the lowest load",
    "TTFT is beyond a limit at every level, the lowest of which has no more than 2 requests in flight.",
    &[
        "Prefill itself takes that long: prompt length, model size, hardware.",
        "Tokenising, a slow gateway or a far network before the model.",
        "The model is loaded, or copied to the GPU, when it is asked.",
    ],
    &[
        "Hold it against the shortest prompt: what is left is not prefill.",
        "Keep the model loaded; measure from beside the server to leave the network out.",
        "Faster or more hardware for prefill; cache prefixes that requests share.",
    ],
);
pub(super) const PREFILL: Kind = server(
    "prefill",
    "TTFT grows with the prompt",
    "Between lengths of prompt, at the same load or within a cell, TTFT rises by half and more; within a cell the slope is more than chance (one-sided 99 %).",
    &["Prefill: computing the prompt takes its time, token by token."],
    &[
        "Cache prefixes that requests share; shorten prompts.",
        "Larger prefill batches or chunks, or more compute, make the slope flatter.",
    ],
);
pub(super) const FIRST_REQUEST: Kind = server(
    "first_request",
    "The first request took far longer than the rest",
    "In the run's first cell the first request's TTFT is at least five times the others' median and 300 ms above it, and none of the last half comes near. A warning if it lies in the window.",
    &[
        "The model was loaded, compiled or copied to the GPU for it.",
        "Caches, graphs and connections were cold.",
    ],
    &["Send a request before the run, or lengthen cell.warmup.", "Keep the model loaded between runs."],
);
pub(super) const TTFT_GROWS: Kind = server(
    "ttft_grows",
    "TTFT rises over a cell",
    "TTFT drifts: it grows by 10 % over the window and more than chance (one-sided 99 %), with no growing queue. A warning from a half.",
    &[
        "The cache for keys and values fills up, and prompts wait for room.",
        "The server slows down: clock, heat, memory, other work beside it.",
    ],
    &["Run the cell longer to see where it settles.", "Watch the GPU's clock, temperature and memory."],
);
pub(super) const TPOT_LOAD: Kind = server(
    "tpot_load",
    "TPOT grows with the load",
    "Over the levels of load TPOT p50 rises by 30 % and more. A warning where it goes beyond a limit that the lowest level meets.",
    &[
        "Decoding is shared: each sequence of a batch makes the step longer.",
        "Prefill of new requests interrupts those that decode.",
    ],
    &[
        "Bound the number of sequences to what keeps TPOT within its limit.",
        "Quantise, or use hardware with more memory bandwidth.",
        "Smaller prefill chunks, if gaps rather than steps became longer.",
    ],
);
pub(super) const TPOT_ALWAYS: Kind = server(
    "tpot_always",
    "TPOT is high even at the lowest load",
    "TPOT is beyond a limit at every level, the lowest of which has no more than 2 requests in flight.",
    &[
        "Memory bandwidth: each token reads all weights once.",
        "Decoding is not as efficient as it could be: no graphs, small kernels, part of the model on the CPU.",
    ],
    &[
        "Quantise the weights, split the model over GPUs, or take faster hardware.",
        "Speculative decoding; check that the model runs on the GPU at all.",
    ],
);
pub(super) const TPOT_GROWS: Kind = server(
    "tpot_grows",
    "TPOT rises over a cell",
    "TPOT drifts: it grows by 10 % and 0.5 ms over the window and more than chance (one-sided 99 %). A warning from 20 %.",
    &[
        "More sequences share each step as the cell goes on, or their contexts become longer.",
        "The server slows down: clock, heat, memory, other work beside it.",
    ],
    &["Run the cell longer to see whether it goes on.", "Watch the GPU's clock, temperature and memory."],
);
pub(super) const THROUGHPUT_FALLS: Kind = server(
    "throughput_falls",
    "Throughput falls over a cell",
    "Output chunks a second (completed requests where nothing is streamed) fall by 20 % over the window and more than chance (one-sided 99 %).",
    &[
        "The server slows down: clock, heat, memory, other work beside it.",
        "Sequences lose their place in the cache and are computed again.",
    ],
    &["Run the cell longer; repeat it after a pause.", "Watch the GPU's clock and the server's preemptions."],
);
pub(super) const THROUGHPUT_UNSTEADY: Kind = server(
    "throughput_unsteady",
    "Throughput is unsteady",
    "Over at least ten seconds, output chunks a second vary by more than half of their mean (coefficient of variation), at 20 or more a second.",
    &[
        "Requests begin and end together, so that the server is full and empty by turns.",
        "Prefill, garbage collection or other work stops decoding now and then.",
    ],
    &[
        "Vary the lengths, or let users start over a ramp, so that they fall out of step.",
        "Look at the time strip for the period of it.",
    ],
);
pub(super) const SERVER_GROWS: Kind = server(
    "server_grows",
    "The server grows over a cell",
    "Resident memory, GPU memory, open files or threads of what is read (`[observe]`) rise over the window: the nine steps between the means of its tenths are above 0 by more than chance (one-sided 99 %; of walks of chance 2 in 100 pass), and the rise matters (8 MB and 1 % of memory, 64 MB and 1 % of a GPU's, 10 files or 5 threads and 5 %).",
    &[
        "A leak: something that each request takes and nobody gives back.",
        "A queue that grows, and what waits in it with it.",
        "A cache without a bound, or one that is not yet full.",
    ],
    &[
        "Run the cell longer: a cache fills up and stops, a leak doesn't.",
        "Watch whether it comes back when the load has gone; repeat the cell to see it grow again.",
        "Set observe.limits.memory_growth, so that a gate fails on it.",
    ],
);
pub(super) const SERVER_KEEPS: Kind = server(
    "server_keeps",
    "The server is larger after each cell",
    "The same figures, read after each cell of a process that was not started again: the steps from cell to cell are above 0 by more than chance (one-sided 99 %, three steps at least) and come to as much. A warning where the cells had run before, so that no higher load explains it.",
    &[
        "A leak: a cell that ran before should add nothing.",
        "A cache that keeps what it was asked and has no bound.",
    ],
    &[
        "Repeat one cell many times, and look at what stays after each.",
        "Start the server again between cells (a hook, or an axis of the server) where the figures must not depend on it.",
    ],
);
pub(super) const SERVER_RESTARTED: Kind = server(
    "server_restarted",
    "The server was another within a cell",
    "The first of the watched processes has another beginning at the end of the cell than at its start.",
    &[
        "It crashed or was killed (out of memory), and something started it again.",
        "A supervisor or a deployment replaced it.",
    ],
    &["Read its log and the kernel's at that time.", "Don't use the cell: repeat it."],
);
pub(super) const GPU_THROTTLED: Kind = server(
    "gpu_throttled",
    "A GPU was throttled",
    "NVML tells a reason that holds the clock down, other than idleness or a setting; a warning from a tenth of the looks.",
    &[
        "Its power cap, which is usual at full load and still a limit.",
        "Heat: cooling, dust, neighbours.",
        "The power supply, or another GPU of its sync group.",
    ],
    &[
        "Look at clock, power and temperature over the time of the cell.",
        "Raise the power limit or improve cooling before anything is said about the server; compare runs only at like clocks.",
    ],
);
pub(super) const STALLS: Kind = server(
    "stalls",
    "Answers stall in the middle",
    "The p99 of requests' largest gap between chunks is ten times the median gap, at least 250 ms, and more than twice this client's own longest stall.",
    &[
        "Prefill of new prompts stops those that decode.",
        "Sequences are preempted and computed again.",
        "A proxy gathers chunks before it passes them on.",
    ],
    &[
        "Chunked prefill, or a smaller chunk.",
        "Fewer sequences, or a larger cache, if the server counts preemptions.",
        "Switch buffering off in proxies (such as proxy_buffering of nginx).",
    ],
);
pub(super) const RETRIES: Kind = server(
    "retries",
    "Connections died between requests",
    "The validity signal `retries` fired.",
    &["The server or a balancer closes kept connections sooner than the client uses them again."],
    &["Raise its keep-alive time-out above the pause between two requests."],
);
pub(super) const SHORT_ANSWERS: Kind = Kind {
    server: false,
    ..server(
        "short_answers",
        "Answers are not as long as asked",
        "At least 5 % of the answers have another length than max_tokens, and their mean is off by 5 %.",
        &["The model ends by itself, or the server does not take ignore_eos and min_tokens."],
        &[
            "Compare runs by tokens a second, not by requests a second.",
            "Set workload.force_length = \"always\" where the server can do it.",
        ],
    )
};
pub(super) const TTFT_QUEUE: Kind = server(
    "ttft_queue",
    "TTFT follows the server's queue",
    "In a cell, median TTFT by the second of sending and the number of requests waiting in the server rise and fall together: Spearman's ρ at least 0.7 and p below 0.01, over ten looks or more, and TTFT's highest tenth 1.2 times its lowest.",
    &[
        "All its places are taken: a request waits for another to end.",
        "Long prompts are prefilled before those that wait.",
    ],
    &[
        "Let more run at once (max_num_seqs, --parallel), if memory and TPOT allow.",
        "Stay below the load at which requests begin to wait, or add replicas.",
    ],
);
pub(super) const TTFT_KV: Kind = server(
    "ttft_kv",
    "TTFT follows the use of the KV cache",
    "The same of the share of the KV cache in use.",
    &[
        "The cache is full: a request is let in only when another has ended, or one that runs is preempted.",
        "Both follow the load: a full cache alone makes nobody wait.",
    ],
    &[
        "Give the cache more memory, a shorter context, or a smaller type.",
        "Look at preemptions and at the queue over the same time.",
    ],
);
pub(super) const SERVER_GAUGES: Kind = Kind {
    server: false,
    ..server(
        "server_gauges",
        "What the client cannot see",
        "Something above points to the server: then its own figures, or that nobody looked at them.",
        &[],
        &[
            "Read them beside the client's over the time of a cell: a queue speaks for too little capacity, a full cache for too little memory.",
            "Where they are missing, let the server tell them (`--enable-metrics`, `--metrics`) and say where in observe.metrics.",
        ],
    )
};
pub(super) const COMMON_LIMITS: Kind = Kind {
    server: false,
    ..server(
        "common_limits",
        "Held against common limits",
        "The experiment has no SLO: the preset llm-good stands in, and warns at most.",
        &[],
        &["Write the limits that matter for you into [slo]; plimsoll presets has sets to begin with."],
    )
};
pub(super) const HEALTHY: Kind = Kind {
    server: false,
    ..server(
        "healthy",
        "Nothing points to trouble",
        "All cells ran to their end and were measured here, there is no warning and no failure, and no SLO, target or recovery is missed.",
        &[],
        &[],
    )
};

/// Every kind of finding, in the order in which they are looked for.
pub const KINDS: &[Kind] = &[
    CLIENT_LIMIT,
    REFUSED,
    UNAVAILABLE,
    SERVER_ERRORS,
    BAD_REQUESTS,
    TIMEOUTS,
    CONNECTIONS,
    BROKEN_ANSWERS,
    OTHER_FAILURES,
    ERRORS_GROW,
    SATURATED,
    QUEUE_GROWS,
    TTFT_LOAD,
    TTFT_ALWAYS,
    PREFILL,
    FIRST_REQUEST,
    TTFT_GROWS,
    TPOT_LOAD,
    TPOT_ALWAYS,
    TPOT_GROWS,
    THROUGHPUT_FALLS,
    THROUGHPUT_UNSTEADY,
    SERVER_GROWS,
    SERVER_KEEPS,
    SERVER_RESTARTED,
    GPU_THROTTLED,
    STALLS,
    RETRIES,
    SHORT_ANSWERS,
    TTFT_QUEUE,
    TTFT_KV,
    SERVER_GAUGES,
    COMMON_LIMITS,
    HEALTHY,
];
