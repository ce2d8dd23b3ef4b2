//! Of `[observe]`: the server's processes, its machine, its GPUs, what it tells as JSON, and how
//! much of each it may take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is read of the server beside its metrics, and its limits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InsideSettings {
    pub processes: ProcessesFrom,
    pub gpus: GpusFrom,
    /// Whether processors, memory and network of this machine are read.
    pub machine: bool,
    pub json: Vec<JsonEndpoint>,
    pub limits: Vec<Limit>,
}

impl Default for InsideSettings {
    fn default() -> Self {
        Self {
            processes: ProcessesFrom::Auto,
            gpus: GpusFrom::Auto,
            machine: true,
            json: Vec::new(),
            limits: Vec::new(),
        }
    }
}

/// Processes that are watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessesFrom {
    /// The server that we start, else who listens at the target's port of this machine.
    Auto,
    Nobody,
    These(Vec<NamedProcess>),
}

/// Processes under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedProcess {
    pub name: String,
    pub at: ProcessAt,
}

/// Where processes are found; their children belong to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessAt {
    /// What `[server]` starts.
    Server,
    /// A regular expression that their command line matches.
    Command(String),
    Pid(u32),
    /// The TCP port of this machine that they listen at.
    Port(u16),
}

/// GPUs that are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GpusFrom {
    /// All, where there are any.
    Auto,
    None,
    /// All; that there are none is told.
    All,
    /// By their numbers, as `nvidia-smi` has them.
    These(Vec<u32>),
}

/// An address that answers with JSON, and what is read from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JsonEndpoint {
    pub name: String,
    /// A path at the target, or a whole URL.
    pub url: String,
    /// Sent along; a value `env:NAME` is that variable's, which is stored nowhere.
    pub headers: BTreeMap<String, String>,
    /// By the name of the reading that each becomes.
    pub pointers: BTreeMap<String, Pointer>,
}

/// A number in a JSON document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pointer {
    /// RFC 6901.
    pub pointer: String,
    /// What the number is multiplied by, to have it in the unit that the reading's name says.
    pub scale: f64,
}

/// The most that a cell may take of something.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limit {
    pub on: LimitOn,
    /// In the unit of what it is on.
    pub most: f64,
}

/// What a limit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitOn {
    Memory,
    MemoryGrowth,
    Cpu,
    CpuCores,
    OpenFiles,
    Threads,
    Gpu,
    GpuMemory,
    GpuPower,
    GpuTemperature,
}

/// The unit of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitUnit {
    Bytes,
    /// Of 1.
    Share,
    Cores,
    Count,
    Watts,
    Celsius,
}

impl LimitOn {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 10] = [
        Self::Memory,
        Self::MemoryGrowth,
        Self::Cpu,
        Self::CpuCores,
        Self::OpenFiles,
        Self::Threads,
        Self::Gpu,
        Self::GpuMemory,
        Self::GpuPower,
        Self::GpuTemperature,
    ];

    /// Its key in `[observe.limits]`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::MemoryGrowth => "memory_growth",
            Self::Cpu => "cpu",
            Self::CpuCores => "cpu_cores",
            Self::OpenFiles => "open_files",
            Self::Threads => "threads",
            Self::Gpu => "gpu",
            Self::GpuMemory => "gpu_memory",
            Self::GpuPower => "gpu_power",
            Self::GpuTemperature => "gpu_temperature",
        }
    }

    /// What is held against it, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Memory => "most memory of the server",
            Self::MemoryGrowth => "growth of the server's memory",
            Self::Cpu => "CPU of the server",
            Self::CpuCores => "cores that the server keeps busy",
            Self::OpenFiles => "most open files of the server",
            Self::Threads => "most threads of the server",
            Self::Gpu => "GPU utilisation",
            Self::GpuMemory => "most GPU memory",
            Self::GpuPower => "GPU power",
            Self::GpuTemperature => "highest GPU temperature",
        }
    }

    /// The unit that it is written in.
    #[must_use]
    pub const fn unit(self) -> LimitUnit {
        match self {
            Self::Memory | Self::MemoryGrowth => LimitUnit::Bytes,
            Self::Cpu | Self::Gpu | Self::GpuMemory => LimitUnit::Share,
            Self::CpuCores => LimitUnit::Cores,
            Self::OpenFiles | Self::Threads => LimitUnit::Count,
            Self::GpuPower => LimitUnit::Watts,
            Self::GpuTemperature => LimitUnit::Celsius,
        }
    }
}
