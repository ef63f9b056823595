//! A process and its descendants, as /proc shows them (proc(5)).

use std::fs;

/// One line of /proc/PID/stat, as far as it matters here.
struct Stat {
    pid: i32,
    parent: i32,
    state: char,
    threads: usize,
}

/// What a tree of processes uses.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    pub(super) processes: usize,
    pub(super) threads: usize,
    /// The proportional set size: a page that several processes map counts once, divided among
    /// them. `None` where the kernel does not tell.
    pub(super) pss_kib: Option<u64>,
}

/// Whether the process is gone, or a zombie that waits to be reaped.
pub(super) fn has_ended(pid: i32) -> bool {
    read_stat(pid).is_none_or(|stat| matches!(stat.state, 'Z' | 'X'))
}

pub(super) fn usage(root: i32) -> Usage {
    let tree = tree(root);
    Usage {
        processes: tree.len(),
        threads: tree.iter().map(|stat| stat.threads).sum(),
        pss_kib: tree.iter().map(|stat| read_pss_kib(stat.pid)).sum(),
    }
}

fn tree(root: i32) -> Vec<Stat> {
    let mut others: Vec<Stat> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read_stat)
        .filter(|stat| stat.state != 'Z')
        .collect();
    let mut tree: Vec<Stat> = others.extract_if(.., |stat| stat.pid == root).collect();
    let mut looked_at = 0;
    while let Some(parent) = tree.get(looked_at).map(|stat| stat.pid) {
        tree.extend(others.extract_if(.., |stat| stat.parent == parent));
        looked_at += 1;
    }
    tree
}

fn read_stat(pid: i32) -> Option<Stat> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold anything, parentheses included; no field after it does.
fn parse_stat(pid: i32, line: &str) -> Option<Stat> {
    let (_, fields) = line.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    Some(Stat {
        pid,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
    })
}

fn read_pss_kib(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 9 0 100 4096 1 2 3";
        let stat = parse_stat(7, line).expect("the line is whole");
        assert_eq!((stat.state, stat.parent, stat.threads), ('S', 3, 9));
    }
}
