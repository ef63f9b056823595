//! fork: a child a connection, no zombie, nothing inherited that is not its own.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use super::{
    Caller, assert_none_alive, children, kinds_of_descriptors, serve, serve_in, wait_until,
};

/// The number of a real-time signal, which the usual tables of signals have no name for: SIGRTMIN
/// as the C library counts, and 3.
pub(super) const REAL_TIME_SIGNAL: &str = "37";

fn kill_now(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the child lives");
}

/// Sends a signal that only a shell can name.
pub(super) fn kill_with(signal: &str, pid: i32) {
    let status = std::process::Command::new("sh")
        .args(["-c", "kill -\"$0\" \"$1\"", signal, &pid.to_string()])
        .status();
    assert!(status.expect("a shell").success());
}

fn expect_no_child(server: &Server) {
    wait_until("the end of all children, and no zombie", || {
        proc::children(server.pid()).is_empty()
    });
}

#[test]
fn a_hundred_children_that_end_together_leave_no_zombie() {
    let server = serve(Model::Fork, &[]);
    let callers: Vec<_> = (0..100).map(|_| Caller::served(&server)).collect();
    children(&server, 100);
    drop(callers);
    expect_no_child(&server);
    Caller::connect(&server).ping();
}

#[test]
fn a_hundred_children_killed_together_leave_no_zombie() {
    let server = serve(Model::Fork, &[]);
    let _callers: Vec<_> = (0..100).map(|_| Caller::served(&server)).collect();
    children(&server, 100).into_iter().for_each(kill_now);
    expect_no_child(&server);
    Caller::connect(&server).ping();
}

/// A server that inherits an ignored SIGCHLD has children that nobody can wait for.
#[test]
fn children_come_and_go_where_their_signal_is_ignored() {
    let mut server = serve_in("trap '' CHLD", Model::Fork, &["--max-children", "1"]);
    for _ in 0..3 {
        drop(Caller::served(&server));
        expect_no_child(&server);
    }
    super::stop_cleanly(&mut server, Signal::SIGTERM);
}

#[test]
fn a_killed_child_takes_its_own_connection_only() {
    let server = serve(Model::Fork, &[]);
    let mut first = Caller::served(&server);
    let child = children(&server, 1)[0];
    let mut second = Caller::served(&server);
    kill_now(child);
    assert_eq!(first.receive(), None);
    second.ping();
    Caller::connect(&server).ping();
}

#[test]
fn a_child_killed_by_a_real_time_signal_is_reaped() {
    let mut server = serve(Model::Fork, &[]);
    let mut caller = Caller::served(&server);
    kill_with(REAL_TIME_SIGNAL, children(&server, 1)[0]);
    assert_eq!(caller.receive(), None);
    expect_no_child(&server);
    Caller::served(&server);
    super::stop_cleanly(&mut server, Signal::SIGTERM);
}

#[test]
fn places_of_children_come_back_however_they_end() {
    let server = serve(Model::Fork, &["--max-children", "2"]);
    let endings: [fn(Caller, i32); 3] = [
        |caller, _| drop(caller),
        |_, child| kill_now(child),
        |mut caller, _| caller.send("abort", Value::Null),
    ];
    for end in endings {
        let kept = Caller::served(&server);
        let before = children(&server, 1);
        let ending = Caller::served(&server);
        let both = children(&server, 2);
        Caller::connect(&server).expect_error(-32000);
        let child = both.into_iter().find(|child| !before.contains(child));
        let child = child.expect("a second child");
        end(ending, child);
        wait_until("the end of one child", || proc::children(server.pid()) == before);
        drop((Caller::served(&server), kept));
        expect_no_child(&server);
    }
}

/// Five connections: the last child could have inherited four of others, the listening socket,
/// and what its parent watches its children with.
#[test]
fn a_child_has_its_own_connection_and_nothing_of_its_parent() {
    let server = serve(Model::Fork, &["--max-children", "5"]);
    let callers: Vec<_> = (0..5).map(|_| Caller::served(&server)).collect();
    // Its farewell is open in the parent for a moment.
    let refused = Caller::connect(&server);
    let all = children(&server, 5);
    for &child in &all {
        let kinds = kinds_of_descriptors(child);
        assert_eq!(kinds, ["anon_inode:[eventfd]", "socket"], "{child}");
    }
    // The parent keeps no connection: each of them ends with its child.
    drop((callers, refused));
    expect_no_child(&server);
    assert_none_alive(&all);
    wait_until("the end of the farewell", || {
        let open = kinds_of_descriptors(server.pid());
        open.iter().filter(|kind| *kind == "socket").count() == 1
    });
}
