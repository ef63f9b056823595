//! The handle that stops a server.

use std::sync::Arc;

use crate::stop::control::Control;

/// Stops one server, from any thread.
///
/// ```
/// # use rpc_core::{Acceptor, Address};
/// let acceptor = Acceptor::bind(&"127.0.0.1:0".parse()?)?;
/// let shutdown = acceptor.shutdown();
/// let controlling_thread = std::thread::spawn(move || shutdown.stop());
/// # controlling_thread.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Shutdown {
    control: Arc<Control>,
}

impl Shutdown {
    pub(crate) fn new(control: Arc<Control>) -> Shutdown {
        Shutdown { control }
    }

    /// Tells the server to stop, and returns at once.
    ///
    /// It accepts nobody any more, ends idle connections, and answers the requests that it has
    /// received. `serve` returns when that is done. A second call changes nothing.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Whether the server was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.control.is_stopping()
    }
}
