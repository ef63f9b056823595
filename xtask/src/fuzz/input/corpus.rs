//! What streams are made of: good requests, and pieces in which parsers have gone wrong.

/// Request bodies that a server takes: those of docs/wire.md, the session of the first programs,
/// and every spelling that the protocol allows.
pub(super) const REQUESTS: [&str; 23] = [
    r#"{"in": "ping", "params": "ireader 0"}"#,
    r#"{"in": "ping", "params": "ireader 9"}"#,
    r#"{"in": "pi", "params": 3}"#,
    r#"{"in":"pi","params":0}"#,
    r#"{"in":"ping","params":"ireader 0"}"#,
    r#"{"in":"ping","timeout_ms":90000,"params":[1,2]}"#,
    r#"{"in": "ping", "timeout_ms": 90000, "params": {"a": 1.50}}"#,
    r#"{"params":"before the name","in":"ping"}"#,
    r#"{"timeout_ms":null,"params":null,"in":"ping"}"#,
    r#"{"in":"ping"}"#,
    r#"{"in":"ping","params":null,"id":7,"jsonrpc":"2.0"}"#,
    r#"{"in":"p\u0069ng","params":"a name with an escape"}"#,
    " {\t\"in\" : \"ping\" ,\r\n\"params\" : [ ] } ",
    r#"{"in":"echo","params":"text with \" and \\ and \u00e9 and 😀"}"#,
    r#"{"in": "echo", "params": "\ud83d\ude00"}"#,
    r#"{"in":"echo","params":7}"#,
    r#"{"in":"nobody","params":{}}"#,
    r#"{"in":"rpc.stats","params":null}"#,
    r#"{"in":"panic","params":null}"#,
    r#"{"in":"ping","params":[0.1,-0,1e9,12345678901234567890123,5e-324]}"#,
    r#"{"in":"ping","params":{"in":"ping","params":{"params":"}"}}}"#,
    r#"{"in":"ping","timeout_ms":99999999999999999999,"params":1}"#,
    r#"{"in":"ping","timeout_ms":0,"params":"too late"}"#,
];

/// What a mutation puts somewhere.
pub(super) const FRAGMENTS: [&[u8]; 20] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\0",
    b"\\ud800",
    // Bytes that are no UTF-8: alone, cut short, a surrogate.
    b"\xff",
    b"\xf0\x9f\x98",
    b"\xed\xa0\x80",
    b"\"in\":\"ping\",",
    b",\"in\":\"echo\"",
    b",\"params\":1",
    b",\"timeout_ms\":0.5",
    b",\"timeout_ms\":18446744073709551616",
    b"\",\"params\":",
    b"1e309",
    b"null",
    b"NaN",
];

/// Beginnings of other protocols.
pub(super) const FOREIGN: [&[u8]; 8] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x16\x03\x01\x00\x50\x01\x00\x00\x4c",
    b"{\"in\":\"ping\",\"params\":1}\n",
    b" \r\n[1]",
    b"\x00\x00\x00\x16{\"in\":\"ping\",\"params\":1}",
    b"\xff\xff\xff\xff",
];
