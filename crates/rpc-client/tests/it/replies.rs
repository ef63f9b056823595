use rpc_client::{
    CallError, Client, ErrorCode, Executed, ForeignProtocol, FrameError, MessageError, Method,
};

use crate::peer::{Peer, expect_end, frame, read_request};

const PING: Method<String, String> = Method::new("ping", "pong");
const GOOD: &str = r#"{"out":"pong","result":"x"}"#;

fn ping(client: &mut Client) -> Result<String, CallError> {
    client.call(PING, &"x".to_owned())
}

/// The error that a call gets for this reply; the next call on the connection succeeds.
fn check_goes_on(reply: &str, expected: impl Fn(&CallError) -> bool) {
    let bytes = frame(reply);
    let peers = Peer::both(move |stream| {
        for answer in [bytes, frame(GOOD)] {
            read_request(stream);
            stream.write_all(&answer).unwrap();
        }
        expect_end(stream);
    });
    for peer in peers {
        let mut client = peer.client();
        let error = ping(&mut client).expect_err(reply);
        assert!(expected(&error), "{reply}: {error:?}");
        assert_eq!(ping(&mut client).expect(reply), "x");
        drop(client);
        peer.join();
    }
}

/// The error that a call gets for these bytes; the next call sends nothing.
fn check_ends(bytes: &[u8], expected: &FrameError) {
    let answer = bytes.to_owned();
    let peers = Peer::both(move |stream| {
        read_request(stream);
        stream.write_all(&answer).unwrap();
        expect_end(stream);
    });
    for peer in peers {
        let builder = Client::builder().max_frame_len(100);
        let mut client = builder.connect(&peer.address).unwrap();
        let error = ping(&mut client).unwrap_err();
        assert!(matches!(&error, CallError::Frame(error) if error == expected), "{error:?}");
        assert!(matches!(ping(&mut client), Err(CallError::Unusable)));
        assert!(matches!(client.call_raw("m", &1), Err(CallError::Unusable)));
        drop(client);
        peer.join();
    }
}

#[test]
fn an_error_reply_gives_its_code_message_and_data() {
    for reply in [
        r#"{"out":"error","result":{"code":-32602,"message":"no","data":{"b":1.10,"a":[]}}}"#,
        r#"{"result": {"data": {"b":1.10,"a":[]}, "message": "no", "code": -32602}, "out": "error"}"#,
    ] {
        check_goes_on(reply, |error| {
            let error = error.rpc_error().unwrap();
            let data = error.data.as_ref().map(|data| data.get());
            (error.code, &*error.message) == (-32602, "no") && data == Some(r#"{"b":1.10,"a":[]}"#)
        });
    }
}

#[test]
fn an_error_reply_without_an_error_object_is_not_a_reply() {
    for result in ["null", "{}", r#""no""#, r#"{"code":1}"#, r#"{"code":1.5,"message":"m"}"#] {
        let reply = format!(r#"{{"out":"error","result":{result}}}"#);
        check_goes_on(&reply, |error| {
            matches!(error, CallError::Message(MessageError::NotAMessage { .. }))
        });
    }
}

#[test]
fn a_reply_of_another_kind_names_it() {
    for reply in [r#"{"out":"pang","result":"x"}"#, r#"{"out": "pang", "result": 1}"#] {
        check_goes_on(reply, |error| {
            matches!(error, CallError::Kind { expected, received }
                if expected == "pong" && received == "pang")
        });
    }
}

#[test]
fn a_result_of_another_type_is_distinguished_from_another_kind() {
    for result in ["1", "null", "[\"x\"]", r#""\ud800""#] {
        let reply = format!(r#"{{"out":"pong","result":{result}}}"#);
        check_goes_on(&reply, |error| matches!(error, CallError::Result(_)));
    }
}

#[test]
fn a_frame_that_is_not_a_reply_is_distinguished_from_a_wrong_result() {
    for reply in ["", "pong", r#"{"out":"pong","result":}"#, r#"{"out":"pong","result":"x"}}"#] {
        check_goes_on(reply, |error| matches!(error, CallError::Message(MessageError::NotJson(_))));
    }
    for reply in ["[]", r#"{"out":"pong"}"#, r#"{"in":"ping","params":"x"}"#, r#""x""#] {
        check_goes_on(reply, |error| {
            matches!(error, CallError::Message(MessageError::NotAMessage { .. }))
        });
    }
}

#[test]
fn a_raw_call_accepts_any_kind_but_an_error() {
    let error = r#"{"out":"error","result":{"code":7,"message":"m"}}"#;
    let peer = Peer::tcp(move |stream| {
        for reply in [r#"{"out":"any","result":1}"#, error] {
            read_request(stream);
            stream.write_all(&frame(reply)).unwrap();
        }
        expect_end(stream);
    });
    let mut client = peer.client();
    assert_eq!(client.call_raw("m", &()).unwrap().kind, "any");
    let error = client.call_raw("m", &()).unwrap_err();
    assert_eq!(error.rpc_error().map(|error| error.code), Some(7));
    drop(client);
    peer.join();
}

#[test]
fn a_reply_longer_than_the_limit_ends_the_connection() {
    check_ends(&[101, 0, 0, 0], &FrameError::TooLarge { len: 101, max: 100 });
    let long = frame([b' '; 1000]);
    check_ends(&long, &FrameError::TooLarge { len: 1000, max: 100 });
    check_ends(&[255; 8], &FrameError::TooLarge { len: u32::MAX as usize, max: 100 });
}

#[test]
fn another_protocol_is_named_and_ends_the_connection() {
    let http = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    check_ends(http, &FrameError::Foreign(ForeignProtocol::Http));
    let bare = br#"{"out":"pong","result":"x"}"#;
    check_ends(bare, &FrameError::Foreign(ForeignProtocol::BareJson));
    let big_endian = [&[0, 0, 0, 27], &bare[..]].concat();
    check_ends(&big_endian, &FrameError::Foreign(ForeignProtocol::BigEndianPrefix));
}

#[test]
fn a_closing_error_behind_the_last_reply_answers_the_next_request() {
    let closing_error =
        r#"{"out":"error","result":{"code":-32002,"message":"stopping","data":{"executed":"no"}}}"#;
    let both = [frame(GOOD), frame(closing_error)].concat();
    let peers = Peer::both(move |stream| {
        read_request(stream);
        stream.write_all(&both).unwrap();
        expect_end(stream);
    });
    for peer in peers {
        let mut client = peer.client();
        assert_eq!(ping(&mut client).unwrap(), "x");
        let error = ping(&mut client).expect_err("the peer does not read it");
        let code = error.rpc_error().and_then(|error| error.known_code());
        assert_eq!(code, Some(ErrorCode::ShuttingDown), "{error:?}");
        assert_eq!(error.executed(), Executed::No);
        assert!(matches!(ping(&mut client), Err(CallError::Unusable)));
        drop(client);
        peer.join();
    }
}

#[test]
fn an_unsolicited_reply_is_never_taken_for_the_next_one() {
    for stray in [frame(GOOD), frame(""), vec![1]] {
        let both = [frame(GOOD), stray].concat();
        let peers = Peer::both(move |stream| {
            read_request(stream);
            stream.write_all(&both).unwrap();
            expect_end(stream);
        });
        for peer in peers {
            let mut client = peer.client();
            assert_eq!(ping(&mut client).unwrap(), "x");
            assert!(matches!(ping(&mut client), Err(CallError::Unusable)));
            drop(client);
            peer.join();
        }
    }
}
