//! Processes, threads, signals and descriptors: what a server does to the system that it runs on.

mod access;
mod boot;
mod caller;
mod children;
mod descriptors;
mod disconnects;
mod faults;
mod figures;
mod forbidden;
mod grace;
mod inherited;
mod load;
mod newborn;
mod notices;
mod orphans;
mod outputs;
mod pid_file;
mod privileges;
mod recycle;
mod refusals;
mod reload;
mod retiring;
mod start;
mod status;
mod stop;
mod suspended;
mod upgrade;
mod workers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use caller::Caller;

const PROGRAM: &str = env!("CARGO_BIN_EXE_xtask");

/// How long anything may take that should be there at once, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a server may take to end when nothing keeps it.
const AT_ONCE: Duration = Duration::from_secs(1);

/// One test for every promise and model, so that a failure names both.
macro_rules! promises {
    ($($promise:ident: $($model:ident)*;)*) => {
        $(
            mod $promise {
                $(
                    #[test]
                    fn $model() {
                        super::$promise(crate::lifecycle::model_named(stringify!($model)));
                    }
                )*
            }
        )*
    };
}
pub(crate) use promises;

fn model_named(name: &str) -> Model {
    let name = name.replace('_', "-");
    let found = Model::ALL.into_iter().find(|model| model.name() == name);
    found.unwrap_or_else(|| panic!("no model {name}"))
}

/// A server on a port of the kernel's choice, with its methods for trying faults.
fn serve(model: Model, arguments: &[&str]) -> Server {
    serve_in("", model, arguments)
}

/// As [`serve`], in a shell that runs `preparation` first.
fn serve_in(preparation: &str, model: Model, arguments: &[&str]) -> Server {
    let mut command = command_in(preparation, model, "127.0.0.1:0", arguments);
    command.stderr(Stdio::null());
    Server::start_command(command).expect("the server starts")
}

/// As [`serve`], on a Unix socket, where a request that was sent has arrived.
fn serve_on_socket(model: Model, arguments: &[&str]) -> (Server, Directory) {
    let directory = Directory::new();
    let mut command = command_in("", model, &directory.socket(), arguments);
    command.stderr(Stdio::null());
    let server = Server::start_command(command).expect("the server starts");
    (server, directory)
}

/// As [`serve`], with a log that can be read and a file that tells starting workers what to do.
fn serve_logged(model: Model, arguments: &[&str]) -> (Server, Log) {
    let (command, log) = logged_command(model, arguments);
    (Server::start_command(command).expect("the server starts"), log)
}

fn logged_command(model: Model, arguments: &[&str]) -> (Command, Log) {
    let log = Log(Directory::new());
    let mut command = command_in("", model, "127.0.0.1:0", arguments);
    let file = fs::File::create(log.0.path().join("log")).expect("a new file");
    command.stderr(file).arg("--boot-fault").arg(log.0.path().join("fault"));
    (command, log)
}

/// What a server has logged.
struct Log(Directory);

impl Log {
    fn text(&self) -> String {
        let bytes = fs::read(self.0.path().join("log")).expect("the file is there");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn count(&self, words: &str) -> usize {
        self.text().matches(words).count()
    }

    fn wait_for(&self, words: &str) {
        wait_until(&format!("{words:?} in the log"), || self.count(words) > 0);
    }

    /// What workers that start from now on do instead.
    fn set_boot_fault(&self, fault: &str) {
        let (new, file) = (self.0.path().join("new"), self.0.path().join("fault"));
        fs::write(&new, fault).expect("a file");
        // In one step: a worker may be looking.
        fs::rename(new, file).expect("the same directory");
    }
}

fn command_in(preparation: &str, model: Model, address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{preparation}\nexec \"$@\""), "sh", PROGRAM])
        .args(["serve", model.name(), "--addr", address, "--fault-methods"])
        .args(arguments);
    command
}

fn port(server: &Server) -> SocketAddr {
    let address = server.address().to_string();
    address.parse().expect("the server says a numeric address")
}

/// Waits for something that sends no event, such as the end of a process that is not our child.
#[expect(clippy::disallowed_methods, reason = "there is no event to wait for")]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn wait_until_gone(pids: &[i32]) {
    wait_until(&format!("the end of {pids:?}"), || !pids.iter().any(|&pid| proc::is_alive(pid)));
}

fn assert_none_alive(tree: &[i32]) {
    for &pid in tree {
        assert!(!proc::is_alive(pid), "{pid} of {tree:?} outlives its server");
    }
}

/// The server's processes besides the first: once there are `count`, and each has taken its own
/// signals and descriptors in hand.
fn children(server: &Server, count: usize) -> Vec<i32> {
    let mut found = Vec::new();
    wait_until(&format!("{count} children"), || {
        found = proc::children(server.pid());
        let is_set_up = |&pid: &i32| !status::is_blocked(pid, Signal::SIGTERM);
        found.len() == count && found.iter().all(is_set_up)
    });
    found
}

/// What the open descriptors of a process are, the numbers of sockets and pipes left out. Standard input,
/// output and error do not count, nor what whoever runs the tests handed down.
fn kinds_of_descriptors(pid: i32) -> Vec<String> {
    let open = proc::descriptors(pid).expect("the process lives");
    let ours = proc::descriptors(std::process::id() as i32).expect("we live");
    let handed_down: Vec<_> = open[..3].iter().chain(&ours).map(|(_, target)| target).collect();
    let mut kinds: Vec<String> = open
        .iter()
        .map(|(_, target)| target)
        .filter(|target| !handed_down.contains(target))
        .map(|target| match target.split_once(":[") {
            Some((kind @ ("socket" | "pipe"), _)) => kind.to_owned(),
            _ => target.clone(),
        })
        .collect();
    kinds.sort();
    kinds
}

/// There are `count` workers, and none of them is among `old`.
fn wait_for_new_workers(server: &Server, old: &[i32], count: usize) -> Vec<i32> {
    let mut now = Vec::new();
    wait_until(&format!("{count} workers instead of {old:?}"), || {
        now = proc::children(server.pid());
        now.len() == count && !now.iter().any(|pid| old.contains(pid))
    });
    now
}

fn kill_one(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("the process lives");
}

/// Sends `signal` and waits until the process has taken it.
fn signal_and_wait(server: &Server, signal: Signal) {
    server.signal(signal).expect("the server lives");
    wait_until("the delivery of a signal", || {
        !proc::is_pending(server.pid(), signal).unwrap_or(false)
    });
}

/// The server ends with status 0, none of its processes stays. Returns how long it took.
fn stop_cleanly(server: &mut Server, signal: Signal) -> Duration {
    let tree = proc::tree(server.pid());
    let begin = Instant::now();
    server.signal(signal).expect("the server lives");
    let status = server.wait(PATIENCE).expect("the server ends");
    let took = begin.elapsed();
    assert_eq!(status.code(), Some(0), "{status}");
    assert_none_alive(&tree);
    took
}

/// A directory of this test's own, removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rpc-lifecycle-{}-{number}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new directory");
        Directory(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// The address of a Unix socket in it.
    fn socket(&self) -> String {
        format!("unix:{}", self.path().join("socket").display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
