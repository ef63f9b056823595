use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rpc_client::{CallError, Client, Executed, Method};

use crate::peer::{MORE_THAN_SOCKETS_BUFFER, Peer, expect_end, frame, read_request};

const PING: Method<String, String> = Method::new("ping", "pong");
const PONG: &str = r#"{"out":"pong","result":"x"}"#;
const LIMIT: Duration = Duration::from_millis(60);

fn client(peer: &Peer) -> Client {
    let builder = Client::builder().call_timeout(LIMIT);
    builder.connect(&peer.address).unwrap()
}

/// The call fails at its time-out, not much earlier and not far later, and the connection is not
/// used again. It cannot have been executed if it was not sent.
fn check_times_out(client: &mut Client, params: &str) {
    let begun = Instant::now();
    let error = client.call_raw("m", params).unwrap_err();
    let took = begun.elapsed();
    assert!(matches!(error, CallError::TimedOut { limit: LIMIT, .. }), "{error:?}");
    let sent_whole = params.len() < MORE_THAN_SOCKETS_BUFFER;
    let executed = if sent_whole { Executed::Maybe } else { Executed::No };
    assert_eq!(error.executed(), executed);
    assert!(error.to_string().ends_with(&executed.to_string()), "{error}");
    assert!(took >= LIMIT - Duration::from_millis(2), "only {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    let begun = Instant::now();
    assert!(matches!(client.call_raw("m", params), Err(CallError::Unusable)));
    assert!(begun.elapsed() < LIMIT, "without waiting");
}

#[test]
fn a_late_reply_is_never_taken_for_the_next_one() {
    let (timed_out, timed_out_receiver) = channel::<()>();
    let (answered, both_came) = channel();
    let peer = Peer::tcp(move |stream| {
        read_request(stream);
        timed_out_receiver.recv().unwrap();
        stream.write_all(&frame(PONG)).unwrap();
        answered.send(()).unwrap();
        // The client closes with the reply unread, so this may be a reset.
        let next_request = stream.read(&mut [0]);
        assert_eq!(next_request.unwrap_or(0), 0);
    });
    let mut client = client(&peer);
    check_times_out(&mut client, "x");
    timed_out.send(()).unwrap();
    both_came.recv().unwrap();
    let next = client.call(PING, &"other".to_owned());
    assert!(matches!(next, Err(CallError::Unusable)));
    drop(client);
    peer.join();
}

#[test]
fn a_silent_peer_does_not_delay_the_time_out() {
    for peer in Peer::both(|stream| {
        read_request(stream);
        expect_end(stream);
    }) {
        let mut client = client(&peer);
        check_times_out(&mut client, "x");
        drop(client);
        peer.join();
    }
}

#[test]
fn a_peer_that_sends_a_byte_now_and_then_does_not_delay_the_time_out() {
    for peer in Peer::both(|stream| {
        read_request(stream);
        stream.write_all(&8_000_000_u32.to_le_bytes()).unwrap();
        while stream.write_all(b" ").is_ok() {}
    }) {
        let mut client = client(&peer);
        check_times_out(&mut client, "x");
        drop(client);
        peer.join();
    }
}

#[test]
fn a_peer_that_does_not_read_does_not_delay_the_time_out() {
    let long = "x".repeat(MORE_THAN_SOCKETS_BUFFER);
    let (timed_out, timed_out_receiver) = channel::<()>();
    let peer = Peer::tcp(move |_| timed_out_receiver.recv().unwrap());
    let mut client = client(&peer);
    check_times_out(&mut client, &long);
    timed_out.send(()).unwrap();
    peer.join();
}

#[test]
fn the_time_out_can_be_changed_between_calls() {
    let peer = Peer::tcp(|stream| {
        read_request(stream);
        stream.write_all(&frame(PONG)).unwrap();
        read_request(stream);
        expect_end(stream);
    });
    let mut client = peer.client();
    assert_eq!(client.call(PING, &"x".to_owned()).unwrap(), "x");
    client.set_call_timeout(LIMIT);
    check_times_out(&mut client, "x");
    drop(client);
    peer.join();
}

#[test]
fn a_time_out_of_zero_sends_nothing() {
    let peer = Peer::tcp(expect_end);
    let mut client = peer.client();
    client.set_call_timeout(Duration::ZERO);
    let error = client.call_raw("m", "x").unwrap_err();
    assert!(matches!(error, CallError::TimedOut { executed: Executed::No, .. }), "{error:?}");
    drop(client);
    peer.join();
}

#[test]
fn a_connection_that_was_idle_for_too_long_is_not_used() {
    let idle = Duration::from_millis(20);
    let peer = Peer::tcp(|stream| {
        read_request(stream);
        stream.write_all(&frame(PONG)).unwrap();
        expect_end(stream);
    });
    let builder = Client::builder().idle_timeout(idle);
    let mut client = builder.connect(&peer.address).unwrap();
    client.call(PING, &"x".to_owned()).unwrap();
    let expected = CallError::Idle { limit: idle }.to_string();
    while client.is_usable() {
        thread::yield_now();
    }
    let error = client.call(PING, &"x".to_owned()).unwrap_err();
    assert_eq!((error.to_string(), error.executed()), (expected, Executed::No));
    drop(client);
    peer.join();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a peer that is slow")]
fn time_spent_in_a_call_is_not_idle_time() {
    let idle = Duration::from_secs(1);
    let peer = Peer::tcp(move |stream| {
        read_request(stream);
        thread::sleep(idle);
        for _ in 0..2 {
            stream.write_all(&frame(PONG)).unwrap();
            // The second read is the end of the stream.
            let _ = stream.read(&mut [0; 200]);
        }
    });
    let mut client = Client::builder().idle_timeout(idle).connect(&peer.address).unwrap();
    client.call(PING, &"x".to_owned()).unwrap();
    client.call(PING, &"x".to_owned()).unwrap();
    drop(client);
    peer.join();
}

/// Params that take longer to serialise than the call may last.
struct Slow;

impl serde::Serialize for Slow {
    #[expect(clippy::disallowed_methods, reason = "params that are slow")]
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        thread::sleep(2 * LIMIT);
        serializer.serialize_str(&"x".repeat(100_000))
    }
}

#[test]
fn a_long_request_that_took_too_long_to_serialise_is_not_sent() {
    let peer = Peer::tcp(expect_end);
    let mut client = client(&peer);
    let error = client.call_raw("m", &Slow).unwrap_err();
    assert!(matches!(error, CallError::TimedOut { limit: LIMIT, .. }), "{error:?}");
    assert_eq!(error.executed(), Executed::No);
    drop(client);
    peer.join();
}
