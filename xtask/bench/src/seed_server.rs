//! The Python servers that this project grew from, as processes.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::{io, thread};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::model::Model;
use xtask::proc;

/// The program of the seed that is of this model. There is none for prefork-thread.
pub(crate) fn program(model: Model) -> Option<&'static str> {
    match model {
        Model::Single => Some(include_str!("../../tests/seed/blocking_single.py")),
        Model::Thread => Some(include_str!("../../tests/seed/multithread.py")),
        Model::Fork => Some(include_str!("../../tests/seed/multiprocess.py")),
        Model::Prefork => Some(include_str!("../../tests/seed/prefork.py")),
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

/// A running Python server. Dropping it kills it and its children, which do not stop by
/// themselves.
pub(crate) struct SeedServer {
    process: Child,
    address: SocketAddr,
}

impl SeedServer {
    pub(crate) fn start(source: &str) -> anyhow::Result<SeedServer> {
        let mut process = Command::new("python3")
            .args(["-c", source, "127.0.0.1", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start python3")?;
        let stdout = process.stdout.take().context("standard output is a pipe")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let Some(address) = line.trim_end().strip_prefix("listening on ") else {
            let status = process.wait()?;
            bail!("the seed's server ended before it was ready ({status}); it said {line:?}");
        };
        let address = address.parse()?;
        // It prints every call, and would stop at a full pipe.
        thread::spawn(move || io::copy(&mut stdout, &mut io::sink()));
        Ok(SeedServer { process, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.id() as i32
    }
}

impl Drop for SeedServer {
    fn drop(&mut self) {
        let below = proc::tree(self.pid()).into_iter().skip(1);
        let _ = self.process.kill();
        for child in below {
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        let _ = self.process.wait();
    }
}
