//! SIGUSR2: replaces the program while it serves.
//!
//! The new server is started from the path of this one and inherits the listening socket. When it
//! reports that it is ready, this server drains and ends; if it ends before that, this one
//! continues.

use std::fmt;

use rpc_core::internal::with_causes;
use rpc_core::{Acceptor, ServeError};
use rpc_daemon::internal::STATUS_VARIABLE;
use rpc_daemon::{Notice, PidFile, notify};
use rpc_process::Children;

#[derive(Default)]
pub(crate) struct Upgrade {
    pub(crate) is_wanted: bool,
    /// Whether the new server is ready.
    pub(crate) is_done: bool,
    /// The process id of the new server.
    pub(crate) new_server: Option<i32>,
    /// The pidfile whose name the new server needs.
    pub(crate) pid_file: Option<PidFile>,
}

impl Upgrade {
    /// Starts a new server if an upgrade is wanted and none is under way.
    pub(crate) fn begin(&mut self, children: &mut Children, acceptor: &Acceptor) {
        let Some(socket) = acceptor.listening_on() else {
            return;
        };
        if !std::mem::take(&mut self.is_wanted) || self.new_server.is_some() {
            return;
        }
        if let Some(Err(error)) = self.pid_file.as_ref().map(PidFile::step_aside) {
            // If the new server needs the name, it fails and says so.
            tracing::warn!(%error, "cannot rename the pidfile");
        }
        match children.start_again(socket, STATUS_VARIABLE) {
            Ok(pid) => {
                tracing::info!(pid, "upgrading: starting a new server");
                self.new_server = Some(pid);
            }
            Err(error) => self.call_off(&format!("cannot be started: {}", with_causes(&error))),
        }
    }

    /// The new server is ready.
    pub(crate) fn complete(&mut self, pid: i32) {
        tracing::info!(pid, "upgraded: a new server takes over");
        self.is_done = true;
    }

    /// The new server has ended or could not be started. This one continues, and its pidfile gets
    /// its old name.
    pub(crate) fn call_off(&mut self, reason: &dyn fmt::Display) {
        tracing::error!("upgrade called off, this server continues: the new one {reason}");
        self.is_done = false;
        self.new_server = None;
        if let Some(Err(error)) = self.pid_file.as_ref().map(PidFile::come_back) {
            tracing::warn!(%error, "cannot rename the pidfile back");
        }
    }

    /// Leaves the socket to the new server and blocks until the workers of this one have ended.
    pub(crate) fn finish(
        self,
        mut children: Children,
        mut acceptor: Acceptor,
    ) -> Result<(), ServeError> {
        if let Some(server) = self.new_server {
            notify(Notice::MainProcess(server));
            children.disown(server);
        }
        acceptor.leave_socket_to_others();
        children.drain(acceptor)
    }
}
