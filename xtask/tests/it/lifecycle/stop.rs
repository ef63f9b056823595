//! SIGTERM and SIGINT: at once when idle, after the requests in flight otherwise.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use nix::sys::signal::Signal;
use rpc_proto::{FrameWriter, Request};
use serde_json::json;
use xtask::model::Model;
use xtask::proc;

use super::{
    AT_ONCE, Caller, PATIENCE, children, port, promises, serve, serve_in, serve_on_socket, status,
    stop_cleanly,
};

promises! {
    an_idle_server_ends_at_once: single thread fork prefork prefork_thread;
    idle_connections_are_told_and_do_not_delay: single thread fork prefork prefork_thread;
    two_hundred_idle_connections_are_told_and_do_not_delay: thread fork prefork_thread;
    a_request_in_flight_is_answered_first: single thread fork prefork prefork_thread;
    who_waits_in_the_queue_is_told: single prefork;
    nobody_who_comes_during_the_stop_is_left_waiting: prefork;
    a_peer_that_never_stops_sending_does_not_delay: single thread fork prefork prefork_thread;
    ignored_deaths_of_children_are_no_failure: fork prefork prefork_thread;
}

fn an_idle_server_ends_at_once(model: Model) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = serve(model, &[]);
        let took = stop_cleanly(&mut server, signal);
        assert!(took < AT_ONCE, "{signal}: {took:?}");
    }
}

fn idle_connections_are_told_and_do_not_delay(model: Model) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = serve(model, &["--workers", "3"]);
        let served = if model == Model::Single { 1 } else { 3 };
        let mut callers: Vec<_> = (0..served).map(|_| Caller::served(&server)).collect();
        let took = stop_cleanly(&mut server, signal);
        assert!(took < AT_ONCE, "{signal}: {took:?}");
        callers.iter_mut().for_each(Caller::expect_shutdown);
    }
}

/// With SIGCHLD ignored, which a program inherits, nobody can wait for a child (wait(2)). A shell
/// does not ignore this signal for others, so Python does.
fn ignored_deaths_of_children_are_no_failure(model: Model) {
    const IGNORE: &str = "import os, signal, sys; \
        signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])";
    let preparation = format!("set -- python3 -c '{IGNORE}' \"$@\"");
    let mut server = serve_in(&preparation, model, &["--workers", "3"]);
    assert!(status::is_ignored(server.pid(), Signal::SIGCHLD));
    let mut caller = Caller::served(&server);
    stop_cleanly(&mut server, Signal::SIGTERM);
    caller.expect_shutdown();
}

fn two_hundred_idle_connections_are_told_and_do_not_delay(model: Model) {
    let mut server = serve(model, &["--workers", "2"]);
    let mut callers: Vec<_> = (0..200).map(|_| Caller::served(&server)).collect();
    let took = stop_cleanly(&mut server, Signal::SIGTERM);
    assert!(took < AT_ONCE, "{took:?}");
    callers.iter_mut().for_each(Caller::expect_shutdown);
}

fn a_request_in_flight_is_answered_first(model: Model) {
    let over_tcp = (serve(model, &["--workers", "2"]), None, Signal::SIGTERM);
    let (server, directory) = serve_on_socket(model, &["--workers", "2"]);
    let over_unix = (server, Some(directory), Signal::SIGINT);
    for (mut server, _directory, signal) in [over_tcp, over_unix] {
        let mut caller = Caller::served(&server);
        caller.send_surely("sleep", json!(300));
        stop_cleanly(&mut server, signal);
        assert_eq!(caller.receive(), Some(("slept".to_owned(), json!(300))));
        caller.expect_shutdown();
    }
}

fn who_waits_in_the_queue_is_told(model: Model) {
    let (mut server, _directory) = serve_on_socket(model, &["--workers", "1"]);
    let mut busy = Caller::served(&server);
    busy.send_surely("sleep", json!(300));
    let mut queued: Vec<_> = (0..3).map(|_| Caller::connect(&server)).collect();
    for caller in &mut queued {
        caller.send_surely("ping", json!(null));
    }
    stop_cleanly(&mut server, Signal::SIGTERM);
    assert_eq!(busy.receive(), Some(("slept".to_owned(), json!(300))));
    queued.iter_mut().for_each(Caller::expect_shutdown);
}

/// A worker that is busy keeps its copy of the listening socket. Who connects to it must not wait
/// until the worker is done.
fn nobody_who_comes_during_the_stop_is_left_waiting(model: Model) {
    let mut server = serve(model, &["--workers", "1"]);
    let worker = children(&server, 1)[0];
    let mut busy = Caller::served(&server);
    busy.send_surely("sleep", json!(3000));
    let mut queued = Caller::connect(&server);
    server.signal(Signal::SIGTERM).expect("the server lives");
    // The master empties the queue when it stops listening.
    queued.expect_shutdown();
    let newcomer = TcpStream::connect(port(&server)).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read(&mut [0; 64])
    });
    assert!(proc::is_alive(worker), "the newcomer waited: {newcomer:?}");
    drop(newcomer);
    assert_eq!(busy.receive(), Some(("slept".to_owned(), json!(3000))));
    assert_eq!(server.wait(PATIENCE).expect("it ends").code(), Some(0));
}

/// The grace is 30 s: a stop that waited for this peer would take all of it.
fn a_peer_that_never_stops_sending_does_not_delay(model: Model) {
    let mut server = serve(model, &["--workers", "1"]);
    let stream = TcpStream::connect(port(&server)).expect("the server listens");
    let mut requests = FrameWriter::new();
    while requests.as_bytes().len() < 32 * 1024 {
        let encoded = requests.append(|body| Request::encode(body, "ping", &json!(null)));
        encoded.expect("a short request");
    }
    thread::scope(|scope| {
        let (mut reader, mut writer) = (&stream, &stream);
        scope.spawn(move || while writer.write_all(requests.as_bytes()).is_ok() {});
        let mut replies = [0; 64 * 1024];
        // It is in full swing.
        let mut received = 0;
        while received < 1 << 20 {
            received += reader.read(&mut replies).expect("replies");
        }
        scope.spawn(move || while reader.read(&mut replies).is_ok_and(|count| count > 0) {});
        let took = stop_cleanly(&mut server, Signal::SIGTERM);
        assert!(took < 10 * AT_ONCE, "{took:?}");
    });
}
