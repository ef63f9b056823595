//! The leaves, each usable by itself: small wrappers of the kernel and the C library, exit
//! statuses, a flag, and the buffers of a connection. Nothing in here uses another folder of this
//! crate: code that needs a server, a slot or a call does not belong here.

pub(crate) mod buffers;
pub(crate) mod clock;
pub(crate) mod exit;
pub(crate) mod flag;
pub(crate) mod mapping;
pub(crate) mod pid;
pub(crate) mod stream;
pub(crate) mod syn_filter;
pub(crate) mod timer;
