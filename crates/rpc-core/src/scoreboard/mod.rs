//! What all processes of a server share: a slot for each connection, an entry for each worker, and
//! counters; which process may write which field; and answering a call in its handler's place. When
//! and why a server stops or a process answers so does not belong here.

pub(crate) mod calls;
pub(crate) mod counters;
pub(crate) mod deadline_frame;
pub(crate) mod exit_reason;
pub(crate) mod guard;
pub(crate) mod slot;
pub(crate) mod table;
pub(crate) mod workers;
