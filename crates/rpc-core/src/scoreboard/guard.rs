//! The slot of one connection, and with it what the connection shares with its acceptor.

use std::ops::Deref;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::scoreboard::table::{Slot, own_pid};
use crate::stop::control::Control;

/// A slot that is held for a connection and given back on drop, if it still belongs to this
/// process.
///
/// It counts as one reference to the control, which has the scoreboard: each count is a page that
/// is written, and after a fork copied.
pub(crate) struct HeldSlot {
    pub(crate) control: Arc<Control>,
    index: usize,
}

impl HeldSlot {
    /// `None` when all slots are taken.
    pub(crate) fn claim(control: &Arc<Control>, socket: RawFd) -> Option<HeldSlot> {
        let index = control.scoreboard.claim(own_pid())?;
        let held = HeldSlot { control: Arc::clone(control), index };
        held.set_socket(socket);
        Some(held)
    }
}

impl Deref for HeldSlot {
    type Target = Slot;

    #[inline]
    fn deref(&self) -> &Slot {
        self.control.scoreboard.slot(self.index)
    }
}

impl Drop for HeldSlot {
    fn drop(&mut self) {
        self.control.scoreboard.release(self.index);
    }
}
