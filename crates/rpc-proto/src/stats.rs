//! Statistics of a server: the method `rpc.stats` and the types of its reply.
//!
//! docs/wire.md describes the same as JSON. Times are in milliseconds of the server's own clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::method::Method;

/// The statistics of a server. A server offers it only if it was configured to.
pub const STATS: Method<(), Stats> = Method::new("rpc.stats", "stats");

/// A server at one moment.
///
/// The server does not pause for it: every number was right at some moment while the reply was
/// made, but not all at the same moment. Counters never decrease while the server runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// The server as a whole.
    pub server: ServerStats,
    /// Its connections.
    pub connections: ConnectionStats,
    /// Its calls.
    pub calls: CallStats,
    /// How many of its processes have ended, by reason. Reasons that never occurred are left out.
    pub deaths: BTreeMap<String, u64>,
    /// Its worker processes; empty in a model without workers.
    pub workers: Vec<WorkerStats>,
    /// Calls whose handler runs now, at most [`MAX_HANDLING`] of them, including this one.
    pub handling: Vec<HandlingStats>,
    /// How many running handlers `handling` leaves out.
    pub handling_left_out: u64,
}

/// How many calls [`Stats::handling`] lists at most, so that the reply stays short.
pub const MAX_HANDLING: usize = 256;

/// The server as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerStats {
    /// The version of the server library.
    pub version: String,
    /// The process that bound the socket: the master or parent, if there is one.
    pub pid: i32,
    /// How long the socket has been bound.
    pub uptime_ms: u64,
}

/// Connections of all processes together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Connections that are served now.
    pub open: u64,
    /// Connections accepted since the start, including those that were refused.
    pub accepted: u64,
    /// Connections that the server closed with an error, by the text of its code, such as `busy`
    /// or `timed out`. Codes that never occurred are left out.
    pub refused: BTreeMap<String, u64>,
}

/// Calls of all processes together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallStats {
    /// Requests begun since the start, whatever their result, including this one.
    pub total: u64,
    /// Requests that are being handled now.
    pub handling: u64,
    /// Handlers that still run although their callers have already been answered.
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
    /// Its state.
    pub state: WorkerState,
    /// How long ago it was forked.
    pub age_ms: u64,
    /// Connections that it serves now.
    pub connections: u64,
    /// Requests that it has begun. Those of a connection that is just closing may be missing, so
    /// unlike the other counters this one may seem to decrease for a moment.
    pub calls: u64,
}

/// The state of a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerState {
    /// It was forked and does not accept yet.
    Starting,
    /// It accepts and serves.
    Ready,
    /// It finishes its connections and then exits.
    Retiring,
    /// A state that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl WorkerState {
    /// Its name on the wire.
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
/// The server reads no clock for a call. Two replies show how long a call has lasted at least: it
/// is the same call if `place` and `call` are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HandlingStats {
    /// The process that handles it.
    pub pid: i32,
    /// The slot of the connection in the server's scoreboard. It is reused after the connection's
    /// end.
    pub place: u32,
    /// The number of the call, counted per slot.
    pub call: u64,
    /// The method; `null` while the request is still being parsed.
    pub method: Option<String>,
}
