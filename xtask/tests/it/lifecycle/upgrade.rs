//! SIGUSR2: a new program takes over the socket, or the old one goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::json;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use super::{
    Caller, Directory, Log, PATIENCE, PROGRAM, children, kill_one, promises, wait_until,
    wait_until_gone,
};

promises! {
    an_upgrade_under_load_loses_no_call: prefork prefork_thread;
    an_upgrade_keeps_the_file_of_the_socket: prefork prefork_thread;
    connections_of_the_old_server_are_served_to_their_end: prefork prefork_thread;
    an_upgrade_does_not_wait_with_a_reload_for_retiring_workers: prefork prefork_thread;
    a_broken_program_changes_nothing_and_the_next_one_takes_over: prefork prefork_thread;
    a_pid_file_names_whoever_is_to_be_signalled: prefork prefork_thread;
}

/// A server whose program is a file of its own, so that a test can replace it.
pub(super) struct Installed {
    pub(super) server: Server,
    pub(super) log: Log,
}

impl Installed {
    pub(super) fn serve(model: Model, address: &str, arguments: &[&str]) -> Installed {
        let log = Log(Directory::new());
        let program = log.0.path().join("program");
        install(&program);
        let file = fs::File::options().append(true).create(true).open(log.0.path().join("log"));
        let mut command = Command::new(program);
        command.args(["serve", model.name(), "--addr", address, "--fault-methods"]);
        command.args(arguments).stderr(file.expect("a new file"));
        let server = Server::start_command(command).expect("the server starts");
        wait_until("its workers", || !proc::children(server.pid()).is_empty());
        Caller::served(&server);
        Installed { server, log }
    }

    pub(super) fn program(&self) -> PathBuf {
        self.log.0.path().join("program")
    }

    /// Starts the upgrade; the process id of the new server.
    pub(super) fn upgrade(&self) -> Successor {
        self.server.signal(Signal::SIGUSR2).expect("the server lives");
        self.log.wait_for("upgrading: starting a new server");
        self.last_successor()
    }

    fn last_successor(&self) -> Successor {
        let text = self.log.text();
        let line = text.lines().rfind(|line| line.contains("upgrading:")).expect("it is there");
        let pid = line.rsplit_once("pid=").expect("the log tells the process id").1;
        Successor(pid.trim().parse().unwrap_or_else(|_| panic!("{line:?}")))
    }
}

/// A server that nobody waits for; stopped on drop.
pub(super) struct Successor(pub(super) i32);

impl Drop for Successor {
    fn drop(&mut self) {
        let tree = proc::tree(self.0);
        if nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0), Signal::SIGTERM).is_ok()
            && !thread::panicking()
        {
            wait_until_gone(&tree);
        }
    }
}

pub(super) fn install(program: &Path) {
    let new = program.with_extension("new");
    if fs::hard_link(PROGRAM, &new).is_err() {
        fs::copy(PROGRAM, &new).expect("the program can be copied");
    }
    fs::rename(new, program).expect("the same directory");
}

pub(super) fn install_script(program: &Path, script: &str) {
    let new = program.with_extension("new");
    fs::write(&new, script).expect("a file");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("a file");
    fs::rename(new, program).expect("the same directory");
}

fn an_upgrade_under_load_loses_no_call(model: Model) {
    let mut installed = Installed::serve(model, "127.0.0.1:0", &["--workers", "2"]);
    let calls = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let address = installed.server.address().clone();
    let successor = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut caller = Caller::connect_to(&address);
                    for _ in 0..3 {
                        caller.ping();
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let upgrade = || {
            wait_until("calls", || calls.load(Ordering::Relaxed) > 50);
            let successor = installed.upgrade();
            let status = installed.server.wait(PATIENCE).expect("the old server ends");
            assert_eq!(status.code(), Some(0), "{status}");
            let before = calls.load(Ordering::Relaxed);
            wait_until("calls", || calls.load(Ordering::Relaxed) > before + 50);
            successor
        };
        let upgraded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(upgrade));
        is_over.store(true, Ordering::Relaxed);
        upgraded.unwrap()
    });
    assert!(proc::is_alive(successor.0));
}

fn an_upgrade_keeps_the_file_of_the_socket(model: Model) {
    let directory = Directory::new();
    let mut installed = Installed::serve(model, &directory.socket(), &["--workers", "2"]);
    let successor = installed.upgrade();
    let status = installed.server.wait(PATIENCE).expect("the old server ends");
    assert_eq!(status.code(), Some(0), "{status}");
    Caller::connect(&installed.server).ping();
    // And once more: the successor can be succeeded.
    kill_one(successor.0, Signal::SIGUSR2);
    wait_until("a second successor", || {
        installed.log.count("upgrading: starting") == 2 && !proc::is_alive(successor.0)
    });
    let second = installed.last_successor();
    Caller::connect(&installed.server).ping();
    assert!(proc::is_alive(second.0));
}

fn connections_of_the_old_server_are_served_to_their_end(model: Model) {
    let mut installed = Installed::serve(model, "127.0.0.1:0", &["--workers", "2"]);
    let mut lasting = Caller::served(&installed.server);
    let _successor = installed.upgrade();
    installed.log.wait_for("upgraded: a new server takes over");
    Caller::connect(&installed.server).ping();
    for _ in 0..3 {
        lasting.ping();
    }
    lasting.send_surely("sleep", json!(100));
    assert_eq!(lasting.receive(), Some(("slept".to_owned(), json!(100))));
    drop(lasting);
    let status = installed.server.wait(PATIENCE).expect("the old server ends");
    assert_eq!(status.code(), Some(0), "{status}");
}

fn an_upgrade_does_not_wait_with_a_reload_for_retiring_workers(model: Model) {
    let mut installed = Installed::serve(model, "127.0.0.1:0", &["--workers", "2"]);
    children(&installed.server, 2);
    let mut lasting = Caller::served(&installed.server);
    for words in ["reloaded:", "reload waits"] {
        installed.server.signal(Signal::SIGHUP).expect("the server lives");
        installed.log.wait_for(words);
    }
    let _successor = installed.upgrade();
    installed.log.wait_for("upgraded: a new server takes over");
    lasting.ping();
    Caller::connect(&installed.server).ping();
    drop(lasting);
    let status = installed.server.wait(PATIENCE).expect("the old server ends");
    assert_eq!(status.code(), Some(0), "{status}");
}

fn a_broken_program_changes_nothing_and_the_next_one_takes_over(model: Model) {
    let arguments = ["--workers", "2", "--boot-timeout", "2s"];
    let mut installed = Installed::serve(model, "127.0.0.1:0", &arguments);
    let workers = children(&installed.server, 2);
    let mut lasting = Caller::served(&installed.server);
    let broken = [
        (Some("#!/bin/sh\nexit 7\n"), "exited with status 7"),
        (Some("#!/bin/sh\nexec sleep 600\n"), "was not ready in time"),
        (Some("#!/no/such/interpreter\n"), "No such file"),
        (None, "No such file"),
    ];
    for (called_off, (content, reason)) in broken.into_iter().enumerate() {
        match content {
            Some(content) => install_script(&installed.program(), content),
            None => fs::remove_file(installed.program()).expect("it is there"),
        }
        super::signal_and_wait(&installed.server, Signal::SIGUSR2);
        let log = &installed.log;
        wait_until("the end of an upgrade", || log.count("upgrade called off") > called_off);
        let text = log.text();
        let last = text.lines().rfind(|line| line.contains("called off")).expect("it is there");
        assert!(last.contains(reason), "{last}");
        lasting.ping();
        assert_eq!(children(&installed.server, 2), workers);
        Caller::connect(&installed.server).ping();
    }
    drop(lasting);
    install(&installed.program());
    installed.server.signal(Signal::SIGUSR2).expect("the server lives");
    let log = &installed.log;
    wait_until("a new server", || log.count("upgraded: a new server takes over") == 1);
    let _successor = installed.last_successor();
    let status = installed.server.wait(PATIENCE).expect("the old server ends");
    assert_eq!(status.code(), Some(0), "{status}");
    Caller::connect(&installed.server).ping();
}

fn a_pid_file_names_whoever_is_to_be_signalled(model: Model) {
    let directory = Directory::new();
    let (path, aside) = (directory.path().join("pid"), directory.path().join("pid.oldbin"));
    let named = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<i32>().ok();
    let shown = path.display().to_string();
    let arguments = ["--workers", "2", "--pid-file", &shown];
    let mut installed = Installed::serve(model, "127.0.0.1:0", &arguments);
    let first = installed.server.pid();
    assert_eq!(named(&path), Some(first));

    // One that fails before it has a pidfile, and one that leaves a stale one behind.
    let stale = format!("#!/bin/sh\necho 4194304 >'{shown}'\nexit 7\n");
    for (called_off, program) in ["#!/bin/sh\nexit 7\n", &stale].into_iter().enumerate() {
        install_script(&installed.program(), program);
        super::signal_and_wait(&installed.server, Signal::SIGUSR2);
        let log = &installed.log;
        wait_until("the end of an upgrade", || log.count("upgrade called off") > called_off);
        wait_until("the name of the pidfile", || named(&path) == Some(first));
        assert!(!aside.exists());
    }

    install(&installed.program());
    let mut lasting = Caller::served(&installed.server);
    installed.server.signal(Signal::SIGUSR2).expect("the server lives");
    let log = &installed.log;
    wait_until("a new server", || log.count("upgraded: a new server takes over") == 1);
    let successor = installed.last_successor();
    assert_eq!((named(&path), named(&aside)), (Some(successor.0), Some(first)));
    lasting.ping();
    drop(lasting);
    let status = installed.server.wait(PATIENCE).expect("the old server ends");
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!((named(&path), aside.exists()), (Some(successor.0), false));
}
