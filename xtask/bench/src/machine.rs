//! The machine: where this process may run, how many files it may open, what it says of itself.

use std::fs;
use std::sync::OnceLock;

use anyhow::Context as _;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use procfs::sys::kernel;
use procfs::{CpuInfo, Current as _, LoadAverage, Meminfo};

/// The processors that this process was given.
static ALLOWED: OnceLock<CpuSet> = OnceLock::new();

/// Binds this thread, and so all threads and processes that it starts from now on, to one
/// processor: `wanted`, or the last one that it may use. Returns which.
pub(crate) fn pin(wanted: Option<usize>) -> anyhow::Result<usize> {
    let this_thread = Pid::from_raw(0);
    let allowed = *ALLOWED.get_or_init(|| sched_getaffinity(this_thread).unwrap_or_default());
    let last = || (0..CpuSet::count()).rfind(|&cpu| allowed.is_set(cpu) == Ok(true));
    let cpu = wanted.or_else(last).context("no processor is allowed")?;
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(this_thread, &only)
        .with_context(|| format!("cannot run on processor {cpu}"))?;
    Ok(cpu)
}

/// Runs `work` as if this thread had never been bound.
pub(crate) fn on_all_processors<T>(work: impl FnOnce() -> T) -> T {
    let this_thread = Pid::from_raw(0);
    let bound = sched_getaffinity(this_thread);
    let (Ok(bound), Some(allowed)) = (bound, ALLOWED.get()) else {
        return work();
    };
    let _ = sched_setaffinity(this_thread, allowed);
    let outcome = work();
    let _ = sched_setaffinity(this_thread, &bound);
    outcome
}

/// Allows this process, and those that it starts, as many open files as the system lets it.
/// Returns how many.
pub(crate) fn raise_file_limit() -> anyhow::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(usize::try_from(hard).unwrap_or(usize::MAX))
}

/// What is left for processes and threads.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    /// Processes and threads that are there.
    tasks: u64,
    /// How many there may be, and who says so.
    limits: Vec<(&'static str, u64)>,
    /// What the kernel thinks can be had without swapping, in bytes.
    memory: u64,
}

impl Room {
    /// As it is now; `None` when /proc does not tell.
    pub(crate) fn now() -> Option<Room> {
        let limits = vec![
            ("pid_max", u64::try_from(kernel::pid_max().ok()?).ok()?),
            ("threads-max", kernel::threads_max().ok()?.into()),
            // It counts the tasks of one user, who may be all that there are.
            ("ulimit -u", getrlimit(Resource::RLIMIT_NPROC).ok()?.0),
        ];
        Some(Room {
            tasks: LoadAverage::current().ok()?.max.into(),
            limits,
            memory: Meminfo::current().ok()?.mem_available?,
        })
    }

    /// Why `count` more processes or threads, which take `bytes_each` each, do not fit. Asked
    /// before they are started: those that fit would leave nothing for anybody else.
    pub(crate) fn lacks(&self, count: usize, bytes_each: u64) -> Option<String> {
        // Other users and programs go on starting processes.
        const LEFT_TO_OTHERS: u64 = 1_000;
        let needed = self.tasks + count as u64 + LEFT_TO_OTHERS;
        if let Some((who, limit)) = self.limits.iter().find(|(_, limit)| needed > *limit) {
            return Some(format!("{who} is {limit}, and {} tasks are running", self.tasks));
        }
        // Half of it, since the figure is a guess of the kernel's.
        let too_much = (count as u64).saturating_mul(bytes_each) > self.memory / 2;
        too_much.then(|| format!("only {} MiB of memory are available", self.memory >> 20))
    }
}

/// Kernel, processor, how many of them, and how busy they are.
pub(crate) fn description() -> anyhow::Result<String> {
    let processors = CpuInfo::current()?;
    Ok(format!(
        "Linux {}, {} × {}, load {:.2}",
        fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        processors.num_cores(),
        processors.model_name(0).unwrap_or("processor unknown"),
        LoadAverage::current()?.one,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fits_is_tried() {
        let room = Room { tasks: 500, limits: vec![("pid_max", 12_000)], memory: 4 << 30 };
        let cases = [
            (10_000, 200 << 10, None),
            (10_500, 64 << 10, None),
            (10_501, 64 << 10, Some("pid_max is 12000, and 500 tasks are running")),
            (10_000, 300 << 10, Some("only 4096 MiB of memory are available")),
        ];
        for (count, bytes_each, expected) in cases {
            assert_eq!(room.lacks(count, bytes_each).as_deref(), expected, "{count}");
        }
    }
}
