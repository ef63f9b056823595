//! What a server tells about itself: every call counted once, whoever dies or hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_client::{Client, ErrorCode};
use rpc_core::MAX_CONNECTIONS;
use rpc_proto::stats::{HandlingStats, MAX_HANDLING, STATS, Stats, WorkerState};
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use crate::raw::{PATIENCE, Raw, frame, request};
use crate::server::start;

over_every_model! {
    calls_and_connections_are_counted,
    no_count_is_lost_when_a_handler_fails,
    a_hung_handler_is_seen_from_beside_it,
    no_look_under_load_is_impossible,
    no_look_is_impossible_while_processes_are_killed,
    connections_that_break_the_rules_are_counted,
}

over_models_with_a_limit! {
    connections_beyond_the_limit_are_counted,
}

const WORKERS: usize = 3;

fn start_counted(model: Model) -> Server {
    start(model, &["--fault-methods", "--workers", &WORKERS.to_string()])
}

/// Looks by a connection of its own, and counts itself.
struct Looker<'a> {
    server: &'a Server,
    looks: u64,
}

impl Looker<'_> {
    fn new(server: &Server) -> Looker<'_> {
        Looker { server, looks: 0 }
    }

    fn look(&mut self) -> Stats {
        self.looks += 1;
        look(&mut self.server.connect().expect("the server accepts"))
    }

    /// Looks again until the server has noticed what it is told of by the kernel only.
    #[track_caller]
    fn look_until(&mut self, what: &str, is_so: impl Fn(&Stats) -> bool) -> Stats {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats = self.look();
            if is_so(&stats) {
                return stats;
            }
            assert!(Instant::now() < deadline, "not in time: {what}: {stats:#?}");
        }
    }
}

fn look(client: &mut Client) -> Stats {
    client.call(STATS, &()).expect("the server tells")
}

fn is_own_look(call: &HandlingStats) -> bool {
    call.method.as_deref() == Some(STATS.name())
}

fn calls_and_connections_are_counted(model: Model) {
    let server = start_counted(model);
    for _ in 0..3 {
        let mut client = Raw::connect(&server);
        (0..8).for_each(|_| client.expect_service());
        client.send(&request("nothing", "1"));
        client.expect_error(ErrorCode::MethodNotFound);
        client.send(&frame("not JSON"));
        client.expect_error(ErrorCode::ParseError);
    }
    let mut looker = Looker::new(&server);
    let stats = looker.look_until("the end of the connections", |stats| {
        let workers = if model.has_workers() { WORKERS } else { 0 };
        let is_ready = |state| state == WorkerState::Ready;
        stats.connections.open == 1
            && stats.workers.len() == workers
            && stats.workers.iter().all(|worker| is_ready(worker.state))
    });
    assert_eq!(stats.server.pid, server.pid());
    assert_eq!(stats.calls.total, 30 + looker.looks, "{stats:#?}");
    assert_eq!(stats.connections.accepted, 3 + looker.looks, "{stats:#?}");
    assert_eq!((stats.calls.handling, stats.calls.lost), (1, 0), "{stats:#?}");
    assert_eq!(stats.connections.refused, BTreeMap::new());
    assert!(stats.handling.len() == 1 && is_own_look(&stats.handling[0]), "{stats:#?}");
    if !model.has_workers() {
        return;
    }
    // A worker frees its connection's slot a moment after it has added up the calls.
    let calls: u64 = stats.workers.iter().map(|worker| worker.calls).sum();
    assert_eq!(calls, stats.calls.total, "{stats:#?}");
    let pids: BTreeSet<i32> = stats.workers.iter().map(|worker| worker.pid).collect();
    assert_eq!(pids.len(), WORKERS, "{stats:#?}");
    assert!(pids.contains(&stats.handling[0].pid), "{stats:#?}");
    assert!(stats.workers.iter().all(|worker| worker.generation == 1), "{stats:#?}");
}

/// Where a handler's abort takes only its process along, it aborts.
fn no_count_is_lost_when_a_handler_fails(model: Model) {
    const ROUNDS: u64 = 5;
    let survives_aborts = !matches!(model, Model::Single | Model::Thread);
    let server = start_counted(model);
    let mut looker = Looker::new(&server);
    let mut calls = 0;
    for round in 1..=ROUNDS {
        let mut client = server.connect().expect("the server accepts");
        for _ in 0..round {
            client.call_raw("ping", &()).expect("an answer");
        }
        calls += round + 1;
        let failed = client.call_raw(if survives_aborts { "abort" } else { "panic" }, &());
        let failed = failed.expect_err("it fails");
        let code = failed.rpc_error().and_then(|error| error.known_code());
        assert_eq!(code == Some(ErrorCode::Crashed), survives_aborts, "{failed:?}");
        drop(client);
        let stats = looker.look();
        assert_eq!(stats.calls.total, calls + looker.looks, "{stats:#?}");
        if survives_aborts {
            // Its parent has yet to notice, and then its slot and its entry are gone.
            let stats = looker.look_until("the death", |stats| {
                stats.deaths.get("signal") == Some(&round) && stats.connections.open == 1
            });
            assert_eq!(stats.calls.total, calls + looker.looks, "{stats:#?}");
            assert!(stats.handling.iter().all(is_own_look), "{stats:#?}");
        }
    }
    let stats = looker.look();
    assert_eq!(stats.connections.accepted, ROUNDS + looker.looks, "{stats:#?}");
    // All other calls were made on connections that died with their workers.
    let of_workers: u64 = stats.workers.iter().map(|worker| worker.calls).sum();
    assert!(stats.workers.len() <= WORKERS && of_workers <= looker.looks, "{stats:#?}");
}

fn a_hung_handler_is_seen_from_beside_it(model: Model) {
    if model == Model::Single {
        // Whoever would look waits in the queue behind it.
        return;
    }
    let server = start_counted(model);
    let mut hung = Raw::connect(&server);
    hung.send(&request("sleep", "600000"));
    let mut looker = Looker::new(&server);
    let sleeps = |call: &HandlingStats| call.method.as_deref() == Some("sleep");
    let stats = looker.look_until("the call", |stats| stats.handling.iter().any(sleeps));
    let first = stats.handling.iter().find(|call| sleeps(call)).cloned();
    for _ in 0..20 {
        let stats = looker.look();
        let (hung, others): (Vec<_>, Vec<_>) = stats.handling.into_iter().partition(sleeps);
        assert_eq!(hung.first(), first.as_ref(), "the same call");
        assert!(hung.len() == 1 && others.iter().all(is_own_look), "{others:#?}");
        // Whoever answers is somebody else, where there are processes with one connection each.
        if matches!(model, Model::Fork | Model::Prefork) {
            assert!(others.iter().all(|look| look.pid != hung[0].pid), "{others:#?}");
        }
    }
}

/// Eight clients that come, call and go.
fn no_look_under_load_is_impossible(model: Model) {
    const LOOKS: usize = 100;
    let server = start_counted(model);
    let is_over = AtomicBool::new(false);
    let load = || {
        while !is_over.load(Ordering::Relaxed) {
            let mut client = server.connect().expect("the server accepts");
            for _ in 0..20 {
                client.call_raw("ping", "x").expect("an answer");
            }
        }
    };
    thread::scope(|scope| {
        let load: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        let mut looker = Looker::new(&server);
        let mut before = looker.look();
        for _ in 0..LOOKS {
            let now = looker.look();
            if let Err(why) = expect_possible(&before, &now) {
                is_over.store(true, Ordering::Relaxed);
                panic!("{why}: {before:#?}, then {now:#?}");
            }
            before = now;
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(load.into_iter().all(|thread| thread.join().is_ok()), "a call failed");
    });
}

/// The same while SIGKILL ends one process after the other, wherever it stands.
fn no_look_is_impossible_while_processes_are_killed(model: Model) {
    let kills = match model {
        Model::Single | Model::Thread => return,
        Model::Fork => 100,
        // Whoever dies young again and again is replaced later and later.
        Model::Prefork | Model::PreforkThread => 5,
    };
    let server = start_counted(model);
    let is_over = AtomicBool::new(false);
    let call_and_be_cut_off = || {
        while !is_over.load(Ordering::Relaxed) {
            let mut client = server.connect().expect("the server accepts");
            let mut is_served = true;
            while is_served && !is_over.load(Ordering::Relaxed) {
                is_served = client.call_raw("ping", "x").is_ok();
            }
        }
    };
    // Of three workers one is left for the looks.
    let look = || {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The process that took this connection may be the one that was just killed.
            match server.connect().expect("the server accepts").call(STATS, &()) {
                Ok(stats) => return stats,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    };
    let killed = thread::scope(|scope| {
        let load: Vec<_> = (0..2).map(|_| scope.spawn(call_and_be_cut_off)).collect();
        let mut before = look();
        let mut killed = 0;
        let checked = loop {
            let now = look();
            if let Err(why) = expect_possible(&before, &now) {
                break Err(format!("{why}: {before:#?}, then {now:#?}"));
            }
            before = now;
            if killed == kills {
                break Ok(killed);
            }
            if let Some(&child) = proc::children(server.pid()).get(killed % 2) {
                killed += usize::from(kill(Pid::from_raw(child), Signal::SIGKILL).is_ok());
            }
        };
        is_over.store(true, Ordering::Relaxed);
        assert!(load.into_iter().all(|thread| thread.join().is_ok()), "a call failed");
        checked.unwrap_or_else(|why| panic!("{why}"))
    });
    // Nothing stays of the dead. Those that had ended by themselves were killed for nothing.
    let workers = if model.has_workers() { WORKERS } else { 0 };
    let stats = Looker::new(&server).look_until("the end of all the others", |stats| {
        stats.connections.open == 1 && stats.workers.len() == workers
    });
    assert!(stats.handling.iter().all(is_own_look), "{stats:#?}");
    assert!(stats.deaths["killed_by_others"] <= killed as u64, "{stats:#?}");
}

fn expect_possible(before: &Stats, now: &Stats) -> Result<(), &'static str> {
    let known = ["ping", STATS.name()];
    let open = now.connections.open;
    let of_workers = |what: fn(&rpc_proto::stats::WorkerStats) -> u64| -> u64 {
        now.workers.iter().map(what).sum()
    };
    let checks = [
        ("calls fell", now.calls.total > before.calls.total),
        ("connections fell", now.connections.accepted > before.connections.accepted),
        ("the clock went back", now.server.uptime_ms >= before.server.uptime_ms),
        ("nobody is there", open >= 1),
        ("more than ever came", open <= now.connections.accepted),
        ("more than there is room for", open <= MAX_CONNECTIONS as u64),
        ("more calls than connections", now.calls.handling + now.calls.lost <= open),
        (
            "another number than listed",
            now.handling.len() as u64 + now.handling_left_out == now.calls.handling,
        ),
        ("more calls of workers", of_workers(|worker| worker.calls) <= now.calls.total),
        ("more connections of workers", of_workers(|worker| worker.connections) <= open),
        (
            "somebody died of something else",
            now.deaths.keys().all(|reason| ["clean", "killed_by_others"].contains(&&**reason)),
        ),
        (
            "an unknown method",
            now.handling
                .iter()
                .filter_map(|call| call.method.as_deref())
                .all(|method| known.contains(&method)),
        ),
    ];
    match checks.iter().find(|(_, holds)| !holds) {
        Some((what, _)) => Err(what),
        None => Ok(()),
    }
}

fn connections_that_break_the_rules_are_counted(model: Model) {
    let server = start(model, &["--max-frame-len", "100"]);
    for (bytes, code) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], ErrorCode::WrongProtocol),
        (&frame("x".repeat(101)), ErrorCode::FrameTooLarge),
        (&frame("x".repeat(102)), ErrorCode::FrameTooLarge),
    ] {
        let mut client = Raw::connect(&server);
        client.send(bytes);
        client.expect_error(code);
        client.expect_end();
    }
    let refused = Looker::new(&server).look().connections.refused;
    let expected = [("frame too large".to_owned(), 2), ("wrong protocol".to_owned(), 1)];
    assert_eq!(refused, BTreeMap::from(expected));
}

fn connections_beyond_the_limit_are_counted(model: Model) {
    let limits = ["--max-connections", "2", "--max-children", "2", "--workers", "1"];
    let server = start(model, &limits);
    let mut looker = server.connect().expect("the server accepts");
    look(&mut looker);
    let mut second = Raw::connect(&server);
    second.expect_service();
    for refused in 1..=5 {
        Raw::connect(&server).expect_error(ErrorCode::Busy);
        let connections = look(&mut looker).connections;
        assert_eq!(connections.refused.get("busy"), Some(&refused), "{connections:?}");
        assert_eq!(connections.accepted, 2 + refused);
    }
}

#[test]
fn a_list_that_would_be_too_long_says_how_much_is_missing() {
    const HUNG: usize = MAX_HANDLING + 44;
    let server = start_counted(Model::Thread);
    let _hung: Vec<Raw> = (0..HUNG)
        .map(|_| {
            let mut client = Raw::connect(&server);
            client.send(&request("sleep", "600000"));
            client
        })
        .collect();
    let handling = HUNG as u64 + 1;
    let stats =
        Looker::new(&server).look_until("all the calls", |stats| stats.calls.handling == handling);
    assert_eq!(stats.handling.len(), MAX_HANDLING);
    assert_eq!(stats.handling_left_out, handling - MAX_HANDLING as u64);
}
