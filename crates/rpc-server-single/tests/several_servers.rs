//! Several servers in one program: a signal stops each that asked for it, and no other, and the
//! signals are the program's again when the last of these has ended.
//!
//! This test runs without a harness, whose threads could get the signal.

#![allow(clippy::print_stdout)]

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use rpc_server_single::{Acceptor, Registry, ServeError, Server, Service, serve};

fn main() {
    let bind = || Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let start = |acceptor: Acceptor| -> thread::JoinHandle<Result<(), ServeError>> {
        thread::spawn(move || serve(acceptor, &Service::new(Registry::new())))
    };
    let first = bind().stop_on_signals().unwrap();
    let second = bind().stop_on_signals().unwrap();
    let by_call_only = bind();
    let (stop_first, stop_third) = (first.shutdown(), by_call_only.shutdown());
    let (first, second, third) = (start(first), start(second), start(by_call_only));

    // One that ends by itself leaves the signals to the other.
    stop_first.stop();
    first.join().unwrap().unwrap();
    assert!(is_caught(Signal::SIGTERM));

    let newcomer = start(bind().stop_on_signals().unwrap());
    kill(getpid(), Signal::SIGTERM).unwrap();
    second.join().unwrap().unwrap();
    newcomer.join().unwrap().unwrap();
    assert!(!is_caught(Signal::SIGTERM), "the last that asked has ended");
    assert!(!stop_third.is_stopping(), "it did not ask for signals");
    stop_third.stop();
    third.join().unwrap().unwrap();

    may_clean_up_for_longer_than_the_grace();
    println!("a signal stops each server that asked for it, and no other ... ok");
}

/// The grace is for requests in flight.
#[expect(clippy::disallowed_methods, reason = "what must not happen is no event")]
fn may_clean_up_for_longer_than_the_grace() {
    let server = Server::new().unwrap().with_grace(Duration::from_millis(1));
    let server = server.stop_on_signals().unwrap();
    kill(getpid(), Signal::SIGTERM).unwrap();
    thread::sleep(Duration::from_millis(50));
    assert!(server.shutdown().is_stopping());
    drop(server);
    assert!(!is_caught(Signal::SIGALRM));
}

/// Whether a handler is installed for `signal`: the mask `SigCgt` of proc_pid_status(5).
fn is_caught(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    caught & (1 << (signal as i32 - 1)) != 0
}
