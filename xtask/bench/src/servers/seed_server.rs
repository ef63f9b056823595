//! The Python servers that this project grew from, as processes.

use std::process::{Command, Stdio};

use xtask::launch::Server;
use xtask::model::Model;

/// The program of the seed that is of this model. There is none for prefork-thread.
pub(crate) fn program(model: Model) -> Option<&'static str> {
    match model {
        Model::Single => Some(include_str!("../../../tests/seed/blocking_single.py")),
        Model::Thread => Some(include_str!("../../../tests/seed/multithread.py")),
        Model::Fork => Some(include_str!("../../../tests/seed/multiprocess.py")),
        Model::Prefork => Some(include_str!("../../../tests/seed/prefork.py")),
        Model::PreforkThread => None,
    }
}

/// Whether there is a `python3` to run them with.
pub(crate) fn python_is_there() -> bool {
    let version = Command::new("python3")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// A running Python server. It prints every call, and neither it nor its children stop by
/// themselves.
pub(crate) fn start(source: &str) -> anyhow::Result<Server> {
    let mut python = Command::new("python3");
    python.args(["-c", source, "127.0.0.1", "0"]);
    Server::start_command(python)
}
