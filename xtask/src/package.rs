//! Commands that are packages of their own, so that the others build neither them nor what they
//! need: `bench` draws pictures, and the checks read Rust.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

/// The options of `bench`, which its own program explains.
#[derive(clap::Args, Debug)]
pub struct BenchOptions {
    #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
    arguments: Vec<OsString>,
}

/// Becomes the program of xtask/bench, which gets all arguments as they came.
///
/// # Errors
///
/// When cargo cannot be started. Otherwise this does not return.
pub fn bench(options: BenchOptions) -> anyhow::Result<()> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/Cargo.toml");
    become_program(
        cargo()
            .args(["run", "--release", "--manifest-path", manifest, "--"])
            .args(options.arguments),
    )
}

/// Becomes the program of xtask/checks, built as for the tests, which it runs.
///
/// # Errors
///
/// As [`bench()`].
pub fn check(what: &str) -> anyhow::Result<()> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/checks/Cargo.toml");
    become_program(cargo().args(["run", "--quiet", "--manifest-path", manifest, "--", what]))
}

fn become_program(command: &mut Command) -> anyhow::Result<()> {
    Err(command.exec()).context("cannot start cargo")
}

/// The cargo that runs this program, or the one of the path.
///
/// What `cargo run` says of this package is taken away: it would reach the build scripts of others,
/// and make them run again whenever this program is started in another way.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"CARGO_PKG_")
            || name.as_encoded_bytes().starts_with(b"CARGO_MANIFEST_")
        {
            cargo.env_remove(name);
        }
    }
    cargo
}
