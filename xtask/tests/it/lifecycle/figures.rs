//! The figures of supervision that docs/models.md shows, printed and held to their bounds.
//!
//! A busy machine may delay anything, so of several times the shortest is held to its bound.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rpc_proto::stats::{STATS, Stats};
use serde_json::Value;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use super::load::{Load, Seen};
use super::upgrade::Installed;
use super::{
    Caller, PATIENCE, children, kill_one, promises, serve, wait_for_new_workers, wait_until,
};

promises! {
    a_dead_worker_is_replaced_within_100_ms: prefork prefork_thread;
    idle_workers_of_a_killed_master_are_gone_within_200_ms: prefork prefork_thread;
    reloads_an_upgrade_and_a_stop_lose_no_call: prefork prefork_thread;
    workers_get_equal_shares: prefork prefork_thread;
}

const ROUNDS: usize = 20;
const CALLERS: usize = 4;

fn print(model: Model, figure: &str, value: &str) {
    // Not through the harness, which keeps what a test prints.
    let _ = writeln!(io::stderr(), "FIGURE {model}: {figure}: {value}");
}

#[track_caller]
fn print_times(model: Model, figure: &str, mut times: Vec<Duration>, bound: Duration) {
    times.sort();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    print(model, figure, &format!("median {median:.1?}, longest {longest:.1?}"));
    assert!(times[0] <= bound, "{figure}: {times:?}");
}

fn a_dead_worker_is_replaced_within_100_ms(model: Model) {
    let round = |_| {
        // A server a round: a place whose worker dies again waits before it gets another.
        let server = serve(model, &["--workers", "1"]);
        let worker = children(&server, 1)[0];
        Caller::served(&server);
        let killed = Instant::now();
        kill_one(worker, Signal::SIGKILL);
        // Who dies just then may take the first newcomer along.
        wait_until("a reply", || {
            let mut caller = Caller::connect(&server);
            let _ = caller.try_send("ping", Value::Null);
            caller.try_receive().is_some()
        });
        killed.elapsed()
    };
    let times = (0..ROUNDS).map(round).collect();
    print_times(model, "death to next reply", times, Duration::from_millis(100));
}

fn idle_workers_of_a_killed_master_are_gone_within_200_ms(model: Model) {
    let round = |_| {
        let mut server = serve(model, &["--workers", "4"]);
        let workers = children(&server, 4);
        Caller::served(&server);
        let killed = Instant::now();
        server.signal(Signal::SIGKILL).expect("the server lives");
        server.wait(PATIENCE).expect("it ends");
        super::wait_until_gone(&workers);
        killed.elapsed()
    };
    let times = (0..ROUNDS).map(round).collect();
    print_times(model, "workers gone after their master", times, Duration::from_millis(200));
}

fn reloads_an_upgrade_and_a_stop_lose_no_call(model: Model) {
    let mut installed = Installed::serve(model, "127.0.0.1:0", &["--workers", "4"]);
    let mut old = children(&installed.server, 4);
    let ((), seen) = Load::during(&installed.server, CALLERS, |load| {
        for _ in 0..ROUNDS {
            installed.server.signal(Signal::SIGHUP).expect("the server lives");
            old = wait_for_new_workers(&installed.server, &old, 4);
            load.wait_for_calls();
        }
    });
    print_seen(model, "20 reloads", seen);
    seen.expect_nothing();

    let address = installed.server.address().clone();
    let (successor, seen) = Load::during_at(&address, CALLERS, |load| {
        let successor = installed.upgrade();
        let status = installed.server.wait(PATIENCE).expect("the old server ends");
        assert_eq!(status.code(), Some(0), "{status}");
        load.wait_for_calls();
        successor
    });
    print_seen(model, "an upgrade", seen);
    seen.expect_nothing();
    drop(successor);

    let mut server = serve(model, &["--workers", "4"]);
    let address = server.address().clone();
    let ((), seen) = Load::during_at(&address, CALLERS, |_| {
        let status = server.stop(PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0), "{status}");
    });
    print_seen(model, "a graceful stop", seen);
    seen.expect_no_call_lost();
}

fn print_seen(model: Model, event: &str, seen: Seen) {
    let Seen { answered, told, lost, .. } = seen;
    let value = format!("{lost} of {answered} calls lost, {told} told to go elsewhere");
    print(model, event, &value);
}

fn workers_get_equal_shares(model: Model) {
    let server = serve(model, &["--workers", "4"]);
    children(&server, 4);
    // All of them accept: a worker is ready when it is about to.
    wait_until("ready workers", || {
        stats(&server).workers.iter().all(|worker| worker.state.name() == "ready")
    });
    let calls =
        || -> Vec<u64> { stats(&server).workers.iter().map(|worker| worker.calls).collect() };
    let mut ratios = Vec::new();
    for _ in 0..5 {
        let before = calls();
        let ((), seen) = Load::during(&server, CALLERS, |load| {
            (0..20).for_each(|_| load.wait_for_calls());
        });
        seen.expect_nothing();
        let shares = calls().into_iter().zip(before).map(|(after, before)| after - before);
        let shares: Vec<u64> = shares.collect();
        let (most, least) =
            (shares.iter().max().expect("four"), shares.iter().min().expect("four"));
        ratios.push(*most as f64 / *least as f64);
    }
    ratios.sort_by(f64::total_cmp);
    let value = format!("median {:.2}, highest {:.2}", ratios[2], ratios[4]);
    print(model, "most used worker to least used", &value);
    assert!(ratios[0] <= 1.5, "{ratios:?}");
}

fn stats(server: &Server) -> Stats {
    server.connect().expect("it accepts").call(STATS, &()).expect("the server tells")
}

#[test]
fn the_master_stays_small() {
    let server = serve(Model::Prefork, &["--workers", "4"]);
    children(&server, 4);
    Caller::served(&server);
    let memory = proc::memory(server.pid()).expect("it lives");
    let kibibytes = |bytes| bytes / 1024;
    let value = format!(
        "{} KiB resident, shared pages in full; {} KiB its own and of no file",
        kibibytes(memory.rss),
        kibibytes(memory.allocated)
    );
    print(Model::Prefork, "memory of the master", &value);
    assert!(memory.allocated < 4 << 20, "{memory:?}");
}
