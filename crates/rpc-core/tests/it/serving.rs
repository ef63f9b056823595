use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use rpc_core::{Acceptor, ErrorCode, Method, Registry, RpcError, Service};
use serde_json::json;

use crate::server::{PING, Server, any_port, frame};

fn service() -> Service {
    let mut registry = Registry::new();
    registry.register(PING, |text, _ctx| Ok(text)).unwrap();
    registry.register_raw("raw", "raw_r", |params, _ctx| Ok(Cow::Borrowed(params))).unwrap();
    let refuse: Method<i32, ()> = Method::new("refuse", "never");
    registry
        .register(refuse, |code, _ctx| Err(RpcError::new(code, "refused").with_data(&[code])))
        .unwrap();
    let panic: Method<(), ()> = Method::new("panic", "never");
    registry.register(panic, |(), _ctx| std::panic::resume_unwind(Box::new("silent"))).unwrap();
    let odd: Method<(), HashMap<[u8; 1], u8>> = Method::new("odd", "never");
    registry.register(odd, |(), _ctx| Ok(HashMap::from([([1], 1)]))).unwrap();
    Service::new(registry)
}

fn start(service: Service) -> Server {
    Server::start(Acceptor::bind(&any_port()).unwrap(), service)
}

#[test]
fn an_error_of_the_request_keeps_the_connection() {
    let server = start(service());
    let mut peer = server.peer();
    for (body, code) in [
        ("", -32700),
        ("ping", -32700),
        (r#"{"in":"ping","params":"x"}}"#, -32700),
        (r#"{"in":"ping","params":}"#, -32700),
        ("[]", -32600),
        (r#"{"in":"ping","params":"x","params":"x"}"#, -32600),
        (r#"{"in":"nothing"}"#, -32601),
        (r#"{"in":"rpc.nothing"}"#, -32601),
        (r#"{"in":"ping"}"#, -32602),
        (r#"{"in":"ping","params":1}"#, -32602),
        (r#"{"in":"ping","params":"\ud800"}"#, -32602),
        (r#"{"in":"refuse","params":1e400}"#, -32602),
        (r#"{"in":"refuse","params":7}"#, 7),
        (r#"{"in":"panic"}"#, -32603),
        (r#"{"in":"odd"}"#, -32603),
    ] {
        peer.send(&frame(body));
        assert_eq!(peer.refusal().code, code, "{body}");
        peer.ping();
    }
    drop(peer);
    server.stop();
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = start(service());
    let mut peer = server.peer();
    let requests: Vec<u8> = (0..500)
        .flat_map(|number| match number % 5 {
            0 => frame("not json"),
            1 => frame(r#"{"in":"panic"}"#),
            2 => frame(format!(r#"{{"params":"{number}", "in": "ping"}}"#)),
            _ => frame(format!(r#"{{"in":"ping","params":"{number}"}}"#)),
        })
        .collect();
    peer.send(&requests);
    for number in 0..500 {
        let (kind, result) = peer.reply();
        match number % 5 {
            0 => assert_eq!((&*kind, &result["code"]), ("error", &json!(-32700))),
            1 => assert_eq!((&*kind, &result["code"]), ("error", &json!(-32603))),
            _ => assert_eq!((&*kind, result), ("pong", json!(number.to_string()))),
        }
    }
    drop(peer);
    server.stop();
}

/// Checks that these bytes end the connection with this error.
fn check_ends(service: Service, bytes: &[u8], code: ErrorCode, data: Option<&str>) {
    let server = start(service);
    let mut peer = server.peer();
    peer.send(bytes);
    let refusal = peer.refusal();
    assert_eq!(refusal.known_code(), Some(code), "{refusal}");
    if let Some(data) = data {
        assert_eq!(refusal.data.as_deref().map(|data| data.get()), Some(data));
    }
    peer.expect_end();
    server.stop();
}

#[test]
fn broken_framing_is_answered_and_ends_the_connection() {
    let limited = || service().max_frame_len(100);
    let figures = Some(r#"{"limit":100,"length":101}"#);
    check_ends(limited(), &[101, 0, 0, 0], ErrorCode::FrameTooLarge, figures);
    let long = frame([b' '; 101]);
    check_ends(limited(), &long, ErrorCode::FrameTooLarge, figures);
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    check_ends(service(), http, ErrorCode::WrongProtocol, None);
    let bare = br#"{"in":"ping","params":"x"}"#;
    check_ends(service(), bare, ErrorCode::WrongProtocol, None);
    let hello = [0x16, 3, 1, 0, 0xc4, 1, 0, 0, 0xc0, 3, 3];
    check_ends(service(), &hello, ErrorCode::WrongProtocol, None);
}

#[test]
fn silence_is_answered_and_ends_the_connection() {
    let short = Duration::from_millis(20);
    let limit = Some(r#"{"limit_ms":20}"#);
    check_ends(service().idle_timeout(short), b"", ErrorCode::TimedOut, limit);
    for part in [&[5, 0, 0, 0, b'x'][..], &[5, 0, 0], &[5]] {
        check_ends(service().frame_timeout(short), part, ErrorCode::TimedOut, limit);
    }
}

#[test]
fn requests_before_broken_framing_are_answered_first() {
    let server = start(service());
    let mut peer = server.peer();
    let ping = frame(r#"{"in":"ping","params":"x"}"#);
    peer.send(&[&ping[..], &ping, b"GET / HTTP/1.1"].concat());
    for _ in 0..2 {
        assert_eq!(peer.reply().0, "pong");
    }
    assert_eq!(peer.refusal().known_code(), Some(ErrorCode::FrameTooLarge));
    peer.expect_end();
    server.stop();
}

#[test]
fn raw_params_come_back_byte_by_byte() {
    let server = start(service());
    let mut peer = server.peer();
    for params in ["1.10", r#"{"z":1e400,"a":"\ud800"}"#, &"[".repeat(50_000)] {
        let params = params.to_owned() + &"]".repeat(params.matches('[').count());
        peer.send(&frame(format!(r#"{{"in":"raw","params":{params}}}"#)));
        let expected = frame(format!(r#"{{"out":"raw_r","result":{params}}}"#));
        assert_eq!(peer.bytes(expected.len()), expected);
    }
    drop(peer);
    server.stop();
}

/// A result that panics after its reply was written.
struct PanicsWhenDropped;

impl serde::Serialize for PanicsWhenDropped {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("result")
    }
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("silent"));
    }
}

#[test]
fn a_panic_after_the_reply_adds_no_second_one() {
    let method: Method<(), PanicsWhenDropped> = Method::new("late", "in_time");
    let mut registry = Registry::new();
    registry.register(method, |(), _ctx| Ok(PanicsWhenDropped)).unwrap();
    registry.register(PING, |text, _ctx| Ok(text)).unwrap();
    let server = start(Service::new(registry));
    let mut peer = server.peer();
    peer.send(&[frame(r#"{"in":"late"}"#), frame(r#"{"in":"ping","params":"x"}"#)].concat());
    assert_eq!(peer.reply(), ("in_time".to_owned(), json!("result")));
    assert_eq!(peer.reply(), ("pong".to_owned(), json!("x")));
    drop(peer);
    server.stop();
}

/// The payload of a panic that panics as often as it is dropped.
struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new(PanicsAgain));
    }
}

#[test]
fn a_panic_whose_payload_panics_is_answered_like_any_other() {
    let method: Method<(), ()> = Method::new("panic", "never");
    let mut registry = Registry::new();
    registry.register(method, |(), _ctx| std::panic::resume_unwind(Box::new(PanicsAgain))).unwrap();
    registry.register(PING, |text, _ctx| Ok(text)).unwrap();
    let server = start(Service::new(registry));
    let mut peer = server.peer();
    peer.ping();
    peer.send(&frame(r#"{"in":"panic"}"#));
    assert_eq!(peer.refusal().known_code(), Some(ErrorCode::InternalError));
    peer.ping();
    drop(peer);
    server.stop();
}
