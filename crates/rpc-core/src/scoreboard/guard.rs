//! The guard of one connection's slot, which also holds what the connection shares with its
//! server.

use std::ops::Deref;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::scoreboard::slot::Slot;
use crate::scoreboard::table::Scoreboard;

/// What a connection shares with its server.
pub(crate) trait SlotOwner {
    fn scoreboard(&self) -> &Scoreboard;

    /// Called after a slot was freed.
    fn slot_released(&self) {}
}

/// A slot that a connection holds. Dropping the guard frees the slot, if it still belongs to this
/// process.
///
/// The guard is the connection's only reference to the owner of the scoreboard: each change of a
/// reference count writes a page, which after a fork has to be copied.
pub(crate) struct SlotGuard<S: SlotOwner> {
    pub(crate) shared: Arc<S>,
    index: usize,
}

impl<S: SlotOwner> SlotGuard<S> {
    /// `None` when all slots are taken.
    pub(crate) fn claim(shared: &Arc<S>, socket: RawFd) -> Option<SlotGuard<S>> {
        let index = shared.scoreboard().claim()?;
        let guard = SlotGuard { shared: Arc::clone(shared), index };
        guard.set_socket(socket);
        Some(guard)
    }

    /// Makes this process the owner.
    pub(crate) fn adopt(&self) {
        self.shared.scoreboard().adopt(self.index);
    }
}

impl<S: SlotOwner> Deref for SlotGuard<S> {
    type Target = Slot;

    #[inline]
    fn deref(&self) -> &Slot {
        self.shared.scoreboard().slot(self.index)
    }
}

impl<S: SlotOwner> Drop for SlotGuard<S> {
    fn drop(&mut self) {
        self.shared.scoreboard().release(self.index);
        self.shared.slot_released();
    }
}
