//! The guard of one connection's slot, which also holds what the connection shares with its
//! server.

use std::ops::Deref;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::scoreboard::slot::Slot;
use crate::scoreboard::table::Scoreboard;

/// A slot that a connection holds. Dropping the guard frees the slot, if it still belongs to this
/// process.
///
/// The guard is the connection's only reference to the owner of the scoreboard: each change of a
/// reference count writes a page, which after a fork has to be copied.
pub(crate) struct SlotGuard<S: AsRef<Scoreboard>> {
    pub(crate) shared: Arc<S>,
    index: usize,
}

impl<S: AsRef<Scoreboard>> SlotGuard<S> {
    /// `None` when all slots are taken.
    pub(crate) fn claim(shared: &Arc<S>, socket: RawFd) -> Option<SlotGuard<S>> {
        let index = (**shared).as_ref().claim()?;
        let guard = SlotGuard { shared: Arc::clone(shared), index };
        guard.set_socket(socket);
        Some(guard)
    }

    /// Makes this process the owner.
    pub(crate) fn adopt(&self) {
        (*self.shared).as_ref().adopt(self.index);
    }
}

impl<S: AsRef<Scoreboard>> Deref for SlotGuard<S> {
    type Target = Slot;

    #[inline]
    fn deref(&self) -> &Slot {
        (*self.shared).as_ref().slot(self.index)
    }
}

impl<S: AsRef<Scoreboard>> Drop for SlotGuard<S> {
    fn drop(&mut self) {
        (*self.shared).as_ref().release(self.index);
    }
}
