//! Faults of workers while they start, for trying what their master makes of them.

use std::fs;
use std::io;
use std::path::Path;

use nix::poll::{PollTimeout, poll};
use rpc_core::ServeError;

/// Does what the file says, each time that a worker starts: `fail` with an error, `hang` forever,
/// `panic`, `exit` without a word, or `abort`. An empty or missing file is no fault, so a test can
/// let one start fail and the next succeed.
///
/// # Errors
///
/// [`ServeError::Setup`] for `fail`.
///
/// # Panics
///
/// For `panic`.
pub(crate) fn look_for_fault(file: &Path) -> Result<(), ServeError> {
    let fault = fs::read_to_string(file).unwrap_or_default();
    match fault.trim() {
        "fail" => Err(ServeError::Setup(io::Error::other("told to fail"))),
        "hang" => {
            // From here on it hangs forever, whatever the file says next.
            tracing::warn!("told to hang");
            loop {
                let _ = poll(&mut [], PollTimeout::NONE);
            }
        }
        "panic" => panic!("told to panic"),
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        _ => Ok(()),
    }
}
