//! A prefix decides neither how much memory is taken nor how an error is reported.

use rpc_client::ErrorCode::{FrameTooLarge, TimedOut, WrongProtocol};
use xtask::model::Model;

use crate::memory::Peaks;
use crate::raw::{Raw, frame, pong, request};
use crate::server::start;

over_every_model! {
    a_frame_of_exactly_the_limit_is_served,
    a_frame_beyond_the_limit_is_answered_and_closed,
    a_frame_of_the_default_limit_is_served_and_one_byte_more_is_not,
    the_reason_reaches_a_client_that_goes_on_sending,
    requests_before_a_frame_beyond_the_limit_are_answered,
    a_prefix_costs_no_memory_beyond_what_came,
    another_protocol_is_named_in_the_error,
    a_big_endian_prefix_is_named_in_the_error,
    another_protocol_is_only_looked_for_in_the_first_frame,
}

/// A request whose body has `len` bytes, and its reply.
fn exchange_of(len: usize) -> (Vec<u8>, Vec<u8>) {
    let envelope = request("ping", r#""""#).len() - 4;
    let text = format!("\"{}\"", "x".repeat(len - envelope));
    (request("ping", &text), pong(&text))
}

fn a_frame_of_exactly_the_limit_is_served(model: Model) {
    let server = start(model, &["--max-frame-len", "100"]);
    let mut client = Raw::connect(&server);
    let (longest, reply) = exchange_of(100);
    client.send(&longest.repeat(2));
    client.expect(&reply.repeat(2));
    client.expect_service();
}

fn a_frame_beyond_the_limit_is_answered_and_closed(model: Model) {
    let server = start(model, &["--max-frame-len", "100"]);
    for len in [101, 102, 60_000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let mut client = Raw::connect(&server);
        client.send(&len.to_le_bytes());
        let error = client.expect_error(FrameTooLarge);
        assert_eq!(error["data"]["limit"], 100, "{error}");
        assert_eq!(error["data"]["length"], len, "{error}");
        client.expect_end();
    }
}

fn a_frame_of_the_default_limit_is_served_and_one_byte_more_is_not(model: Model) {
    const DEFAULT_LIMIT: usize = 8 * 1024 * 1024;
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    let (longest, reply) = exchange_of(DEFAULT_LIMIT);
    client.send(&longest);
    client.expect(&reply);
    client.send(&(DEFAULT_LIMIT as u32 + 1).to_le_bytes());
    let error = client.expect_error(FrameTooLarge);
    assert_eq!(error["data"]["limit"], DEFAULT_LIMIT, "{error}");
    client.expect_end();
}

/// A close while bytes wait to be read would be a reset, and could destroy the reply.
fn the_reason_reaches_a_client_that_goes_on_sending(model: Model) {
    let server = start(model, &["--max-frame-len", "100"]);
    for _ in 0..10 {
        let mut client = Raw::connect(&server);
        client.send(&frame("x".repeat(30_000)));
        client.send(&[b'x'; 30_000]);
        client.expect_error(FrameTooLarge);
        client.expect_end();
    }
}

fn requests_before_a_frame_beyond_the_limit_are_answered(model: Model) {
    let server = start(model, &["--max-frame-len", "100"]);
    let mut client = Raw::connect(&server);
    client.send(&[request("ping", "1"), frame([b'x'; 101])].concat());
    client.expect(&pong("1"));
    client.expect_error(FrameTooLarge);
    client.expect_end();
}

/// What is announced is within the limit here, so nothing but restraint keeps memory free. The
/// answer at the end of the frame time-out says that the server has seen the prefix and what came
/// behind it: a little, and more than a first buffer holds. Peaks say what happened in between.
fn a_prefix_costs_no_memory_beyond_what_came(model: Model) {
    const LARGE: u32 = 512 * 1024 * 1024;
    let limit = u32::MAX.to_string();
    let limits = ["--max-frame-len", &limit, "--frame-timeout", "200ms"];
    let server = start(model, &[&limits[..], &["--workers", "1"]].concat());
    for (announced, part_len) in [(u32::MAX, 0), (u32::MAX, 10), (LARGE, 200_000)] {
        let mut client = Raw::connect(&server);
        client.expect_service();
        let before = Peaks::of_tree(server.pid());
        client.send(&announced.to_le_bytes());
        client.send(&vec![b'['; part_len]);
        client.expect_error(TimedOut);
        let after = Peaks::of_tree(server.pid());
        after.assert_little_more_than(&before, u64::from(LARGE / 2));
        client.expect_end();
    }
}

fn another_protocol_is_named_in_the_error(model: Model) {
    let server = start(model, &[]);
    let long_tls_hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 506]].concat();
    let short_tls_hello =
        [&b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03"[..], &[7; 194]].concat();
    let cases: [(&[u8], &str); 13] = [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP"),
        (b"POST /rpc HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "HTTP"),
        (b"PUT /rpc HTTP/1.1\r\n\r\n", "HTTP"),
        (b"HEAD / HTTP/1.0\r\n\r\n", "HTTP"),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", "HTTP"),
        (b"DELETE /rpc HTTP/1.1\r\n\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP"),
        (&long_tls_hello, "TLS"),
        (&short_tls_hello, "TLS"),
        (b"{\"in\": \"ping\", \"params\": 123}", "JSON without a length"),
        (b"{ \"in\": \"ping\" }\n", "JSON without a length"),
        (b"[\"ping\", 123]", "JSON without a length"),
        (b"[{\"in\": \"ping\"}]", "JSON without a length"),
    ];
    for (bytes, name) in cases {
        check_named(Raw::connect(&server), &[bytes], name);
        // The first bytes decide, however they come.
        let pieces: Vec<&[u8]> = bytes[..8].chunks(1).collect();
        check_named(Raw::connect(&server), &pieces, name);
    }
}

/// Its four bytes alone are also those of a frame of 464 MiB. With the request behind them, which
/// may come a little later, there is no doubt; without it, the refusal says both.
fn a_big_endian_prefix_is_named_in_the_error(model: Model) {
    let server = start(model, &[]);
    let request = b"\0\0\0\x1d{\"in\": \"ping\", \"params\": 123}";
    check_named(Raw::connect(&server), &[request], "big-endian");
    let (prefix, body) = request.split_at(4);
    check_named(Raw::connect(&server), &[prefix, body], "big-endian");

    let mut client = Raw::connect(&server);
    client.send(&request[..4]);
    let error = client.expect_error(FrameTooLarge);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("big-endian"), "{message}");
    assert_eq!(error["data"]["length"], 0x1d00_0000);
    client.expect_end();
}

fn check_named(mut client: Raw, pieces: &[&[u8]], name: &str) {
    for piece in pieces {
        client.send(piece);
    }
    let error = client.expect_error(WrongProtocol);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(name), "{message:?} names {name}");
    client.expect_end();
}

fn another_protocol_is_only_looked_for_in_the_first_frame(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    client.expect_service();
    client.send(b"GET / HTTP/1.1\r\n\r\n");
    client.expect_error(FrameTooLarge);
    client.expect_end();
}
