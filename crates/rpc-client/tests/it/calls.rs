use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rpc_client::{CallError, Client, Method, Pool, RawValue};
use serde::{Serialize, Serializer};

use crate::peer::{Peer, expect_end, frame, read_request};

const PING: Method<String, String> = Method::new("ping", "pong");

fn ping(client: &mut Client) {
    assert_eq!(client.call(PING, &"x".to_owned()).unwrap(), "x");
}

/// A peer that expects these requests and gives these replies.
fn check(exchanges: &'static [(&str, &str)], calls: impl Fn(&mut Client)) {
    let peers = Peer::both(move |stream| {
        for (request, reply) in exchanges {
            assert_eq!(read_request(stream), *request);
            stream.write_all(&frame(reply)).unwrap();
        }
        expect_end(stream);
    });
    for peer in peers {
        let mut client = peer.client();
        calls(&mut client);
        drop(client);
        peer.join();
    }
}

const PING_REQUEST: &str = r#"{"in":"ping","timeout_ms":30000,"params":"x"}"#;
const PONG: &str = r#"{"out":"pong","result":"x"}"#;

#[test]
fn calls_go_one_after_the_other_over_one_connection() {
    check(&[(PING_REQUEST, PONG), (PING_REQUEST, PONG)], |client| {
        ping(client);
        ping(client);
    });
}

#[test]
fn a_reply_may_be_spelled_in_any_way() {
    check(
        &[
            (PING_REQUEST, r#"{"out": "pong", "result": "x"}"#),
            (PING_REQUEST, r#"{"result":"x","id":1,"out":"\u0070ong"}"#),
        ],
        |client| {
            ping(client);
            ping(client);
        },
    );
}

#[test]
fn every_request_carries_the_callers_time_out() {
    const TIMEOUTS: [(Duration, u64); 4] = [
        (Duration::from_secs(2), 2000),
        (Duration::from_micros(20_000_001), 20_001),
        (Duration::from_secs(1 << 40), 1000 << 40),
        (Duration::from_secs(30), 30_000),
    ];
    let peer = Peer::tcp(|stream| {
        for (_, milliseconds) in TIMEOUTS {
            let expected = format!(r#"{{"in":"ping","timeout_ms":{milliseconds},"params":"x"}}"#);
            assert_eq!(read_request(stream), expected);
            stream.write_all(&frame(PONG)).unwrap();
        }
        expect_end(stream);
    });
    let mut client = peer.client();
    for (timeout, _) in TIMEOUTS {
        client.set_call_timeout(timeout);
        ping(&mut client);
    }
    drop(client);
    peer.join();
}

#[test]
fn one_method_can_be_called_with_different_types() {
    const AS_NUMBERS: Method<Vec<f64>, (f64, f64)> = Method::new("same", "same_r");
    const AS_MAPS: Method<BTreeMap<String, u8>, Box<RawValue>> = Method::new("same", "same_r");
    check(
        &[
            (
                r#"{"in":"same","timeout_ms":30000,"params":[0.1,-0.0]}"#,
                r#"{"out":"same_r","result":[1e300,0.1]}"#,
            ),
            (
                r#"{"in":"same","timeout_ms":30000,"params":{"a":1}}"#,
                r#"{"out":"same_r","result":{"b":1.10,"a":1}}"#,
            ),
        ],
        |client| {
            assert_eq!(client.call(AS_NUMBERS, &vec![0.1, -0.0]).unwrap(), (1e300, 0.1));
            let params = BTreeMap::from([("a".to_owned(), 1)]);
            let raw = client.call(AS_MAPS, &params).unwrap();
            assert_eq!(raw.get(), r#"{"b":1.10,"a":1}"#);
        },
    );
}

#[test]
fn a_raw_call_returns_the_reply_unchanged() {
    check(
        &[(
            r#"{"in":"a\"b","timeout_ms":30000,"params":[1,null]}"#,
            r#"{"out":"odd \" kind","result":{"z":1e400}}"#,
        )],
        |client| {
            let reply = client.call_raw("a\"b", &(1, ())).unwrap();
            assert_eq!(reply.kind, "odd \" kind");
            assert_eq!(reply.result.get(), r#"{"z":1e400}"#);
        },
    );
}

#[test]
fn a_reply_may_come_in_pieces() {
    for peer in Peer::both(|stream| {
        read_request(stream);
        for byte in frame(PONG) {
            stream.write_all(&[byte]).unwrap();
        }
        expect_end(stream);
    }) {
        let mut client = peer.client();
        ping(&mut client);
        drop(client);
        peer.join();
    }
}

#[test]
fn unlimited_frames_and_time_outs_are_allowed() {
    let answer_one = || {
        Peer::tcp(|stream| {
            let without_a_time_out = r#"{"in":"ping","params":"x"}"#;
            assert_eq!(read_request(stream), without_a_time_out);
            stream.write_all(&frame(PONG)).unwrap();
            expect_end(stream);
        })
    };
    let peer = answer_one();
    let builder = Client::builder()
        .max_frame_len(usize::MAX)
        .idle_timeout(Duration::MAX)
        .connect_timeout(Duration::MAX)
        .call_timeout(Duration::MAX);
    let mut client = builder.connect(&peer.address).unwrap();
    ping(&mut client);
    drop(client);
    peer.join();

    let peer = answer_one();
    let pool = Pool::builder().client(builder).build([peer.address.clone()]);
    assert_eq!(pool.call(PING, &"x".to_owned()).unwrap(), "x");
    drop(pool);
    peer.join();
}

#[test]
fn params_that_do_not_serialise_send_nothing_and_leave_the_connection_usable() {
    check(&[(PING_REQUEST, PONG)], |client| {
        let not_a_string = HashMap::from([([1_u8], 1)]);
        let error = client.call_raw("m", &not_a_string).unwrap_err();
        assert!(matches!(error, CallError::Params(_)), "{error}");
        let error = client.call_raw("m", &("text before", &not_a_string));
        assert!(matches!(error, Err(CallError::Params(_))));
        ping(client);
    });
}

#[test]
fn params_that_panic_send_nothing_and_leave_the_connection_usable() {
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            std::panic::resume_unwind(Box::new("no message on standard error"))
        }
    }
    check(&[(PING_REQUEST, PONG)], |client| {
        let call = AssertUnwindSafe(|| client.call_raw("m", &("text before", Panics)));
        assert!(catch_unwind(call).is_err());
        ping(client);
    });
}
