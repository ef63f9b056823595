//! The seed's own programs: its client against every model, its servers against our client.
//!
//! They are ported to Python 3 with their holes: a frame in two writes, reads that may be short,
//! no limits. Python is part of what the tests need, so a machine without it fails them.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rpc_client::{Address, Client, Method};
use serde_json::{Value, json};
use xtask::launch::Server;
use xtask::model::Model;

use crate::server::start;

over_every_model! {
    the_seed_client_is_served,
    the_seed_client_never_waits_for_a_delayed_acknowledgement,
}

const PING: Method<String, String> = Method::new("ping", "pong");

fn python(program: &str) -> Command {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/seed");
    let mut command = Command::new("python3");
    // Without -B the directory of the sources would get compiled files.
    command.arg("-B").arg(path.join(program));
    command
}

fn run_client(server: &Server, calls: usize) -> Output {
    let Address::Tcp(address) = server.address() else {
        panic!("the seed's client knows TCP only");
    };
    let (host, port) = address.rsplit_once(':').expect("a host and a port");
    let mut client = python("client.py");
    client.args([host, port, "0", &calls.to_string()]);
    client.output().expect("these tests need python3")
}

fn the_seed_client_is_served(model: Model) {
    let server = start(model, &[]);
    for _ in 0..2 {
        let Output { status, stdout, stderr } = run_client(&server, 10);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        let expected: String = (0..10).map(|i| format!("pong ireader {i}\n")).collect();
        assert_eq!(String::from_utf8_lossy(&stdout), expected);
    }
}

/// The client keeps the body of a request back until the server has acknowledged the prefix. With
/// a server that takes its time for that, 40 ms or more, every session of 100 calls takes 4 s. On a
/// busy machine some may take long for other reasons, so the first fast one decides.
fn the_seed_client_never_waits_for_a_delayed_acknowledgement(model: Model) {
    const SESSIONS: usize = 5;
    let server = start(model, &[]);
    let fast_session = (0..SESSIONS).find(|_| {
        let begin = Instant::now();
        let Output { status, stderr, .. } = run_client(&server, 100);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        begin.elapsed() < Duration::from_secs(2)
    });
    assert!(fast_session.is_some(), "no session was below 20 ms a call");
}

/// A seed server and the processes that it forks. It stops none of them, so this does.
struct SeedServer(Server);

impl SeedServer {
    fn start(program: &str) -> SeedServer {
        let mut command = python(program);
        command.args(["127.0.0.1", "0"]).process_group(0);
        SeedServer(Server::start_command(command).expect("these tests need python3"))
    }

    fn connect(&self) -> Client {
        self.0.connect().expect("the seed's server accepts")
    }
}

impl Drop for SeedServer {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.pid()), Signal::SIGKILL);
    }
}

#[test]
fn our_client_is_served_by_blocking_single() {
    let server = SeedServer::start("blocking_single.py");
    play_session(&mut server.connect());
    play_session(&mut server.connect());
}

#[test]
fn our_clients_are_served_side_by_side_by_multithread() {
    check_side_by_side("multithread.py");
}

#[test]
fn our_clients_are_served_side_by_side_by_multiprocess() {
    check_side_by_side("multiprocess.py");
}

#[test]
fn our_clients_are_served_side_by_side_by_prefork() {
    check_side_by_side("prefork.py");
}

fn check_side_by_side(program: &str) {
    let server = SeedServer::start(program);
    let (mut first, mut second) = (server.connect(), server.connect());
    play_session(&mut first);
    play_session(&mut second);
    play_session(&mut first);
}

fn play_session(client: &mut Client) {
    for i in 0..10 {
        let text = format!("ireader {i}");
        assert_eq!(client.call(PING, &text).unwrap(), text);
    }
    let params = json!([null, true, -0.5, "深入 😀 \u{0}", {"in": "ping", "params": []}]);
    let reply = client.call_raw("ping", &params).unwrap();
    assert_eq!(reply.kind, "pong");
    let result: Value = serde_json::from_str(reply.result.get()).unwrap();
    assert_eq!(result, params);
}
