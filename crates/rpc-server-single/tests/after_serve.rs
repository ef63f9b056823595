//! When `serve` has returned, the host program's signal handling is restored: the end of the grace
//! does not end the program, and SIGTERM does what it did before.
//!
//! This test runs without a harness, whose threads could get the signal.

#![allow(clippy::print_stdout)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use nix::unistd::alarm;
use rpc_server_single::{Acceptor, Method, Registry, Service, serve};

const STOP: Method<(), ()> = Method::new("stop", "stopped");

const REQUEST: &[u8] = br#"{"in":"stop","params":null}"#;

fn main() {
    let acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let acceptor = acceptor.stop_on_signals().unwrap();
    assert!(is_caught(Signal::SIGTERM));
    assert!(!is_caught(Signal::SIGFPE), "no crash handler before the first connection");
    let mut client = TcpStream::connect(acceptor.address().to_string()).unwrap();
    let len = u32::try_from(REQUEST.len()).unwrap();
    client.write_all(&[&len.to_le_bytes(), REQUEST].concat()).unwrap();

    let mut registry = Registry::new();
    let stop = |(), _ctx: &_| {
        assert!(is_caught(Signal::SIGFPE), "a crash of this handler would be answered");
        raise(Signal::SIGTERM).unwrap();
        Ok(())
    };
    registry.register(STOP, stop).unwrap();
    let service = Service::new(registry).default_deadline(Duration::from_secs(3600));
    serve(acceptor, &service).unwrap();
    let mut replies = String::new();
    client.read_to_string(&mut replies).unwrap();
    assert!(replies.contains("stopped"), "{replies}");

    assert_eq!(alarm::cancel(), None, "the timer for grace and deadline is off");
    // SIGFPE stands for all crash signals: std has its own handlers for two of the others.
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGALRM, Signal::SIGFPE] {
        assert!(!is_caught(signal), "the handler of {signal} is removed");
    }
    println!("after serve the host program's signal handling is restored ... ok");
}

/// Whether a handler is installed for `signal`: the mask `SigCgt` of proc_pid_status(5).
fn is_caught(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    caught & (1 << (signal as i32 - 1)) != 0
}
