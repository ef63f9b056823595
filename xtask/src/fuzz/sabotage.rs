//! Whether a server with a fault is found out: a driver that finds nothing proves nothing
//! otherwise.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use rpc_proto::{ErrorCode, FrameError, FrameReader, FrameWriter, Response, RpcError};

use super::answers::{Answer, answer};
use super::connection;
use super::stream::LIMIT;

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
    check(Fault::Nothing, false);
    check(Fault::AnswersTwice, true);
    check(Fault::Skips, true);
    check(Fault::DropsCutPrefix, true);
    check(Fault::EndsAtError, true);
    check(Fault::EndsSilently, true);
    check(Fault::ClosesAtOnce, true);
    check(Fault::Confuses, true);
}

#[track_caller]
fn check(fault: Fault, expected: bool) {
    let address = start(fault);
    let found =
        SEEDS.into_iter().find_map(|seed| Some((seed, connection::run(seed, address).err()?)));
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

fn serve(mut stream: TcpStream, fault: Fault) -> std::io::Result<()> {
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
fn end(mut stream: TcpStream) -> std::io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    while stream.read(&mut [0; 4096])? > 0 {}
    Ok(())
}
