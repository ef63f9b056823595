//! What this model promises besides the contract that all models share.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rpc_server_single::{Acceptor, Registry, Service, serve};

const GRACE: Duration = Duration::from_millis(100);

/// The grace is for handlers. When `serve` has returned there are none, and the host program may
/// take its time to tidy up.
#[test]
fn the_grace_does_not_end_the_host_program_after_serve() {
    let host_program = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_host_program_that_tidies_up", "--ignored"])
        .output()
        .unwrap();
    assert!(host_program.status.success(), "{host_program:?}");
}

/// The signals are the host program's again when `serve` has returned.
#[test]
fn a_signal_after_serve_does_what_it_did_before() {
    let host_program = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_host_program_that_is_told_to_end_later", "--ignored"])
        .output()
        .unwrap();
    assert_eq!(host_program.status.signal(), Some(15), "{host_program:?}");
}

#[test]
#[ignore = "sends signals to its process; the test above starts it in one of its own"]
fn a_host_program_that_is_told_to_end_later() {
    let acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let acceptor = acceptor.stop_on_signals().unwrap();
    acceptor.shutdown().stop();
    serve(acceptor, &Service::new(Registry::new())).unwrap();
    let killed = Command::new("sh").args(["-c", "kill -TERM \"$PPID\""]).status();
    panic!("the signal changed nothing: {killed:?}");
}

#[test]
#[ignore = "sends signals to its process; the test above starts it in one of its own"]
fn a_host_program_that_tidies_up() {
    let acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let acceptor = acceptor.stop_on_signals().unwrap().with_grace(GRACE);
    let killed = Command::new("sh").args(["-c", "kill -TERM \"$PPID\""]).status();
    assert!(killed.unwrap().success());
    serve(acceptor, &Service::new(Registry::new())).unwrap();
    // Not to wait for anything: it is the work of a host program that takes longer than the grace.
    thread::sleep(5 * GRACE);
}
