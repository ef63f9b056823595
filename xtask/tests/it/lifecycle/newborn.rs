//! Signals that come while a child is being born, and what its end leaves behind.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use xtask::model::Model;
use xtask::proc;

use super::{
    AT_ONCE, Caller, PATIENCE, children, kill_one, promises, serve, serve_on_socket, wait_until,
    wait_until_gone,
};

promises! {
    quit_ends_everything_at_once: fork prefork prefork_thread;
    what_a_handler_has_started_does_not_outlive_a_hard_stop: fork prefork prefork_thread;
}

/// A thousand children, each of them told to stop as soon as it exists. One that missed its signal
/// would serve on.
#[test]
fn no_signal_is_lost_between_the_fork_and_the_first_instruction() {
    let server = serve(Model::Fork, &["--max-children", "2000"]);
    let list = format!("/proc/{0}/task/{0}/children", server.pid());
    let newborn = || {
        let text = fs::read_to_string(&list).expect("CONFIG_PROC_CHILDREN");
        text.split_whitespace().next().map(|pid| pid.parse::<i32>().expect("a number"))
    };
    for attempt in 0..1000 {
        let mut caller = Caller::connect(&server);
        let child = loop {
            if let Some(child) = newborn() {
                break child;
            }
        };
        kill_one(child, Signal::SIGTERM);
        caller.expect_shutdown();
        wait_until(&format!("the end of child {attempt}"), || newborn().is_none());
    }
}

fn quit_ends_everything_at_once(model: Model) {
    let (mut server, _directory) = serve_on_socket(model, &["--workers", "2"]);
    children(&server, if model == Model::Fork { 0 } else { 2 });
    let mut caller = Caller::served(&server);
    caller.send_surely("spin", Value::Null);
    let tree = proc::tree(server.pid());
    let begin = std::time::Instant::now();
    server.signal(Signal::SIGQUIT).expect("the server lives");
    let status = server.wait(PATIENCE).expect("it ends");
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert_eq!(status.code(), Some(131), "{status}");
    super::assert_none_alive(&tree);
}

fn what_a_handler_has_started_does_not_outlive_a_hard_stop(model: Model) {
    let endings: [(&[Signal], i32); 3] = [
        (&[Signal::SIGQUIT], 131),
        (&[Signal::SIGINT, Signal::SIGINT], 130),
        // The grace is over and a handler still runs.
        (&[Signal::SIGTERM], 124),
    ];
    for (signals, expected) in endings {
        let arguments = ["--workers", "1", "--grace", "300ms"];
        let (mut server, _directory) = serve_on_socket(model, &arguments);
        let mut caller = Caller::served(&server);
        caller.send("brood", Value::Null);
        let (kind, pid) = caller.receive().expect("a reply");
        assert_eq!(kind, "pid", "{pid}");
        let pid = pid.as_i64().expect("a number") as i32;
        assert!(proc::is_alive(pid));
        caller.send_surely("spin", json!(null));
        for &signal in signals {
            super::signal_and_wait(&server, signal);
        }
        let status = server.wait(PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(expected), "{status}");
        wait_until_gone(&[pid]);
    }
}
