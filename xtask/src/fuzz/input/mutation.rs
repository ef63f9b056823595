//! Small damage to bytes: what a hostile or a broken peer may make of a good message.

use fastrand::Rng;

use super::corpus::{FRAGMENTS, REQUESTS};

/// No mutation makes a message longer than this, in bytes, by much.
const MAX_LEN: usize = 64 * 1024;

/// Deep enough to end a stack that a parser would climb, level by level.
const MAX_DEPTH: usize = 10_000;

/// Damages `bytes` between one and four times.
pub(super) fn mutate(bytes: &mut Vec<u8>, random: &mut Rng) {
    for _ in 0..random.usize(1..=4) {
        mutate_once(bytes, random);
    }
}

fn mutate_once(bytes: &mut Vec<u8>, random: &mut Rng) {
    let at = random.usize(0..=bytes.len());
    match random.u8(0..11) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
        1 if at < bytes.len() => bytes[at] = random.u8(..),
        2 => insert(bytes, at, &[random.u8(..)]),
        3 => drop(bytes.drain(range(bytes.len(), random))),
        4 => {
            let again = bytes[range(bytes.len(), random)].to_vec();
            insert(bytes, at, &again);
        }
        5 => {
            let other = random.choice(REQUESTS).unwrap_or_default().as_bytes();
            let part = &other[range(other.len(), random)];
            bytes.splice(range(bytes.len(), random), part.iter().copied());
        }
        6 => bytes.truncate(at),
        7 | 8 => insert(bytes, at, random.choice(FRAGMENTS).unwrap_or_default()),
        9 => nest(bytes, random),
        _ => {
            let noise: Vec<u8> = (0..random.usize(1..8)).map(|_| random.u8(..)).collect();
            insert(bytes, at, &noise);
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    if bytes.len() + piece.len() <= MAX_LEN {
        bytes.splice(at..at, piece.iter().copied());
    }
}

/// Mostly short, sometimes up to all of it.
fn range(len: usize, random: &mut Rng) -> std::ops::Range<usize> {
    let start = random.usize(0..=len);
    let most = if random.bool() { 8 } else { len };
    start..(start + random.usize(0..=most)).min(len)
}

/// Puts a value, or any other place, inside many arrays or objects; sometimes they do not end.
fn nest(bytes: &mut Vec<u8>, random: &mut Rng) {
    let depth = if random.u8(0..8) == 0 { random.usize(..MAX_DEPTH) } else { random.usize(..200) };
    let (open, close): (&[u8], &[u8]) =
        if random.bool() { (b"[", b"]") } else { (b"{\"a\":", b"}") };
    // Behind a colon stands a value, so the whole may still be JSON.
    let colon = bytes.iter().rposition(|byte| *byte == b':').map_or(0, |colon| colon + 1);
    let end = bytes.len().saturating_sub(1).max(colon);
    if bytes.len() + depth * (open.len() + close.len()) > MAX_LEN {
        return;
    }
    if random.u8(0..4) > 0 {
        bytes.splice(end..end, close.repeat(depth));
    }
    bytes.splice(colon..colon, open.repeat(depth));
}
