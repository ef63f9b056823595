//! No server outlives the command that started it: not when that is interrupted, and not when it
//! takes too long.

use std::io::{self, IsTerminal};
use std::process::{self, Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_core::Acceptor;
use rpc_process::Children;

use crate::log;

/// As shells report an interrupted program.
const EXIT_INTERRUPTED: i32 = 130;
const EXIT_TOO_LATE: i32 = 1;

/// The servers that run now. A terminal's Ctrl-C reaches them by itself, since they belong to the
/// same process group; a signal that is sent to the command alone does not.
static RUNNING: Mutex<Vec<i32>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a server that is killed if the command has to end.
///
/// The lock is held meanwhile, so that no server can start while the others are being killed.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut running = running();
    let server = command.spawn()?;
    running.push(server.id() as i32);
    Ok(server)
}

/// To be called before the number can belong to somebody else.
pub(crate) fn forget(pid: i32) {
    running().retain(|&running| running != pid);
}

/// From now on SIGINT, SIGTERM, or the end of `limit` kills the servers and ends this process, the
/// `command` of that name. To be called while this is the only thread.
///
/// Servers that crash on purpose leave no core dumps, in whatever directory the user is.
pub(crate) fn start(command: &'static str, limit: Duration) -> anyhow::Result<()> {
    let (_, hard_limit) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard_limit)?;
    let deadline = Instant::now() + limit;
    // Nobody connects to this one. It is the library's way to wait for a stop signal, and unlike
    // a blocked signal, a handled one is not inherited by the servers.
    let acceptor = Acceptor::bind(&"127.0.0.1:0".parse()?)?.stop_on_signals()?;
    let mut stop = Children::new(&acceptor)?;
    let wait = move || {
        let _bound = acceptor;
        while !stop.is_stopping() && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Err(error) = stop.wait(Some(left)) {
                log::say_error(&error.into());
                break;
            }
        }
        let status = if stop.is_stopping() {
            EXIT_INTERRUPTED
        } else {
            log::say_error(&anyhow!("the {command} did not end within {limit:?}"));
            EXIT_TOO_LATE
        };
        let servers = running();
        for &pid in servers.iter() {
            // Its children get a SIGTERM from the kernel when it dies.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if status == EXIT_INTERRUPTED {
            // On a terminal the cursor is still within a line of the progress.
            let line_end = if io::stderr().is_terminal() { "\n" } else { "" };
            log::say_aside(&format!("{line_end}interrupted"));
        }
        process::exit(status)
    };
    thread::Builder::new().name("guard".into()).spawn(wait)?;
    Ok(())
}
