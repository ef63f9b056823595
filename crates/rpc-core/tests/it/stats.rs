use std::process;

use rpc_core::Acceptor;
use serde_json::json;

use crate::server::{Server, any_port, frame, ping_service};

#[test]
fn stats_are_answered_only_if_the_service_offers_them() {
    for offered in [false, true] {
        let service = ping_service().with_stats(offered);
        let server = Server::start(Acceptor::bind(&any_port()).unwrap(), service);
        let mut peer = server.peer();
        peer.send(&frame(r#"{"in":"rpc.stats"}"#));
        let (kind, result) = peer.reply();
        match offered {
            true => assert_eq!(kind, "stats", "{result}"),
            false => assert_eq!((&*kind, &result["code"]), ("error", &json!(-32601))),
        }
        peer.ping();
        drop(peer);
        server.stop();
    }
}

#[test]
fn stats_take_no_params() {
    let server =
        Server::start(Acceptor::bind(&any_port()).unwrap(), ping_service().with_stats(true));
    let mut peer = server.peer();
    for params in ["{}", "[]", "0", "\"null\"", "[null]"] {
        peer.send(&frame(format!(r#"{{"in":"rpc.stats","params":{params}}}"#)));
        assert_eq!(peer.refusal().code, -32602, "{params}");
    }
    for request in [r#"{"in":"rpc.stats","params":null}"#, r#"{"params": null ,"in":"rpc.stats"}"#]
    {
        peer.send(&frame(request));
        assert_eq!(peer.reply().0, "stats", "{request}");
    }
    drop(peer);
    server.stop();
}

/// Field by field as in docs/wire.md.
#[test]
fn stats_are_one_json_object() {
    let server =
        Server::start(Acceptor::bind(&any_port()).unwrap(), ping_service().with_stats(true));
    let mut peer = server.peer();
    peer.ping();
    peer.send(&frame(r#"{"in":"rpc.stats"}"#));
    let (kind, mut result) = peer.reply();
    assert!(result["server"]["uptime_ms"].take().is_u64());
    let pid = process::id();
    let expected = json!({
        "server": { "version": env!("CARGO_PKG_VERSION"), "pid": pid, "uptime_ms": null },
        "connections": { "open": 1, "accepted": 1, "refused": {} },
        "calls": { "total": 2, "handling": 1, "lost": 0 },
        "deaths": {},
        "workers": [],
        "handling": [{ "pid": pid, "place": 0, "call": 2, "method": "rpc.stats" }],
        "handling_left_out": 0,
    });
    assert_eq!((&*kind, result), ("stats", expected));
    drop(peer);
    server.stop();
}
