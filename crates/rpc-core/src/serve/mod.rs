//! One connection and its calls: from the bytes that are received to the reply that is sent, with
//! the registry, the limits and the errors that this needs. How connections are accepted, and how a
//! stop reaches them, does not belong here.

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
