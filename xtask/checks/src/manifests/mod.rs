//! What the packages depend on, and what lies beside them.
//!
//! What their code says belongs into `sources`.

pub(super) mod dependencies;
pub(super) mod layering;
pub(super) mod layout;
