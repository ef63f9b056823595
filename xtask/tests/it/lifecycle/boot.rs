//! Workers that do not get ready, and those that die again and again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use xtask::model::Model;
use xtask::proc;

use super::{
    AT_ONCE, Caller, PATIENCE, children, command_in, kill_one, logged_command, promises, serve,
    serve_logged, status, stop_cleanly, wait_for_new_workers,
};

promises! {
    a_server_whose_workers_never_get_ready_ends_and_says_why: prefork prefork_thread;
    a_server_that_cannot_fork_a_worker_ends_and_says_why: prefork prefork_thread;
    a_worker_that_hangs_at_the_start_is_killed: prefork prefork_thread;
    a_worker_that_dies_again_and_again_is_replaced_later_and_later: prefork prefork_thread;
    a_stop_while_workers_start_is_clean: prefork prefork_thread;
    the_first_death_is_made_up_for_at_once: prefork prefork_thread;
    workers_may_be_kept_to_one_processor: prefork prefork_thread;
}

fn a_server_whose_workers_never_get_ready_ends_and_says_why(model: Model) {
    let faults = [
        (
            "fail",
            "failed before it was ready: cannot set up the server's shared state: told to fail",
        ),
        ("panic", "panicked: told to panic"),
        ("exit", "failed before it was ready: exited with status 0"),
        ("abort", "killed by SIGABRT"),
        ("hang", "was not ready in time"),
    ];
    let started = faults.map(|(fault, reason)| {
        // On a busy machine, one that fails may take a while until it does.
        let timeout = if fault == "hang" { "100ms" } else { "20s" };
        let arguments = ["--workers", "2", "--boot-timeout", timeout];
        let (mut command, log) = logged_command(model, &arguments);
        log.set_boot_fault(fault);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        (process.expect("the program can be started"), log, reason)
    });
    for (mut process, log, reason) in started {
        let status = process.wait().expect("it ends");
        assert_eq!(status.code(), Some(3), "{status}: {}", log.text());
        let last = log.text().lines().last().unwrap_or_default().to_owned();
        assert!(last.contains("no worker became ready"), "{last}");
        assert!(last.contains(reason), "{last}");
    }
}

fn a_server_that_cannot_fork_a_worker_ends_and_says_why(model: Model) {
    // Enough for the master, and not for the descriptors that it needs for a worker.
    let mut command = command_in("ulimit -n 11", model, "127.0.0.1:0", &["--workers", "2"]);
    let output = command.stdin(Stdio::null()).output().expect("the program can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("no worker became ready") && last.contains("descriptor"), "{said}");
}

fn a_worker_that_hangs_at_the_start_is_killed(model: Model) {
    let (mut server, log) = serve_logged(model, &["--workers", "1", "--boot-timeout", "300ms"]);
    let old = children(&server, 1);
    Caller::served(&server);
    log.set_boot_fault("hang");
    kill_one(old[0], Signal::SIGKILL);
    log.wait_for("was not ready in time");
    log.set_boot_fault("");
    Caller::connect(&server).ping();
    stop_cleanly(&mut server, Signal::SIGTERM);
}

fn a_worker_that_dies_again_and_again_is_replaced_later_and_later(model: Model) {
    let server = serve(model, &["--workers", "1"]);
    let mut old = children(&server, 1);
    // At least three quarters of 0, 100, 200, 400 ms.
    for at_least in [0, 75, 150, 300].map(Duration::from_millis) {
        let killed = Instant::now();
        kill_one(old[0], Signal::SIGKILL);
        old = wait_for_new_workers(&server, &old, 1);
        let took = killed.elapsed();
        assert!(took >= at_least && took < at_least * 2 + AT_ONCE, "{took:?}");
        children(&server, 1);
    }
}

/// Some are ready, some say so just now, some have not begun.
fn a_stop_while_workers_start_is_clean(model: Model) {
    for _ in 0..20 {
        let mut server = serve(model, &["--workers", "8"]);
        Caller::served(&server);
        stop_cleanly(&mut server, Signal::SIGTERM);
    }
}

fn the_first_death_is_made_up_for_at_once(model: Model) {
    let (server, log) = serve_logged(model, &["--workers", "8"]);
    let old = children(&server, 8);
    let mut shortest = PATIENCE;
    for &worker in &old {
        let killed = Instant::now();
        kill_one(worker, Signal::SIGKILL);
        super::wait_until("a replacement", || {
            let now = proc::children(server.pid());
            now.len() == 8 && !now.contains(&worker)
        });
        shortest = shortest.min(killed.elapsed());
    }
    // Of eight, on a machine that does other things too.
    assert!(shortest < Duration::from_millis(100), "{shortest:?}");
    assert_eq!(log.count("out of memory?"), 8, "{}", log.text());
}

fn workers_may_be_kept_to_one_processor(model: Model) {
    let server = serve(model, &["--workers", "2", "--pin-workers"]);
    let workers = children(&server, 2);
    Caller::connect(&server).ping();
    let allowed = |pid| status::processors(pid);
    let ours: Vec<_> = allowed(server.pid());
    let pinned: Vec<_> = workers.into_iter().map(allowed).collect();
    assert!(pinned.iter().all(|processors| processors.len() == 1), "{pinned:?}");
    if ours.len() > 1 {
        assert_ne!(pinned[0], pinned[1]);
    }
}
