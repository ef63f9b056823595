//! A server of every model, and whether they are as well as before.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rpc_client::Client;
use rpc_proto::Address;
use rpc_proto::stats::{STATS, Stats};

use super::stream::LIMIT;
use crate::launch::Server;
use crate::model::Model;
use crate::proc;

/// How long a server may take to notice that its peers have gone, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process may hold so much more memory than after its first connections, in bytes: the largest
/// frame and its reply for each connection at a time, and what the allocator keeps of them.
const MAX_GROWTH: u64 = 4 * 1024 * 1024;

/// A server of every model.
pub(super) struct Fleet(Vec<Ship>);

struct Ship {
    model: Model,
    server: Server,
    address: SocketAddr,
    /// What was there when it had served its first connections.
    first: Option<State>,
}

#[derive(Clone, PartialEq, Eq)]
struct State {
    processes: Vec<i32>,
    memory: u64,
}

impl Fleet {
    /// Starts them. They end with this process or when they are dropped.
    pub(super) fn start() -> anyhow::Result<Fleet> {
        let start = |&model: &Model| {
            let mut command = Command::new(std::env::current_exe()?);
            command
                .args(["serve", model.name(), "--addr", "127.0.0.1:0", "--workers", "2"])
                .args(["--fault-methods", "--log", "error", "--max-frame-len"])
                .arg(LIMIT.to_string())
                // Handlers panic on purpose here.
                .stderr(Stdio::null());
            let server = Server::start_command(command)?;
            let Address::Tcp(address) = server.address() else {
                bail!("{model} listens on {}", server.address());
            };
            Ok(Ship { model, address: address.parse()?, server, first: None })
        };
        Ok(Fleet(Model::ALL.iter().map(start).collect::<Result<_, _>>()?))
    }

    /// The server that a seed is for.
    pub(super) fn address_for(&self, seed: u64) -> (Model, SocketAddr) {
        let ship = &self.0[(seed % self.0.len() as u64) as usize];
        (ship.model, ship.address)
    }

    /// Checks that every server serves, that no process has died, that no connection is left, and
    /// that its memory is where it was. Nobody else may be connected.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        for ship in &mut self.0 {
            ship.check().with_context(|| format!("{} afterwards", ship.model))?;
        }
        Ok(())
    }

    /// Prints how much memory each holds.
    pub(super) fn report(&mut self) -> anyhow::Result<()> {
        let mut out = io::stdout();
        for ship in &mut self.0 {
            let (stats, now) = ship.look()?;
            let before = ship.first.as_ref().map_or(0, |first| first.memory);
            writeln!(
                out,
                "  {:<14} {:>8} connections {:>9} calls   memory {:>6} KiB, at first {:>6} KiB",
                ship.model,
                stats.connections.accepted,
                stats.calls.total,
                now.memory / 1024,
                before / 1024,
            )?;
        }
        Ok(())
    }

    /// Stops them, as an operator would.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        for ship in &mut self.0 {
            let status = ship.server.stop(PATIENCE).context("a stop")?;
            ensure!(status.success(), "{} ended with {status}", ship.model);
        }
        Ok(())
    }
}

impl Ship {
    fn check(&mut self) -> anyhow::Result<()> {
        let (stats, now) = self.look()?;
        // A child of fork ends with its connection.
        let died = stats.deaths.iter().filter(|(reason, _)| *reason != "clean");
        let died: Vec<_> = died.collect();
        ensure!(died.is_empty(), "processes have died: {died:?}");
        ensure!(stats.calls.lost == 0, "{} handlers were given up", stats.calls.lost);
        let Some(first) = &self.first else {
            self.first = Some(now);
            return Ok(());
        };
        if self.model != Model::Fork {
            let (before, after) = (&first.processes, &now.processes);
            ensure!(before == after, "its processes were {before:?} and are {after:?}");
        }
        let most = first.memory + MAX_GROWTH * now.processes.len() as u64;
        ensure!(now.memory <= most, "it holds {} bytes, at first {}", now.memory, first.memory);
        Ok(())
    }

    /// Asks as a new client, until this client is the only one.
    fn look(&self) -> anyhow::Result<(Stats, State)> {
        let mut client = Client::connect(self.server.address())?;
        let deadline = Instant::now() + PATIENCE;
        let stats = loop {
            let stats = client.call(STATS, &())?;
            if stats.connections.open <= 1 {
                break stats;
            }
            ensure!(Instant::now() < deadline, "{} connections are left", stats.connections.open);
        };
        let processes = proc::tree(self.server.pid());
        let memory = processes.iter().filter_map(|&pid| Some(proc::memory(pid).ok()?.allocated));
        Ok((stats, State { memory: memory.sum(), processes }))
    }
}
