//! Counters for all processes of a server together, in the shared memory of the scoreboard.
//!
//! None of them is written during a call, only once per connection or per process that ends, where
//! an atomic addition is cheap enough.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rpc_proto::ErrorCode;
use rpc_proto::stats::ConnectionStats;

use crate::scoreboard::exit_reason::ExitReason;

/// Counters that only ever grow. All zeroes is a valid value.
#[repr(C)]
pub(crate) struct Counters {
    accepted: AtomicU64,
    /// In the order of `ErrorCode::ALL`, and one for all other codes.
    refused: [AtomicU64; ErrorCode::ALL.len() + 1],
    /// In the order of `ExitReason::NAMES`.
    exits: [AtomicU64; ExitReason::NAMES.len()],
}

impl Counters {
    pub(crate) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self, code: i32) {
        let at = ErrorCode::ALL.iter().position(|known| known.code() == code);
        self.refused[at.unwrap_or(ErrorCode::ALL.len())].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_exit(&self, reason: ExitReason) {
        self.exits[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connections(&self) -> ConnectionStats {
        let names = ErrorCode::ALL.iter().map(|code| code.text()).chain(["other"]);
        let mut stats = ConnectionStats::default();
        // Read before `accepted`, so that never more connections seem refused than accepted.
        stats.refused = by_name(names, &self.refused);
        stats.accepted = self.accepted.load(Ordering::Relaxed);
        stats
    }

    pub(crate) fn exits(&self) -> BTreeMap<String, u64> {
        by_name(ExitReason::NAMES.iter().copied(), &self.exits)
    }
}

fn by_name<'a>(
    names: impl IntoIterator<Item = &'a str>,
    counters: &[AtomicU64],
) -> BTreeMap<String, u64> {
    let counts = counters.iter().map(|counter| counter.load(Ordering::Relaxed));
    let counted = names.into_iter().zip(counts).filter(|&(_, count)| count > 0);
    counted.map(|(name, count)| (name.to_owned(), count)).collect()
}
