//! Processes that somebody stops (SIGSTOP): workers are ended in the end, a master holds nothing
//! against anybody.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::model::Model;
use xtask::proc;

use super::{
    Caller, children, kill_one, promises, serve_logged, signal_and_wait, stop_cleanly,
    wait_for_new_workers, wait_until, wait_until_gone,
};

promises! {
    a_worker_that_stays_stopped_is_told_and_replaced: prefork prefork_thread;
    a_stopped_worker_that_does_not_listen_is_killed: prefork prefork_thread;
    a_worker_that_goes_on_is_left_alone: prefork prefork_thread;
    a_master_that_was_stopped_does_not_count_the_time: prefork prefork_thread;
    a_stop_reaches_stopped_workers: prefork prefork_thread;
}

fn stop_worker(worker: i32) {
    kill_one(worker, Signal::SIGSTOP);
    wait_until("the stop of a worker", || proc::stat(worker).expect("it lives").state == 'T');
}

fn a_worker_that_stays_stopped_is_told_and_replaced(model: Model) {
    let (server, log) = serve_logged(model, &["--workers", "1", "--hung-after", "200ms"]);
    let old = children(&server, 1);
    let mut caller = Caller::served(&server);
    stop_worker(old[0]);
    caller.expect_shutdown();
    wait_for_new_workers(&server, &old, 1);
    log.wait_for("was stopped for too long and ended on request");
    Caller::connect(&server).ping();
}

fn a_stopped_worker_that_does_not_listen_is_killed(model: Model) {
    let (server, log) = serve_logged(model, &["--workers", "1", "--hung-after", "200ms"]);
    let old = children(&server, 1);
    let mut caller = Caller::served(&server);
    caller.send_surely("spin", Value::Null);
    stop_worker(old[0]);
    caller.expect_error(-32002);
    wait_for_new_workers(&server, &old, 1);
    log.wait_for("left a handler unfinished");
}

/// The event that ends the test is the end of another worker, which was stopped later.
fn a_worker_that_goes_on_is_left_alone(model: Model) {
    let (server, log) = serve_logged(model, &["--workers", "2", "--hung-after", "700ms"]);
    let workers = children(&server, 2);
    stop_worker(workers[0]);
    log.wait_for("worker is stopped");
    kill_one(workers[0], Signal::SIGCONT);
    wait_until("the worker to go on", || proc::stat(workers[0]).expect("it lives").state != 'T');
    stop_worker(workers[1]);
    wait_until_gone(&workers[1..]);
    assert!(proc::is_alive(workers[0]), "{}", log.text());
}

#[expect(clippy::disallowed_methods, reason = "time has to pass: it is what the test is about")]
fn a_master_that_was_stopped_does_not_count_the_time(model: Model) {
    let (server, log) = serve_logged(model, &["--workers", "1", "--hung-after", "2s"]);
    let worker = children(&server, 1)[0];
    stop_worker(worker);
    log.wait_for("worker is stopped");
    let begin = Instant::now();
    server.signal(Signal::SIGSTOP).expect("the server lives");
    wait_until("the stop of the master", || {
        proc::stat(server.pid()).expect("it lives").state == 'T'
    });
    thread::sleep(Duration::from_secs(3));
    let not_counted = begin.elapsed();
    signal_and_wait(&server, Signal::SIGCONT);
    wait_until_gone(&[worker]);
    let lived = begin.elapsed() - not_counted;
    assert!(lived > Duration::from_millis(1500), "{lived:?} after the master went on");
}

fn a_stop_reaches_stopped_workers(model: Model) {
    let (mut server, _log) = serve_logged(model, &["--workers", "2"]);
    children(&server, 2).into_iter().for_each(stop_worker);
    stop_cleanly(&mut server, Signal::SIGTERM);
}
