//! `cargo xtask bench`: a package of its own, xtask/bench, so that the other commands build neither
//! it nor the library that draws its pictures.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

/// The options of `bench`, which its own program explains.
#[derive(clap::Args, Debug)]
pub struct Options {
    #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
    arguments: Vec<OsString>,
}

/// Builds the package and becomes its program, which gets all arguments as they came.
///
/// # Errors
///
/// When cargo cannot be started. Otherwise this does not return.
pub fn run(options: Options) -> anyhow::Result<()> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/Cargo.toml");
    let error = cargo()
        .args(["run", "--release", "--manifest-path", manifest, "--"])
        .args(options.arguments)
        .exec();
    Err(error).context("cannot start cargo")
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
