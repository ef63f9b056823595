//! Handlers that never return: the grace, and the second SIGINT.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rpc_core::EXIT_GRACE_EXPIRED;
use serde_json::{Value, json};
use xtask::model::Model;
use xtask::proc;

use super::{
    AT_ONCE, Caller, PATIENCE, assert_none_alive, promises, serve_on_socket, signal_and_wait,
    wait_until_gone,
};

promises! {
    a_handler_that_never_returns_ends_with_the_grace: single thread fork prefork prefork_thread;
    a_second_interrupt_ends_everything_at_once: single thread fork prefork prefork_thread;
}

fn a_handler_that_never_returns_ends_with_the_grace(model: Model) {
    const GRACE: Duration = Duration::from_millis(300);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut server, _directory) =
            serve_on_socket(model, &["--workers", "1", "--grace", "300ms"]);
        let tree = proc::tree(server.pid());
        let mut caller = Caller::served(&server);
        caller.send_surely("spin", Value::Null);
        let begin = Instant::now();
        server.signal(signal).expect("the server lives");

        let error = caller.expect_error(-32002);
        assert_eq!(error["data"], json!({ "executed": "maybe" }), "{error}");
        assert_eq!(caller.receive(), None);
        let status = server.wait(PATIENCE).expect("it ends");
        let took = begin.elapsed();
        assert_eq!(status.code(), Some(EXIT_GRACE_EXPIRED), "{status}");
        assert!(took >= GRACE && took < GRACE + AT_ONCE, "{took:?}");
        wait_until_gone(&tree);
    }
}

fn a_second_interrupt_ends_everything_at_once(model: Model) {
    let (mut server, _directory) = serve_on_socket(model, &["--workers", "2"]);
    let mut caller = Caller::served(&server);
    caller.send_surely("spin", Value::Null);
    let tree = proc::tree(server.pid());
    signal_and_wait(&server, Signal::SIGINT);
    let begin = Instant::now();
    server.signal(Signal::SIGINT).expect("the server lives");
    let status = server.wait(PATIENCE).expect("it ends");
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert_eq!(status.code(), Some(130), "{status}");
    assert_none_alive(&tree);
}
