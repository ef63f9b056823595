//! One connection and its calls: from bytes that were received to the reply that is sent. Where the
//! connection came from, and when the server stops, does not belong here.

pub(crate) mod connection;
pub(crate) mod context;
pub(crate) mod exchange;
pub(crate) mod lingering_close;
pub(crate) mod refusal;
pub(crate) mod registry;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod socket;
pub(crate) mod stats;
