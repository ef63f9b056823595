//! `cargo xtask top`, once into a pipe and live on a terminal.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_core::{Acceptor, Registry, Service};
use rpc_proto::Address;
use rpc_proto::stats::{STATS, Stats, WorkerState, WorkerStats};
use xtask::model::Model;

use crate::raw::{PATIENCE, Raw, request};
use crate::server::{start, start_at};

fn top(address: &Address, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["top", "--interval", "50ms"]).arg(address.to_string()).args(arguments);
    command.stdin(Stdio::null());
    command
}

/// Standard output and standard error, and whether all went well.
fn told(output: &Output) -> (String, String, bool) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.success())
}

#[test]
fn a_snapshot_shows_who_is_doing_what() {
    let server = start(Model::Prefork, &["--fault-methods", "--workers", "3"]);
    let mut hung = Raw::connect(&server);
    hung.send(&request("sleep", "600000"));
    let mut looker = server.connect().expect("the server accepts");
    let is_there = |stats: Stats| {
        let is_ready = |worker: &WorkerStats| worker.state == WorkerState::Ready;
        stats.calls.handling == 2 && stats.workers.len() == 3 && stats.workers.iter().all(is_ready)
    };
    let deadline = Instant::now() + PATIENCE;
    while !is_there(looker.call(STATS, &()).expect("an answer")) {
        assert!(Instant::now() < deadline, "not in time");
    }
    drop(looker);
    // With and without the option: a pipe is no terminal.
    for arguments in [&["--once"][..], &[]] {
        let output = top(server.address(), arguments).output().expect("it runs");
        let (shown, error, went_well) = told(&output);
        assert!(went_well && error.is_empty(), "{error}");
        for part in [
            &*format!("{}  version ", server.address()),
            &format!("  pid {}  up ", server.pid()),
            " in all, 1 being handled, 0 lost\n",
            "refused: none\n",
            "deaths       none\n",
        ] {
            assert!(shown.contains(part), "{part:?}: {shown}");
        }
        let rows = |word: &str| shown.lines().filter(|line| line.contains(word)).count();
        assert_eq!(rows(" ready "), 3, "{shown}");
        assert_eq!(rows(" sleep "), 1, "{shown}");
        let row = shown.lines().find(|line| line.contains(" sleep ")).expect("a row");
        let lasted = row.split_once("≥ ").and_then(|(_, rest)| rest.split(' ').next());
        let lasted: f64 = lasted.expect("a time").parse().expect("seconds");
        assert!(lasted > 0.0, "the time between two looks: {row}");
        assert!(!shown.contains('\x1b') && !shown.contains('?'), "{shown}");
    }
}

#[test]
fn nobody_there_is_an_error() {
    let server = start(Model::Single, &[]);
    let address = server.address().clone();
    drop(server);
    let (shown, error, went_well) = told(&top(&address, &["--once"]).output().expect("it runs"));
    assert!(!went_well && shown.is_empty(), "{shown}");
    assert!(error.contains("the first look at"), "{error}");
}

#[test]
fn a_server_that_tells_nothing_is_an_error_that_says_what_to_do() {
    let mut acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).expect("a port is free");
    let (address, shutdown) = (acceptor.address().clone(), acceptor.shutdown());
    let server = thread::spawn(move || {
        let service = Service::new(Registry::new());
        while let Some(conn) = acceptor.accept().expect("it accepts") {
            service.serve_conn(conn);
        }
    });
    let (shown, error, went_well) = told(&top(&address, &["--once"]).output().expect("it runs"));
    assert!(!went_well && shown.is_empty(), "{shown}");
    assert!(error.contains("with_stats(true)"), "{error}");
    shutdown.stop();
    server.join().expect("it ends");
}

#[test]
fn an_interval_without_end_or_beginning_is_refused() {
    for interval in ["0s", "9ms", "-1s", "soon"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let output = command.args(["top", "127.0.0.1:1", "--interval", interval]).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{interval}: {output:?}");
    }
}

/// `top` on a terminal, and everything that it has written there.
struct Live {
    top: Child,
    terminal: File,
    written: String,
}

impl Live {
    fn start(address: &Address) -> Live {
        let size = Winsize { ws_row: 24, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a terminal");
        let top = top(address, &[]).stdout(pty.slave).spawn().expect("it runs");
        Live { top, terminal: pty.master.into(), written: String::new() }
    }

    /// Reads until something new was written that contains `part`, or to the end.
    fn read_until(&mut self, part: &str) -> bool {
        let begin = self.written.len();
        let mut bytes = [0; 4096];
        loop {
            if self.written[begin..].contains(part) {
                return true;
            }
            // The end is an error here: the other side of a terminal is closed (EIO).
            match self.terminal.read(&mut bytes) {
                Ok(count) if count > 0 => {
                    self.written += &String::from_utf8_lossy(&bytes[..count]);
                }
                _ => return false,
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, part: &str) {
        assert!(self.read_until(part), "no {part:?}: {:?}", self.written);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.top.kill();
        let _ = self.top.wait();
    }
}

#[test]
fn a_restart_is_survived_and_told() {
    let address =
        format!("unix:{}/top-{}.sock", std::env::temp_dir().display(), std::process::id());
    let first = start_at(&address, Model::Single, &[]);
    let mut live = Live::start(first.address());
    live.expect(&format!("  pid {}  ", first.pid()));
    let first_pid = first.pid();
    drop(first);
    live.expect("; trying again");
    let second = start_at(&address, Model::Single, &[]);
    assert_ne!(second.pid(), first_pid);
    live.expect(&format!("  pid {}  ", second.pid()));
    live.expect("RESTARTED since the first look");
    let Address::Unix(path) = second.address().clone() else { panic!("{address}") };
    drop(second);
    let _ = std::fs::remove_file(path);
}

#[test]
fn the_terminal_is_as_before_when_a_signal_ends_it() {
    let server = start(Model::Thread, &[]);
    // An answer that does not come keeps nobody from leaving.
    let hung = start(Model::Single, &["--fault-methods"]);
    let mut sleeper = Raw::connect(&hung);
    sleeper.send(&request("sleep", "600000"));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        for (server, sign) in [(&server, "calls "), (&hung, "asking")] {
            let mut live = Live::start(server.address());
            live.expect(sign);
            kill(Pid::from_raw(live.top.id() as i32), signal).expect("it runs");
            assert!(!live.read_until("this never comes"), "it ends");
            assert!(live.written.starts_with("\x1b[?1049h\x1b[?25l"), "{:?}", live.written);
            assert!(live.written.ends_with("\x1b[?25h\x1b[?1049l"), "{:?}", live.written);
            assert!(live.top.wait().expect("it ends").success(), "{signal}");
        }
    }
}
