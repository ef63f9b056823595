//! prefork: as many workers as asked, a master that only supervises, and replacements.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use super::children::{REAL_TIME_SIGNAL, kill_with};
use super::{
    Caller, children, kinds_of_descriptors, promises, serve, signal_and_wait, stop_cleanly,
    wait_until,
};

promises! {
    there_are_as_many_workers_as_asked: prefork prefork_thread;
    the_master_does_not_serve: prefork prefork_thread;
    calls_go_on_while_the_master_is_stopped: prefork prefork_thread;
    a_worker_has_nothing_of_its_master: prefork prefork_thread;
    a_killed_worker_is_replaced: prefork prefork_thread;
    all_workers_killed_at_once_are_replaced: prefork prefork_thread;
    a_worker_killed_by_a_real_time_signal_is_replaced: prefork prefork_thread;
    a_worker_that_was_told_to_stop_is_replaced: prefork prefork_thread;
}

fn there_are_as_many_workers_as_asked(model: Model) {
    for (asked, expected) in [("1", 1), ("3", 3), ("7", 7)] {
        let mut server = serve(model, &["--workers", asked]);
        children(&server, expected);
        Caller::connect(&server).ping();
        assert_eq!(proc::children(server.pid()).len(), expected);
        stop_cleanly(&mut server, Signal::SIGTERM);
    }
}

fn the_master_does_not_serve(model: Model) {
    let server = serve(model, &["--workers", "3"]);
    let _callers: Vec<_> = (0..3).map(|_| Caller::served(&server)).collect();
    let master = kinds_of_descriptors(server.pid());
    let sockets = master.iter().filter(|kind| *kind == "socket").count();
    assert_eq!(sockets, 1, "the listening one: {master:?}");
    assert_eq!(proc::stat(server.pid()).expect("it lives").threads, 1);
}

fn calls_go_on_while_the_master_is_stopped(model: Model) {
    let server = serve(model, &["--workers", "2"]);
    children(&server, 2);
    let mut old = Caller::served(&server);
    server.signal(Signal::SIGSTOP).expect("the server lives");
    wait_until("the stop of the master", || {
        proc::stat(server.pid()).expect("it lives").state == 'T'
    });
    old.ping();
    Caller::connect(&server).ping();
    signal_and_wait(&server, Signal::SIGCONT);
}

/// A worker has the listening socket, its connection, an eventfd of its own, one descriptor in
/// reserve, and the pipe that it reports through; but nothing that its master watches workers with.
fn a_worker_has_nothing_of_its_master(model: Model) {
    let server = serve(model, &["--workers", "3"]);
    let mut callers: Vec<_> = (0..3).map(|_| Caller::served(&server)).collect();
    callers.iter_mut().for_each(Caller::ping);
    let mut connections = 0;
    for worker in children(&server, 3) {
        let kinds = kinds_of_descriptors(worker);
        let (sockets, others): (Vec<_>, Vec<_>) =
            kinds.into_iter().partition(|kind| kind == "socket");
        assert_eq!(others, ["anon_inode:[eventfd]", "anon_inode:[eventfd]", "pipe"]);
        connections += sockets.len() - 1;
    }
    assert_eq!(connections, 3);
}

fn a_killed_worker_is_replaced(model: Model) {
    let server = serve(model, &["--workers", "2"]);
    let before = children(&server, 2);
    kill(Pid::from_raw(before[0]), Signal::SIGKILL).expect("the worker lives");
    expect_replaced(&server, &before[..1], 2);
}

fn all_workers_killed_at_once_are_replaced(model: Model) {
    let server = serve(model, &["--workers", "4"]);
    let before = children(&server, 4);
    for &worker in &before {
        kill(Pid::from_raw(worker), Signal::SIGKILL).expect("the worker lives");
    }
    expect_replaced(&server, &before, 4);
}

fn a_worker_killed_by_a_real_time_signal_is_replaced(model: Model) {
    let server = serve(model, &["--workers", "2"]);
    let before = children(&server, 2);
    kill_with(REAL_TIME_SIGNAL, before[0]);
    expect_replaced(&server, &before[..1], 2);
}

fn a_worker_that_was_told_to_stop_is_replaced(model: Model) {
    let server = serve(model, &["--workers", "2"]);
    let before = children(&server, 2);
    kill(Pid::from_raw(before[1]), Signal::SIGTERM).expect("the worker lives");
    expect_replaced(&server, &before[1..], 2);
}

/// There are `count` workers again, none of them among `killed`, and each of them serves.
fn expect_replaced(server: &Server, killed: &[i32], count: usize) {
    let mut now = Vec::new();
    wait_until("the replacement of workers", || {
        now = children(server, count);
        !now.iter().any(|pid| killed.contains(pid))
    });
    // As many connections as workers: under prefork each worker has one.
    let mut callers: Vec<_> = (0..count).map(|_| Caller::served(server)).collect();
    callers.iter_mut().for_each(Caller::ping);
    assert_eq!(proc::children(server.pid()), now);
}
