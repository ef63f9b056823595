//! A call that takes too long is answered while its handler still runs, in every model.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rpc_client::ErrorCode::DeadlineExceeded;
use serde_json::{Value, json};
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use crate::raw::{PATIENCE, Raw, frame, pong, request};
use crate::server::{Directory, connect_until_served, start, start_at};

over_every_model! {
    a_handler_that_does_not_return_in_time_is_answered_for,
    the_same_over_a_unix_socket,
    who_asks_for_less_is_told_sooner,
    a_timer_that_was_set_for_an_earlier_call_is_set_again,
    nobody_gets_more_than_the_maximum,
    a_call_that_is_in_time_is_not_disturbed,
    replies_that_wait_go_out_before_the_answer_to_the_late_call,
    the_time_of_a_call_begins_at_its_turn,
    a_call_without_time_is_refused_unseen_and_the_connection_goes_on,
    deadlines_hold_after_a_stop,
    a_lost_handler_disturbs_no_neighbour,
    a_result_and_a_deadline_at_the_same_moment_give_one_answer,
    a_process_whose_only_thread_is_lost_ends,
}

/// How late the answer to a late call may be.
const LATE: Duration = Duration::from_millis(250);

/// A request with a time-out, as the project's client spells it.
fn timed(method: &str, timeout_ms: u64, params: &str) -> Vec<u8> {
    frame(format!(r#"{{"in":"{method}","timeout_ms":{timeout_ms},"params":{params}}}"#))
}

fn serve(model: Model, arguments: &[&str]) -> Server {
    start(model, &[&["--fault-methods", "--workers", "2"], arguments].concat())
}

/// The call that was sent at `begin` is answered after `limit`, and that is all. Returns how long
/// after.
#[track_caller]
fn expect_late<Stream: std::io::Read + std::io::Write>(
    client: &mut Raw<Stream>,
    begin: Instant,
    limit: Duration,
) -> Duration {
    let error = client.expect_error(DeadlineExceeded);
    let took = begin.elapsed();
    assert!(took >= limit, "told after {took:?} already");
    let limit_ms = limit.as_millis() as u64;
    assert_eq!(error["data"], json!({ "executed": "maybe", "limit_ms": limit_ms }), "{error}");
    client.expect_end();
    took - limit
}

/// A machine that is busy with something else may delay anything, so the best of some attempts
/// counts.
fn expect_in_time(attempt: impl Fn() -> Duration) {
    let lateness: Vec<_> = (0..5).map(|_| attempt()).take_while(|late| *late >= LATE).collect();
    assert!(lateness.len() < 5, "{lateness:?} after the deadline, instead of {LATE:?}");
}

fn a_handler_that_does_not_return_in_time_is_answered_for(model: Model) {
    const LIMIT: Duration = Duration::from_millis(200);
    for late in [request("spin", "null"), request("sleep", "60000")] {
        expect_in_time(|| {
            let server = serve(model, &["--deadline", "200ms"]);
            let mut client = Raw::connect(&server);
            client.expect_service();
            let begin = Instant::now();
            client.send(&late);
            expect_late(&mut client, begin, LIMIT)
        });
    }
}

fn the_same_over_a_unix_socket(model: Model) {
    const LIMIT: Duration = Duration::from_millis(200);
    for late in [request("spin", "null"), request("sleep", "60000")] {
        expect_in_time(|| {
            let directory = Directory::new();
            let arguments = ["--fault-methods", "--workers", "2", "--deadline", "200ms"];
            let _server = start_at(&directory.address(), model, &arguments);
            let mut client = Raw::connect_unix(&directory.socket());
            client.expect_service();
            let begin = Instant::now();
            client.send(&late);
            expect_late(&mut client, begin, LIMIT)
        });
    }
}

fn who_asks_for_less_is_told_sooner(model: Model) {
    let server = serve(model, &["--deadline", "30s"]);
    let mut client = Raw::connect(&server);
    // The timer is set for a long time already.
    client.expect_service();
    let begin = Instant::now();
    client.send(&timed("sleep", 100, "60000"));
    expect_late(&mut client, begin, Duration::from_millis(100));
}

/// The timer is set for the first call, which is over by then; the second one finds it set.
fn a_timer_that_was_set_for_an_earlier_call_is_set_again(model: Model) {
    let server = serve(model, &[]);
    let mut client = Raw::connect(&server);
    client.send(&timed("ping", 200, "1"));
    client.expect(&pong("1"));
    let begin = Instant::now();
    client.send(&timed("sleep", 600, "60000"));
    expect_late(&mut client, begin, Duration::from_millis(600));
}

fn nobody_gets_more_than_the_maximum(model: Model) {
    const LIMIT: Duration = Duration::from_millis(100);
    let late = [
        timed("sleep", 60_000, "60000"),
        timed("sleep", u64::MAX, "60000"),
        request("sleep", "60000"),
        frame(r#"{"params":60000,"timeout_ms":1000000000000000000000,"in":"sleep"}"#),
    ];
    for late in late {
        let server = serve(model, &["--deadline", "30s", "--max-deadline", "100ms"]);
        let mut client = Raw::connect(&server);
        let begin = Instant::now();
        client.send(&late);
        expect_late(&mut client, begin, LIMIT);
    }
}

/// The alarm that was set for the first of them finds the later ones, again and again.
fn a_call_that_is_in_time_is_not_disturbed(model: Model) {
    let server = serve(model, &["--deadline", "2s"]);
    let mut client = Raw::connect(&server);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(4500) {
        client.expect_service();
        client.send(&timed("sleep", 30_000, "1"));
        client.expect(&frame(r#"{"out":"slept","result":1}"#));
        client.send(&request("sleep", "20"));
        client.expect(&frame(r#"{"out":"slept","result":20}"#));
    }
}

fn replies_that_wait_go_out_before_the_answer_to_the_late_call(model: Model) {
    let server = serve(model, &[]);
    let mut client = Raw::connect(&server);
    let calls = [
        request("ping", "1"),
        request("panic", "null"),
        request("ping", "3"),
        timed("spin", 100, "null"),
        request("ping", "5"),
    ];
    let begin = Instant::now();
    client.send(&calls.concat());
    client.expect(&pong("1"));
    client.expect_error(rpc_client::ErrorCode::InternalError);
    client.expect(&pong("3"));
    expect_late(&mut client, begin, Duration::from_millis(100));
}

/// Together they take longer than each of them may.
fn the_time_of_a_call_begins_at_its_turn(model: Model) {
    let server = serve(model, &[]);
    let mut client = Raw::connect(&server);
    client.send(&timed("sleep", 3000, "700").repeat(6));
    for _ in 0..6 {
        client.expect(&frame(r#"{"out":"slept","result":700}"#));
    }
}

fn a_call_without_time_is_refused_unseen_and_the_connection_goes_on(model: Model) {
    let server = serve(model, &[]);
    let mut client = Raw::connect(&server);
    for late in [
        timed("abort", 0, "null"),
        frame(r#"{"timeout_ms": 0, "in": "abort"}"#),
        frame(r#"{"in": "abort", "timeout_ms": 0, "params": "of the wrong type"}"#),
    ] {
        client.send(&late);
        let error = client.expect_error(DeadlineExceeded);
        assert_eq!(error["data"], json!({ "executed": "no", "limit_ms": 0 }), "{error}");
        client.expect_service();
    }
    // What is wrong with the request comes first.
    for (wrong, code) in [
        (r#"{"in":"ping","timeout_ms":0,"params":}"#, rpc_client::ErrorCode::ParseError),
        (r#"{"in":"nothing","timeout_ms":0,"params":1}"#, rpc_client::ErrorCode::MethodNotFound),
    ] {
        client.send(&frame(wrong));
        client.expect_error(code);
    }
    client.expect_service();
}

/// The end of the grace and the deadline share the timer; the deadline is nearer.
fn deadlines_hold_after_a_stop(model: Model) {
    let directory = Directory::new();
    let arguments = ["--fault-methods", "--workers", "2", "--grace", "60s"];
    let mut server = start_at(&directory.address(), model, &arguments);
    let mut client = Raw::connect_unix(&directory.socket());
    client.expect_service();
    let begin = Instant::now();
    client.send(&[request("ping", "1"), timed("sleep", 300, "60000")].concat());
    server.signal(Signal::SIGTERM).unwrap();
    client.expect(&pong("1"));
    expect_late(&mut client, begin, Duration::from_millis(300));
    if !matches!(model, Model::Single | Model::Thread | Model::PreforkThread) {
        // The child that was lost is gone, and nothing else is to be waited for.
        assert_eq!(server.wait(PATIENCE).unwrap().code(), Some(0));
    }
}

fn a_lost_handler_disturbs_no_neighbour(model: Model) {
    if model == Model::Single {
        return single_is_blocked_until_the_handler_returns();
    }
    let server = serve(model, &[]);
    let mut neighbour = Raw::connect(&server);
    neighbour.expect_service();
    for _ in 0..3 {
        let mut client = Raw::connect(&server);
        let begin = Instant::now();
        client.send(&timed("sleep", 100, "60000"));
        expect_late(&mut client, begin, Duration::from_millis(100));
        neighbour.expect_service();
    }
    connect_until_served(&server);
    neighbour.expect_service();
}

fn single_is_blocked_until_the_handler_returns() {
    let server = serve(Model::Single, &[]);
    let mut client = Raw::connect(&server);
    let begin = Instant::now();
    client.send(&timed("sleep", 100, "1000"));
    expect_late(&mut client, begin, Duration::from_millis(100));
    // The client's connection has ended, but not the handler.
    connect_until_served(&server);
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
}

/// The handler returns when its time is over, give or take what the machine does. Then comes one
/// whole answer or the other, to the right request, and the connection says which.
fn a_result_and_a_deadline_at_the_same_moment_give_one_answer(model: Model) {
    let server = serve(model, &[]);
    let (mut results, mut deadlines) = (0, 0);
    let mut client = Raw::connect(&server);
    // A worker that dies young is replaced with a delay.
    let rounds = if model == Model::Prefork { 5 } else { 200 };
    for number in 0..rounds {
        client.send(&[timed("sleep", 10, "10"), request("ping", &number.to_string())].concat());
        let reply: Value = serde_json::from_slice(&client.receive()).unwrap();
        if reply["out"] == "slept" {
            results += 1;
            client.expect(&pong(&number.to_string()));
            continue;
        }
        deadlines += 1;
        assert_eq!(reply["result"]["code"], DeadlineExceeded.code(), "{reply}");
        client.expect_end();
        client = Raw::connect(&server);
    }
    assert_eq!(results + deadlines, rounds);
}

/// Its handler would run forever, and take a processor.
fn a_process_whose_only_thread_is_lost_ends(model: Model) {
    if !matches!(model, Model::Fork | Model::Prefork) {
        return;
    }
    let server = serve(model, &[]);
    let mut client = Raw::connect(&server);
    client.expect_service();
    let before = proc::children(server.pid());
    client.send(&timed("spin", 100, "null"));
    client.expect_error(DeadlineExceeded);
    client.expect_end();
    // The process of another parent can only be looked at; nothing tells of its end.
    let deadline = Instant::now() + PATIENCE;
    while before.iter().all(|&pid| proc::is_alive(pid)) {
        assert!(Instant::now() < deadline, "{before:?} are all alive");
        thread::yield_now();
    }
}
