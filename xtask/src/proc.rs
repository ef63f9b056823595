//! What the kernel tells about other processes, in the files of proc(5).
//!
//! Every function reads anew. A process may end between two reads: then the later one is an error.

use std::fs;
use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;
use procfs::process::{Process, all_processes};
use procfs::{ProcError, ProcResult};

/// One line of /proc/PID/stat.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// One letter: `R` runs, `S` sleeps, `T` is stopped, `Z` has ended and was not waited for.
    pub state: char,
    /// The process id of the parent.
    pub parent: i32,
    /// The processor time that its threads have used, in ticks of the kernel.
    pub processor_time: Duration,
    /// How many threads it has.
    pub threads: usize,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident, with every shared page counted in full.
    pub rss: u64,
    /// Resident, with every shared page divided by the number of processes that share it: the
    /// figure that may be added up over a tree.
    pub pss: u64,
    /// The part of `pss` that belongs to no file. The share of a program's text is not in it,
    /// which changes with every other process that runs the same program.
    pub allocated: u64,
}

/// What /proc/PID/stat says.
///
/// # Errors
///
/// When there is no such process.
pub fn stat(pid: i32) -> ProcResult<Stat> {
    stat_of(&Process::new(pid)?)
}

fn stat_of(process: &Process) -> ProcResult<Stat> {
    let stat = process.stat()?;
    let ticks = stat.utime + stat.stime;
    Ok(Stat {
        state: stat.state,
        parent: stat.ppid,
        processor_time: Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64),
        threads: stat.num_threads as usize,
    })
}

/// The children of `pid`, those that were not waited for included, lowest number first.
pub fn children(pid: i32) -> Vec<i32> {
    all_where(|stat| stat.parent == pid)
}

/// The children of `pid` that have ended and that nobody has waited for.
pub fn zombies(pid: i32) -> Vec<i32> {
    all_where(|stat| stat.parent == pid && stat.state == 'Z')
}

/// `pid` and everything below it that has not ended.
pub fn tree(pid: i32) -> Vec<i32> {
    let others: Vec<(i32, i32)> =
        all().filter(|(_, stat)| stat.state != 'Z').map(|(pid, stat)| (pid, stat.parent)).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = others.iter().filter(|(_, of)| *of == parent);
        found.extend(children.map(|(pid, _)| pid));
        next += 1;
    }
    found
}

/// Whether there is such a process, and it has not ended.
pub fn is_alive(pid: i32) -> bool {
    Process::new(pid).is_ok_and(|process| process.is_alive())
}

/// The open descriptors of a process: number and what it refers to, such as `socket:[4711]`,
/// `pipe:[4712]`, `anon_inode:[eventfd]` or a path.
///
/// # Errors
///
/// When there is no such process, or it belongs to somebody else.
pub fn descriptors(pid: i32) -> io::Result<Vec<(i32, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        // One that was closed since the directory was read is not open.
        if let (Ok(target), Some(number)) = (
            fs::read_link(entry.path()),
            entry.file_name().to_str().and_then(|name| name.parse().ok()),
        ) {
            found.push((number, target.to_string_lossy().into_owned()));
        }
    }
    found.sort();
    Ok(found)
}

/// The memory of a process, from /proc/PID/smaps_rollup.
///
/// # Errors
///
/// When there is no such process, or it belongs to somebody else.
pub fn memory(pid: i32) -> ProcResult<Memory> {
    let rollup = Process::new(pid)?.smaps_rollup()?.memory_map_rollup;
    let figures = rollup.0.first().map(|sum| &sum.extension.map);
    let bytes = |name: &str| figures?.get(name).copied();
    let memory =
        || Some(Memory { rss: bytes("Rss")?, pss: bytes("Pss")?, allocated: bytes("Pss_Anon")? });
    memory().ok_or(ProcError::Incomplete(None))
}

/// The memory of a process and all below it together (PSS), in bytes. A process that has ended
/// meanwhile holds nothing.
pub fn memory_of_tree(root: i32) -> u64 {
    tree(root).into_iter().filter_map(|pid| Some(memory(pid).ok()?.pss)).sum()
}

/// Whether `signal` was sent to the process as a whole and not yet delivered.
///
/// # Errors
///
/// When there is no such process.
pub fn is_pending(pid: i32, signal: Signal) -> ProcResult<bool> {
    let pending = Process::new(pid)?.status()?.shdpnd;
    Ok(pending & (1 << (signal as i32 - 1)) != 0)
}

fn all_where(holds: impl Fn(&Stat) -> bool) -> Vec<i32> {
    let mut found: Vec<i32> = all().filter(|(_, stat)| holds(stat)).map(|(pid, _)| pid).collect();
    found.sort_unstable();
    found
}

fn all() -> impl Iterator<Item = (i32, Stat)> {
    let processes = all_processes().into_iter().flatten().flatten();
    processes.filter_map(|process| Some((process.pid(), stat_of(&process).ok()?)))
}
