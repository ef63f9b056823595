//! A process that dies of its own fault says so first, to those whose handlers it takes along.

use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;

use nix::libc;
use nix::sys::signal::Signal;
use rpc_client::ErrorCode::{Crashed, InternalError};
use xtask::model::Model;

use crate::raw::{PATIENCE, Raw, pong, request};
use crate::server::{Directory, connect_until_served, start, start_at};

over_every_model! {
    the_caller_of_a_handler_that_crashes_is_told,
    the_same_over_a_unix_socket,
    replies_that_wait_go_out_before_the_last_words,
    other_callers_of_the_process_are_told_too,
    a_crash_ends_the_process_as_it_would_have_without_last_words,
}

/// What kills the process, and which signal that is.
fn faults() -> Vec<(Vec<u8>, Signal)> {
    let raised = [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGABRT,
        Signal::SIGTRAP,
        Signal::SIGSYS,
    ];
    let raise = |signal| (request("raise", &(signal as i32).to_string()), signal);
    let mut faults: Vec<_> = raised.map(raise).into();
    faults.push((request("abort", "null"), Signal::SIGABRT));
    faults.push((request("overflow", "null"), Signal::SIGSEGV));
    faults
}

#[track_caller]
fn expect_last_words<Stream: std::io::Read + std::io::Write>(
    client: &mut Raw<Stream>,
    signal: Signal,
) {
    let error = client.expect_error(Crashed);
    assert_eq!(error["data"]["executed"], "maybe", "{error}");
    assert_eq!(error["data"]["signal"], signal.as_str(), "{error}");
    client.expect_end();
}

/// Beside a neighbour, where a crash takes down one connection only.
fn the_caller_of_a_handler_that_crashes_is_told(model: Model) {
    let survives = matches!(model, Model::Fork | Model::Prefork);
    let mut server = start(model, &["--fault-methods", "--workers", "4"]);
    let mut neighbour = survives.then(|| Raw::connect(&server));
    neighbour.iter_mut().for_each(Raw::expect_service);
    for (fault, signal) in faults() {
        if !survives {
            server = start(model, &["--fault-methods", "--workers", "4"]);
        }
        let mut client = Raw::connect(&server);
        client.send(&fault);
        expect_last_words(&mut client, signal);
        neighbour.iter_mut().for_each(Raw::expect_service);
    }
    if survives {
        connect_until_served(&server);
    }
}

fn the_same_over_a_unix_socket(model: Model) {
    for (fault, signal) in faults().into_iter().skip(6) {
        let directory = Directory::new();
        let _server = start_at(&directory.address(), model, &["--fault-methods"]);
        let mut client = Raw::connect_unix(&directory.socket());
        client.expect_service();
        client.send(&fault);
        expect_last_words(&mut client, signal);
    }
}

/// More requests come behind the one that crashes than the server has read, so that closing alone
/// would reset the connection.
fn replies_that_wait_go_out_before_the_last_words(model: Model) {
    let server = start(model, &["--fault-methods"]);
    let mut client = Raw::connect(&server);
    let long = request("ping", &format!("\"{}\"", "x".repeat(10_000)));
    let before = [request("ping", "1"), request("panic", "null"), request("ping", "3")].concat();
    client.send(&[&before[..], &request("abort", "null"), &long.repeat(5)].concat());
    client.expect(&pong("1"));
    client.expect_error(InternalError);
    client.expect(&pong("3"));
    expect_last_words(&mut client, Signal::SIGABRT);
}

/// Fifteen handlers run when another one lets its stack overflow.
fn other_callers_of_the_process_are_told_too(model: Model) {
    if !matches!(model, Model::Thread | Model::PreforkThread) {
        return;
    }
    let server = start(model, &["--fault-methods", "--workers", "1"]);
    let directory = Directory::new();
    let listener = UnixListener::bind(directory.socket()).unwrap();
    let path = format!("\"{}\"", directory.socket().display());
    let hold = || {
        let mut client = Raw::connect(&server);
        client.send(&[request("ping", "1"), request("hold", &path)].concat());
        (client, listener.accept().unwrap())
    };
    let others: Vec<_> = (0..15).map(|_| hold()).collect();
    let mut client = Raw::connect(&server);
    client.send(&request("overflow", "null"));
    expect_last_words(&mut client, Signal::SIGSEGV);
    for (mut other, _running) in others {
        other.expect(&pong("1"));
        expect_last_words(&mut other, Signal::SIGSEGV);
    }
}

/// Its parent, its shell and the system's core dumps see what they always saw.
fn a_crash_ends_the_process_as_it_would_have_without_last_words(model: Model) {
    if !matches!(model, Model::Single | Model::Thread) {
        return;
    }
    for (fault, signal) in faults() {
        let mut server = start(model, &["--fault-methods"]);
        let mut client = Raw::connect(&server);
        client.send(&fault);
        expect_last_words(&mut client, signal);
        // What std makes of a stack overflow is an abort.
        let overflowed = fault == request("overflow", "null");
        let expected = if overflowed { libc::SIGABRT } else { signal as i32 };
        let status = server.wait(PATIENCE).unwrap();
        assert_eq!(status.signal(), Some(expected), "{status}");
    }
}
