//! What acts on a server: clients that check (`good`, `pipelined`), clients that misbehave (`bad`), and
//! injected faults (`faults`: deaths and reloads; `flood`: limits reached; `leak`: one that the soak
//! must find).
//!
//! How much of it there is, and what it explains, belongs into `context`.

pub(super) mod bad;
pub(super) mod faults;
pub(super) mod flood;
pub(super) mod good;
pub(super) mod leak;
pub(super) mod pipelined;
