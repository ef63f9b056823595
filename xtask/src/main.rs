//! `cargo xtask COMMAND`; see [`xtask`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Servers and clients of this workspace, launched together"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve in the foreground until SIGTERM or SIGINT
    Serve(xtask::serve::Options),
    /// Call a method of a running server and print the reply
    Call(xtask::call::Options),
    /// Measure what a user would pick instead, each with its own client, beside the thread server
    BenchPeers(xtask::bench::peers_command::Options),
    /// Calls of the project's client, for bench-peers
    #[command(hide = true)]
    Drive(xtask::bench::drive::Options),
    /// Run everything that has to pass before a change lands, the steps of .ci/run
    Ci,
    /// Check what docs/architecture.md promises about the code
    Tidy,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(options) => xtask::serve::run(options),
        Command::Call(options) => xtask::call::run(options),
        Command::BenchPeers(options) => xtask::bench::peers_command::run(options),
        Command::Drive(options) => xtask::bench::drive::run(options),
        Command::Ci => xtask::ci::run(),
        Command::Tidy => xtask::tidy::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            xtask::log::say_error(&error);
            ExitCode::FAILURE
        }
    }
}
