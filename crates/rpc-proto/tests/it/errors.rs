use std::collections::HashSet;

use rpc_proto::{ErrorCode, ForeignProtocol, FrameError, RpcError};

#[test]
fn the_numbers_are_those_of_the_contract() {
    let numbers: Vec<i32> = ErrorCode::ALL.iter().map(|code| code.code()).collect();
    let json_rpc = [-32700, -32600, -32601, -32602, -32603];
    let own = [-32000, -32001, -32002, -32003, -32004, -32005, -32006, -32007];
    assert_eq!(numbers, [&json_rpc[..], &own[..]].concat());
}

#[test]
fn codes_have_one_number_and_one_text_each() {
    let numbers: HashSet<i32> = ErrorCode::ALL.iter().map(|code| code.code()).collect();
    let texts: HashSet<&str> = ErrorCode::ALL.iter().map(|code| code.text()).collect();
    assert_eq!(numbers.len(), ErrorCode::ALL.len());
    assert_eq!(texts.len(), ErrorCode::ALL.len());
    for code in ErrorCode::ALL {
        assert!((-32768..=-32000).contains(&code.code()), "{code:?}");
        assert_eq!(ErrorCode::from_code(code.code()), Some(*code));
        assert_eq!(code.to_string(), code.text());
        assert_eq!(RpcError::new(*code, "").known_code(), Some(*code));
    }
    for other in [0, 1, -1, -32008, -32099, -32604, i32::MIN, i32::MAX] {
        assert_eq!(ErrorCode::from_code(other), None);
    }
}

fn check_on_the_wire(error: &RpcError, json: &str) {
    assert_eq!(serde_json::to_string(error).unwrap(), json);
    assert_eq!(&serde_json::from_str::<RpcError>(json).unwrap(), error);
    // Also by way of a parsed value, which gives the data in another form.
    let value = serde_json::to_value(error).unwrap();
    assert_eq!(&serde_json::from_value::<RpcError>(value).unwrap(), error);
}

#[test]
fn an_error_is_the_same_on_both_sides() {
    let plain = RpcError::new(7, "no \"tea\"");
    check_on_the_wire(&plain, r#"{"code":7,"message":"no \"tea\""}"#);
    let busy = RpcError::new(ErrorCode::Busy, "busy").with_data(&("x", 1.5, ()));
    check_on_the_wire(&busy, r#"{"code":-32000,"message":"busy","data":["x",1.5,null]}"#);
    let null_data = RpcError::new(0, "").with_data(&());
    check_on_the_wire(&null_data, r#"{"code":0,"message":"","data":null}"#);
    assert_ne!(null_data, RpcError::new(0, ""), "null is not nothing");
}

#[test]
fn an_error_of_another_server_is_understood() {
    let text = r#"{"id":1,"data":{"b":1,"a":1.10},"message":"m","x":[[]],"code":-32601}"#;
    let error: RpcError = serde_json::from_str(text).unwrap();
    assert_eq!(error.known_code(), Some(ErrorCode::MethodNotFound));
    assert_eq!(error.data.unwrap().get(), r#"{"b":1,"a":1.10}"#);
    for text in [
        r#"{"code":1}"#,
        r#"{"message":"m"}"#,
        r#"{"code":"1","message":"m"}"#,
        r#"{"code":2147483648,"message":"m"}"#,
        r#"{"code":1,"message":null}"#,
        r#"{"code":1,"code":1,"message":"m"}"#,
        r#"[1,"m"]"#,
        r#""m""#,
    ] {
        assert!(serde_json::from_str::<RpcError>(text).is_err(), "{text}");
    }
}

#[test]
fn data_that_does_not_serialise_is_left_out() {
    let not_a_string = std::collections::HashMap::from([([1_u8], 1)]);
    let error = RpcError::new(1, "m").with_data(&not_a_string);
    assert_eq!(error.data.map(|data| data.to_string()), None);
}

#[test]
fn broken_framing_is_answered_with_its_code() {
    let check = |broken: FrameError, code: ErrorCode, data: Option<&str>| {
        let error = RpcError::from(&broken);
        assert_eq!(error.known_code(), Some(code), "{broken}");
        assert_eq!(error.message, broken.to_string());
        assert_eq!(error.data.as_deref().map(|data| data.get()), data);
    };
    check(
        FrameError::TooLarge { len: 9, max: 8 },
        ErrorCode::FrameTooLarge,
        Some(r#"{"limit":8,"length":9}"#),
    );
    for foreign in [
        ForeignProtocol::Http,
        ForeignProtocol::Tls,
        ForeignProtocol::BigEndianPrefix,
        ForeignProtocol::BareJson,
    ] {
        check(FrameError::Foreign(foreign), ErrorCode::WrongProtocol, None);
    }
    check(FrameError::Truncated { have: 3 }, ErrorCode::TimedOut, None);
}

#[test]
fn what_errors_repeat_is_cut_between_characters() {
    let name = "\u{1f600}".repeat(100_000);
    for error in [RpcError::method_not_found(&name), RpcError::invalid_params(&name)] {
        assert!(error.message.len() < 300, "{} bytes", error.message.len());
        assert!(error.message.contains('\u{1f600}'));
    }
    let short = RpcError::method_not_found("pin");
    assert_eq!(short.message, "no method `pin`");
    assert_eq!(short.known_code(), Some(ErrorCode::MethodNotFound));
    assert_eq!(RpcError::invalid_params("x").known_code(), Some(ErrorCode::InvalidParams));
    assert_eq!(RpcError::internal("x").known_code(), Some(ErrorCode::InternalError));
}

#[test]
fn an_error_in_words_has_its_code_and_data() {
    let error = RpcError::new(ErrorCode::Busy, "try later");
    assert_eq!(error.to_string(), "try later (code -32000)");
    let error = error.with_data(&[1]);
    assert_eq!(error.to_string(), "try later (code -32000), data [1]");
}
