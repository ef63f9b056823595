//! Byte streams: good requests that no other stream has, and what a hostile peer puts between them.

use fastrand::Rng;

use super::corpus::{FOREIGN, REQUESTS};
use super::mutation::mutate;
use crate::fuzz::oracle::splitting::split;

/// The longest body that the readers under test take, in bytes. Short, so that lengths beyond it
/// are as frequent as lengths within it.
pub(in crate::fuzz) const LIMIT: usize = 128 * 1024;

/// A refused peer may send so many bytes more without being cut off: less than the 64 KiB that a
/// server throws away, so that its last word always arrives.
const MAX_LEN_BEHIND_END: usize = 32 * 1024;

/// Makes a stream of up to a dozen frames.
pub(in crate::fuzz) fn any(seed: u64, limit: usize, random: &mut Rng) -> Vec<u8> {
    let mut stream = Vec::new();
    if random.u8(0..24) == 0 {
        stream.extend_from_slice(random.choice(FOREIGN).unwrap_or_default());
    }
    // Half of the streams are whole to their end, so that much of what is sent is answered.
    let lies = random.bool();
    for number in 0..random.usize(0..12) {
        let body = match random.u8(0..8) {
            0..5 => good_request(seed, number, random).into_bytes(),
            5 => noise(random),
            _ => {
                let mut body = random.choice(REQUESTS).unwrap_or_default().as_bytes().to_vec();
                if random.bool() {
                    mutate(&mut body, random);
                }
                body
            }
        };
        let len = match lies && random.u8(0..8) == 0 {
            true => lie(body.len(), limit, random),
            false => body.len() as u32,
        };
        stream.extend_from_slice(&len.to_le_bytes());
        stream.extend_from_slice(&body);
    }
    if lies && random.bool() {
        mutate(&mut stream, random);
    }
    let split = split(&stream, limit);
    if split.end.is_broken() {
        let end = split.end_at + MAX_LEN_BEHIND_END;
        stream.truncate(end);
    }
    stream
}

/// A request whose answer belongs to no other request of any stream.
fn good_request(seed: u64, number: usize, random: &mut Rng) -> String {
    let mark = format!("{seed:x} {number}");
    let params = match random.u8(0..16) {
        0..8 => format!(r#""{mark}""#),
        8 => format!(r#"["{mark}", 1.50, -0, 1e400, null, true]"#),
        9 => format!(r#"{{"{mark}": {{"in": "ping", "params": "}}"}}, "a": 1, "a": 2}}"#),
        10 => format!(r#""\ud83d\ude00 \ud800 \u0000 é 😀 {mark}""#),
        11 => format!(r#"[{}"{mark}"{}]"#, "[".repeat(300), "]".repeat(300)),
        12 => format!(" \t\r\n\"{mark}\"\n"),
        13 => format!(r#"["{mark}",{}0]"#, "1234567890,".repeat(random.usize(..400))),
        14 if random.u8(0..8) == 0 => {
            format!(r#"["{mark}","{}"]"#, "x".repeat(random.usize(..LIMIT - 200)))
        }
        _ => return format!(r#"{{"in":"echo","params":"{mark} \" \\ \u00e9 😀"}}"#),
    };
    let time = random.u64(60_000..=u64::MAX);
    match random.u8(0..8) {
        0..3 => format!(r#"{{"in":"ping","params":{params}}}"#),
        3 => format!(r#"{{"in": "ping", "params": {params}}}"#),
        4 => format!(r#"{{"in":"ping","timeout_ms":{time},"params":{params}}}"#),
        5 => format!(r#"{{"in": "ping", "timeout_ms": {time}, "params": {params}}}"#),
        6 => format!(r#"{{"params":{params},"other":[{{}}],"in":"ping","timeout_ms":{time}}}"#),
        _ => format!(r#"{{"in":"\u0070ing","params":{params}}}"#),
    }
}

fn noise(random: &mut Rng) -> Vec<u8> {
    (0..random.usize(..64)).map(|_| random.u8(..)).collect()
}

/// A length that is not that of the body.
fn lie(len: usize, limit: usize, random: &mut Rng) -> u32 {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    match random.u8(0..9) {
        0 => len.wrapping_sub(1),
        1 => len + 1,
        2 => 0,
        3 => limit,
        4 => limit.saturating_add(1),
        5 => u32::MAX,
        6 => len.swap_bytes(),
        7 => random.u32(..),
        _ => len.saturating_mul(2),
    }
}
