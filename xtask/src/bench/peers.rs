//! What a user would pick instead of these servers, each with its own client library.
//!
//! The peers are the programs of the workspace in xtask/peers, which is built here and nowhere
//! else. Every server is started once; then the drivers have their turns, one after the other,
//! round after round, and the thread server of this project with its own client among them. All
//! share one processor, so that neither placement nor parallelism decides.

use std::env;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cargo_metadata::MetadataCommand;
use indicatif::ProgressBar;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::drive::Driven;
use super::peer_report::{PeerFigures, PeerRow, Speed};
use crate::launch::Server;
use crate::model::Model;

/// The Thrift and varlink servers start so many threads, and serve a connection with each.
pub const MAX_CONNECTIONS: usize = 250;

/// Another RPC library, as a program in xtask/peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The library; its program is `peer-NAME`.
    pub name: &'static str,
    /// What goes over the connection.
    pub wire: &'static str,
    /// Whether its client can have several calls in flight on one connection.
    pub multiplexes: bool,
}

/// Every peer, in the order of the table.
pub const PEERS: [Peer; 5] = [
    Peer {
        name: "thrift",
        wire: "Thrift binary, TCP",
        multiplexes: false,
    },
    Peer {
        name: "varlink",
        wire: "JSON, TCP",
        multiplexes: false,
    },
    Peer {
        name: "tarpc",
        wire: "JSON, TCP",
        multiplexes: true,
    },
    Peer {
        name: "jsonrpsee",
        wire: "JSON-RPC, WebSocket",
        multiplexes: true,
    },
    Peer {
        name: "tonic",
        wire: "gRPC, HTTP/2",
        multiplexes: true,
    },
];

/// This project's part: the thread server and rpc-client.
const OURS: Peer = Peer {
    name: "rpc-server-thread",
    wire: "JSON, TCP",
    multiplexes: false,
};

/// What every driver does, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many connections each driver opens, at most [`MAX_CONNECTIONS`].
    pub connections: usize,
    /// How many calls at a time on each; clients that can only make one are left out beyond that.
    pub in_flight: usize,
    /// A new connection for every call.
    pub churn: bool,
    /// Characters in the text that is sent.
    pub payload: usize,
    /// How often each has its turn.
    pub rounds: usize,
    /// How long a turn takes.
    pub turn: Duration,
    /// The processor on which everything runs, or the last one.
    pub pin: Option<usize>,
}

/// Measures the peers that [`build`] built; `program` is xtask. Blocks until all turns are over.
/// `progress` is advanced a turn at a time and gets its length here.
///
/// # Errors
///
/// When a server does not start, or a call fails.
pub fn run(
    program: &Path,
    built: &Path,
    plan: &Plan,
    progress: &ProgressBar,
) -> anyhow::Result<Vec<PeerRow>> {
    ensure!(plan.rounds > 0, "at least one round");
    ensure!(
        (1..=MAX_CONNECTIONS).contains(&plan.connections),
        "from 1 to {MAX_CONNECTIONS} connections"
    );
    // Only a thread of its own is bound to the processor, and with it all that it starts.
    thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            pin(plan.pin)?;
            measure(program, built, plan, progress)
        });
        measuring
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}

impl Plan {
    /// One call at a time is as fast as its median, which survives what else the machine does in
    /// between. Where calls wait for each other, only their number counts.
    fn speed(&self) -> Speed {
        if self.connections == 1 && self.in_flight == 1 && !self.churn {
            Speed::Median
        } else {
            Speed::Rate
        }
    }
}

/// Builds the workspace in xtask/peers from its lock file, and says where its programs lie. Blocks
/// for minutes the first time, when it also downloads.
///
/// # Errors
///
/// When cargo cannot.
pub fn build() -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(&cargo)
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(&manifest)
        .stdin(Stdio::null())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "cannot build {}", manifest.display());
    let metadata = MetadataCommand::new()
        .manifest_path(&manifest)
        .no_deps()
        .exec()?;
    Ok(metadata.target_directory.join("release").into())
}

/// Binds this thread, and what it starts from now on, to one processor.
fn pin(wanted: Option<usize>) -> anyhow::Result<()> {
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread)?;
    let last = || (0..CpuSet::count()).rfind(|&cpu| allowed.is_set(cpu) == Ok(true));
    let cpu = wanted.or_else(last).context("no processor is allowed")?;
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(this_thread, &only).with_context(|| format!("cannot run on processor {cpu}"))
}

/// A server that runs, and the program that calls it.
struct Contestant {
    peer: Peer,
    server: Server,
    driver: PathBuf,
    turns: Vec<Driven>,
}

impl Contestant {
    fn ours(program: &Path) -> anyhow::Result<Contestant> {
        Ok(Contestant {
            peer: OURS,
            server: Server::start(program, Model::Thread, ["--log", "error"])?,
            driver: program.to_owned(),
            turns: Vec::new(),
        })
    }

    fn peer(peer: Peer, built: &Path) -> anyhow::Result<Contestant> {
        let driver = built.join(format!("peer-{}", peer.name));
        let mut serve = Command::new(&driver);
        serve.arg("serve");
        let server = Server::start_command(serve)
            .with_context(|| format!("the server of {} does not start", peer.name))?;
        Ok(Contestant {
            peer,
            server,
            driver,
            turns: Vec::new(),
        })
    }

    fn turn(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let mut drive = Command::new(&self.driver);
        drive
            .arg("drive")
            .arg(self.server.address().to_string())
            .args(["--connections", &plan.connections.to_string()])
            .args(["--in-flight", &plan.in_flight.to_string()])
            .args(["--payload", &plan.payload.to_string()])
            .args(["--seconds", &plan.turn.as_secs_f64().to_string()])
            .args(plan.churn.then_some("--churn"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        let name = self.peer.name;
        let output = drive
            .output()
            .with_context(|| format!("cannot start the driver of {name}"))?;
        let status = output.status;
        ensure!(status.success(), "the driver of {name} failed ({status})");
        let driven = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("the driver of {name} printed something else"))?;
        self.turns.push(driven);
        Ok(())
    }
}

fn measure(
    program: &Path,
    built: &Path,
    plan: &Plan,
    progress: &ProgressBar,
) -> anyhow::Result<Vec<PeerRow>> {
    let can = |peer: &Peer| plan.in_flight == 1 || peer.multiplexes;
    let mut contestants = Vec::new();
    if can(&OURS) {
        contestants.push(Contestant::ours(program)?);
    }
    for peer in PEERS.into_iter().filter(can) {
        contestants.push(Contestant::peer(peer, built)?);
    }
    progress.inc_length((contestants.len() * plan.rounds) as u64);
    for _ in 0..plan.rounds {
        for contestant in &mut contestants {
            progress.set_message(contestant.peer.name);
            contestant.turn(plan)?;
            progress.inc(1);
        }
    }

    let speed = plan.speed();
    let turns = |peer: Peer| {
        let contestant = contestants.iter().find(|found| found.peer == peer);
        contestant.map(|contestant| contestant.turns.as_slice())
    };
    let ours = turns(OURS);
    let rows = [OURS].into_iter().chain(PEERS);
    let rows = rows.map(|peer| PeerRow {
        connections: plan.connections,
        in_flight: plan.in_flight,
        churn: plan.churn,
        name: peer.name,
        wire: peer.wire,
        figures: turns(peer).map(|turns| PeerFigures::of(turns, ours, speed)),
    });
    Ok(rows.collect())
}
