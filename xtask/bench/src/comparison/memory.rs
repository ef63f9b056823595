//! What an idle connection costs in memory.

use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use xtask::model::Model;
use xtask::proc;

use crate::comparison::report::{Figure, Row, Target};
use crate::drivers::driver::Connection;
use crate::exchange::Exchange;
use crate::servers::server;
use crate::settings::Settings;

/// How long a server may take to give back the buffers of a large call.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(3);

/// The memory of the whole process tree (PSS) with `settings.idle` connections that have made one
/// call each, less that of the tree without them, a connection.
pub(crate) fn of_idle_connections(
    settings: &Settings,
    model: Model,
    at_most: u64,
    progress: &ProgressBar,
) -> anyhow::Result<Row> {
    let count = settings.idle;
    let server =
        server::ours(settings, model, settings.workers, &server::for_idle_connections(count))?;
    let address = server.socket_address()?;
    let exchange = Exchange::new(settings.called, settings.payload);
    // What the first connection makes the server set up is not a matter of each connection.
    let first = Connection::open(address, &exchange, 1)?;
    let before = proc::memory_of_tree(server.pid());
    let connections = Connection::open_all(address, &exchange, count, 1)?;
    let with_them = proc::memory_of_tree(server.pid());
    drop((first, connections));
    progress.inc(settings.rounds as u64);
    let each = with_them.saturating_sub(before) / count as u64;
    Ok(row(format!("{model}, {count} idle"), each, at_most))
}

/// The memory that one connection holds after a large call, once it has fallen silent.
pub(crate) fn after_large_call(
    settings: &Settings,
    payload: usize,
    progress: &ProgressBar,
) -> anyhow::Result<Row> {
    let model = Model::Thread;
    let server = server::ours(settings, model, settings.workers, &server::for_idle_connections(2))?;
    let address = server.socket_address()?;
    let small = Exchange::new(settings.called, settings.payload);
    // Stays open: what it gives back at its end must not count against the other.
    let first = Connection::open(address, &small, 1)?;
    let before = proc::memory(server.pid())?.allocated;
    let large = Exchange::new(settings.called, payload);
    let connection = Connection::open(address, &large, 1)?;
    // Half a frame means that neither of the two buffers is left.
    let at_most = payload as u64 / 2;
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    let held = loop {
        let held = proc::memory(server.pid())?.allocated.saturating_sub(before);
        if held <= at_most || Instant::now() > deadline {
            break held;
        }
        // No event tells, so look again.
        thread::yield_now();
    };
    drop((first, connection));
    progress.inc(settings.rounds as u64);
    Ok(row(format!("{model}, large call"), held, at_most))
}

fn row(subject: String, bytes: u64, at_most: u64) -> Row {
    let (figure, target) = (Figure::Memory { bytes }, Target::Bytes { at_most });
    Row::alone(subject, figure, target, bytes <= at_most)
}
