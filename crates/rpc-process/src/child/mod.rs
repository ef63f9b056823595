//! What a parent knows about one child: its handle, how it is made to end, and how it has ended.
//! Forking, and what a child does itself, do not belong here.

mod escalation;
mod exit;
mod handle;
mod status_pipe;
mod table;

pub(crate) use escalation::Escalation;
pub use exit::{ChildExit, StopReason};
pub(crate) use exit::{ExitStatus, Reported};
pub(crate) use handle::ChildHandle;
pub(crate) use status_pipe::{Report, StatusPipe};
pub(crate) use table::ChildTable;
