//! `cargo xtask ci` and `cargo xtask tidy`: what has to pass before a change lands.
//!
//! What reads the sources of this workspace belongs here, and what starts a server into `xtask`.

#![forbid(unsafe_code)]

mod ci;
mod documents;
mod manifests;
mod repository;
mod sources;
mod tidy;
mod violation;

use std::env;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::bail;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    match env::args().nth(1).as_deref() {
        Some("ci") => ci::run(),
        Some("tidy") => tidy::run(),
        _ => bail!("expected `ci` or `tidy`"),
    }
}
