//! What is measured, as processes: the models, the bare servers that they are held against, and the
//! Python servers that this project grew from.
//!
//! Here belongs how these are started. What any server process is belongs into `xtask::launch`.

pub(crate) mod raw_echo;
pub(crate) mod seed_server;
pub(crate) mod server;
