//! `--syscalls` and `--instructions`: what a call costs in numbers that no neighbour disturbs.
//!
//! Whatever is a time or a rate belongs into another folder.

pub(crate) mod instructions;
pub(crate) mod system_calls;

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use crate::drivers::driver::Connection;
use crate::exchange::Exchange;
use crate::servers::server;
use crate::settings::Settings;

/// A server that is watched is slow.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts a server under `tool`, makes `writes` writes of `depth` calls each on one connection, and
/// stops it, so that the tool tells what it has counted.
fn watch_calls(
    tool: Command,
    settings: &Settings,
    model: Model,
    depth: usize,
    writes: usize,
) -> anyhow::Result<()> {
    let mut watched = Server::start_command(server::quiet(tool, model, 1))?;
    let exchange = Exchange::new(settings.called, settings.payload);
    let mut connection = Connection::open(watched.socket_address()?, &exchange, depth)?;
    for _ in 0..writes {
        connection.call()?;
    }
    drop(connection);
    // strace has the server as its child, and would end the counting at a signal. valgrind becomes
    // the server.
    let server = proc::children(watched.pid()).first().copied().unwrap_or(watched.pid());
    kill(Pid::from_raw(server), Signal::SIGTERM)?;
    let status = watched.wait(STOP_TIMEOUT)?;
    ensure!(status.success(), "the server ended with {status}");
    Ok(())
}
