//! What is measured, as processes that stop when they are dropped.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use xtask::launch::Server;
use xtask::model::Model;

use crate::Settings;
use crate::exchange::Called;
use crate::seed_server::SeedServer;

/// How long a server may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A server of any make.
pub(crate) enum Running {
    Project(Server),
    Seed(SeedServer),
}

impl Running {
    /// `xtask serve`, with further arguments.
    pub(crate) fn ours(
        settings: &Settings,
        model: Model,
        workers: usize,
        arguments: &[String],
    ) -> anyhow::Result<Running> {
        let command = serve_command(Command::new(&settings.program), model, workers);
        Running::project(command, arguments)
    }

    /// The floor of this model.
    pub(crate) fn raw(
        settings: &Settings,
        model: Model,
        workers: usize,
        called: Called,
        payload: usize,
    ) -> anyhow::Result<Running> {
        let method = ["--method", called.method()];
        Running::raw_echo(settings, model, workers, payload, &method)
    }

    /// The floor of this model for `rpc-client`.
    pub(crate) fn raw_for_client(
        settings: &Settings,
        model: Model,
        payload: usize,
    ) -> anyhow::Result<Running> {
        Running::raw_echo(settings, model, settings.workers, payload, &["--for-client"])
    }

    fn raw_echo(
        settings: &Settings,
        model: Model,
        workers: usize,
        payload: usize,
        requests: &[&str],
    ) -> anyhow::Result<Running> {
        let mut command = Command::new(&settings.program);
        command
            .args(["raw-echo", model.name()])
            .args(requests)
            .args(["--payload", &payload.to_string()])
            .args(["--workers", &workers.to_string()]);
        Running::project(command, &[])
    }

    fn project(mut command: Command, arguments: &[String]) -> anyhow::Result<Running> {
        command.args(arguments);
        Ok(Running::Project(Server::start_command(command)?))
    }

    pub(crate) fn seed(source: &str) -> anyhow::Result<Running> {
        Ok(Running::Seed(SeedServer::start(source)?))
    }

    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        match self {
            Running::Project(server) => socket_address(server),
            Running::Seed(server) => Ok(server.address()),
        }
    }

    /// SIGTERM, and then the wait for the end.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        match self {
            Running::Project(server) => {
                let status = server.stop(STOP_TIMEOUT)?;
                ensure!(status.success(), "the server ended with {status}");
                Ok(())
            }
            Running::Seed(_) => bail!("the first servers know no stop"),
        }
    }

    /// The process that was started: the master or parent, where there is one.
    pub(crate) fn pid(&self) -> i32 {
        match self {
            Running::Project(server) => server.pid(),
            Running::Seed(server) => server.pid(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Running::Project(server) = self {
            // Killed on drop if it does not stop; what it still does would disturb the next case.
            let _ = server.stop(STOP_TIMEOUT);
        }
    }
}

/// `program serve MODEL` on a port of the kernel's choice; `program` may begin with a tool that
/// watches the server.
pub(crate) fn serve_command(mut program: Command, model: Model, workers: usize) -> Command {
    program.args(["serve", model.name(), "--addr", "127.0.0.1:0"]).args([
        "--log",
        "error",
        "--workers",
        &workers.to_string(),
    ]);
    program
}

pub(crate) fn socket_address(server: &Server) -> anyhow::Result<SocketAddr> {
    let address = server.address().to_string();
    address.parse().with_context(|| format!("{address} is not an IP address and a port"))
}
