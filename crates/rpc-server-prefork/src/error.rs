//! What can keep this model from serving.

use rpc_core::ServeError;

/// Not one worker has ever become ready, however often it was tried.
#[derive(Debug, thiserror::Error)]
#[error("no worker got ready; the last one {reason}")]
#[non_exhaustive]
pub struct NeverReady {
    /// What became of the last one, such as "was not ready in time".
    pub reason: String,
}

impl From<NeverReady> for ServeError {
    fn from(error: NeverReady) -> ServeError {
        ServeError::Model(Box::new(error))
    }
}
