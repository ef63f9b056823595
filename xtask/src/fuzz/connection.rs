//! The whole connection loop of a real server: every request before the first broken frame gets
//! its answer, in order, however the stream is cut; a broken frame gets one error and the end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastrand::Rng;

use super::answers::{self, Answer};
use super::conversation::{Ending, Goodbye, Heard, Piece, hold};
use super::splitting::{Split, split};
use super::stream::{self, LIMIT};

/// A server that has said its last word goes on reading for at least this long.
const LINGER_TIME: Duration = Duration::from_millis(250);

/// Sends one stream to the server at `address` and compares what comes back.
pub(super) fn run(seed: u64, address: SocketAddr) -> anyhow::Result<()> {
    let mut random = Rng::with_seed(seed);
    let (stream, expected) = loop {
        let stream = stream::any(seed, LIMIT, &mut random);
        if let Some(expected) = answers::expected(&split(&stream, LIMIT)) {
            break (stream, expected);
        }
    };
    let split = split(&stream, LIMIT);
    let pieces = cut(&stream, &split, &mut random);
    let goodbye = match random.u8(0..16) {
        0 => Goodbye::Reset,
        1..4 => Goodbye::CloseAfter(random.usize(0..=expected.len())),
        4.. if split.end.is_broken() && random.bool() => Goodbye::Wait,
        _ => Goodbye::HalfClose,
    };
    let context = || {
        let cuts: Vec<_> = pieces.iter().map(|piece| piece.end_at).collect();
        format!("stream {}, cut at {cuts:?}, then {goodbye:?}", stream.escape_ascii())
    };
    let heard = hold(address, &stream, &pieces, goodbye).with_context(context)?;
    check(&heard, &expected, &split, goodbye).with_context(context)
}

/// Cuts a stream into writes. Most of them wait for the replies to what was sent before, so that
/// the server cannot but read them one by one.
fn cut(stream: &[u8], split: &Split<'_>, random: &mut Rng) -> Vec<Piece> {
    let mut ends: Vec<usize> = match random.u8(0..4) {
        0 => Vec::new(),
        1 if stream.len() < 300 => (1..stream.len()).collect(),
        // Close to where frames begin, for these cuts go through prefixes.
        2 => {
            let starts = split.frames.iter().map(|frame| frame.end_at + random.usize(0..6));
            starts.filter(|end| *end < stream.len()).collect()
        }
        _ => (0..random.usize(0..20)).map(|_| random.usize(0..=stream.len())).collect(),
    };
    ends.push(stream.len());
    ends.sort_unstable();
    ends.retain(|end| *end > 0);
    ends.dedup();
    let waits = random.u8(0..4) > 0;
    let replies_to = |end| split.frames.iter().filter(|frame| frame.end_at <= end).count();
    let mut sent = 0;
    let piece = |end_at| {
        let after_replies = if waits { replies_to(sent) } else { 0 };
        sent = end_at;
        Piece { end_at, after_replies }
    };
    ends.into_iter().map(piece).collect()
}

fn check(
    heard: &Heard,
    expected: &[Answer],
    split: &Split<'_>,
    goodbye: Goodbye,
) -> anyhow::Result<()> {
    for (number, reply) in heard.replies.iter().enumerate() {
        let expected = expected.get(number).with_context(|| {
            format!("{} replies expected, and also {}", expected.len(), reply.escape_ascii())
        })?;
        answers::check(reply, expected).with_context(|| format!("reply {number}"))?;
    }
    let (least, waited_for_end) = match goodbye {
        Goodbye::HalfClose | Goodbye::Wait => (expected.len(), true),
        Goodbye::CloseAfter(count) => (count, false),
        Goodbye::Reset => (0, false),
    };
    let came = heard.replies.len();
    ensure!(came >= least, "{came} replies, not {least}, then {:?}", heard.end);
    if waited_for_end {
        ensure!(heard.rest.is_empty(), "half a reply: {}", heard.rest.escape_ascii());
        // A client that is held up while it sends may be too late for a server's last word.
        let may_reset = split.end.is_broken() && heard.took >= LINGER_TIME;
        let ended_well = match heard.end {
            Some(Ending::Clean) => true,
            Some(Ending::Reset) => may_reset,
            None => false,
        };
        ensure!(ended_well, "every reply came, then {:?}", heard.end);
    }
    Ok(())
}
