//! The error that only this model has.

use rpc_core::ServeError;

/// No worker ever became ready: every worker slot has failed five times in a row.
#[derive(Debug, thiserror::Error)]
#[error("no worker became ready; the last one {reason}")]
#[non_exhaustive]
pub struct NeverReady {
    /// How the last worker failed, such as "was not ready in time".
    pub reason: String,
}

impl From<NeverReady> for ServeError {
    fn from(error: NeverReady) -> ServeError {
        ServeError::Model(Box::new(error))
    }
}
