//! What an idle connection costs: memory, processes, threads.

use std::thread;
use std::time::Instant;

use anyhow::ensure;
use rpc_client::Client;
use serde::Serialize;

use crate::demo::steps::client::connect_served;
use crate::demo::steps::plan::TIMEOUT;
use crate::launch::Server;
use crate::launch::usage::Usage;

#[derive(Serialize)]
pub(crate) struct Idle {
    /// Connections that were open at the same time, each of them being served.
    pub(crate) connections: usize,
    pub(crate) processes: BeforeAndAfter,
    pub(crate) threads: BeforeAndAfter,
    /// PSS of all processes together; absent where the kernel does not tell.
    pub(crate) pss_kib: Option<BeforeAndAfter>,
    pub(crate) pss_kib_per_connection: Option<f64>,
}

#[derive(Clone, Copy, Serialize)]
pub(crate) struct BeforeAndAfter {
    pub(crate) before: u64,
    pub(crate) after: u64,
}

impl BeforeAndAfter {
    pub(crate) fn more(self) -> u64 {
        self.after.saturating_sub(self.before)
    }
}

/// Leaves the connections open, in `held`.
pub(crate) fn measure(
    server: &Server,
    connections: usize,
    processes_at_rest: usize,
    held: &mut Vec<Client>,
) -> anyhow::Result<Idle> {
    let before = await_processes(server.pid(), processes_at_rest)?;
    *held = connect_served(server, connections)?;
    let after = Usage::of(server.pid());

    let compare = |of: fn(&Usage) -> usize| BeforeAndAfter {
        before: of(&before) as u64,
        after: of(&after) as u64,
    };
    let pss = BeforeAndAfter { before: before.memory.pss / 1024, after: after.memory.pss / 1024 };
    let pss_kib = (pss.before > 0).then_some(pss);
    let per_connection = |pss: BeforeAndAfter| {
        let more = pss.after as f64 - pss.before as f64;
        (more / connections as f64 * 10.0).round() / 10.0
    };
    Ok(Idle {
        connections,
        processes: compare(|usage| usage.processes),
        threads: compare(|usage| usage.threads),
        pss_kib,
        pss_kib_per_connection: pss_kib.map(per_connection),
    })
}

/// A server says that it listens before all of its workers are there.
fn await_processes(pid: i32, count: usize) -> anyhow::Result<Usage> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let usage = Usage::of(pid);
        if usage.processes == count {
            return Ok(usage);
        }
        ensure!(
            Instant::now() < deadline,
            "the server has {} processes, expected {count}",
            usage.processes
        );
        // No event tells, so look again.
        thread::yield_now();
    }
}
