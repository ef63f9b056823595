//! What a user would pick instead of these servers, each with its own client library.
//!
//! The peers are the programs of the workspace in xtask/peers, which is built here and nowhere
//! else. Every server is started once; then the drivers have their turns, one after the other,
//! round after round. Among them are the thread server of this project with its own client, and
//! that client with a server that parses nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use cargo_metadata::MetadataCommand;
use indicatif::ProgressBar;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::package::cargo;

use crate::comparison::load::Load;
use crate::drivers::drive::Driven;
use crate::peers::report::{PeerFigures, PeerRow};
use crate::servers::server;
use crate::settings::Settings;

/// The Thrift and varlink servers start 256 threads, and serve a connection with each.
const MAX_CONNECTIONS: usize = 250;

/// Another RPC library, as a program in xtask/peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The library; its program is `peer-NAME`.
    pub(crate) name: &'static str,
    /// What goes over the connection.
    pub(crate) wire: &'static str,
    /// Whether its client can have several calls in flight on one connection.
    pub(crate) multiplexes: bool,
}

/// Every peer, in the order of the table.
pub(crate) const PEERS: [Peer; 5] = [
    Peer { name: "thrift", wire: "Thrift binary, TCP", multiplexes: false },
    Peer { name: "varlink", wire: "JSON, TCP", multiplexes: false },
    Peer { name: "tarpc", wire: "JSON, TCP", multiplexes: true },
    Peer { name: "jsonrpsee", wire: "JSON-RPC, WebSocket", multiplexes: true },
    Peer { name: "tonic", wire: "gRPC, HTTP/2", multiplexes: true },
];

/// This project's thread server and client.
const OURS: Peer = Peer { name: "rpc-thread", wire: "JSON, TCP", multiplexes: false };

/// This project's client with the floor, which knows the length of a request and nothing else.
const FLOOR: Peer = Peer { name: "raw echo", wire: "as rpc-thread", multiplexes: false };

/// Builds the workspace in xtask/peers from its lock file, and says where its programs lie. Blocks
/// for minutes the first time, when it also downloads.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let manifest = manifest();
    let status = cargo()
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(&manifest)
        .stdin(Stdio::null())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "cannot build {}", manifest.display());
    let metadata = MetadataCommand::new().manifest_path(&manifest).no_deps().exec()?;
    Ok(metadata.target_directory.join("release").into())
}

fn manifest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers/Cargo.toml")
}

/// Measures the peers that [`build`] built. Blocks until all turns are over. `progress` is advanced
/// a turn at a time and gets its length here.
pub(crate) fn run(
    load: Load,
    settings: &Settings,
    built: &Path,
    progress: &ProgressBar,
) -> anyhow::Result<Vec<PeerRow>> {
    ensure!(
        load.connections <= MAX_CONNECTIONS,
        "with --peers, --connections must be at most {MAX_CONNECTIONS}"
    );
    let can = |peer: &Peer| load.depth == 1 || peer.multiplexes;
    let mut contenders = Vec::new();
    if can(&OURS) {
        let (program, workers) = (&settings.program, settings.workers);
        let server = server::ours(settings, Model::Thread, workers, &[])?;
        contenders.push(Contender::new(OURS, server, program.clone()));
        let server =
            server::raw(settings, Model::Thread, workers, load.payload, &["--for-client"])?;
        contenders.push(Contender::new(FLOOR, server, program.clone()));
    }
    for peer in PEERS.into_iter().filter(can) {
        contenders.push(Contender::peer(peer, built)?);
    }
    progress.inc_length((contenders.len() * settings.rounds) as u64);
    for _ in 0..settings.rounds {
        for contender in &mut contenders {
            progress.set_message(contender.peer.name);
            contender.turn(load, settings)?;
            progress.inc(1);
        }
    }

    let turns = |peer: Peer| {
        let contender = contenders.iter().find(|found| found.peer == peer);
        contender.map(|contender| contender.turns.as_slice())
    };
    let ours = turns(OURS);
    let rows = [OURS, FLOOR].into_iter().chain(PEERS);
    let rows = rows.map(|peer| PeerRow {
        connections: load.connections,
        in_flight: load.depth,
        churn: load.churn,
        name: peer.name,
        wire: peer.wire,
        figures: turns(peer).map(|turns| PeerFigures::of(turns, ours, load.measure())),
    });
    Ok(rows.collect())
}

/// A server that runs, and the program that calls it.
struct Contender {
    peer: Peer,
    server: Server,
    driver: PathBuf,
    turns: Vec<Driven>,
}

impl Contender {
    fn peer(peer: Peer, built: &Path) -> anyhow::Result<Contender> {
        let program = built.join(format!("peer-{}", peer.name));
        let mut serve = Command::new(&program);
        serve.arg("serve");
        let server = Server::start_command(serve)
            .with_context(|| format!("the server of {} does not start", peer.name))?;
        Ok(Contender::new(peer, server, program))
    }

    fn new(peer: Peer, server: Server, driver: PathBuf) -> Contender {
        Contender { peer, server, driver, turns: Vec::new() }
    }

    fn turn(&mut self, load: Load, settings: &Settings) -> anyhow::Result<()> {
        let mut drive = Command::new(&self.driver);
        drive
            .arg("drive")
            .arg(self.server.socket_address()?.to_string())
            .args(["--connections", &load.connections.to_string()])
            .args(["--in-flight", &load.depth.to_string()])
            .args(["--payload", &load.payload.to_string()])
            .args(["--seconds", &settings.turn.as_secs_f64().to_string()])
            .args(load.churn.then_some("--churn"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        let name = self.peer.name;
        let output =
            drive.output().with_context(|| format!("cannot start the driver of {name}"))?;
        let status = output.status;
        ensure!(status.success(), "the driver of {name} failed ({status})");
        let driven = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("the driver of {name} printed something else"))?;
        self.turns.push(driven);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_peer_that_is_measured_is_a_program() {
        let mut expected = BTreeSet::from(PEERS.map(|peer| format!("peer-{}", peer.name)));
        expected.insert("peer-load".to_owned());
        let mut command = MetadataCommand::new();
        let metadata = command.manifest_path(manifest()).no_deps().exec().expect("a workspace");
        let packages = metadata.workspace_packages();
        let found: BTreeSet<_> = packages.iter().map(|found| found.name.to_string()).collect();
        assert_eq!(found, expected);
    }
}
