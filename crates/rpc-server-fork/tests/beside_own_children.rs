//! The server must not wait for children that the host program started itself, and the signal that
//! stops it stops the program's other servers as well.
//!
//! This test runs without a harness, which has threads: a program with threads is not forked.

#![allow(clippy::print_stdout)]

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rpc_server_fork::{Acceptor, Method, Registry, Service, serve};

const PING: Method<String, String> = Method::new("ping", "pong");
const REQUEST: &[u8] = br#"{"in":"ping","params":"x"}"#;
const REPLY: &[u8] = br#"{"out":"pong","result":"x"}"#;

fn main() {
    match env::args().nth(1) {
        Some(address) if address.contains(':') => call_and_stop(&address),
        // No address: no argument, or an option that `cargo test` passes on.
        _ => serve_beside_own_children(),
    }
}

fn serve_beside_own_children() {
    let mut ended =
        Command::new("sh").args(["-c", "exit 7"]).stdout(Stdio::piped()).spawn().unwrap();
    // Its output ends when it exits: from here on any waitpid(2) could reap it.
    let mut output = ended.stdout.take().unwrap();
    assert_eq!(output.read(&mut [0]).unwrap(), 0);
    let mut lasting = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();

    let mut registry = Registry::new();
    registry.register(PING, |text, _ctx| Ok(text)).unwrap();
    let acceptor =
        Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap().stop_on_signals().unwrap();
    let bound_for_later =
        Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap().stop_on_signals().unwrap();
    let mut client = Command::new(env::current_exe().unwrap())
        .arg(acceptor.address().to_string())
        .spawn()
        .unwrap();
    serve(acceptor, &Service::new(registry)).unwrap();

    assert!(bound_for_later.shutdown().is_stopping(), "a signal stops every server");
    assert!(client.wait().unwrap().success());
    assert_eq!(ended.wait().unwrap().code(), Some(7));
    assert_eq!(lasting.try_wait().unwrap(), None, "it still runs");
    drop(lasting.stdin.take());
    assert!(lasting.wait().unwrap().success());
    println!("the server leaves the host program's children alone ... ok");
}

/// The client process: makes three connections one after the other, each served by a child that
/// then ends, and sends SIGTERM to the server, which is its parent.
fn call_and_stop(address: &str) {
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).unwrap();
        let len = u32::try_from(REQUEST.len()).unwrap();
        stream.write_all(&[&len.to_le_bytes(), REQUEST].concat()).unwrap();
        let mut reply = vec![0; 4 + REPLY.len()];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply[4..], REPLY);
    }
    let parent = std::os::unix::process::parent_id().to_string();
    let killed = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &parent]).status();
    assert!(killed.unwrap().success());
}
