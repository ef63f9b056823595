//! `cargo xtask ci`: what has to pass before a change lands.

use std::fmt;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

/// One call of cargo.
pub(crate) struct Step {
    name: &'static str,
    /// As one types them; none has a space in it.
    arguments: &'static str,
}

/// Where this workspace lies.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Where `cargo doc` finds what makes a warning an error. It is set for all steps.
const DOCUMENTATION_FLAGS: (&str, &str) = ("RUSTDOCFLAGS", "--deny warnings");

/// The steps in their order; what is quick comes first.
///
/// Everything is built in one profile, that of the tests, because a release build of the whole
/// workspace costs minutes.
pub(crate) const STEPS: &[Step] = &[
    Step { name: "format", arguments: "fmt --all --check" },
    Step { name: "tidy", arguments: "run --quiet --package xtask-checks -- tidy" },
    Step { name: "lints", arguments: "clippy --workspace --all-targets -- --deny warnings" },
    Step { name: "documentation", arguments: "doc --workspace --no-deps" },
    Step { name: "tests", arguments: "test --workspace" },
    Step { name: "fuzz", arguments: "run --quiet --package xtask -- fuzz --seconds 30" },
    Step { name: "soak", arguments: "run --quiet --package xtask -- soak --seconds 60" },
    // Not built from the archives (--no-verify): cargo keeps what it once unpacked of an
    // unpublished crate, so from the second run on a crate would be built against an old neighbour.
    Step {
        name: "packages",
        arguments: "package --quiet --workspace --exclude xtask --exclude xtask-bench \
                    --exclude xtask-checks --no-verify --allow-dirty --offline",
    },
];

/// Runs the steps in their order, up to the first that fails, and prints what each costs.
///
/// # Errors
///
/// When a step fails; the error names it.
pub(crate) fn run() -> anyhow::Result<()> {
    let count = STEPS.len();
    let mut out = io::stdout();
    let started = Instant::now();
    for (index, step) in STEPS.iter().enumerate() {
        let (number, name) = (index + 1, step.name);
        writeln!(out, "\n[{number}/{count}] {name}: {step}")?;
        let step_started = Instant::now();
        let status = Command::new("cargo")
            .args(step.arguments.split(' '))
            .envs([DOCUMENTATION_FLAGS])
            .current_dir(ROOT)
            .stdin(Stdio::null())
            .status()
            .context("cannot start cargo")?;
        let seconds = step_started.elapsed().as_secs_f32();
        if !status.success() {
            bail!("step {number} of {count} ({name}) failed after {seconds:.1} s: {step}");
        }
        writeln!(out, "[{number}/{count}] {name} passed in {seconds:.1} s")?;
    }
    let seconds = started.elapsed().as_secs_f32();
    writeln!(out, "\nall {count} steps passed in {seconds:.1} s")?;
    Ok(())
}

/// As one would type it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cargo {}", self.arguments)
    }
}
