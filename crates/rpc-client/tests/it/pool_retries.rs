use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rpc_client::{CallError, ErrorCode, Executed, Method, Pool};

use crate::peer::{TestServer, frame, read_request};

const PLAIN: Method<String, String> = Method::new("ping", "pong");
const IDEMPOTENT: Method<String, String> = PLAIN.idempotent();
const PONG: &str = r#"{"out":"pong","result":"x"}"#;

fn error_reply(code: ErrorCode, data: &str) -> Vec<u8> {
    let code = code.code();
    frame(format!(r#"{{"out":"error","result":{{"code":{code},"message":"m","data":{data}}}}}"#))
}

fn refusal(code: ErrorCode) -> Vec<u8> {
    error_reply(code, r#"{"executed":"no"}"#)
}

/// Calls `method` on a server that sends one of these answers on each connection and closes it. The
/// call uses exactly these connections.
#[track_caller]
fn call(method: Method<String, String>, answers: &[Vec<u8>]) -> Result<String, CallError> {
    let server = TestServer::start();
    let pool = Pool::builder().build([server.address.clone()]);
    let result = thread::scope(|scope| {
        let caller = scope.spawn(|| pool.call(method, &"x".to_owned()));
        for answer in answers {
            let mut stream = server.accept();
            read_request(&mut stream);
            stream.write_all(answer).unwrap();
        }
        caller.join().unwrap()
    });
    server.expect_no_connection();
    result
}

#[track_caller]
fn check_repeated(method: Method<String, String>, answer: Vec<u8>) {
    assert_eq!(call(method, &[answer, frame(PONG)]).unwrap(), "x");
}

#[track_caller]
fn check_not_repeated(method: Method<String, String>, answer: Vec<u8>, executed: Executed) {
    assert_eq!(call(method, &[answer]).unwrap_err().executed(), executed);
}

#[test]
fn a_call_that_was_refused_without_being_executed_is_retried() {
    for method in [PLAIN, IDEMPOTENT] {
        check_repeated(method, refusal(ErrorCode::Busy));
        check_repeated(method, error_reply(ErrorCode::Busy, "null"));
        check_repeated(method, refusal(ErrorCode::ShuttingDown));
        check_repeated(method, error_reply(ErrorCode::TimedOut, r#"{"limit_ms":60000}"#));
    }
}

#[test]
fn a_call_that_may_have_been_executed_is_retried_only_if_idempotent() {
    let maybe = r#"{"executed":"maybe"}"#;
    for answer in [
        vec![],
        frame(PONG)[..9].to_owned(),
        error_reply(ErrorCode::ShuttingDown, maybe),
        error_reply(ErrorCode::Crashed, maybe),
        error_reply(ErrorCode::Crashed, "null"),
    ] {
        check_not_repeated(PLAIN, answer.clone(), Executed::Maybe);
        check_repeated(IDEMPOTENT, answer);
    }
}

#[test]
fn a_call_that_would_fail_in_the_same_way_is_not_retried() {
    for method in [PLAIN, IDEMPOTENT] {
        for code in [
            ErrorCode::ParseError,
            ErrorCode::InvalidRequest,
            ErrorCode::MethodNotFound,
            ErrorCode::FrameTooLarge,
            ErrorCode::WrongProtocol,
        ] {
            check_not_repeated(method, refusal(code), Executed::No);
        }
        check_not_repeated(method, refusal(ErrorCode::InvalidParams), Executed::Maybe);
        check_not_repeated(method, refusal(ErrorCode::InternalError), Executed::Yes);
        let late = error_reply(ErrorCode::DeadlineExceeded, r#"{"executed":"maybe"}"#);
        check_not_repeated(method, late, Executed::Maybe);
        check_not_repeated(method, frame(r#"{"out":"pang","result":1}"#), Executed::Yes);
        check_not_repeated(method, frame(r#"{"out":"pong","result":1}"#), Executed::Yes);
        check_not_repeated(method, frame("[]"), Executed::Maybe);
    }
}

#[test]
fn a_call_is_tried_four_times_and_then_fails_with_the_last_refusal() {
    let busy = refusal(ErrorCode::Busy);
    let error = call(PLAIN, &[busy.clone(), busy.clone(), busy.clone(), busy]).unwrap_err();
    let code = error.rpc_error().and_then(|error| error.known_code());
    assert_eq!(code, Some(ErrorCode::Busy));
}

#[test]
fn a_call_that_may_have_been_executed_is_retried_once() {
    let error = call(IDEMPOTENT, &[vec![], vec![]]).unwrap_err();
    assert!(matches!(error, CallError::Closed(_)), "{error:?}");
    // Also if another failure comes in between.
    let answers = [vec![], refusal(ErrorCode::Busy), vec![]];
    let error = call(IDEMPOTENT, &answers).unwrap_err();
    assert!(matches!(error, CallError::Closed(_)), "{error:?}");
}

#[test]
fn a_later_attempt_does_not_hide_that_an_earlier_one_may_have_been_executed() {
    let busy = refusal(ErrorCode::Busy);
    let answers = [vec![], busy.clone(), busy.clone(), busy];
    let error = call(IDEMPOTENT, &answers).unwrap_err();
    assert!(matches!(error, CallError::Closed(_)), "{error:?}");
    assert_eq!(error.executed(), Executed::Maybe);
}

#[test]
fn a_call_that_timed_out_is_not_retried() {
    let server = TestServer::start();
    let pool = Pool::builder().build([server.address.clone()]);
    let limit = Duration::from_millis(30);
    let error = pool.call_within(limit, IDEMPOTENT, &"x".to_owned()).unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    server.accept();
    server.expect_no_connection();
}

#[test]
fn one_attempt_means_one() {
    let server = TestServer::start();
    let pool = Pool::builder().max_attempts(1).build([server.address.clone()]);
    thread::scope(|scope| {
        let caller = scope.spawn(|| pool.call(IDEMPOTENT, &"x".to_owned()));
        server.accept().write_all(&refusal(ErrorCode::Busy)).unwrap();
        assert!(caller.join().unwrap().is_err());
    });
    server.expect_no_connection();
}

#[test]
fn after_a_dead_connection_a_new_one_is_made_instead_of_trying_all_idle_ones() {
    let server = TestServer::start();
    let pool = Pool::builder().build([server.address.clone()]);
    let peers = thread::scope(|scope| {
        // Three connections, because three calls are in flight.
        let callers: Vec<_> =
            (0..3).map(|_| scope.spawn(|| pool.call(IDEMPOTENT, &"x".to_owned()))).collect();
        let mut streams: Vec<_> = callers.iter().map(|_| server.accept()).collect();
        for stream in &mut streams {
            read_request(stream);
            stream.write_all(&frame(PONG)).unwrap();
        }
        for caller in callers {
            caller.join().unwrap().unwrap();
        }
        // Each peer closes without an answer when it gets the call.
        let peers: Vec<_> =
            streams.into_iter().map(|stream| thread::spawn(|| has_request(stream))).collect();
        let caller = scope.spawn(|| pool.call(IDEMPOTENT, &"x".to_owned()));
        let mut stream = server.accept();
        read_request(&mut stream);
        stream.write_all(&frame(PONG)).unwrap();
        assert_eq!(caller.join().unwrap().unwrap(), "x");
        peers
    });
    drop(pool);
    let asked = peers.into_iter().filter_map(|peer| peer.join().unwrap().then_some(())).count();
    assert_eq!(asked, 1);
}

/// Waits for a request or the end of the stream, and closes.
fn has_request(mut stream: TcpStream) -> bool {
    stream.read(&mut [0; 1000]).unwrap() > 0
}
