use rpc_client::Executed::{Maybe, No, Yes};
use rpc_client::{CallError, ErrorCode, Executed, Method, RpcError};

use crate::peer::{Peer, frame, read_request};

fn check(code: i32, data: Option<&str>, expected: Executed) {
    let mut error = RpcError::new(code, "m");
    error.data = data.map(|data| serde_json::from_str(data).unwrap());
    assert_eq!(CallError::Rpc(error).executed(), expected, "{code}, data {data:?}");
}

#[test]
fn every_code_of_the_table_says_whether_the_handler_ran() {
    for code in ErrorCode::ALL {
        let expected = match code {
            ErrorCode::InternalError => Yes,
            ErrorCode::InvalidParams
            | ErrorCode::DeadlineExceeded
            | ErrorCode::ShuttingDown
            | ErrorCode::Crashed => Maybe,
            _ => No,
        };
        check(code.code(), None, expected);
    }
}

#[test]
fn what_the_server_says_about_its_own_codes_is_believed() {
    use ErrorCode::{Busy, Crashed, DeadlineExceeded, ShuttingDown};
    for code in [Busy, ShuttingDown, DeadlineExceeded, Crashed].map(ErrorCode::code) {
        check(code, Some(r#"{"executed":"no"}"#), No);
        check(code, Some(r#"{"limit":3,"executed":"maybe"}"#), Maybe);
        check(code, Some(r#"{"executed":"yes"}"#), Yes);
    }
}

#[test]
fn data_without_a_known_value_changes_nothing() {
    for data in ["null", "1", "[]", "{}", r#"{"executed":1}"#, r#"{"executed":"No"}"#] {
        check(ErrorCode::ShuttingDown.code(), Some(data), Maybe);
        check(ErrorCode::Busy.code(), Some(data), No);
    }
}

#[test]
fn a_code_of_the_handlers_own_means_that_it_ran_whatever_its_data_says() {
    for code in [0, 1, -1, 404, -31999, -32769, i32::MIN, i32::MAX] {
        check(code, None, Yes);
        check(code, Some(r#"{"executed":"no"}"#), Yes);
    }
}

#[test]
fn an_unknown_reserved_code_may_mean_anything() {
    check(-32098, None, Maybe);
    check(-32098, Some(r#"{"executed":"no"}"#), No);
    check(-32700 + 1, Some(r#"{"executed":"no"}"#), Maybe);
}

/// The error of a call to a peer that answers with these bytes and closes.
fn check_answer(answer: &[u8], expected: Executed) {
    const PING: Method<String, String> = Method::new("ping", "pong");
    let bytes = answer.to_owned();
    for peer in Peer::both(move |stream| {
        read_request(stream);
        stream.write_all(&bytes).unwrap();
    }) {
        let mut client = peer.client();
        let error = client.call(PING, &"x".to_owned()).unwrap_err();
        assert_eq!(error.executed(), expected, "{error:?}");
        // The next call is not sent or not answered.
        let next = client.call(PING, &"x".to_owned()).unwrap_err();
        assert!(next.executed() < Yes, "{next:?}");
        peer.join();
    }
}

#[test]
fn a_reply_that_cannot_be_read_is_the_reply_of_a_handler_that_ran() {
    check_answer(&frame(r#"{"out":"pong","result":1}"#), Yes);
    check_answer(&frame(r#"{"out":"pang","result":"x"}"#), Yes);
}

#[test]
fn something_other_than_a_reply_tells_nothing_about_the_handler() {
    check_answer(b"", Maybe);
    check_answer(&frame("{}"), Maybe);
    check_answer(&frame(r#"{"out":"error","result":{"code":"-32000"}}"#), Maybe);
    check_answer(&[1, 0, 0], Maybe);
    check_answer(b"HTTP/1.1 400 Bad Request\r\n\r\n", Maybe);
}
