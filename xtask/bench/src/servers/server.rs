//! What is measured, as processes that stop when they are dropped.

use std::process::Command;
use std::time::Duration;

use xtask::launch::{Server, serve};
use xtask::model::Model;

use crate::settings::Settings;

/// How long a server may take to stop before it is killed. What it still does would disturb the next
/// case.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// `xtask serve`, with further arguments.
pub(crate) fn ours(
    settings: &Settings,
    model: Model,
    workers: usize,
    arguments: &[String],
) -> anyhow::Result<Server> {
    let mut command = quiet(Command::new(&settings.program), model, workers);
    command.args(arguments);
    Ok(Server::start_command(command)?.stop_when_dropped(STOP_TIMEOUT))
}

/// `program serve MODEL`, which logs errors only; `program` may begin with a tool that watches the
/// server.
pub(crate) fn quiet(program: Command, model: Model, workers: usize) -> Command {
    let mut command = serve(program, model);
    command.args(["--log", "error", "--workers", &workers.to_string()]);
    command
}

/// The floor of this model. `requests` are the options of `raw-echo` that say how its requests look.
pub(crate) fn raw(
    settings: &Settings,
    model: Model,
    workers: usize,
    payload: usize,
    requests: &[&str],
) -> anyhow::Result<Server> {
    let mut command = Command::new(&settings.program);
    command
        .args(["raw-echo", model.name()])
        .args(requests)
        .args(["--payload", &payload.to_string()])
        .args(["--workers", &workers.to_string()]);
    Server::start_command(command)
}

/// Options of a server that lets `count` connections be idle for as long as a case takes.
pub(crate) fn for_idle_connections(count: usize) -> Vec<String> {
    let count = (count + 100).to_string();
    ["--max-connections", &count, "--max-children", &count, "--idle-timeout", "1h"]
        .map(str::to_owned)
        .into()
}
