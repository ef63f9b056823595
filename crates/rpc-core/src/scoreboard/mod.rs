//! What all processes of a server share: a slot for each connection, an entry for each worker,
//! counters. Who may write what, and the answers that others may give in a handler's place. Why
//! and when a server stops does not belong here.

pub(crate) mod calls;
pub(crate) mod counters;
pub(crate) mod deadline_frame;
pub(crate) mod exit_reason;
pub(crate) mod guard;
pub(crate) mod slot;
pub(crate) mod table;
pub(crate) mod workers;
