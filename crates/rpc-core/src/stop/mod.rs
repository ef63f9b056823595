//! How a server, a process or a late call ends: stop, signals, deadlines, crashes, and what a
//! process and its parent report to each other. Listening sockets, the loop of a connection and
//! forking do not belong here.

pub(crate) mod control;
pub(crate) mod crash;
pub(crate) mod deadline_timer;
pub(crate) mod handlers;
pub(crate) mod prepared_errors;
pub(crate) mod process_role;
pub(crate) mod registered;
pub(crate) mod shared_listening;
pub(crate) mod signals;
pub(crate) mod status_pipe;
pub(crate) mod supervision;
