//! `environment.json`: where and with what a run was made.

use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

/// The machine, this program, its limits, and `server`: what the caller found out about the
/// server under test. What can't be found out is null.
#[must_use]
pub fn environment(server: Value) -> Value {
    let system = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    json!({
        "plimsoll": env!("CARGO_PKG_VERSION"),
        "rustc": option_env!("PLIMSOLL_RUSTC"),
        "optimised_build": !cfg!(debug_assertions),
        "host": text(system.nodename()),
        "system": text(system.sysname()),
        "kernel": text(system.release()),
        "architecture": text(system.machine()),
        "cpu": cpu(),
        "cores": std::thread::available_parallelism().ok().map(usize::from),
        "memory_bytes": read("/proc/meminfo").and_then(|t| memory_bytes(&t)),
        "cgroup": cgroup(),
        "limits": {
            "open_files": limit(Resource::Nofile),
            "processes": limit(Resource::Nproc),
            "locked_memory_bytes": limit(Resource::Memlock),
        },
        "git": git(Path::new(".")),
        "server": server,
    })
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Model of the processor, where the system says it.
pub(super) fn cpu() -> Option<String> {
    read("/proc/cpuinfo").and_then(|t| cpu_model(&t))
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    let (_, value) =
        cpuinfo.lines().filter_map(|l| l.split_once(':')).find(|(key, _)| key.trim() == "model name")?;
    Some(value.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|l| l.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Soft and hard limit; null is "no limit".
fn limit(resource: Resource) -> Value {
    let limit = getrlimit(resource);
    json!({ "soft": limit.current, "hard": limit.maximum })
}

/// The limits of this process's own control group, version 2 or 1; null where there is none.
fn cgroup() -> Value {
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let v2 = own.lines().find_map(|l| l.strip_prefix("0::")).unwrap_or("/");
    let file = |v2_name: &str, v1_path: &str| {
        // Inside a container the own group is often mounted at the root.
        [format!("/sys/fs/cgroup{v2}/{v2_name}"), format!("/sys/fs/cgroup/{v2_name}"), v1_path.to_owned()]
            .iter()
            .find_map(|path| read(path))
            .map(|text| text.trim().to_owned())
    };
    json!({
        "cpu_max": file("cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        "memory_max": file("memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        "pids_max": file("pids.max", "/sys/fs/cgroup/pids/pids.max"),
    })
}

/// Commit of the working directory, and whether tracked files differ from it.
fn git(directory: &Path) -> Value {
    let run = |arguments: &[&str]| {
        let out = Command::new("git")
            .arg("--no-optional-locks")
            .args(arguments)
            .current_dir(directory)
            .stdin(std::process::Stdio::null())
            .output()
            .ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some(commit) = run(&["rev-parse", "HEAD"]) else { return Value::Null };
    let changed = run(&["status", "--porcelain", "--untracked-files=no"]).map(|text| !text.is_empty());
    json!({ "commit": commit, "changed": changed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        assert_eq!(
            cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 3GHz\n"),
            Some("Some CPU @ 3GHz".into())
        );
        assert_eq!(cpu_model("processor: 0\n"), None);
        assert_eq!(memory_bytes("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16 * 1024));
    }

    #[test]
    fn it_holds_this_program_and_the_given_server() {
        let env = environment(json!({ "model": "tiny" }));
        assert_eq!(env["plimsoll"], env!("CARGO_PKG_VERSION"));
        assert_eq!(env["server"]["model"], "tiny");
        assert!(env["cores"].as_u64().unwrap() >= 1);
        assert!(env["limits"]["open_files"]["soft"].as_u64().unwrap() > 0);
        assert!(env["rustc"].as_str().unwrap().starts_with("rustc "));
    }

    #[test]
    fn outside_a_repository_there_is_no_commit() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(git(dir.path()), Value::Null);
    }
}
