//! Small things that only the kernel or the C library can do, each by itself. What knows of a
//! server, a connection or a call does not belong here.

pub(crate) mod buffers;
pub(crate) mod clock;
pub(crate) mod exit;
pub(crate) mod flag;
pub(crate) mod mapping;
pub(crate) mod pid;
pub(crate) mod stream;
pub(crate) mod syn_filter;
pub(crate) mod timer;
