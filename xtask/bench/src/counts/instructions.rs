//! Instructions that a server executes for a call in user space, counted by valgrind.

use std::fs;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;
use xtask::model::Model;

use crate::counts::watch_calls;
use crate::settings::Settings;

/// What a call of `echo` with 9 characters costs, with so many calls in flight. Lower these when
/// the code gets faster.
const RECORDED: [(usize, f64); 2] = [(1, 1139.0), (128, 959.0)];

/// Compilers and C libraries differ by this much.
const TOLERANCE: f64 = 0.10;

/// Writes of the driver in the shorter of two runs.
const WRITES: usize = 100;

/// Counts, prints, and compares.
///
/// # Errors
///
/// When there is no valgrind, or a call costs more than what was recorded.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let version = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::piped())
        .output()
        .context("--instructions NEEDS VALGRIND, and there is none")?;
    let comparable = settings.payload == 9 && !cfg!(debug_assertions);
    let mut grown = Vec::new();
    let mut text = String::new();
    for (depth, recorded) in RECORDED {
        let once = count(settings, depth, WRITES)?;
        let twice = count(settings, depth, 2 * WRITES)?;
        let a_call = (twice as f64 - once as f64) / (WRITES * depth) as f64;
        text += &format!(
            "{a_call:.0} instructions a call, server single, {} of {} characters, {depth} in \
             flight; recorded: {recorded:.0}\n",
            settings.called.method(),
            settings.payload,
        );
        if a_call > recorded * (1.0 + TOLERANCE) {
            grown.push(format!("{a_call:.0} at {depth} in flight, not {recorded:.0}"));
        }
    }
    text += &format!(
        "by {} --tool=callgrind, the difference of two runs\n",
        String::from_utf8_lossy(&version.stdout).trim()
    );
    if !comparable {
        text += "NOT COMPARED: the record is of a release build and 9 characters\n";
    }
    io::stdout().write_all(text.as_bytes())?;
    if comparable && !grown.is_empty() {
        bail!("instructions a call have grown: {}", grown.join("; "));
    }
    Ok(())
}

/// All instructions of a server's life with `writes` writes of `depth` requests each.
fn count(settings: &Settings, depth: usize, writes: usize) -> anyhow::Result<u64> {
    let log = NamedTempFile::new()?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--log-file={}", log.path().display()))
        .arg(&settings.program);
    watch_calls(valgrind, settings, Model::Single, depth, writes)?;
    let log = fs::read_to_string(log.path())?;
    let collected = log
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .with_context(|| format!("valgrind did not say what it collected: {log}"))?;
    Ok(collected.1.trim().parse()?)
}
