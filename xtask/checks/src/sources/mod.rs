//! What a source file may say, import and be called.
//!
//! What a package declares about itself belongs into `manifests`.

pub(super) mod bans;
pub(super) mod documentation;
pub(super) mod imports;
pub(super) mod modules;
pub(super) mod names;
