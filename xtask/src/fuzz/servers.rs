//! A server of every model, and whether they are as well as before.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rpc_proto::stats::{STATS, Stats};

use super::input::stream::LIMIT;
use crate::launch::usage::Usage;
use crate::launch::{self, Server};
use crate::model::Model;

/// How long a server may take to notice that its peers have gone, and to stop.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A process may hold so much more memory than after its first connections, in bytes: the largest
/// frame and its reply for each connection at a time, and what the allocator keeps of them.
const MAX_GROWTH: u64 = 4 * 1024 * 1024;

/// A server of every model.
pub(super) struct Servers(Vec<Watched>);

struct Watched {
    model: Model,
    server: Server,
    address: SocketAddr,
    /// What it took when it had served its first connections.
    first: Option<Usage>,
}

impl Servers {
    /// Starts them. They end with this process or when they are dropped.
    pub(super) fn start() -> anyhow::Result<Servers> {
        let start = |&model: &Model| {
            let mut command = launch::serve(Command::new(std::env::current_exe()?), model);
            command
                .args(["--workers", "2", "--fault-methods", "--log", "error"])
                .args(["--max-frame-len", &LIMIT.to_string()])
                // Handlers panic on purpose here.
                .stderr(Stdio::null());
            let server = Server::start_command(command)?;
            Ok(Watched { model, address: server.socket_address()?, server, first: None })
        };
        Ok(Servers(Model::ALL.iter().map(start).collect::<anyhow::Result<_>>()?))
    }

    /// The server that a seed is for.
    pub(super) fn address_for(&self, seed: u64) -> (Model, SocketAddr) {
        let watched = &self.0[(seed % self.0.len() as u64) as usize];
        (watched.model, watched.address)
    }

    /// Checks that every server serves, that no process has died, that no connection is left, and
    /// that its memory is where it was. Nobody else may be connected.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        for watched in &mut self.0 {
            watched.check().with_context(|| format!("{} afterwards", watched.model))?;
        }
        Ok(())
    }

    /// Prints how much memory each holds.
    pub(super) fn report(&self) -> anyhow::Result<()> {
        let mut out = io::stdout();
        for watched in &self.0 {
            let (stats, now) = watched.look()?;
            let before = watched.first.as_ref().map_or(0, |first| first.memory.allocated);
            writeln!(
                out,
                "  {:<14} {:>8} connections {:>9} calls   memory {:>6} KiB, at first {:>6} KiB",
                watched.model,
                stats.connections.accepted,
                stats.calls.total,
                now.memory.allocated / 1024,
                before / 1024,
            )?;
        }
        Ok(())
    }

    /// Stops them, as an operator would.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        for watched in &mut self.0 {
            let status = watched.server.stop(TIMEOUT).context("a stop")?;
            ensure!(status.success(), "{} ended with {status}", watched.model);
        }
        Ok(())
    }
}

impl Watched {
    fn check(&mut self) -> anyhow::Result<()> {
        let (stats, now) = self.look()?;
        // A child of fork ends with its connection; no other process may end at all.
        let is_meant = |reason: &str| self.model == Model::Fork && reason == "clean";
        let died: Vec<_> = stats.deaths.iter().filter(|(reason, _)| !is_meant(reason)).collect();
        ensure!(died.is_empty(), "processes have died: {died:?}");
        ensure!(stats.calls.lost == 0, "{} handlers were given up", stats.calls.lost);
        let Some(first) = &self.first else {
            self.first = Some(now);
            return Ok(());
        };
        let most = first.memory.allocated + MAX_GROWTH * now.processes as u64;
        ensure!(now.memory.allocated <= most, "it took {first} at first, and takes {now}");
        Ok(())
    }

    /// Asks as a new client, until this client is the only one.
    fn look(&self) -> anyhow::Result<(Stats, Usage)> {
        let mut client = self.server.connect()?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let stats = client.call(STATS, &())?;
            if stats.connections.open <= 1 {
                return Ok((stats, Usage::of(self.server.pid())));
            }
            ensure!(Instant::now() < deadline, "{} connections are left", stats.connections.open);
        }
    }
}
