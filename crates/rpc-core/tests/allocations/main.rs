//! What a call allocates on the thread that serves it, once the buffers have grown.
//!
//! A separate program, because counting replaces the allocator of the whole program. Each thread
//! has its own count, so the peer's allocations do not matter.

#![expect(clippy::disallowed_methods, reason = "the crate starts no thread, its tests do")]

use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use rpc_core::{Acceptor, Method, Registry, Service};
use rpc_proto::{FrameWriter, Request, Response};

const PING: Method<String, String> = Method::new("ping", "pong");
const TEXT: &str = "123456789";

/// Allocations of the serving thread from the beginning of a connection to its end.
fn allocations(service: &Service, rounds: usize, in_flight: usize) -> u64 {
    let mut acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let mut stream = TcpStream::connect(acceptor.address().to_string()).unwrap();
    let (mut requests, mut replies) = (FrameWriter::new(), FrameWriter::new());
    for _ in 0..in_flight {
        let request = requests.append(|body| Request::encode(body, PING.name(), TEXT));
        let reply = replies.append(|body| Response::encode(body, PING.kind(), TEXT));
        request.and(reply).unwrap();
    }
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            let conn = acceptor.accept().unwrap().unwrap();
            allocation_counter::measure(|| service.serve_conn(conn)).count_total
        });
        let mut received = vec![0; replies.as_bytes().len()];
        for _ in 0..rounds {
            stream.write_all(requests.as_bytes()).unwrap();
            stream.read_exact(&mut received).unwrap();
            assert!(received == replies.as_bytes(), "wrong replies");
        }
        drop(stream);
        server.join().unwrap()
    })
}

/// Checks how many more allocations twice as many calls need. What a connection allocates at its
/// beginning is the same in both runs, since a batch of requests is one packet and fits into the
/// first buffer.
#[track_caller]
fn check(registry: Registry, expected_per_call: usize) {
    const ROUNDS: usize = 200;
    let service = Service::new(registry);
    for in_flight in [1, 16] {
        let once = allocations(&service, ROUNDS, in_flight);
        let twice = allocations(&service, 2 * ROUNDS, in_flight);
        let expected = (expected_per_call * ROUNDS * in_flight) as u64;
        assert_eq!(twice - once, expected, "with {in_flight} in flight");
    }
}

#[test]
fn a_call_on_raw_json_allocates_nothing() {
    let mut registry = Registry::new();
    registry
        .register_raw(PING.name(), PING.kind(), |params, _ctx| Ok(Cow::Borrowed(params)))
        .unwrap();
    check(registry, 0);
}

#[test]
fn a_typed_call_allocates_only_the_string_that_the_handler_takes() {
    let mut registry = Registry::new();
    registry.register(PING, |text, _ctx| Ok(text)).unwrap();
    check(registry, 1);
}

#[test]
fn what_a_handler_allocates_is_counted() {
    let mut registry = Registry::new();
    registry.register(PING, |text, _ctx| Ok(text.clone())).unwrap();
    check(registry, 2);
}

/// The peak memory of the serving thread during several calls with `text`, in lengths of a frame.
fn frames_held(service: &Service, text: &str) -> f64 {
    let mut acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let mut stream = TcpStream::connect(acceptor.address().to_string()).unwrap();
    let (mut request, mut reply) = (FrameWriter::new(), FrameWriter::new());
    request.append(|body| Request::encode(body, PING.name(), text)).unwrap();
    reply.append(|body| Response::encode(body, PING.kind(), text)).unwrap();
    let held = thread::scope(|scope| {
        let server = scope.spawn(move || {
            let conn = acceptor.accept().unwrap().unwrap();
            allocation_counter::measure(|| service.serve_conn(conn)).bytes_max
        });
        let mut received = vec![0; reply.as_bytes().len()];
        for _ in 0..3 {
            stream.write_all(request.as_bytes()).unwrap();
            stream.read_exact(&mut received).unwrap();
            assert!(received == reply.as_bytes(), "wrong reply");
        }
        drop(stream);
        server.join().unwrap()
    });
    held as f64 / request.as_bytes().len() as f64
}

#[test]
fn a_connection_with_a_large_call_holds_at_most_four_frames() {
    let mut registry = Registry::new();
    registry.register(PING, |text, _ctx| Ok(text)).unwrap();
    let typed = Service::new(registry);
    let mut registry = Registry::new();
    let raw =
        registry.register_raw(PING.name(), PING.kind(), |params, _ctx| Ok(Cow::Borrowed(params)));
    raw.unwrap();
    let raw = Service::new(registry);
    let texts = ["123456789", "a line of a text\n", "é", "\u{2028}", "\"", "\u{1}"];
    for text in texts {
        let text = text.repeat(1_000_000 / text.len());
        for (service, kind) in [(&typed, "typed"), (&raw, "raw")] {
            let held = frames_held(service, &text);
            assert!(held <= 4.0, "{kind}, {:?} and so on: {held:.2} frames", text.chars().next());
        }
    }
}
