//! What makes the calls: bare sockets in threads of this process, and the project's client.
//!
//! Here belongs how calls are made and timed. What is called belongs into `servers`, and what
//! the times say into the folders that compare them.

pub(crate) mod client;
pub(crate) mod drive;
pub(crate) mod driver;
