//! The whole connection loop of a real server: every request before the first broken frame gets
//! its answer, in order, however the stream is cut; a broken frame gets one error and the end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastrand::Rng;

use super::conversation::{Ending, Goodbye, Heard, Piece, hold};
use super::input::stream::{self, LIMIT};
use super::oracle::answers::{self, Answer};
use super::oracle::splitting::{Split, split};

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

#[cfg(test)]
mod tests {
    //! Whether a server with a fault is found out: a driver that finds nothing proves nothing
    //! otherwise.

    use std::io::{self, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::thread;

    use rpc_proto::{ErrorCode, FrameError, FrameReader, FrameWriter, Response, RpcError};

    use super::*;
    use crate::fuzz::oracle::answers::answer;

    /// Enough for every fault here, many times over.
    const SEEDS: std::ops::Range<u64> = 0..400;

    /// What is wrong with a server.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fault {
        Nothing,
        /// It answers a body that is not JSON twice.
        AnswersTwice,
        /// It skips a request when two came at once.
        Skips,
        /// It forgets what came of a prefix that was cut.
        DropsCutPrefix,
        /// It ends the connection when a request is wrong.
        EndsAtError,
        /// It ends the connection without a word when a frame is too large.
        EndsSilently,
        /// It closes while the peer still sends.
        ClosesAtOnce,
        /// It repeats the reply before.
        Confuses,
    }

    #[test]
    fn every_fault_is_found_and_no_other() {
        check_found(Fault::Nothing, false);
        check_found(Fault::AnswersTwice, true);
        check_found(Fault::Skips, true);
        check_found(Fault::DropsCutPrefix, true);
        check_found(Fault::EndsAtError, true);
        check_found(Fault::EndsSilently, true);
        check_found(Fault::ClosesAtOnce, true);
        check_found(Fault::Confuses, true);
    }

    #[track_caller]
    fn check_found(fault: Fault, expected: bool) {
        let address = start(fault);
        let found = SEEDS.into_iter().find_map(|seed| Some((seed, run(seed, address).err()?)));
        assert_eq!(found.is_some(), expected, "{fault:?}: {found:?}");
    }

    /// A server in a thread that ends with the tests.
    fn start(fault: Fault) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A peer that resets ends its own connection only.
                let _ = serve(stream, fault);
            }
        });
        address
    }

    fn serve(mut stream: TcpStream, fault: Fault) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut requests = FrameReader::new(LIMIT);
        let mut last = Vec::new();
        loop {
            let mut at_once = 0;
            let broken = loop {
                let reply = match requests.next_frame() {
                    Ok(None) => break None,
                    Err(broken) => break Some(broken),
                    Ok(Some(body)) => reply_to(body),
                };
                at_once += 1;
                let mut replies = FrameWriter::new();
                replies.append(|body| body.write_all(&reply))?;
                let frame = replies.as_bytes().to_vec();
                let is_error = reply.starts_with(br#"{"out":"error""#);
                match fault {
                    Fault::AnswersTwice if is_error => {
                        stream.write_all(&[&frame[..], &frame].concat())?;
                    }
                    Fault::Skips if at_once == 2 => {}
                    Fault::Confuses if at_once == 2 => stream.write_all(&last)?,
                    _ => stream.write_all(&frame)?,
                }
                last = frame;
                if is_error && fault == Fault::EndsAtError {
                    return end(stream);
                }
            };
            if let Some(broken) = broken {
                if fault != Fault::EndsSilently {
                    let mut replies = FrameWriter::new();
                    replies.append(|body| Response::encode(body, "error", &told(&broken)))?;
                    replies.write_to(&mut stream)?;
                }
                return if fault == Fault::ClosesAtOnce { Ok(()) } else { end(stream) };
            }
            if fault == Fault::DropsCutPrefix && (1..4).contains(&requests.buffered_len()) {
                requests = FrameReader::new(LIMIT);
            }
            if requests.read_from(&mut stream)? == 0 {
                return Ok(());
            }
        }
    }

    /// What `answers` expects, made real.
    fn reply_to(body: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        match answer(body) {
            Some(Answer::Exactly(text)) => reply = text.into_bytes(),
            Some(Answer::OfKind(kind)) => Response::encode(&mut reply, kind, &0).expect("a number"),
            Some(Answer::Error(codes)) => {
                let error = RpcError::new(codes[0], "wrong");
                Response::encode(&mut reply, "error", &error).expect("an error");
            }
            None => unreachable!("such a stream is not sent"),
        }
        reply
    }

    fn told(broken: &FrameError) -> RpcError {
        match broken {
            FrameError::TooLarge { .. } => RpcError::new(ErrorCode::FrameTooLarge, "too large"),
            _ => RpcError::new(ErrorCode::WrongProtocol, "foreign"),
        }
    }

    /// Ends the writing side and reads until the peer has closed.
    fn end(mut stream: TcpStream) -> io::Result<()> {
        stream.shutdown(Shutdown::Write)?;
        while stream.read(&mut [0; 4096])? > 0 {}
        Ok(())
    }
}
