//! The usual spellings of a message, written and recognised as bytes.

// From `core`, which has durations but no clock.
use core::time::Duration;

use crate::text::append_contents;

/// The text before and between the fields of a message.
struct Spelling {
    to_name: &'static str,
    name_to_payload: &'static str,
}

const COMPACT_REQUEST: Spelling =
    Spelling { to_name: r#"{"in":""#, name_to_payload: r#"","params":"# };
const SPACED_REQUEST: Spelling =
    Spelling { to_name: r#"{"in": ""#, name_to_payload: r#"", "params": "# };
const COMPACT_REPLY: Spelling =
    Spelling { to_name: r#"{"out":""#, name_to_payload: r#"","result":"# };
const SPACED_REPLY: Spelling =
    Spelling { to_name: r#"{"out": ""#, name_to_payload: r#"", "result": "# };

/// The text around the time-out of a request that has one.
struct TimeoutSpelling {
    from_name: &'static str,
    to_payload: &'static str,
}

const COMPACT_TIMEOUT: TimeoutSpelling =
    TimeoutSpelling { from_name: r#"","timeout_ms":"#, to_payload: r#","params":"# };
const SPACED_TIMEOUT: TimeoutSpelling =
    TimeoutSpelling { from_name: r#"", "timeout_ms": "#, to_payload: r#", "params": "# };

/// Takes apart a request in its usual spelling, without parsing the params.
///
/// The usual spelling is `{"in":"METHOD","params":…}` without white space, as this crate writes it,
/// or with a space after each colon and comma, as Python's `json.dumps` does, with a method name
/// without escapes. A `timeout_ms` comes before the params. Returns the name, the time-out, and the
/// text between `"params":` and the final brace.
///
/// That text is not checked. If it parses as exactly one JSON value, with nothing after it, then
/// method, time-out and params are those of [`Request::parse`](crate::Request::parse); if it does
/// not, only that function tells what the body is.
#[inline]
pub fn split_request(body: &str) -> Option<(&str, Option<Duration>, &str)> {
    split_spelled_request(body, &COMPACT_REQUEST, &COMPACT_TIMEOUT)
        .or_else(|| split_spelled_request(body, &SPACED_REQUEST, &SPACED_TIMEOUT))
}

/// Takes apart a reply in its usual spelling, without parsing the result; see [`split_request`].
#[inline]
pub fn split_reply(body: &str) -> Option<(&str, &str)> {
    split_spelled_reply(body, &COMPACT_REPLY).or_else(|| split_spelled_reply(body, &SPACED_REPLY))
}

/// Inlined for each spelling, like the two functions below, so that the comparisons are with
/// constants; the compiler ignored a mere `#[inline]`, which cost 70 instructions per request.
#[inline(always)]
fn split_spelled_request<'a>(
    body: &'a str,
    spelling: &Spelling,
    around_timeout: &TimeoutSpelling,
) -> Option<(&'a str, Option<Duration>, &'a str)> {
    let (method, rest) = split_name(body, spelling)?;
    if let Some(params) = rest.strip_prefix(spelling.name_to_payload) {
        return Some((method, None, params));
    }
    let (milliseconds, rest) = split_integer(rest.strip_prefix(around_timeout.from_name)?)?;
    let params = rest.strip_prefix(around_timeout.to_payload)?;
    Some((method, Some(Duration::from_millis(milliseconds)), params))
}

#[inline(always)]
fn split_spelled_reply<'a>(body: &'a str, spelling: &Spelling) -> Option<(&'a str, &'a str)> {
    let (kind, rest) = split_name(body, spelling)?;
    Some((kind, rest.strip_prefix(spelling.name_to_payload)?))
}

/// The name, and the text between it and the final brace.
#[inline(always)]
fn split_name<'a>(body: &'a str, spelling: &Spelling) -> Option<(&'a str, &'a str)> {
    let rest = body.strip_prefix(spelling.to_name)?.strip_suffix('}')?;
    let name_len = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    Some(rest.split_at(name_len))
}

/// A JSON number that consists of digits only, and the text after it. A number that may not fit is
/// left to the general parser.
#[inline]
fn split_integer(text: &str) -> Option<(u64, &str)> {
    /// Every number with this many digits fits.
    const MAX_LEN: usize = u64::MAX.ilog10() as usize;
    let mut number = 0;
    let mut len = 0;
    for digit in text.bytes().map(|byte| byte.wrapping_sub(b'0')).take_while(|digit| *digit < 10) {
        if len == MAX_LEN || (len > 0 && number == 0) {
            return None;
        }
        number = number * 10 + u64::from(digit);
        len += 1;
    }
    (len > 0).then(|| (number, &text[len..]))
}

/// Appends a request up to its params.
#[inline(always)]
pub(crate) fn encode_request_head(body: &mut Vec<u8>, method: &str, timeout: Option<Duration>) {
    encode_name(body, COMPACT_REQUEST.to_name, method);
    match timeout {
        None => body.extend_from_slice(COMPACT_REQUEST.name_to_payload.as_bytes()),
        Some(timeout) => {
            body.extend_from_slice(COMPACT_TIMEOUT.from_name.as_bytes());
            // Half the instructions of `write!`.
            serde_json::to_writer(&mut *body, &whole_milliseconds(timeout))
                .expect("memory takes a number");
            body.extend_from_slice(COMPACT_TIMEOUT.to_payload.as_bytes());
        }
    }
}

/// Appends a reply up to its result.
#[inline]
pub(crate) fn encode_reply_head(body: &mut Vec<u8>, kind: &str) {
    encode_name(body, COMPACT_REPLY.to_name, kind);
    body.extend_from_slice(COMPACT_REPLY.name_to_payload.as_bytes());
}

/// Appends everything up to the quotation mark that ends the name.
#[inline(always)]
fn encode_name(body: &mut Vec<u8>, to_name: &str, name: &str) {
    body.extend_from_slice(to_name.as_bytes());
    append_contents(body, name).expect("a string serialises");
}

/// Rounded up; at most `u64::MAX`.
fn whole_milliseconds(time: Duration) -> u64 {
    let in_the_second = time.subsec_nanos().div_ceil(1_000_000);
    time.as_secs().saturating_mul(1000).saturating_add(in_the_second.into())
}
