//! `cargo xtask ci`: what has to pass before a change lands.
//!
//! The steps stand in `.ci/run`, once, as plain commands that also run without this program.
//! This one runs the same lines, says what each costs, and names the one that failed.

use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use cargo_metadata::MetadataCommand;

const SCRIPT: &str = ".ci/run";

/// Runs the steps of `.ci/run` in their order, up to the first that fails.
///
/// # Errors
///
/// When a step fails.
pub fn run() -> anyhow::Result<()> {
    let root = MetadataCommand::new().no_deps().exec()?.workspace_root;
    let script =
        fs::read_to_string(root.join(SCRIPT)).with_context(|| format!("cannot read {SCRIPT}"))?;
    let count = steps(&script).count();
    if count == 0 {
        bail!("{SCRIPT} has no step");
    }

    let mut out = io::stdout();
    let started = Instant::now();
    for (index, step) in steps(&script).enumerate() {
        let number = index + 1;
        writeln!(out, "\n[{number}/{count}] {step}")?;
        let step_started = Instant::now();
        let status = Command::new("bash")
            .args(["-c", step])
            .current_dir(&root)
            .stdin(Stdio::null())
            .status()
            .context("cannot start bash")?;
        let seconds = step_started.elapsed().as_secs_f32();
        if !status.success() {
            bail!("step {number} of {count} failed after {seconds:.1} s ({status}): {step}");
        }
        writeln!(out, "[{number}/{count}] passed in {seconds:.1} s")?;
    }
    let seconds = started.elapsed().as_secs_f32();
    writeln!(out, "\nall {count} steps passed in {seconds:.1} s")?;
    Ok(())
}

/// The steps of a script: its lines that call cargo, perhaps behind assignments of variables.
pub fn steps(script: &str) -> impl Iterator<Item = &str> {
    script.lines().filter(|line| {
        line.starts_with("cargo ") || (line.contains(" cargo ") && begins_with_assignment(line))
    })
}

fn begins_with_assignment(line: &str) -> bool {
    let is_name_char = |c: char| c.is_ascii_uppercase() || c == '_';
    let value = line.trim_start_matches(is_name_char);
    value.len() < line.len() && value.starts_with('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_the_lines_that_call_cargo() {
        let script = "#!/usr/bin/env bash\n# Not this cargo test.\nset -euo pipefail\n\
            cd \"$(dirname \"$0\")/..\"\n\ncargo fmt --check\nFLAGS=\"--deny warnings\" cargo doc\n\
            echo cargo test\n";
        let steps: Vec<_> = steps(script).collect();
        let expected = ["cargo fmt --check", "FLAGS=\"--deny warnings\" cargo doc"];
        assert_eq!(steps, expected);
    }
}
