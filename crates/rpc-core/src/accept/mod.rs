//! Where connections come from: the listening socket, waiting for it, turning peers away, and the
//! end of the listening. What is done with a connection that was accepted does not belong here.

pub(crate) mod acceptor;
pub(crate) mod bind;
pub(crate) mod closing;
pub(crate) mod hooks;
pub(crate) mod listener;
pub(crate) mod rejecting;
pub(crate) mod socket_file;
pub(crate) mod wait;
