//! `cargo xtask COMMAND`; see [`xtask`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rpc_core::{EXIT_GRACE_EXPIRED, ServeError};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    version,
    about = "Servers and clients of this workspace, launched together"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show every model and measure what differs between them
    Demo(xtask::demo::Options),
    /// Serve in the foreground until SIGTERM or SIGINT
    Serve(Box<xtask::serve::Options>),
    /// Call a method of a running server and print the reply
    Call(xtask::call::Options),
    /// Show live what a running server is doing
    Top(xtask::top::Options),
    /// Measure the models against bare servers that parse nothing
    Bench(xtask::bench::Options),
    /// Send hostile bytes to a server of every model
    Fuzz(xtask::fuzz::Options),
    /// Let good and bad clients, kills and reloads loose on every model, and check every reply
    Soak(xtask::soak::Options),
    /// Run everything that has to pass before a change lands, the steps of .ci/run
    Ci,
    /// Check what docs/architecture.md promises about the code
    Tidy,
    /// A bare server that bench compares with
    #[command(hide = true)]
    RawEcho(xtask::bench::RawEchoOptions),
    /// Bare workers that wait for connections in one of four ways, for bench --accept
    #[command(hide = true)]
    RawAccept(xtask::bench::RawAcceptOptions),
    /// Calls of the project's client, for bench to count system calls
    #[command(hide = true)]
    BenchClient(xtask::bench::BenchClientOptions),
    /// Calls of the project's client for a while, for bench --peers
    #[command(hide = true)]
    Drive(xtask::bench::DriveOptions),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(options) => xtask::demo::run(options),
        Command::Serve(options) => xtask::serve::run(*options),
        Command::Call(options) => xtask::call::run(options),
        Command::Top(options) => xtask::top::run(options),
        Command::Fuzz(options) => xtask::fuzz::run(options),
        Command::Soak(options) => xtask::soak::run(options),
        Command::Ci => xtask::ci::run(),
        Command::Tidy => xtask::tidy::run(),
        Command::Bench(options) => xtask::bench::run(options),
        Command::RawEcho(options) => xtask::bench::run_raw_echo(options),
        Command::RawAccept(options) => xtask::bench::run_raw_accept(options),
        Command::BenchClient(options) => xtask::bench::run_client(options),
        Command::Drive(options) => xtask::bench::run_drive(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            xtask::log::say_error(&error);
            status_of(&error)
        }
    }
}

/// The server never had a worker that could serve; the number that Gunicorn uses for it.
const EXIT_NEVER_READY: u8 = 3;

/// A grace that is over ends some models from within a signal handler, with a status of its own.
/// The others return the same news as an error, and whoever supervises them must not have to know
/// which model is which.
fn status_of(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        Some(ServeError::Unfinished { .. }) => {
            u8::try_from(EXIT_GRACE_EXPIRED).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Some(ServeError::NeverReady { .. }) => ExitCode::from(EXIT_NEVER_READY),
        _ => ExitCode::FAILURE,
    }
}
