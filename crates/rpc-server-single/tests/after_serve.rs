//! When `serve` has returned, the signals are the host program's again: the end of the grace does
//! not end it, and SIGTERM does what it did before.
//!
//! Without a harness, whose threads could get the signal.

#![allow(clippy::print_stdout)]

use std::fs;

use nix::sys::signal::{Signal, raise};
use nix::unistd::alarm;
use rpc_server_single::{Acceptor, Registry, Service, serve};

fn main() {
    let acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let acceptor = acceptor.stop_on_signals().unwrap();
    assert!(is_caught(Signal::SIGTERM));

    raise(Signal::SIGTERM).unwrap();
    serve(acceptor, &Service::new(Registry::new())).unwrap();

    assert_eq!(alarm::cancel(), None, "the alarm that ends the grace is called off");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGALRM] {
        assert!(!is_caught(signal), "{signal} is given back");
    }
    println!("after serve the signals are the host program's ... ok");
}

/// From the mask of caught signals in proc_pid_status(5).
fn is_caught(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    caught & (1 << (signal as i32 - 1)) != 0
}
