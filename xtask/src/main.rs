//! `cargo xtask COMMAND`; see [`xtask`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rpc_core::{EXIT_GRACE_EXPIRED, ServeError};
use rpc_server_prefork::NeverReady;

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
    #[command(disable_help_flag = true)]
    Bench(xtask::package::BenchOptions),
    /// Send hostile bytes to a server of every model
    Fuzz(xtask::fuzz::Options),
    /// Let good and bad clients, kills and reloads loose on every model, and check every reply
    Soak(xtask::soak::Options),
    /// Run everything that has to pass before a change lands, the steps of .ci/run
    Ci,
    /// Check what docs/architecture.md promises about the code
    Tidy,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(options) => xtask::demo::run(options),
        Command::Serve(options) => xtask::serve::run(*options),
        Command::Call(options) => xtask::call::run(options),
        Command::Top(options) => xtask::top::run(options),
        Command::Fuzz(options) => xtask::fuzz::run(options),
        Command::Soak(options) => xtask::soak::run(options),
        Command::Bench(options) => xtask::package::bench(options),
        Command::Ci => xtask::package::check("ci"),
        Command::Tidy => xtask::package::check("tidy"),
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

/// When the grace is over, some models end from within a signal handler, with a status of its own.
/// The others return the same as an error, and a supervisor must not have to know which model is
/// which.
fn status_of(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        Some(ServeError::Unfinished { .. }) => {
            u8::try_from(EXIT_GRACE_EXPIRED).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Some(ServeError::Model(source)) if source.is::<NeverReady>() => {
            ExitCode::from(EXIT_NEVER_READY)
        }
        _ => ExitCode::FAILURE,
    }
}
