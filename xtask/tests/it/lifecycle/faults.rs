//! Faults under load: what callers that do not stop calling notice of them.
//!
//! A caller has one call in flight, so whoever dies takes one call a caller along at most.

use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use super::load::{Load, Seen};
use super::upgrade::{Installed, install_script};
use super::{
    Caller, PATIENCE, assert_none_alive, children, kill_one, promises, serve, serve_logged,
    serve_on_socket, signal_and_wait, wait_for_new_workers, wait_until, wait_until_gone,
};

promises! {
    killed_workers_take_only_their_own_calls: prefork prefork_thread;
    killed_children_take_only_their_own_calls: fork;
    a_worker_killed_in_a_handler_takes_only_its_own_calls: prefork prefork_thread;
    a_stopped_worker_loses_no_call: prefork prefork_thread;
    a_stopped_master_is_not_noticed: fork prefork prefork_thread;
    a_graceful_stop_loses_no_call: single thread fork prefork prefork_thread;
    a_hard_stop_ends_everything: fork prefork prefork_thread;
    a_killed_master_takes_only_the_queue_along: fork prefork prefork_thread;
    reloads_that_fail_are_not_noticed: prefork prefork_thread;
    upgrades_that_fail_are_not_noticed: prefork prefork_thread;
}

const CALLERS: usize = 4;

fn killed_workers_take_only_their_own_calls(model: Model) {
    for (workers, killed) in [("3", 1), ("4", 4), ("100", 100)] {
        let server = serve(model, &["--workers", workers]);
        let count = workers.parse().expect("a number");
        let old = children(&server, count);
        let ((), seen) = Load::during(&server, CALLERS, |load| {
            old[..killed].iter().for_each(|&worker| kill_one(worker, Signal::SIGKILL));
            wait_for_new_workers(&server, &old[..killed], count);
            load.wait_for_calls();
        });
        // A caller whose worker died may come to one that dies next.
        let connections = if model == Model::Prefork { 1 } else { CALLERS };
        seen.expect_lost_at_most(killed * connections);
        assert_eq!(seen.told, 0, "{seen:?}");
        assert!(proc::zombies(server.pid()).is_empty());
    }
}

fn killed_children_take_only_their_own_calls(model: Model) {
    let server = serve(model, &[]);
    let ((), seen) = Load::during(&server, CALLERS, |load| {
        for _ in 0..20 {
            // They come and go by themselves, so one may be gone already.
            let killed = proc::children(server.pid());
            for &child in &killed {
                let pid = nix::unistd::Pid::from_raw(child);
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            }
            wait_until_gone(&killed);
            load.wait_for_calls();
        }
    });
    seen.expect_lost_at_most(20 * CALLERS);
    assert_eq!(seen.told, 0, "{seen:?}");
    wait_until("the end of all children", || proc::children(server.pid()).is_empty());
}

fn a_worker_killed_in_a_handler_takes_only_its_own_calls(model: Model) {
    let server = serve(model, &["--workers", "3"]);
    children(&server, 3);
    let mut victim = Caller::served(&server);
    victim.send_surely("spin", Value::Null);
    let ((), seen) = Load::during(&server, CALLERS, |load| {
        let mut worker = None;
        wait_until("the handler to run", || {
            worker = who_handles(&server, "spin");
            worker.is_some()
        });
        let worker = worker.expect("it was found");
        kill_one(worker, Signal::SIGKILL);
        assert_eq!(victim.try_receive(), None);
        wait_for_new_workers(&server, &[worker], 3);
        load.wait_for_calls();
    });
    seen.expect_lost_at_most(if model == Model::Prefork { 0 } else { CALLERS });
    assert_eq!(seen.told, 0, "{seen:?}");
}

/// The process that runs a handler of this method.
fn who_handles(server: &Server, method: &str) -> Option<i32> {
    let mut caller = Caller::connect(server);
    caller.send("rpc.stats", Value::Null);
    let (_, stats) = caller.receive()?;
    let handling = stats["handling"].as_array()?;
    let found = handling.iter().find(|call| call["method"] == method)?;
    found["pid"].as_i64().map(|pid| pid as i32)
}

/// It is told to end when its time is over, and then goes on first: what it has received it answers.
fn a_stopped_worker_loses_no_call(model: Model) {
    let (server, log) = serve_logged(model, &["--workers", "3", "--hung-after", "300ms"]);
    let old = children(&server, 3);
    let ((), seen) = Load::during(&server, CALLERS, |load| {
        kill_one(old[0], Signal::SIGSTOP);
        wait_for_new_workers(&server, &old[..1], 3);
        load.wait_for_calls();
    });
    seen.expect_no_call_lost();
    assert_eq!(seen.refused, 0, "{seen:?}");
    assert!(log.count("ended on request") == 1, "{}", log.text());
}

/// Of fork nobody is accepted meanwhile: the parent does it.
fn a_stopped_master_is_not_noticed(model: Model) {
    let server = serve(model, &["--workers", "3"]);
    let ((), seen) = Load::during(&server, CALLERS, |load| {
        server.signal(Signal::SIGSTOP).expect("the server lives");
        wait_until("the stop of the master", || {
            proc::stat(server.pid()).expect("it lives").state == 'T'
        });
        if model.has_workers() {
            load.wait_for_calls();
        }
        signal_and_wait(&server, Signal::SIGCONT);
        load.wait_for_calls();
    });
    seen.expect_nothing();
}

fn a_graceful_stop_loses_no_call(model: Model) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let over_tcp = (serve(model, &["--workers", "3"]), None);
        let (server, directory) = serve_on_socket(model, &["--workers", "3"]);
        for (mut server, _directory) in [over_tcp, (server, Some(directory))] {
            let seen = stop_under_load(&mut server, &[signal], 0);
            seen.expect_no_call_lost();
        }
    }
}

fn a_hard_stop_ends_everything(model: Model) {
    for (signals, status) in [(&[Signal::SIGQUIT][..], 131), (&[Signal::SIGINT; 2], 130)] {
        let mut server = serve(model, &["--workers", "3"]);
        let mut busy = Caller::served(&server);
        busy.send_surely("spin", Value::Null);
        stop_under_load(&mut server, signals, status);
    }
}

/// All processes are gone when it returns, and no caller waits forever.
fn stop_under_load(server: &mut Server, signals: &[Signal], status: i32) -> Seen {
    let (pid, address) = (server.pid(), server.address().clone());
    let mut tree = Vec::new();
    let ((), seen) = Load::during_at(&address, CALLERS, |_| {
        tree = proc::tree(pid);
        for &signal in signals {
            signal_and_wait(server, signal);
        }
        let ended = server.wait(PATIENCE).expect("it ends");
        assert_eq!(ended.code(), Some(status), "{ended}");
    });
    assert_none_alive(&tree);
    seen
}

/// Nobody is left who could turn newcomers away: the last worker that lets go of the socket resets
/// what came into its queue meanwhile. A child of fork that is just being born leaves its connection,
/// so a caller may lose two calls.
fn a_killed_master_takes_only_the_queue_along(model: Model) {
    let mut server = serve(model, &["--workers", "3"]);
    let (pid, address) = (server.pid(), server.address().clone());
    let ((), seen) = Load::during_at(&address, CALLERS, |_| {
        let tree = proc::tree(pid);
        server.signal(Signal::SIGKILL).expect("the server lives");
        server.wait(PATIENCE).expect("it ends");
        wait_until_gone(&tree);
    });
    let in_flight = if model == Model::Fork { 2 * CALLERS } else { CALLERS };
    assert!(seen.lost <= in_flight as u64, "{seen:?}");
}

fn reloads_that_fail_are_not_noticed(model: Model) {
    let arguments = ["--workers", "3", "--boot-timeout", "1s"];
    let (server, log) = serve_logged(model, &arguments);
    let old = children(&server, 3);
    let ((), seen) = Load::during(&server, CALLERS, |load| {
        for (called_off, fault) in ["fail", "abort", "exit", "hang"].into_iter().enumerate() {
            log.set_boot_fault(fault);
            server.signal(Signal::SIGHUP).expect("the server lives");
            wait_until("a reload that is called off", || log.count("called off") > called_off);
            load.wait_for_calls();
        }
    });
    seen.expect_nothing();
    wait_until("the end of the new workers", || proc::children(server.pid()) == old);
}

fn upgrades_that_fail_are_not_noticed(model: Model) {
    let arguments = ["--workers", "3", "--boot-timeout", "1s"];
    let installed = Installed::serve(model, "127.0.0.1:0", &arguments);
    let old = children(&installed.server, 3);
    let ((), seen) = Load::during(&installed.server, CALLERS, |load| {
        let broken = ["#!/bin/sh\nexit 7\n", "#!/bin/sh\nexec sleep 600\n", "#!/no/such/file\n"];
        for (called_off, script) in broken.into_iter().enumerate() {
            install_script(&installed.program(), script);
            signal_and_wait(&installed.server, Signal::SIGUSR2);
            let log = &installed.log;
            wait_until("the end of an upgrade", || log.count("upgrade called off") > called_off);
            load.wait_for_calls();
        }
    });
    seen.expect_nothing();
    assert_eq!(children(&installed.server, 3), old);
}
