//! What a call costs in the whole connection loop: a thread serves one end of a pair of sockets,
//! and a peer keeps a number of requests in flight.
//!
//! With one request in flight this measures the kernel and its scheduler, with 128 this crate.
//! `cargo xtask bench` compares models; this benchmark is for changes of the loop.

#![expect(clippy::disallowed_methods, reason = "the crate starts no thread, its tests do")]

use std::borrow::Cow;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use divan::Bencher;
use divan::counter::ItemsCount;
use rpc_core::{Method, Registry, Server, Service};
use rpc_proto::{FrameWriter, Request, Response};

const PING: Method<String, String> = Method::new("ping", "pong");

const TEXT: &str = "123456789";

/// Calls in one iteration: a multiple of each number in [`IN_FLIGHT`].
const CALLS: usize = 1024;

const IN_FLIGHT: [usize; 3] = [1, 16, 128];

fn main() {
    divan::main();
}

/// The handler takes and returns a `String`.
#[divan::bench(args = IN_FLIGHT)]
fn typed(bencher: Bencher<'_, '_>, in_flight: usize) {
    let mut registry = Registry::new();
    registry.register(PING, |text, _ctx| Ok(text)).expect("the name is free");
    call(bencher, registry, in_flight);
}

/// The handler returns the JSON text that it got.
#[divan::bench(args = IN_FLIGHT)]
fn raw(bencher: Bencher<'_, '_>, in_flight: usize) {
    let mut registry = Registry::new();
    registry
        .register_raw(PING.name(), PING.kind(), |params, _ctx| Ok(Cow::Borrowed(params)))
        .expect("the name is free");
    call(bencher, registry, in_flight);
}

fn call(bencher: Bencher<'_, '_>, registry: Registry, in_flight: usize) {
    let service = Service::new(registry);
    let (ours, mut stream) = UnixStream::pair().expect("descriptors are free");
    let server = Server::new().expect("memory and a descriptor are free");
    let conn = server.connection(ours).expect("one end of a pair can be served");
    let serving = thread::spawn(move || service.serve_conn(conn));

    let (mut requests, mut replies) = (FrameWriter::new(), FrameWriter::new());
    for _ in 0..in_flight {
        let request = requests.append(|body| Request::encode(body, PING.name(), TEXT));
        let reply = replies.append(|body| Response::encode(body, PING.kind(), TEXT));
        request.and(reply).expect("a string serialises");
    }
    let mut received = vec![0; replies.as_bytes().len()];
    bencher.counter(ItemsCount::new(CALLS)).bench_local(|| {
        for _ in 0..CALLS / in_flight {
            stream.write_all(requests.as_bytes()).expect("the server reads");
            stream.read_exact(&mut received).expect("the server writes");
        }
    });
    assert!(received == replies.as_bytes(), "wrong replies");

    drop(stream);
    serving.join().expect("the server ends with its connection");
}
