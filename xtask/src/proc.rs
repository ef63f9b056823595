//! What the kernel tells about other processes, from the files of proc(5).
//!
//! Every function reads anew. A process may end between two reads: then the later one is an error.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

/// The unit of the times in /proc/PID/stat, as Linux shows it on every architecture of today.
const TICK: Duration = Duration::from_millis(10);

/// One line of /proc/PID/stat.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// One letter: `R` runs, `S` sleeps, `T` is stopped, `Z` has ended and was not waited for.
    pub state: char,
    /// The process id of the parent.
    pub parent: i32,
    /// The processor time that its threads have used, in ticks of 10 ms.
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
pub fn stat(pid: i32) -> io::Result<Stat> {
    let text = fs::read_to_string(file(pid, "stat"))?;
    // The name stands in parentheses and may contain anything, parentheses and spaces too.
    let after_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split(' ').collect();
    let field = |number: usize| {
        // Numbered as in proc(5), where the state is field 3.
        fields.get(number - 3).ok_or_else(|| unexpected(pid, "stat"))
    };
    let number = |at: usize| field(at)?.parse().map_err(|_| unexpected(pid, "stat"));
    let state = field(3)?.chars().next();
    Ok(Stat {
        state: state.ok_or_else(|| unexpected(pid, "stat"))?,
        parent: number(4)?,
        processor_time: TICK * (number(14)? + number(15)?) as u32,
        threads: number(20)? as usize,
    })
}

/// The children of `pid`, those that were not waited for included, oldest number first.
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
    stat(pid).is_ok_and(|stat| stat.state != 'Z' && stat.state != 'X')
}

/// The open descriptors of a process: number and what it refers to, such as `socket:[4711]`,
/// `pipe:[4712]`, `anon_inode:[eventfd]` or a path.
///
/// # Errors
///
/// When there is no such process, or it belongs to somebody else.
pub fn descriptors(pid: i32) -> io::Result<Vec<(i32, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(file(pid, "fd"))? {
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
pub fn memory(pid: i32) -> io::Result<Memory> {
    let text = fs::read_to_string(file(pid, "smaps_rollup"))?;
    let kibibytes = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_suffix(" kB"))
            .and_then(|number| number.trim().parse::<u64>().ok())
            .ok_or_else(|| unexpected(pid, "smaps_rollup"))
    };
    Ok(Memory {
        rss: kibibytes("Rss:")? * 1024,
        pss: kibibytes("Pss:")? * 1024,
        allocated: kibibytes("Pss_Anon:")? * 1024,
    })
}

/// Whether `signal` was sent to the process as a whole and not yet delivered.
///
/// # Errors
///
/// When there is no such process.
pub fn is_pending(pid: i32, signal: Signal) -> io::Result<bool> {
    is_in_set(pid, "ShdPnd:", signal)
}

/// Whether the first thread of the process keeps `signal` waiting.
///
/// # Errors
///
/// When there is no such process.
pub fn is_blocked(pid: i32, signal: Signal) -> io::Result<bool> {
    is_in_set(pid, "SigBlk:", signal)
}

fn is_in_set(pid: i32, set: &str, signal: Signal) -> io::Result<bool> {
    let mask = u64::from_str_radix(status_field(pid, set)?.trim(), 16);
    let mask = mask.map_err(|_| unexpected(pid, "status"))?;
    Ok(mask & (1 << (signal as i32 - 1)) != 0)
}

/// How often the process has gone to sleep of its own accord: a count that moves when it does
/// something.
///
/// # Errors
///
/// When there is no such process.
pub fn switches(pid: i32) -> io::Result<u64> {
    let number = status_field(pid, "voluntary_ctxt_switches:")?;
    number.trim().parse().map_err(|_| unexpected(pid, "status"))
}

/// The processors that the first thread of the process may use.
///
/// # Errors
///
/// When there is no such process.
pub fn processors(pid: i32) -> io::Result<Vec<usize>> {
    let list = status_field(pid, "Cpus_allowed_list:")?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| unexpected(pid, "status"));
    let mut processors = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        processors.extend(number(first)?..=number(last)?);
    }
    Ok(processors)
}

fn status_field(pid: i32, name: &str) -> io::Result<String> {
    let text = fs::read_to_string(file(pid, "status"))?;
    let field = text.lines().find_map(|line| line.strip_prefix(name));
    field.map(str::to_owned).ok_or_else(|| unexpected(pid, "status"))
}

fn all_where(holds: impl Fn(&Stat) -> bool) -> Vec<i32> {
    let mut found: Vec<i32> = all().filter(|(_, stat)| holds(stat)).map(|(pid, _)| pid).collect();
    found.sort_unstable();
    found
}

fn all() -> impl Iterator<Item = (i32, Stat)> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, stat(pid).ok()?)))
}

fn file(pid: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

fn unexpected(pid: i32, name: &str) -> io::Error {
    let message = format!("/proc/{pid}/{name} does not look as expected");
    io::Error::new(io::ErrorKind::InvalidData, message)
}
