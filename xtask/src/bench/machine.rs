//! The machine: where this process may run, how many files it may open, what it says of itself.

use std::fs;

use anyhow::Context as _;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// Binds this thread, and so all threads and processes that it starts from now on, to one
/// processor: `wanted`, or the last one that it may use. Returns which.
pub(super) fn pin(wanted: Option<usize>) -> anyhow::Result<usize> {
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread)?;
    let last = || (0..CpuSet::count()).rfind(|&cpu| allowed.is_set(cpu) == Ok(true));
    let cpu = wanted.or_else(last).context("no processor is allowed")?;
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(this_thread, &only)
        .with_context(|| format!("cannot run on processor {cpu}"))?;
    Ok(cpu)
}

/// Allows this process, and those that it starts, as many open files as the system lets it.
/// Returns how many.
pub(super) fn raise_file_limit() -> anyhow::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(usize::try_from(hard).unwrap_or(usize::MAX))
}

/// Kernel, processor, how many of them, and how busy they are.
pub(super) fn description() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let names = || processors.lines().filter(|line| line.starts_with("model name"));
    let name = names()
        .next()
        .and_then(|line| line.split_once(": "))
        .map_or("processor unknown", |(_, name)| name);
    let load = read("/proc/loadavg");
    format!(
        "Linux {}, {} × {name}, load {}",
        read("/proc/sys/kernel/osrelease").trim(),
        names().count(),
        load.split_whitespace().next().unwrap_or("unknown"),
    )
}
