//! The system has no more of something: newcomers are told, the others are served on.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use super::load::Load;
use super::{
    Caller, PROGRAM, children, promises, serve, serve_in, status, stop_cleanly, wait_until,
};

promises! {
    who_comes_when_descriptors_have_run_out_is_told: thread fork prefork_thread;
    a_pause_of_accepting_costs_nothing_once_it_is_over: prefork prefork_thread;
    a_thread_that_cannot_be_started_is_a_refusal: thread prefork_thread;
}

/// How long the processor time of a server is watched, and how much of it a server may use that
/// has nothing to do. Little, since a busy machine leaves little to one that never rests.
const WATCH: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_millis(50);

fn who_comes_when_descriptors_have_run_out_is_told(model: Model) {
    let server = serve_in("ulimit -n 40", model, &["--workers", "2"]);
    let mut served = Vec::new();
    loop {
        let mut newcomer = Caller::connect(&server);
        match answer(&mut newcomer) {
            Ok(()) => served.push(newcomer),
            Err(code) => break assert_eq!(code, -32000),
        }
        assert!(served.len() < 80, "more connections than descriptors");
    }
    // The worker of prefork-thread that has room may be the next to accept; the tree is full when
    // nobody was for a while.
    let mut refused = 0;
    while refused < 20 {
        let mut newcomer = Caller::connect(&server);
        match answer(&mut newcomer) {
            Ok(()) => served.push(newcomer),
            Err(code) => {
                assert_eq!(code, -32000);
                refused += 1;
            }
        }
        assert!(served.len() < 80, "more connections than descriptors");
    }
    assert!(served.len() > 20, "{}", served.len());
    expect_idle(&server);
    served.iter_mut().for_each(Caller::ping);

    let open = descriptors_of_tree(&server);
    served.drain(..5);
    wait_until("descriptors that are free again", || descriptors_of_tree(&server) <= open - 5);
    // One worker of prefork-thread may still be full, and the first to answer.
    wait_until("a connection that is served again", || {
        answer(&mut Caller::connect(&server)).is_ok()
    });
    served.iter_mut().for_each(Caller::ping);
}

/// The pong, or the code of the error that came instead.
fn answer(caller: &mut Caller) -> Result<(), i64> {
    // A refused connection may be closed already; what it was told can be read all the same.
    let _ = caller.try_send("ping", Value::Null);
    let (kind, result) = caller.receive().expect("an answer and not silence");
    match kind.as_str() {
        "pong" => Ok(()),
        _ => Err(result["code"].as_i64().expect("an error has a code")),
    }
}

fn descriptors_of_tree(server: &Server) -> usize {
    let tree = proc::tree(server.pid());
    let counts = tree.iter().map(|&pid| proc::descriptors(pid).map_or(0, |open| open.len()));
    counts.sum()
}

/// Watches for a second how much processor time the processes of the server take.
#[expect(clippy::disallowed_methods, reason = "what happens in a time is what is measured")]
pub(super) fn expect_idle(server: &Server) {
    let tree = proc::tree(server.pid());
    let used = || -> Duration {
        let times = tree.iter().filter_map(|&pid| proc::stat(pid).ok());
        times.map(|stat| stat.processor_time).sum()
    };
    let before = used();
    thread::sleep(WATCH);
    let taken = used() - before;
    assert!(taken <= IDLE, "{taken:?} of processor time in {WATCH:?}");
}

/// single holds one connection at a time, so it runs out only where none is left for that one.
#[test]
fn single_without_a_descriptor_for_a_connection_tells_so_and_recovers() {
    // A new descriptor gets the lowest free number: below the connection's there is none.
    let taken = {
        let server = serve(Model::Single, &[]);
        let _caller = Caller::served(&server);
        let open = proc::descriptors(server.pid()).expect("it lives");
        let sockets = open.iter().filter(|(_, target)| target.starts_with("socket:"));
        let numbers = sockets.map(|(number, _)| *number);
        numbers.max().expect("the connection")
    };
    let preparation = format!("ulimit -S -n {taken}");
    let mut server = serve_in(&preparation, Model::Single, &[]);
    for _ in 0..3 {
        assert_eq!(answer(&mut Caller::connect(&server)), Err(-32000));
    }
    expect_idle(&server);
    set_descriptor_limit(server.pid(), 64);
    Caller::connect(&server).ping();
    stop_cleanly(&mut server, Signal::SIGTERM);
}

/// The limit that is in force is below what is open, so that accepting pauses. A busy machine may
/// delay anything, so the fastest of some rounds counts.
#[test]
fn accepting_goes_on_within_200_ms_of_relief() {
    const RELIEF: Duration = Duration::from_millis(200);
    let server = serve(Model::Thread, &[]);
    let mut kept = Caller::served(&server);
    let fastest = (0..5).map(|_| {
        set_descriptor_limit(server.pid(), 3);
        // The call of poll(2) that waits fails first, or accept(2) does: either way it pauses.
        let mut waiting = Caller::connect(&server);
        let paused = status::switches(server.pid());
        wait_until("a vain attempt to accept", || status::switches(server.pid()) > paused);
        set_descriptor_limit(server.pid(), 64);
        let begin = Instant::now();
        // Either it was told in the meantime, or it is served now.
        if answer(&mut waiting).is_err() {
            Caller::connect(&server).ping();
        }
        begin.elapsed()
    });
    let fastest = fastest.min().expect("some rounds");
    assert!(fastest < RELIEF, "{fastest:?}");
    kept.ping();
}

/// One of two workers has no descriptor for a connection and pauses. Once the pause is over it must
/// not look all the time for something that does not come, or that the other one takes.
fn a_pause_of_accepting_costs_nothing_once_it_is_over(model: Model) {
    let server = serve(model, &["--workers", "2"]);
    let worker = children(&server, 2)[0];
    // Fewer than it has open: not even its reserve helps. A call of accept(2) that waits has its
    // descriptor already; to be stopped makes it call again.
    set_descriptor_limit(worker, 3);
    super::children::kill_with("STOP", worker);
    wait_until("the stop of a worker", || proc::stat(worker).expect("it lives").state == 'T');
    let switches = || status::switches(worker);
    let before = switches();
    super::children::kill_with("CONT", worker);
    wait_until("a vain attempt to accept", || switches() > before);
    expect_idle(&server);
    for _ in 0..3 {
        Caller::served(&server);
    }
    expect_idle(&server);
}

pub(super) fn set_descriptor_limit(pid: i32, limit: u32) {
    let status = Command::new("prlimit")
        .args([format!("--pid={pid}"), format!("--nofile={limit}:")])
        .status();
    assert!(status.expect("prlimit(1), of util-linux").success());
}

/// No machine has room for such a stack.
fn a_thread_that_cannot_be_started_is_a_refusal(model: Model) {
    let stack = "export RUST_MIN_STACK=1152921504606846976";
    let mut server = serve_in(stack, model, &["--workers", "1"]);
    let workers = children(&server, usize::from(model == Model::PreforkThread));
    for _ in 0..3 {
        let mut caller = Caller::connect(&server);
        let error = caller.expect_error(-32000);
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("thread"), "{message}");
        assert_eq!(caller.receive(), None);
    }
    assert_eq!(proc::children(server.pid()), workers);
    stop_cleanly(&mut server, Signal::SIGTERM);
}

#[test]
fn a_fork_that_fails_is_a_refusal() {
    let Some(mut server) = serve_with_processes(3, Model::Fork, &[]) else {
        return;
    };
    let mut first = Caller::served(&server);
    let second = Caller::served(&server);
    for _ in 0..3 {
        let mut third = Caller::connect(&server);
        let error = third.expect_error(-32000);
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("process"), "{message}");
        assert_eq!(third.receive(), None);
    }
    first.ping();
    drop(second);
    children(&server, 1);
    Caller::served(&server);
    stop_cleanly(&mut server, Signal::SIGTERM);
}

#[test]
fn a_worker_that_cannot_be_forked_is_tried_again() {
    // The master and one worker of three.
    let arguments = ["--workers", "3"];
    let Some(mut server) = serve_with_processes(2, Model::Prefork, &arguments) else {
        return;
    };
    let first = children(&server, 1)[0];
    Caller::served(&server);
    expect_idle(&server);
    let ((), seen) = Load::during(&server, 2, |load| {
        super::kill_one(first, Signal::SIGKILL);
        wait_until("another worker", || {
            let now = proc::children(server.pid());
            now.len() == 1 && now[0] != first
        });
        load.wait_for_calls();
    });
    seen.expect_lost_at_most(1);
    Caller::served(&server);
    stop_cleanly(&mut server, Signal::SIGTERM);
}

/// A server whose user may have `limit` processes. `None` where nobody here may make such a user;
/// that is said aloud, since the test then shows nothing.
fn serve_with_processes(limit: u32, model: Model, arguments: &[&str]) -> Option<Server> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // A user that has no process yet: the limit counts all that a user has.
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let user = 100_000 + std::process::id() % 100_000 * 8 + number;
    // Root is not limited, so root becomes that user; anybody else can be a new user in a
    // namespace of their own, where the kernel allows it.
    let ways = [
        format!("setpriv --reuid={user} --regid={user} --clear-groups"),
        "unshare --user".to_owned(),
    ];
    let succeeds = |command: String| {
        let status = Command::new("sh").args(["-c", &command]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let works = |way: &&String| {
        succeeds(format!("{way} true"))
            && !succeeds(format!("prlimit --nproc=1 {way} sh -c '(:) && (:)'"))
    };
    let Some(way) = ways.iter().find(works) else {
        let _ = writeln!(
            io::stderr(),
            "NOT TESTED ({model}): a fork that fails needs prlimit(1), and setpriv(1) as root or unshare(1)"
        );
        return None;
    };
    // The user may not be able to walk to the program, but an open file can be executed.
    let script =
        format!("exec 9<\"$0\" && exec prlimit --nproc={limit} {way} /proc/self/fd/9 \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, PROGRAM])
        .args(["serve", model.name(), "--addr", "127.0.0.1:0"])
        .args(arguments)
        .stderr(Stdio::null());
    Some(Server::start_command(command).expect("the server starts"))
}
