use std::borrow::Cow;

use rpc_core::{Acceptor, Method, RegisterError, Registry, Service};
use serde_json::Value;

use crate::server::{Server, any_port, frame};

/// Registers a second method beside `ping`, with types and without.
fn check(name: &'static str, kind: &'static str, expected: Result<(), &RegisterError>) {
    let with_ping = || {
        let mut registry = Registry::new();
        let ping: Method<Value, Value> = Method::new("ping", "pong");
        registry.register(ping, |any, _ctx| Ok(any)).unwrap();
        registry
    };
    let method: Method<Value, Value> = Method::new(name, kind);
    let typed = with_ping().register(method, |any, _ctx| Ok(any));
    assert_eq!(typed.as_ref().copied(), expected, "{name}, {kind}");
    let raw = with_ping().register_raw(name, kind, |any, _ctx| Ok(Cow::Borrowed(any)));
    assert_eq!(raw.as_ref().copied(), expected, "{name}, {kind}, raw");
}

#[test]
fn reserved_and_repeated_names_are_refused_and_nothing_else_is() {
    for (name, kind) in [
        ("pong", "pong"),
        ("error", "error_r"),
        ("rpc", "x"),
        ("rpcs.stats", "x"),
        ("RPC.stats", "x"),
        ("Ping", "Error"),
        ("a\"b", ""),
        ("", "x"),
    ] {
        check(name, kind, Ok(()));
    }
    let duplicate = RegisterError::Duplicate("ping".into());
    check("ping", "pong", Err(&duplicate));
    check("ping", "other", Err(&duplicate));
    for name in ["rpc.", "rpc.stats"] {
        check(name, "x", Err(&RegisterError::ReservedName(name.into())));
    }
    check("x", "error", Err(&RegisterError::ReservedKind("x".into())));
}

#[test]
fn a_refusal_names_the_method_and_the_reason() {
    for (error, words) in [
        (RegisterError::Duplicate("ping".into()), "`ping` is registered already"),
        (RegisterError::ReservedName("rpc.x".into()), "`rpc.x`: names that begin with `rpc.`"),
        (RegisterError::ReservedKind("x".into()), "`x`: the reply kind `error`"),
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_refused_registration_leaves_the_first_one_in_place() {
    let mut registry = Registry::new();
    let number: Method<(), u8> = Method::new("number", "number_r");
    registry.register(number, |(), _ctx| Ok(1)).unwrap();
    registry.register(number, |(), _ctx| Ok(2)).unwrap_err();
    let acceptor = Acceptor::bind(&any_port()).unwrap();
    let server = Server::start(acceptor, Service::new(registry));
    let mut peer = server.peer();
    peer.send(&frame(r#"{"in":"number"}"#));
    assert_eq!(peer.reply(), ("number_r".to_owned(), 1.into()));
    drop(peer);
    server.stop();
}
