//! How the cost grows with the number of open connections: calls a second, memory, and
//! how fast connections open.
//!
//! All connections are open and all are busy: one thread writes a request on each of them, then
//! reads the reply of each, and begins again. Every model sees the same load, and the driver costs
//! the same a call however many connections there are.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;
use xtask::launch::Server;
use xtask::model::{MAX_WORKERS, Model};
use xtask::proc;

use crate::drivers::driver::{Connection, Driver as _, Sweep};
use crate::exchange::Exchange;
use crate::growth::report::{GrowthFigures, GrowthReport, GrowthRow};
use crate::machine::Room;
use crate::quartiles::Quartiles;
use crate::servers::server;
use crate::settings::Settings;

/// How many connections there are, if nobody asks for fewer.
const CONNECTIONS: [usize; 5] = [1, 10, 100, 1_000, 10_000];

/// How long all connections of one measurement together may take to open. A server that cannot
/// keep up is a finding and must not become a bench without an end.
const OPEN_TIMEOUT: Duration = Duration::from_secs(300);

/// What a process may take at most, the kernel's part included (page tables, stacks, socket).
const BYTES_A_PROCESS: u64 = 400 * 1024;

/// What a thread may take at most, likewise.
const BYTES_A_THREAD: u64 = 64 * 1024;

/// Descriptors of this process and of a server that are not connections.
const OTHER_FILES: usize = 200;

/// Measures `models` with up to `most` connections, `settings.rounds` times in turns.
///
/// Each turn has a server of its own: five servers that hold 10,000 connections each would not fit
/// on many machines. What a machine or a model cannot do is a reason in the table.
pub(crate) fn run(
    settings: &Settings,
    models: &[Model],
    most: usize,
    made: Vec<String>,
    progress: &ProgressBar,
) -> anyhow::Result<GrowthReport> {
    let mut cells: Vec<Cell> = Vec::new();
    for connections in CONNECTIONS.into_iter().filter(|&connections| connections <= most) {
        cells.extend(models.iter().map(|&model| Cell::new(settings, model, connections)));
    }
    progress.set_length((cells.len() * settings.rounds) as u64);
    for _ in 0..settings.rounds {
        for cell in &mut cells {
            progress.set_message(format!("{}, {}", cell.model, cell.connections));
            cell.turn(settings)?;
            progress.inc(1);
        }
    }
    Ok(GrowthReport { made, rows: cells.into_iter().map(Cell::into_row).collect() })
}

/// A model and a number of connections.
struct Cell {
    model: Model,
    connections: usize,
    rounds: Vec<Measured>,
    cannot: Option<String>,
}

impl Cell {
    fn new(settings: &Settings, model: Model, connections: usize) -> Cell {
        let cannot = cannot_hold(model, connections, settings.file_limit);
        Cell { model, connections, rounds: Vec::new(), cannot }
    }

    fn turn(&mut self, settings: &Settings) -> anyhow::Result<()> {
        if self.cannot.is_none() {
            // Looked at each time: others use the machine too.
            self.cannot = no_room_for(self.model, self.connections);
        }
        if self.cannot.is_some() {
            return Ok(());
        }
        match measure(settings, self.model, self.connections) {
            Ok(measured) => self.rounds.push(measured),
            // Every machine can hold one connection, so that is no finding but a fault.
            Err(error) if self.connections == 1 => {
                return Err(error).with_context(|| format!("one connection to {}", self.model));
            }
            Err(error) => self.cannot = Some(format!("{error:#}")),
        }
        Ok(())
    }

    fn into_row(self) -> GrowthRow {
        let quartiles =
            |figure: fn(&Measured) -> f64| Quartiles::of(self.rounds.iter().map(figure).collect());
        let figures = match self.cannot {
            Some(why) => Err(why),
            None => Ok(GrowthFigures {
                calls_per_second: quartiles(|measured| measured.calls_per_second),
                memory: quartiles(|measured| measured.memory as f64),
                opened_per_second: quartiles(|measured| measured.opened_per_second),
            }),
        };
        GrowthRow::new(self.model.name(), self.connections, figures)
    }
}

/// Why `model` cannot hold so many connections, by its nature or by what this process may open.
fn cannot_hold(model: Model, connections: usize, file_limit: usize) -> Option<String> {
    if model == Model::Single && connections > 1 {
        return Some("serves one connection at a time".to_owned());
    }
    if model == Model::Prefork && connections as u64 > MAX_WORKERS {
        return Some(format!("a worker a connection, and at most {MAX_WORKERS} workers"));
    }
    let possible = file_limit.saturating_sub(OTHER_FILES);
    (connections > possible).then(|| format!("the limit of open files is {file_limit}"))
}

fn no_room_for(model: Model, connections: usize) -> Option<String> {
    let bytes_each = match model {
        Model::Single => return None,
        Model::Thread | Model::PreforkThread => BYTES_A_THREAD,
        Model::Fork | Model::Prefork => BYTES_A_PROCESS,
    };
    Room::now()?.lacks(connections, bytes_each)
}

/// What one round came to.
struct Measured {
    calls_per_second: f64,
    /// Of all processes of the server, in bytes.
    memory: u64,
    opened_per_second: f64,
}

fn measure(settings: &Settings, model: Model, connections: usize) -> anyhow::Result<Measured> {
    let workers = if model == Model::Prefork { connections } else { settings.workers };
    let server =
        server::ours(settings, model, workers, &server::for_idle_connections(connections))?;
    let start = Instant::now();
    let open = open(settings, &server, connections)?;
    let opened_per_second = connections as f64 / start.elapsed().as_secs_f64();
    let mut sweep = Sweep(open);
    // Every thread and process has made its first call; now all of them have made one in a row.
    sweep.turn(Duration::ZERO)?;
    let turn = sweep.turn(settings.turn)?;
    Ok(Measured {
        calls_per_second: turn.calls as f64 / turn.elapsed.as_secs_f64(),
        memory: proc::memory_of_tree(server.pid()),
        opened_per_second,
    })
}

fn open(
    settings: &Settings,
    server: &Server,
    connections: usize,
) -> anyhow::Result<Vec<Connection>> {
    let address = server.socket_address()?;
    let exchange = Exchange::new(settings.called, settings.payload);
    let deadline = Instant::now() + OPEN_TIMEOUT;
    let mut open = Vec::with_capacity(connections);
    while open.len() < connections {
        ensure!(Instant::now() < deadline, "only {} within {OPEN_TIMEOUT:?}", open.len());
        let connection = Connection::open(address, &exchange, 1)
            .with_context(|| format!("connection {} of {connections}", open.len() + 1))?;
        open.push(connection);
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_not_asked_for_more_than_it_can_hold() {
        let cases = [
            (Model::Single, 1, 20_000, None),
            (Model::Single, 10, 20_000, Some("one connection at a time")),
            (Model::Prefork, 1_000, 20_000, None),
            (Model::Prefork, 10_000, 20_000, Some("1024 workers")),
            (Model::PreforkThread, 10_000, 20_000, None),
            (Model::Fork, 10_000, 20_000, None),
            (Model::Thread, 1_000, 1_024, Some("open files is 1024")),
        ];
        for (model, connections, files, expected) in cases {
            let why = cannot_hold(model, connections, files);
            let matches = match (&why, expected) {
                (Some(why), Some(part)) => why.contains(part),
                (why, expected) => why.is_none() && expected.is_none(),
            };
            assert!(matches, "{model}, {connections}: {why:?} instead of {expected:?}");
        }
    }
}
