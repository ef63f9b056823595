use rpc_client::{CallError, Client, ErrorCode, FrameError, Method};

use crate::peer::{MORE_THAN_SOCKETS_BUFFER, Peer, expect_end, frame, read_request};

const PING: Method<String, String> = Method::new("ping", "pong");
const BUSY: &str = r#"{"out":"error","result":{"code":-32000,"message":"busy"}}"#;

fn ping(client: &mut Client) -> Result<String, CallError> {
    client.call(PING, &"x".to_owned())
}

fn check_unusable(client: &mut Client) {
    assert!(matches!(ping(client), Err(CallError::Unusable)));
}

#[test]
fn a_close_before_the_reply_is_reported_as_one() {
    for peer in Peer::both(|stream| drop(read_request(stream))) {
        let mut client = peer.client();
        let error = ping(&mut client).unwrap_err();
        assert!(matches!(error, CallError::Closed(_)), "{error:?}");
        check_unusable(&mut client);
        peer.join();
    }
}

#[test]
fn a_close_before_the_request_is_read_is_reported_as_one_too() {
    for peer in Peer::both(|_| {}) {
        let mut client = peer.client();
        let error = ping(&mut client).unwrap_err();
        // Whether the request is sent is a race.
        assert!(matches!(error, CallError::Closed(_) | CallError::NotSent(_)), "{error:?}");
        check_unusable(&mut client);
        peer.join();
    }
}

#[test]
fn a_close_inside_a_reply_tells_how_much_was_received() {
    let reply = frame(r#"{"out":"pong","result":"x"}"#);
    for cut in 1..reply.len() {
        let part = reply[..cut].to_owned();
        for peer in Peer::both(move |stream| {
            read_request(stream);
            stream.write_all(&part).unwrap();
        }) {
            let mut client = peer.client();
            let error = ping(&mut client).unwrap_err();
            let expected = FrameError::Truncated { have: cut };
            assert!(matches!(&error, CallError::Frame(error) if *error == expected), "{error:?}");
            check_unusable(&mut client);
            peer.join();
        }
    }
}

fn check_busy(error: &CallError) {
    let code = error.rpc_error().and_then(|error| error.known_code());
    assert_eq!(code, Some(ErrorCode::Busy), "{error:?}");
}

#[test]
fn a_refusal_that_came_before_the_request_was_sent_is_reported() {
    for peer in Peer::both(|stream| stream.write_all(&frame(BUSY)).unwrap()) {
        let mut client = peer.client();
        // The peer has closed before anything is sent.
        peer.join();
        check_busy(&ping(&mut client).unwrap_err());
        assert!(ping(&mut client).is_err(), "and it is reported once");
    }
}

#[test]
fn a_refusal_is_reported_even_if_sending_the_request_failed() {
    for peer in Peer::both(|stream| {
        stream.write_all(&frame(BUSY)).unwrap();
        // The client is in the middle of its request, most of which is never read.
        stream.read_exact(&mut [0; 4]).unwrap();
    }) {
        let mut client = peer.client();
        let long = "x".repeat(MORE_THAN_SOCKETS_BUFFER);
        let error = client.call_raw("m", &long).unwrap_err();
        check_busy(&error);
        check_unusable(&mut client);
        peer.join();
    }
}

#[test]
fn a_failed_send_without_a_refusal_says_that_nothing_was_executed() {
    for peer in Peer::both(|stream| stream.read_exact(&mut [0; 4]).unwrap()) {
        let mut client = peer.client();
        let long = "x".repeat(MORE_THAN_SOCKETS_BUFFER);
        let error = client.call_raw("m", &long).unwrap_err();
        assert!(matches!(error, CallError::NotSent(_)), "{error:?}");
        check_unusable(&mut client);
        peer.join();
    }
}

#[test]
fn nothing_is_sent_after_an_error_that_closes_the_connection() {
    for code in [-32000, -32002, -32003, -32004, -32005, -32006, -32099] {
        let refusal = format!(r#"{{"out":"error","result":{{"code":{code},"message":"m"}}}}"#);
        for peer in Peer::both(move |stream| {
            read_request(stream);
            stream.write_all(&frame(refusal)).unwrap();
            // The peer closes later, after the client.
            expect_end(stream);
        }) {
            let mut client = peer.client();
            assert_eq!(ping(&mut client).unwrap_err().rpc_error().unwrap().code, code);
            check_unusable(&mut client);
            assert!(matches!(client.call_raw("m", &1), Err(CallError::Unusable)));
            drop(client);
            peer.join();
        }
    }
}
