//! SIGUSR2: a new program for the old one, while the old one serves.
//!
//! The new server is started from the path of the old one and gets the listening socket. When it
//! says that it is ready, this server drains and ends; if it ends before, this one goes on.

use rpc_core::{Acceptor, ServeError};
use rpc_daemon::internal::STATUS_VARIABLE;
use rpc_daemon::{Notice, PidFile, notify};
use rpc_process::{ChildExit, Children};

use crate::config::Config;
use crate::worker_slot::Worker;

#[derive(Default)]
pub(crate) struct Upgrade {
    pub(crate) is_wanted: bool,
    new_server: Option<Worker>,
}

impl Upgrade {
    /// Whether the new server is ready.
    pub(crate) fn is_done(&self) -> bool {
        self.new_server.as_ref().is_some_and(|server| server.is_ready)
    }

    /// Starts a new server if that is wanted, one at a time.
    pub(crate) fn begin(&mut self, children: &mut Children, acceptor: &Acceptor, config: &Config) {
        let Some(socket) = acceptor.listening_on() else {
            return;
        };
        if !std::mem::take(&mut self.is_wanted) || self.new_server.is_some() {
            return;
        }
        if let Some(Err(error)) = config.pid_file.as_ref().map(PidFile::step_aside) {
            // The new server will say what it cannot do without.
            tracing::warn!(%error, "the pidfile cannot be renamed");
        }
        match children.start_again(socket, STATUS_VARIABLE) {
            Ok(pid) => {
                tracing::info!(pid, "upgrading: starting a new server");
                children.limit_boot(pid, config.timeouts.boot);
                self.new_server = Some(Worker::new(pid));
            }
            Err(error) => {
                tracing::error!(%error, "cannot start a new server, this one goes on");
                take_pid_file_back(config);
            }
        }
    }

    /// Whether it is the new server that is ready.
    pub(crate) fn note_ready(&mut self, pid: i32) -> bool {
        match self.new_server.as_mut().filter(|server| server.pid == pid) {
            Some(server) => {
                tracing::info!(pid, "upgraded: a new server takes over");
                server.is_ready = true;
                true
            }
            None => false,
        }
    }

    /// Whether it is the new server that has ended.
    pub(crate) fn note_exit(&mut self, exit: &ChildExit, config: &Config) -> bool {
        let has_failed = self.new_server.take_if(|server| server.pid == exit.pid).is_some();
        if has_failed {
            tracing::error!("upgrade called off, this server goes on: the new one {exit}");
            take_pid_file_back(config);
        }
        has_failed
    }

    /// Leaves the socket to the new server and blocks until the workers of this one have ended.
    pub(crate) fn finish(
        self,
        mut children: Children,
        mut acceptor: Acceptor,
        config: &Config,
    ) -> Result<(), ServeError> {
        if let Some(server) = self.new_server {
            notify(Notice::MainProcess(server.pid));
            children.let_go(server.pid);
        }
        acceptor.leave_socket_to_others();
        children.drain(acceptor, config.timeouts.drain)
    }
}

/// Gives the pidfile its name back, when the new server has failed.
fn take_pid_file_back(config: &Config) {
    if let Some(Err(error)) = config.pid_file.as_ref().map(PidFile::come_back) {
        tracing::warn!(%error, "the pidfile does not get its name back");
    }
}
