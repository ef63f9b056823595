//! The processes below a process, and the memory that they hold together; see proc(5).

use std::{fs, io};

use anyhow::Context as _;
use nix::errno::Errno;

/// The children of `root`, their children, and so on.
pub(super) fn descendants(root: i32) -> anyhow::Result<Vec<i32>> {
    let parents = parents()?;
    let mut found = vec![root];
    let mut looked_at = 0;
    while let Some(&parent) = found.get(looked_at) {
        let children = parents.iter().filter(|(_, its_parent)| *its_parent == parent);
        found.extend(children.map(|(pid, _)| pid));
        looked_at += 1;
    }
    found.remove(0);
    Ok(found)
}

/// Every process and its parent.
fn parents() -> anyhow::Result<Vec<(i32, i32)>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that has just ended is nobody's child any more.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name of the program stands in parentheses and may contain anything.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        if let Some(parent) = fields.split_whitespace().nth(1) {
            parents.push((pid, parent.parse()?));
        }
    }
    Ok(parents)
}

/// The proportional set size of `root` and everything below it, in bytes: a page that several
/// processes share counts once in all.
pub(super) fn memory_of_tree(root: i32) -> anyhow::Result<u64> {
    let mut sum = memory_of(root, "Pss:")?;
    for pid in descendants(root)? {
        sum += memory_of(pid, "Pss:")?;
    }
    Ok(sum)
}

/// What a process has allocated, in bytes. Its share of the program's text is left out: that
/// depends on who else runs the program.
pub(super) fn allocated_memory_of(pid: i32) -> anyhow::Result<u64> {
    memory_of(pid, "Pss_Anon:")
}

/// Zero for a process that has ended meanwhile.
fn memory_of(pid: i32, measure: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = match fs::read_to_string(&path) {
        Err(error) if has_ended(&error) => return Ok(0),
        rollup => rollup.with_context(|| format!("cannot read {path}"))?,
    };
    let kibibytes: u64 = rollup
        .lines()
        .find_map(|line| line.strip_prefix(measure))
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("{path} has no line {measure}"))?
        .parse()?;
    Ok(kibibytes * 1024)
}

fn has_ended(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOENT | Errno::ESRCH))
}
