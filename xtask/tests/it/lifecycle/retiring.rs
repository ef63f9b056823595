//! Peers can make workers retire, and keep them with open connections and lost handlers, but not
//! without a bound.
//!
//! With `--workers N` there are never more than 2 N: N that serve, and N that retire or are about
//! to take over. A worker that is about to take over needs no room beyond that, because a renewal
//! begins only when the workers that it will retire fit within the bound.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use super::reload::expect_accepting_elsewhere;
use super::{
    Caller, children, kill_one, promises, serve, wait_for_new_workers, wait_until, wait_until_gone,
};

promises! {
    // In prefork a worker whose handler is late ends, so none retires.
    late_calls_never_make_more_than_twice_the_workers: prefork_thread;
    connections_kept_open_never_make_more_than_twice_the_workers: prefork prefork_thread;
    a_worker_that_has_no_room_to_retire_serves_until_there_is: prefork prefork_thread;
    a_retiring_worker_that_is_killed_makes_room: prefork prefork_thread;
    a_place_is_recycled_after_a_pause: prefork prefork_thread;
    a_place_that_loses_threads_is_recycled_after_a_pause: prefork_thread;
}

/// How long a place is not recycled after its last replacement took over.
const PAUSE: Duration = Duration::from_secs(1);

/// The most workers that live at a time while `drive` runs and when it has returned. Connections
/// that it returns are open until then, and so their workers live.
#[expect(clippy::disallowed_methods, reason = "a pause between two looks at /proc")]
fn most_workers<Kept: Send>(server: &Server, drive: impl FnOnce() -> Kept + Send) -> usize {
    thread::scope(|scope| {
        let driver = scope.spawn(drive);
        let mut most = 0;
        loop {
            let is_last = driver.is_finished();
            // Processes are listed one by one, while others come and go. Those that still live
            // when the list is complete have lived at the same time.
            let mut workers = proc::children(server.pid());
            workers.retain(|&pid| proc::is_alive(pid));
            most = most.max(workers.len());
            if is_last {
                return most;
            }
            thread::sleep(Duration::from_millis(1));
        }
    })
}

fn wait_until_there_are(count: usize, server: &Server) {
    wait_until("more workers", || proc::children(server.pid()).len() >= count);
}

/// A call whose handler runs for so many milliseconds, and whose caller waits for one.
fn call_impatiently(server: &Server, sleep_ms: u64) -> Caller {
    let mut caller = Caller::connect(server);
    caller.send_with_timeout("sleep", Duration::from_millis(1), json!(sleep_ms));
    caller
}

fn late_calls_never_make_more_than_twice_the_workers(model: Model) {
    let server = serve(model, &["--workers", "2"]);
    children(&server, 2);
    let most = most_workers(&server, || {
        let mut neighbour = Caller::served(&server);
        for _ in 0..150 {
            call_impatiently(&server, 60_000).expect_error(-32001);
            neighbour.ping();
        }
        // The drain time is 30 s, so who has retired is still there.
        wait_until_there_are(4, &server);
    });
    assert_eq!(most, 4);
}

fn connections_kept_open_never_make_more_than_twice_the_workers(model: Model) {
    let arguments = ["--workers", "2", "--max-requests", "10", "--drain", "2s"];
    let server = serve(model, &arguments);
    children(&server, 2);
    let most = most_workers(&server, || {
        let mut kept = Vec::new();
        // In prefork each of four workers has a connection then, and the next ones wait in the
        // queue until the drain time of the first workers is over.
        for _ in 0..8 {
            let mut caller = Caller::connect(&server);
            (0..12).for_each(|_| caller.ping());
            kept.push(caller);
        }
        wait_until_there_are(4, &server);
        kept
    });
    assert_eq!(most, 4);
}

fn a_worker_that_has_no_room_to_retire_serves_until_there_is(model: Model) {
    let arguments = ["--workers", "1", "--max-requests", "1", "--drain", "2s"];
    let server = serve(model, &arguments);
    let first = children(&server, 1);
    let most = most_workers(&server, || {
        let mut lasting = Caller::served(&server);
        let both = children(&server, 2);
        expect_accepting_elsewhere(&server, first[0]);
        let mut second = Caller::served(&server);
        lasting.expect_shutdown();
        second.ping();
        wait_until_gone(&first);
        // Its drain time begins now.
        second.expect_shutdown();
        wait_until_gone(&both);
        Caller::connect(&server).ping();
    });
    assert_eq!(most, 2);
}

fn a_retiring_worker_that_is_killed_makes_room(model: Model) {
    let server = serve(model, &["--workers", "1", "--max-requests", "1"]);
    let first = children(&server, 1);
    let _lasting = Caller::served(&server);
    let both = children(&server, 2);
    expect_accepting_elsewhere(&server, first[0]);
    kill_one(first[0], Signal::SIGKILL);
    wait_for_new_workers(&server, &both, 1);
    Caller::connect(&server).ping();
}

fn a_place_is_recycled_after_a_pause(model: Model) {
    let server = serve(model, &["--workers", "1", "--max-requests", "1"]);
    expect_recycled_after_a_pause(&server, || drop(Caller::served(&server)));
}

/// The handlers return soon, so that the old workers end: it is not the bound that delays.
fn a_place_that_loses_threads_is_recycled_after_a_pause(model: Model) {
    let server = serve(model, &["--workers", "1"]);
    // On a busy machine a handler may return before its deadline is noticed.
    let call = || assert!(call_impatiently(&server, 50).receive().is_some());
    expect_recycled_after_a_pause(&server, call);
}

/// Every `call` is a reason to recycle the worker that serves it.
fn expect_recycled_after_a_pause(server: &Server, call: impl Fn()) {
    let mut seen = children(server, 1);
    let begin = Instant::now();
    // The first worker goes at once, the second one after a pause.
    while seen.len() < 3 {
        call();
        seen.extend(proc::children(server.pid()));
        seen.sort_unstable();
        seen.dedup();
    }
    assert!(begin.elapsed() >= PAUSE, "{:?}", begin.elapsed());
}
