//! What a server tells about itself: the method `rpc.stats` and the types of its reply.
//!
//! docs/wire.md has the same as JSON. Times are in milliseconds of the server's own clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::method::Method;

/// Asks a server what it is doing. A server offers it only if it was told to.
pub const STATS: Method<(), Stats> = Method::new("rpc.stats", "stats");

/// A server at one moment.
///
/// Nothing is stopped for it: every number is right at some moment while the reply is made, and
/// two numbers need not be of the same one. The counters never fall while the server lives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// The server as a whole.
    pub server: ServerStats,
    /// Its connections.
    pub connections: ConnectionStats,
    /// Its calls.
    pub calls: CallStats,
    /// How many of its processes have ended, by reason. A reason that never occurred is left out.
    pub deaths: BTreeMap<String, u64>,
    /// Its worker processes; empty in a model that has none.
    pub workers: Vec<WorkerStats>,
    /// Calls whose handler runs now, at most [`MAX_HANDLING`] of them. The one that asked is there.
    pub handling: Vec<HandlingStats>,
    /// How many more handlers run than `handling` lists.
    pub handling_left_out: u64,
}

/// So many calls are listed in [`Stats::handling`], so that the reply stays short.
pub const MAX_HANDLING: usize = 256;

/// The server as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerStats {
    /// The version of the library that serves.
    pub version: String,
    /// The process that bound the socket: the master or parent, where there is one.
    pub pid: i32,
    /// For how long the socket has been bound.
    pub uptime_ms: u64,
}

/// Connections, of all processes together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Connections that are served now.
    pub open: u64,
    /// Connections that were ever taken from the kernel's queue, those that were refused included.
    pub accepted: u64,
    /// Connections that the server ended with an error, by the text of its code, such as `busy`
    /// or `timed out`. A code that never occurred is left out.
    pub refused: BTreeMap<String, u64>,
}

/// Calls, of all processes together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallStats {
    /// Requests that were ever taken up, whatever came of them. The one that asked is counted.
    pub total: u64,
    /// Requests that are being handled now.
    pub handling: u64,
    /// Handlers that still run although their callers were answered without them.
    pub lost: u64,
}

/// A worker process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its process id.
    pub pid: i32,
    /// Counts the reloads of the server: workers of one generation run the same program.
    pub generation: u32,
    /// Where it stands in its life.
    pub state: WorkerState,
    /// How long ago it was forked.
    pub age_ms: u64,
    /// Connections that it serves now.
    pub connections: u64,
    /// Requests that it has taken up. Those of a connection that ends at this very moment may be
    /// missing, so in contrast to the other counters this one may seem to fall for a moment.
    pub calls: u64,
}

/// Where a worker stands in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerState {
    /// It was forked and has not accepted yet.
    Starting,
    /// It accepts and serves.
    Ready,
    /// It finishes what it has and then ends.
    Retiring,
    /// A state that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl WorkerState {
    /// The word that stands for it on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            WorkerState::Starting => "starting",
            WorkerState::Ready => "ready",
            WorkerState::Retiring => "retiring",
            WorkerState::Unknown => "unknown",
        }
    }
}

/// A call whose handler runs.
///
/// The server reads no clock for a call. Whoever asks twice knows how long one has lasted at
/// least: it is the same call if `place` and `call` are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HandlingStats {
    /// The process that handles it.
    pub pid: i32,
    /// Which of the server's places the connection has taken; after its end the next may get it.
    pub place: u32,
    /// The number of the call among all that this place has seen.
    pub call: u64,
    /// The method; `null` while the request is still being parsed.
    pub method: Option<String>,
}
