//! What is sent: streams of good requests, damaged in the ways of hostile and of broken peers.
//!
//! What must come back belongs into `oracle`, and sockets into neither.

mod corpus;
mod mutation;
pub(super) mod stream;
