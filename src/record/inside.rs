//! Names of readings about the server's processes, its machine and its GPUs: what writes them, what
//! judges them and what draws them agree by these.

/// Processor cores that the processes kept busy.
pub const CPU_CORES: &str = "server_cpu_cores";
/// The same as a share of all cores of the machine, of 1.
pub const CPU_SHARE: &str = "server_cpu";
/// Resident memory in bytes, summed over the processes.
pub const MEMORY: &str = "server_memory_bytes";
/// Files and sockets that are open.
pub const OPEN_FILES: &str = "server_open_files";
pub const THREADS: &str = "server_threads";
pub const PROCESSES: &str = "server_processes";
/// When the first of the processes began, in seconds since 1970: another value is another process.
pub const STARTED: &str = "server_started_seconds";

/// Share of the machine's processors that is busy, whoever keeps them so, of 1.
pub const MACHINE_CPU: &str = "machine_cpu";
/// Memory of the machine that is taken, in bytes.
pub const MACHINE_MEMORY: &str = "machine_memory_bytes";
/// Bytes a second that came in over the network, loopback left out.
pub const MACHINE_RECEIVED: &str = "machine_received_bytes_per_s";
/// Bytes a second that went out.
pub const MACHINE_SENT: &str = "machine_sent_bytes_per_s";

/// Share of the time in which the GPU computed something, of 1.
pub const GPU: &str = "gpu_utilisation";
/// Memory of the GPU that is taken, in bytes.
pub const GPU_MEMORY: &str = "gpu_memory_bytes";
/// The same as a share of all its memory, of 1.
pub const GPU_MEMORY_SHARE: &str = "gpu_memory";
pub const GPU_POWER: &str = "gpu_power_watts";
pub const GPU_CLOCK: &str = "gpu_clock_mhz";
pub const GPU_MEMORY_CLOCK: &str = "gpu_memory_clock_mhz";
pub const GPU_TEMPERATURE: &str = "gpu_temperature_celsius";
/// 1 while something but idleness or a setting holds its clock down.
pub const GPU_THROTTLED: &str = "gpu_throttled";
/// The same for one reason, which the label `reason` says.
pub const GPU_THROTTLE: &str = "gpu_throttle";
/// Energy in joules since some time before.
pub const GPU_ENERGY: &str = "gpu_energy_joules";

/// All of them.
pub const ALL: [&str; 21] = [
    CPU_CORES,
    CPU_SHARE,
    MEMORY,
    OPEN_FILES,
    THREADS,
    PROCESSES,
    STARTED,
    MACHINE_CPU,
    MACHINE_MEMORY,
    MACHINE_RECEIVED,
    MACHINE_SENT,
    GPU,
    GPU_MEMORY,
    GPU_MEMORY_SHARE,
    GPU_POWER,
    GPU_CLOCK,
    GPU_MEMORY_CLOCK,
    GPU_TEMPERATURE,
    GPU_THROTTLED,
    GPU_THROTTLE,
    GPU_ENERGY,
];
