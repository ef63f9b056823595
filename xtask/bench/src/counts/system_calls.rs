//! System calls a call in steady state, counted by strace: one read and one write on each side.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use tempfile::NamedTempFile;
use xtask::model::Model;

use crate::counts::watch_calls;
use crate::servers::server;
use crate::settings::Settings;

/// Calls in the shorter of two runs.
const CALLS: usize = 500;

/// Start and stop are not alike to the last call. Less than one in a hundred is theirs.
const CALLS_OF_START_AND_STOP: i64 = 4;

const ATTEMPTS: usize = 10;

const READS: [&str; 3] = ["read", "recvfrom", "recvmsg"];
const WRITES: [&str; 3] = ["write", "sendto", "sendmsg"];

/// How often each system call was made.
type Counts = BTreeMap<String, i64>;

/// Counts, prints, and compares.
///
/// # Errors
///
/// When there is no strace, or a call costs anything but one read and one write.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let found = Command::new("strace").arg("--version").output();
    found.context("--syscalls NEEDS STRACE, and there is none")?;
    let mut text = String::new();
    let mut wrong = Vec::new();
    for who in Model::ALL.map(Some).into_iter().chain([None]) {
        let name = who.map_or("client".to_owned(), |model| format!("server {model}"));
        let more = more_of_more_calls(settings, who)?;
        let each: Vec<String> = more
            .iter()
            .map(|(name, count)| format!("{} {name}", *count as f64 / CALLS as f64))
            .collect();
        text += &format!("{name}: {} a call\n", each.join(", "));
        if !is_one_read_and_one_write(&more) {
            wrong.push(name);
        }
    }
    text += &format!("by strace -f -c, the difference of {CALLS} and {} calls\n", 2 * CALLS);
    io::stdout().write_all(text.as_bytes())?;
    if !wrong.is_empty() {
        bail!("not one read and one write a call: {}", wrong.join(", "));
    }
    Ok(())
}

/// What twice as many calls cost more, to a server or to the client.
///
/// An attempt that the scheduler interrupts may cost more: the client sets a time-out anew when a
/// call was held up for a millisecond, which strace makes likely. The first that costs what it
/// should counts, else the last.
fn more_of_more_calls(settings: &Settings, server: Option<Model>) -> anyhow::Result<Counts> {
    let count = |calls| match server {
        Some(model) => count_server(settings, model, calls),
        None => count_client(settings, calls),
    };
    let mut more = Counts::new();
    for _ in 0..ATTEMPTS {
        more = difference(&count(CALLS)?, &count(2 * CALLS)?);
        if is_one_read_and_one_write(&more) {
            break;
        }
    }
    Ok(more)
}

fn difference(once: &Counts, twice: &Counts) -> Counts {
    let mut more = twice.clone();
    for (name, count) in once {
        *more.entry(name.clone()).or_default() -= count;
    }
    more.retain(|_, count| count.abs() > CALLS_OF_START_AND_STOP);
    more
}

fn is_one_read_and_one_write(more: &Counts) -> bool {
    let calls = CALLS as i64;
    let is_one_of = |names: [&str; 3]| {
        let count: i64 = names.iter().filter_map(|&name| more.get(name)).sum();
        count.abs_diff(calls) <= CALLS_OF_START_AND_STOP as u64
    };
    more.len() == 2 && is_one_of(READS) && is_one_of(WRITES)
}

fn strace(output: &NamedTempFile, settings: &Settings) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(output.path()).arg(&settings.program);
    strace
}

fn count_server(settings: &Settings, model: Model, calls: usize) -> anyhow::Result<Counts> {
    let output = NamedTempFile::new()?;
    watch_calls(strace(&output, settings), settings, model, 1, calls)?;
    parse(&fs::read_to_string(output.path())?)
}

fn count_client(settings: &Settings, calls: usize) -> anyhow::Result<Counts> {
    let server = server::ours(settings, Model::Single, settings.workers, &[])?;
    let output = NamedTempFile::new()?;
    let status = strace(&output, settings)
        .args(["client", &server.socket_address()?.to_string()])
        .args([&calls.to_string(), "--payload", &settings.payload.to_string()])
        .status()?;
    ensure!(status.success(), "the client under strace ended with {status}");
    parse(&fs::read_to_string(output.path())?)
}

/// The table of `strace -c`: the fourth column counts, the last one names.
fn parse(table: &str) -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    for line in table.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if let [share, _, _, calls, .., name] = columns[..]
            && share.parse::<f64>().is_ok()
            && name != "total"
        {
            counts.insert(name.to_owned(), calls.parse()?);
        }
    }
    ensure!(!counts.is_empty(), "strace counted nothing: {table:?}");
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.54    0.000048           0       503           sendto
 38.46    0.000030           0       504         1 recvfrom
  0.00    0.000000           0         9         2 poll
------ ----------- ----------- --------- --------- ----------------
100.00    0.000078           0      1016         3 total
";

    #[test]
    fn the_table_of_strace_is_read_with_and_without_errors() -> anyhow::Result<()> {
        let expected = [("poll", 9), ("recvfrom", 504), ("sendto", 503)];
        let expected = expected.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(parse(TABLE)?, Counts::from(expected));
        assert!(parse("").is_err());
        Ok(())
    }

    #[test]
    fn anything_but_a_read_and_a_write_a_call_is_noticed() {
        let calls = CALLS as i64;
        let cases: [(&[(&str, i64)], bool); 6] = [
            (&[("recvfrom", calls), ("sendto", calls)], true),
            (&[("read", calls + 1), ("write", calls), ("brk", 2)], true),
            (&[("read", calls), ("sendto", calls), ("poll", calls)], false),
            (&[("read", 2 * calls), ("sendto", calls)], false),
            (&[("sendto", calls)], false),
            (&[("read", calls), ("write", calls), ("setsockopt", 5)], false),
        ];
        for (more, expected) in cases {
            let twice = more.iter().map(|&(name, count)| (name.to_owned(), count));
            let more = difference(&Counts::new(), &twice.collect());
            assert_eq!(is_one_read_and_one_write(&more), expected, "{more:?}");
        }
    }
}
