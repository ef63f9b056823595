//! Workers that have served their number of calls.

use std::thread;

use nix::sys::signal::Signal;
use xtask::model::Model;
use xtask::proc;

use super::{
    Caller, children, promises, serve, serve_logged, stop_cleanly, wait_for_new_workers,
    wait_until_gone,
};

promises! {
    a_worker_is_replaced_after_its_calls_and_serves_on: prefork prefork_thread;
    a_new_worker_for_every_call_loses_none: prefork prefork_thread;
    a_replacement_that_fails_is_tried_again: prefork prefork_thread;
}

fn a_worker_is_replaced_after_its_calls_and_serves_on(model: Model) {
    let (server, log) = serve_logged(model, &["--workers", "1", "--max-requests", "5"]);
    let old = children(&server, 1)[0];
    let mut lasting = Caller::served(&server);
    (0..3).for_each(|_| lasting.ping());
    assert_eq!(proc::children(server.pid()), [old], "it has one call left");
    lasting.ping();
    let both = children(&server, 2);
    assert!(both.contains(&old));
    (0..10).for_each(|_| lasting.ping());
    drop(lasting);
    wait_until_gone(&[old]);
    Caller::served(&server);
    assert_eq!(log.count("WARN"), 0, "{}", log.text());
}

fn a_new_worker_for_every_call_loses_none(model: Model) {
    let mut server = serve(model, &["--workers", "2", "--max-requests", "1"]);
    let mut old = children(&server, 2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..200).for_each(|_| drop(Caller::served(&server))));
        }
    });
    // It goes on: whoever serves now is replaced after a call of its own.
    for _ in 0..3 {
        let replaced = || !proc::children(server.pid()).iter().any(|pid| old.contains(pid));
        while !replaced() {
            Caller::served(&server);
        }
        old = children(&server, 2);
    }
    stop_cleanly(&mut server, Signal::SIGTERM);
}

fn a_replacement_that_fails_is_tried_again(model: Model) {
    let (server, log) = serve_logged(model, &["--workers", "1", "--max-requests", "1"]);
    let old = children(&server, 1)[0];
    let mut lasting = Caller::connect(&server);
    log.set_boot_fault("fail");
    lasting.ping();
    super::wait_until("three attempts", || log.count("told to fail") >= 3);
    lasting.ping();
    log.set_boot_fault("");
    drop(lasting);
    wait_for_new_workers(&server, &[old], 1);
    Caller::served(&server);
}
