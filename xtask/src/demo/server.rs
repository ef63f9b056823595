//! A server of the demo or the soak: the real program, its log kept for the case that something goes wrong.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rpc_client::{Client, Method};

use super::plan::{PATIENCE, Plan};
use crate::guard;
use crate::launch::Server;
use crate::model::Model;
use crate::proc;

pub(crate) const PING: Method<String, String> = Method::new("ping", "pong");

/// How many lines of a server's log are kept.
const KEPT_LINES: usize = 20;

/// What the servers of one model wrote last.
#[derive(Clone, Default)]
pub(crate) struct ServerLog(Arc<Mutex<VecDeque<String>>>);

impl ServerLog {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }
}

/// A server that the guard knows of.
pub(crate) struct GuardedServer {
    server: Server,
}

impl GuardedServer {
    pub(super) fn start(model: Model, plan: &Plan, log: &ServerLog) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", model.name(), "--addr", "127.0.0.1:0"]).args([
            "--fault-methods",
            "--log",
            "warn",
        ]);
        if model.has_workers() {
            command.args(["--workers", &plan.workers.to_string()]);
        }
        GuardedServer::launch(command, log)
    }

    /// Starts `command`, which prints `listening on ADDRESS`, and keeps what it logs last.
    pub(crate) fn launch(mut command: Command, log: &ServerLog) -> anyhow::Result<Self> {
        let (reader, writer) = io::pipe().context("cannot make a pipe for the server's log")?;
        command.stderr(writer);
        // Ends with the last process of the server, which holds the writing end.
        let log = log.clone();
        thread::Builder::new().name("server-log".into()).spawn(move || {
            let lines = BufReader::new(reader).lines();
            lines.map_while(Result::ok).for_each(|line| log.push(line));
        })?;
        let server = guard::watch_from_start(|| Server::start_command(command))?;
        Ok(GuardedServer { server })
    }

    pub(crate) fn is_running(&self) -> bool {
        proc::is_alive(self.server.pid())
    }

    /// A new connection, whose calls may take as long as a loaded machine needs.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        self.client_with(PATIENCE)
    }

    pub(super) fn client_with(&self, call_timeout: Duration) -> anyhow::Result<Client> {
        let builder = Client::builder().connect_timeout(PATIENCE).call_timeout(call_timeout);
        Ok(builder.connect(self.server.address())?)
    }

    /// New connections that are all being served at the same time: each has had a reply.
    pub(super) fn served_clients(&self, count: usize) -> anyhow::Result<Vec<Client>> {
        let clients = (1..=count).map(|number| {
            let mut client = self.client()?;
            ping(&mut client)
                .with_context(|| format!("connection {number} of {count} is not served"))?;
            Ok(client)
        });
        clients.collect()
    }
}

impl Deref for GuardedServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for GuardedServer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Drop for GuardedServer {
    fn drop(&mut self) {
        // Before its number can belong to somebody else.
        guard::forget(&self.server);
    }
}

/// One ping whose echo is the same.
pub(super) fn ping(client: &mut Client) -> anyhow::Result<()> {
    let sent = "ireader 0".to_owned();
    let echo = client.call(PING, &sent)?;
    anyhow::ensure!(echo == sent, "sent {sent:?} and got {echo:?} back");
    Ok(())
}
