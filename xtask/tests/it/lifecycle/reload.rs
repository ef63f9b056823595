//! SIGHUP, SIGTTIN, SIGTTOU: workers come and go, and no call is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use super::{
    Caller, Log, children, kill_one, promises, serve, serve_in, serve_logged, status, stop_cleanly,
    wait_for_new_workers, wait_until, wait_until_gone,
};

promises! {
    a_reload_replaces_all_workers: prefork prefork_thread;
    a_worker_that_was_replaced_serves_the_connections_that_it_has: prefork prefork_thread;
    at_the_end_of_the_drain_idle_connections_are_told: prefork prefork_thread;
    at_the_end_of_the_drain_a_handler_is_answered_for: prefork prefork_thread;
    twenty_reloads_under_load_lose_no_call: prefork prefork_thread;
    a_reload_whose_workers_fail_changes_nothing_and_the_next_one_works: prefork prefork_thread;
    reloads_that_come_together_are_one_or_two: prefork prefork_thread;
    workers_that_die_during_a_reload_are_replaced: prefork prefork_thread;
    a_worker_that_hangs_at_the_start_delays_no_stop: prefork prefork_thread;
    a_stop_during_a_reload_ends_everything: prefork prefork_thread;
    a_reload_waits_for_the_retiring_workers_of_the_last_one: prefork prefork_thread;
    a_reload_waits_no_longer_than_the_drain: prefork prefork_thread;
    a_reload_waits_for_no_worker_that_was_killed: prefork prefork_thread;
    a_stop_while_a_reload_waits_ends_everything: prefork prefork_thread;
    a_reload_works_where_the_signal_was_ignored: prefork prefork_thread;
    workers_are_added_and_taken_away: prefork prefork_thread;
    a_worker_taken_away_serves_the_connections_that_it_has: prefork prefork_thread;
}

fn a_reload_replaces_all_workers(model: Model) {
    let mut server = serve(model, &["--workers", "3"]);
    let mut old = children(&server, 3);
    for _ in 0..3 {
        server.signal(Signal::SIGHUP).expect("the server lives");
        old = wait_for_new_workers(&server, &old, 3);
        Caller::connect(&server).ping();
    }
    stop_cleanly(&mut server, Signal::SIGTERM);
}

fn a_worker_that_was_replaced_serves_the_connections_that_it_has(model: Model) {
    let server = serve(model, &["--workers", "1"]);
    let old = children(&server, 1)[0];
    let mut lasting = Caller::served(&server);
    server.signal(Signal::SIGHUP).expect("the server lives");
    expect_accepting_elsewhere(&server, old);
    for _ in 0..3 {
        lasting.ping();
    }
    assert!(proc::is_alive(old));
    drop(lasting);
    wait_until_gone(&[old]);
    children(&server, 1);
}

/// The worker `old` has stopped accepting, another one accepts.
pub(super) fn expect_accepting_elsewhere(server: &Server, old: i32) {
    wait_until("a worker that accepts no more", || {
        let open = proc::descriptors(old).expect("the old worker lives");
        // Its connection; the listening socket is closed, or its number means something else.
        open.iter().filter(|(_, target)| target.starts_with("socket:")).count() == 1
    });
    Caller::connect(server).ping();
}

fn at_the_end_of_the_drain_idle_connections_are_told(model: Model) {
    let (server, log) = serve_logged(model, &["--workers", "1", "--drain", "200ms"]);
    let old = children(&server, 1)[0];
    let mut lasting = Caller::served(&server);
    server.signal(Signal::SIGHUP).expect("the server lives");
    lasting.expect_shutdown();
    wait_for_new_workers(&server, &[old], 1);
    assert_eq!(log.count("unfinished"), 0, "{}", log.text());
}

fn at_the_end_of_the_drain_a_handler_is_answered_for(model: Model) {
    let (server, log) = serve_logged(model, &["--workers", "1", "--drain", "200ms"]);
    let old = children(&server, 1)[0];
    let mut caller = Caller::served(&server);
    caller.send_surely("spin", Value::Null);
    server.signal(Signal::SIGHUP).expect("the server lives");
    let error = caller.expect_error(-32002);
    assert_eq!(error["data"], json!({ "executed": "maybe" }), "{error}");
    assert_eq!(caller.receive(), None);
    wait_for_new_workers(&server, &[old], 1);
    log.wait_for("left a handler unfinished");
}

fn twenty_reloads_under_load_lose_no_call(model: Model) {
    let server = serve(model, &["--workers", "3"]);
    let mut old = children(&server, 3);
    let calls = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut caller = Caller::connect(&server);
                    for _ in 0..3 {
                        caller.ping();
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let reloads = || {
            for _ in 0..20 {
                let before = calls.load(Ordering::Relaxed);
                server.signal(Signal::SIGHUP).expect("the server lives");
                old = wait_for_new_workers(&server, &old, 3);
                wait_until("calls", || calls.load(Ordering::Relaxed) > before + 10);
            }
        };
        let reloaded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(reloads));
        is_over.store(true, Ordering::Relaxed);
        reloaded.unwrap();
    });
    assert!(calls.into_inner() > 200);
}

fn a_reload_whose_workers_fail_changes_nothing_and_the_next_one_works(model: Model) {
    let arguments = ["--workers", "2", "--boot-timeout", "2s"];
    let (mut server, log) = serve_logged(model, &arguments);
    let mut old = children(&server, 2);
    let faults = [
        ("fail", "told to fail"),
        ("panic", "panicked: told to panic"),
        ("exit", "exited with status 0"),
        ("abort", "SIGABRT"),
        ("hang", "not ready in time"),
    ];
    for (called_off, (fault, reason)) in faults.into_iter().enumerate() {
        let mut lasting = Caller::served(&server);
        log.set_boot_fault(fault);
        server.signal(Signal::SIGHUP).expect("the server lives");
        wait_until("a reload that is called off", || log.count("called off") > called_off);
        assert!(log.count(reason) > 0, "{reason}: {}", log.text());
        lasting.ping();
        wait_until("the end of the new workers", || proc::children(server.pid()) == old);

        log.set_boot_fault("");
        drop(lasting);
        server.signal(Signal::SIGHUP).expect("the server lives");
        old = wait_for_new_workers(&server, &old, 2);
        Caller::connect(&server).ping();
    }
    stop_cleanly(&mut server, Signal::SIGTERM);
}

fn reloads_that_come_together_are_one_or_two(model: Model) {
    let (mut server, log) = serve_logged(model, &["--workers", "2", "--boot-timeout", "2s"]);
    let old = children(&server, 2);
    log.set_boot_fault("hang");
    server.signal(Signal::SIGHUP).expect("the server lives");
    wait_until("new workers that hang", || log.count("told to hang") == 2);
    for _ in 0..10 {
        super::signal_and_wait(&server, Signal::SIGHUP);
    }
    log.set_boot_fault("");
    // The first one hangs and is called off, the others are one.
    wait_for_new_workers(&server, &old, 2);
    assert_eq!(log.count("reloading:"), 2, "{}", log.text());
    stop_cleanly(&mut server, Signal::SIGTERM);
}

fn workers_that_die_during_a_reload_are_replaced(model: Model) {
    let (mut server, log) = serve_logged(model, &["--workers", "2", "--boot-timeout", "3s"]);
    let old = children(&server, 2);
    log.set_boot_fault("hang");
    server.signal(Signal::SIGHUP).expect("the server lives");
    wait_until("new workers that hang", || log.count("told to hang") == 2);
    log.set_boot_fault("");
    kill_one(old[0], Signal::SIGKILL);
    // The dead one is replaced, although the reload goes on.
    wait_until("a replacement", || {
        let now = proc::children(server.pid());
        now.len() == 4 && !now.contains(&old[0])
    });
    log.wait_for("called off");
    children(&server, 2);
    Caller::connect(&server).ping();
    stop_cleanly(&mut server, Signal::SIGTERM);
}

fn a_worker_that_hangs_at_the_start_delays_no_stop(model: Model) {
    let (mut server, log) = serve_logged(model, &["--workers", "2"]);
    children(&server, 2);
    log.set_boot_fault("hang");
    server.signal(Signal::SIGHUP).expect("the server lives");
    wait_until("new workers that hang", || log.count("told to hang") == 2);
    // The grace is 30 s.
    stop_cleanly(&mut server, Signal::SIGTERM);
}

fn a_stop_during_a_reload_ends_everything(model: Model) {
    let (mut server, log) = serve_logged(model, &["--workers", "2", "--grace", "300ms"]);
    let old = children(&server, 2);
    let mut lasting = Caller::served(&server);
    server.signal(Signal::SIGHUP).expect("the server lives");
    wait_until("the old worker alone", || {
        let now = proc::children(server.pid());
        now.len() == 3 && now.iter().filter(|pid| old.contains(pid)).count() == 1
    });
    stop_cleanly(&mut server, Signal::SIGTERM);
    lasting.expect_shutdown();
    assert_eq!(log.count("ERROR"), 0, "{}", log.text());
}

/// Two workers that were just reloaded, and a retiring one with a connection; another reload waits
/// for it.
struct Waiting {
    server: Server,
    log: Log,
    lasting: Caller,
    retiring: i32,
    all: Vec<i32>,
}

fn serve_with_a_reload_that_waits(model: Model, arguments: &[&str]) -> Waiting {
    let (server, log) = serve_logged(model, &[&["--workers", "2"], arguments].concat());
    let old = children(&server, 2);
    let lasting = Caller::served(&server);
    server.signal(Signal::SIGHUP).expect("the server lives");
    let mut all = Vec::new();
    wait_until("the old worker with a connection, and two new ones", || {
        all = proc::children(server.pid());
        all.len() == 3 && all.iter().filter(|pid| old.contains(pid)).count() == 1
    });
    server.signal(Signal::SIGHUP).expect("the server lives");
    log.wait_for("reload waits");
    let retiring = *old.iter().find(|pid| all.contains(pid)).expect("one of them");
    Waiting { server, log, lasting, retiring, all }
}

fn a_reload_waits_for_the_retiring_workers_of_the_last_one(model: Model) {
    let Waiting { mut server, log, mut lasting, all, .. } =
        serve_with_a_reload_that_waits(model, &[]);
    // One more is the same one, and other orders are obeyed meanwhile.
    super::signal_and_wait(&server, Signal::SIGHUP);
    super::signal_and_wait(&server, Signal::SIGTTIN);
    children(&server, 4);
    super::signal_and_wait(&server, Signal::SIGTTOU);
    children(&server, 3);
    lasting.ping();
    Caller::connect(&server).ping();
    assert_eq!(proc::children(server.pid()), all);
    assert_eq!(log.count("reloading:"), 1, "{}", log.text());
    drop(lasting);
    wait_for_new_workers(&server, &all, 2);
    assert_eq!(log.count("reloading:"), 2, "{}", log.text());
    assert_eq!(log.count("reload waits"), 1, "{}", log.text());
    Caller::connect(&server).ping();
    stop_cleanly(&mut server, Signal::SIGTERM);
}

fn a_reload_waits_no_longer_than_the_drain(model: Model) {
    let Waiting { server, mut lasting, all, .. } =
        serve_with_a_reload_that_waits(model, &["--drain", "3s"]);
    lasting.expect_shutdown();
    wait_for_new_workers(&server, &all, 2);
    Caller::connect(&server).ping();
}

fn a_reload_waits_for_no_worker_that_was_killed(model: Model) {
    let Waiting { server, lasting: _lasting, retiring, all, .. } =
        serve_with_a_reload_that_waits(model, &[]);
    kill_one(retiring, Signal::SIGKILL);
    wait_for_new_workers(&server, &all, 2);
    Caller::connect(&server).ping();
}

fn a_stop_while_a_reload_waits_ends_everything(model: Model) {
    let Waiting { mut server, log, mut lasting, .. } = serve_with_a_reload_that_waits(model, &[]);
    stop_cleanly(&mut server, Signal::SIGTERM);
    lasting.expect_shutdown();
    assert_eq!(log.count("reloading:"), 1, "{}", log.text());
    assert_eq!(log.count("ERROR"), 0, "{}", log.text());
}

fn workers_are_added_and_taken_away(model: Model) {
    let mut server = serve(model, &["--workers", "2"]);
    children(&server, 2);
    let steps = [
        (Signal::SIGTTIN, 3),
        (Signal::SIGTTIN, 4),
        (Signal::SIGTTOU, 3),
        (Signal::SIGTTOU, 2),
        (Signal::SIGTTOU, 1),
        // At least one.
        (Signal::SIGTTOU, 1),
        (Signal::SIGTTIN, 2),
    ];
    for (signal, expected) in steps {
        super::signal_and_wait(&server, signal);
        children(&server, expected);
        Caller::connect(&server).ping();
    }
    stop_cleanly(&mut server, Signal::SIGTERM);
}

fn a_worker_taken_away_serves_the_connections_that_it_has(model: Model) {
    let server = serve(model, &["--workers", "2"]);
    children(&server, 2);
    let mut lasting = [Caller::served(&server), Caller::served(&server)];
    super::signal_and_wait(&server, Signal::SIGTTOU);
    lasting.iter_mut().for_each(Caller::ping);
    drop(lasting);
    children(&server, 1);
    Caller::connect(&server).ping();
}

/// nohup(1) and some shells start programs with SIGHUP ignored. Linux keeps a signal that is both
/// blocked and ignored, and the master reads it; POSIX would allow to discard it.
fn a_reload_works_where_the_signal_was_ignored(model: Model) {
    let server = serve_in("trap '' HUP", model, &["--workers", "2"]);
    assert!(status::is_ignored(server.pid(), Signal::SIGHUP));
    let old = children(&server, 2);
    // Its workers retire when they get the same signal.
    let mut lasting = Caller::served(&server);
    server.signal(Signal::SIGHUP).expect("the server lives");
    wait_until("new workers", || children_besides(&server, &old) == 2);
    lasting.ping();
    drop(lasting);
    wait_for_new_workers(&server, &old, 2);
    Caller::connect(&server).ping();
}

fn children_besides(server: &Server, old: &[i32]) -> usize {
    proc::children(server.pid()).iter().filter(|pid| !old.contains(pid)).count()
}
