//! The reply to `rpc.stats`: one walk over the scoreboard.
//!
//! It takes no lock and waits for no other process or thread, so it answers while those hang, and a
//! process that died in the middle of a call is one more slot.

use std::collections::HashMap;

use rpc_proto::stats::{CallStats, HandlingStats, MAX_HANDLING, STATS, Stats};

use crate::scoreboard::slot::Activity;
use crate::scoreboard::table::Scoreboard;
use crate::serve::registry::Registry;

/// The method number of `rpc.stats` itself on the scoreboard. Those of registered methods count
/// from 1.
pub(crate) const STATS_NUMBER: u32 = u32::MAX;

/// Reads the whole scoreboard. `registry` gives the names of the methods.
pub(crate) fn snapshot(scoreboard: &Scoreboard, registry: &Registry) -> Stats {
    let uptime_ms = scoreboard.age_ms();
    // Before the slots: when a connection ends, its calls move from its slot to its worker. In
    // this order they may be missed, but are never counted twice.
    let mut workers = scoreboard.workers().snapshot(uptime_ms);
    let index_of: HashMap<i32, usize> =
        workers.iter().enumerate().map(|(index, worker)| (worker.pid, index)).collect();
    let deaths = scoreboard.counters().exits();

    let mut open = 0;
    let mut calls = CallStats::default();
    let mut handling = Vec::new();
    for (position, slot) in scoreboard.used_slots().iter().enumerate() {
        // The phase before the calls: the number is then that of this call or a later one. Equal
        // numbers in two snapshots, both while a handler runs, therefore mean the same call.
        let (owner, activity) = slot.snapshot();
        let of_slot = slot.calls.snapshot();
        calls.total += of_slot.total;
        if owner == 0 {
            continue;
        }
        open += 1;
        if let Some(&index) = index_of.get(&owner) {
            workers[index].connections += 1;
            workers[index].calls += of_slot.of_connection;
        }
        match activity {
            Activity::Other => {}
            Activity::Lost => calls.lost += 1,
            Activity::Handling => {
                calls.handling += 1;
                if handling.len() < MAX_HANDLING {
                    let mut call = HandlingStats::default();
                    call.pid = owner;
                    call.place = position as u32;
                    call.call = of_slot.total;
                    call.method = name_of(of_slot.method, registry).map(str::to_owned);
                    handling.push(call);
                }
            }
        }
    }
    // After the slots, so that never more connections seem open than were accepted.
    let mut connections = scoreboard.counters().connections();
    connections.open = open;
    let mut stats = Stats::default();
    stats.server.version = env!("CARGO_PKG_VERSION").to_owned();
    stats.server.pid = scoreboard.creator;
    stats.server.uptime_ms = uptime_ms;
    stats.handling_left_out = calls.handling - handling.len() as u64;
    stats.connections = connections;
    stats.calls = calls;
    stats.deaths = deaths;
    stats.workers = workers;
    stats.handling = handling;
    stats
}

fn name_of(number: u32, registry: &Registry) -> Option<&str> {
    match number {
        STATS_NUMBER => Some(STATS.name()),
        number => registry.name_of(number),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::scoreboard::guard::SlotGuard;

    /// Beyond pid_max, proc_sys_kernel(5).
    const DEAD: i32 = i32::MAX;

    #[test]
    fn calls_of_a_dead_process_count_and_belong_to_no_connection() {
        let scoreboard = &Arc::new(Scoreboard::new().expect("memory"));
        let registry = Registry::new();
        let held = SlotGuard::claim(scoreboard, 0).expect("a free slot");
        (0..3).for_each(|_| held.begin_handling(&[]));
        held.set_owner(DEAD);
        let before = snapshot(scoreboard, &registry);
        assert_eq!((before.connections.open, before.calls.total), (1, 3));
        assert_eq!((before.calls.handling, before.calls.lost), (1, 0));
        assert_eq!((before.handling[0].pid, before.handling[0].call), (DEAD, 3));

        scoreboard.release_all_of(DEAD);
        let after = snapshot(scoreboard, &registry);
        assert_eq!((after.connections.open, after.calls.total), (0, 3));
        assert_eq!((after.calls.handling, after.calls.lost), (0, 0));
        assert_eq!(held.calls.snapshot().of_connection, 0, "the next connection begins at zero");
    }
}
