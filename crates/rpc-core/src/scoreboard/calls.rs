//! What a slot of the scoreboard knows about its calls: how many there were, and which method runs.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The calls of all connections that ever had this slot.
///
/// The number is never reset, so the sum over all slots never decreases: nothing has to be moved
/// when a connection ends, and nothing is lost when a process dies. Only the owner of the slot
/// writes, so counting a call is one load and one store. All zeroes is a valid value.
#[repr(C)]
pub(crate) struct Calls {
    total: AtomicU64,
    /// How many of these belong to connections that have ended.
    total_before: AtomicU64,
    /// The number of the method that is being handled, 0 while it is not known.
    method: AtomicU32,
}

/// What another process sees of it.
pub(crate) struct CallsSnapshot {
    /// Calls of all connections that had this slot, including the one that runs.
    pub(crate) total: u64,
    /// Calls of the connection that has the slot.
    pub(crate) of_connection: u64,
    /// The number of the method, 0 if none is known.
    pub(crate) method: u32,
}

impl Calls {
    /// Counts a request that begins, and returns its number. The owner publishes the phase after
    /// this.
    #[inline]
    pub(crate) fn begin(&self) -> u64 {
        self.method.store(0, Ordering::Relaxed);
        let call = self.total.load(Ordering::Relaxed) + 1;
        self.total.store(call, Ordering::Relaxed);
        call
    }

    /// Sets which method is handled, by its number in the registry. The registry was built before
    /// any fork, so the number means the same in every process.
    #[inline]
    pub(crate) fn set_method(&self, method: u32) {
        self.method.store(method, Ordering::Relaxed);
    }

    /// Ends the count of a connection that ends, and returns how many calls it had.
    pub(crate) fn end_connection(&self) -> u64 {
        let total = self.total.load(Ordering::Relaxed);
        total - self.total_before.swap(total, Ordering::AcqRel)
    }

    /// Best effort: each number is true at some moment, but not all at the same one.
    pub(crate) fn snapshot(&self) -> CallsSnapshot {
        // In this order, since the second is never less than the first.
        let total_before = self.total_before.load(Ordering::Acquire);
        let total = self.total.load(Ordering::Relaxed);
        let of_connection = total.saturating_sub(total_before);
        CallsSnapshot { total, of_connection, method: self.method.load(Ordering::Relaxed) }
    }
}
