//! Where connections come from: binding the listening socket, waiting for connections, rejecting
//! peers, and the end of listening. What happens on an accepted connection does not belong here.

pub(crate) mod acceptor;
pub(crate) mod bind;
pub(crate) mod closing;
pub(crate) mod hooks;
pub(crate) mod listener;
pub(crate) mod rejecting;
pub(crate) mod socket_file;
pub(crate) mod wait;
