//! Servers as real processes, for every command and for the tests.
//!
//! Here belongs what is true of any server process: how it starts, is watched, and ends. What a
//! server does belongs into `serve`, and what a command does to it into that command's folder.

pub(crate) mod guard;
pub(crate) mod server_log;
pub(crate) mod usage;

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_client::Client;
use rpc_proto::Address;

use crate::model::Model;
use crate::proc;

/// A running server, such as `xtask serve`. Dropping it kills its processes and waits for the first
/// of them. So does a command that is interrupted or takes too long.
#[derive(Debug)]
pub struct Server {
    process: Child,
    address: Address,
    stop_when_dropped: Option<Duration>,
}

/// Makes `program` serve this model on a port of the kernel's choice; further arguments may follow.
/// `program` may begin with a tool that watches the server.
pub fn serve(mut program: Command, model: Model) -> Command {
    program.args(["serve", model.name(), "--addr", "127.0.0.1:0"]);
    program
}

impl Server {
    /// Starts `program serve MODEL` on a port of the kernel's choice, with further arguments, and
    /// waits until it says that it is ready.
    ///
    /// # Errors
    ///
    /// When the program cannot be started, or ends without a word.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        model: Model,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Server> {
        let mut command = serve(Command::new(program), model);
        command.args(arguments);
        Server::start_command(command)
    }

    /// Starts `command`, which prints `listening on ADDRESS` when it is ready.
    ///
    /// # Errors
    ///
    /// When the program cannot be started, or ends without saying so.
    pub fn start_command(mut command: Command) -> anyhow::Result<Server> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = guard::spawn(&mut command)
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let stdout = process.stdout.take().context("the server's standard output is a pipe")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let Some(address) = line.trim_end().strip_prefix("listening on ") else {
            let status = process.wait()?;
            bail!("the server ended before it was ready ({status}); it said {line:?}");
        };
        let address = address.parse()?;
        // What else it prints would fill the pipe one day.
        thread::spawn(move || io::copy(&mut stdout, &mut io::sink()));
        Ok(Server { address, process, stop_when_dropped: None })
    }

    /// When it is dropped it gets SIGTERM and `timeout` to end in order, before it is killed.
    #[must_use]
    pub fn stop_when_dropped(mut self, timeout: Duration) -> Server {
        self.stop_when_dropped = Some(timeout);
        self
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where it listens on TCP.
    ///
    /// # Errors
    ///
    /// When it listens on a Unix socket or under the name of a host.
    pub fn socket_address(&self) -> anyhow::Result<SocketAddr> {
        let address = self.address.to_string();
        address.parse().with_context(|| format!("{address} is not an IP address and a port"))
    }

    /// The process id of the server: the master or parent, where there is one.
    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// A new connection.
    ///
    /// # Errors
    ///
    /// When connecting fails.
    pub fn connect(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.address)?)
    }

    /// Whether its process has not ended.
    pub fn is_running(&self) -> bool {
        proc::is_alive(self.pid())
    }

    /// Sends a signal to the server's process.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill(Pid::from_raw(self.pid()), signal)?)
    }

    /// Waits until the server has ended; kills it after `timeout`, which is an error.
    ///
    /// # Errors
    ///
    /// When it did not end in time.
    pub fn wait(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let pid = Pid::from_raw(self.pid());
        let (ended, has_ended) = mpsc::channel();
        thread::scope(|scope| {
            let killer = scope.spawn(move || {
                let late = has_ended.recv_timeout(timeout).is_err();
                if late {
                    let _ = kill(pid, Signal::SIGKILL);
                }
                late
            });
            let status = self.process.wait();
            let _ = ended.send(());
            match killer.join() {
                Ok(false) => Ok(status?),
                _ => bail!("the server did not end within {timeout:?} and was killed"),
            }
        })
    }

    /// SIGTERM, and then the wait for the end.
    ///
    /// # Errors
    ///
    /// As [`wait`](Server::wait).
    pub fn stop(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(timeout)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(timeout) = self.stop_when_dropped {
            // It is killed if it does not stop in time.
            let _ = self.stop(timeout);
        }
        guard::forget(self.pid());
        if let Ok(Some(_)) = self.process.try_wait() {
            return;
        }
        // Children end by themselves when their parent dies, but not before the handlers that run.
        let tree = proc::tree(self.pid());
        let _ = self.process.kill();
        for &child in &tree[1..] {
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        let _ = self.process.wait();
    }
}
