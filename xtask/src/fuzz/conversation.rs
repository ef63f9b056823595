//! One connection on which a stream is sent in pieces while whatever comes is read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use rpc_proto::PREFIX_LEN;

/// How long a conversation may take. Far beyond what any server needs: a limit for hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A part of the stream that is given to the kernel at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Where in the stream it ends.
    pub(super) end_at: usize,
    /// It is not sent before so many replies have come. They tell that the server has read what
    /// was sent, so the cut before this piece is one that the server sees.
    pub(super) after_replies: usize,
}

/// What the client does when it has sent everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// Ends its writing side and reads to the end.
    HalfClose,
    /// Waits for the server to end the connection.
    Wait,
    /// Closes when so many replies have come.
    CloseAfter(usize),
    /// Closes at once with a reset.
    Reset,
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The bodies of the replies.
    pub(super) replies: Vec<Vec<u8>>,
    /// Bytes behind the last whole reply.
    pub(super) rest: Vec<u8>,
    pub(super) end: Option<Ending>,
    /// From the first byte that was sent to the end.
    pub(super) took: Duration,
}

/// How the connection ended on the server's side, if the client waited for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Clean,
    Reset,
}

/// Sends `stream` and reads the replies.
pub(super) fn hold(
    address: SocketAddr,
    stream: &[u8],
    pieces: &[Piece],
    goodbye: Goodbye,
) -> anyhow::Result<Heard> {
    let socket = TcpStream::connect_timeout(&address, PATIENCE).context("cannot connect")?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let begun = Instant::now();
    let deadline = begun + PATIENCE;
    let mut heard = Heard::default();
    let mut pieces = pieces.iter().peekable();
    let mut sent = 0;
    let mut says_more = true;
    loop {
        // As much as can be sent now; the next piece is a write of its own.
        while let Some(piece) = pieces.peek().filter(|piece| says_more && may_go(piece, &heard)) {
            match (&socket).write(&stream[sent..piece.end_at]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_reset(&error) => says_more = false,
                Err(error) => return Err(error).context("cannot send"),
            }
            if sent == piece.end_at {
                pieces.next();
            }
        }
        if says_more && pieces.peek().is_none() {
            says_more = false;
            match goodbye {
                Goodbye::HalfClose => drop(socket.shutdown(Shutdown::Write)),
                Goodbye::Wait | Goodbye::CloseAfter(_) => {}
                Goodbye::Reset => {
                    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
                    setsockopt(&socket, sockopt::Linger, &at_once)?;
                    return Ok(heard);
                }
            }
        }
        if matches!(goodbye, Goodbye::CloseAfter(count) if heard.replies.len() >= count && !says_more)
        {
            return Ok(heard);
        }
        let wants_to_send = says_more && pieces.peek().is_some_and(|piece| may_go(piece, &heard));
        if !wait(&socket, wants_to_send, deadline)? {
            bail!("nothing came for {PATIENCE:?} after {sent} bytes were sent; heard {heard:?}");
        }
        match heard.read_from(&socket) {
            Ok(0) => heard.end = Some(Ending::Clean),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if is_reset(&error) => heard.end = Some(Ending::Reset),
            Err(error) => return Err(error).context("cannot read"),
        }
        if heard.end.is_some() {
            heard.took = begun.elapsed();
            return Ok(heard);
        }
    }
}

fn may_go(piece: &Piece, heard: &Heard) -> bool {
    piece.after_replies <= heard.replies.len()
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// `false`: the deadline has passed.
fn wait(socket: &TcpStream, wants_to_send: bool, deadline: Instant) -> anyhow::Result<bool> {
    let events =
        if wants_to_send { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(socket.as_fd(), events)], timeout) {
        Ok(count) => Ok(count > 0),
        Err(nix::errno::Errno::EINTR) => Ok(true),
        Err(error) => Err(error).context("cannot wait"),
    }
}

impl Heard {
    fn read_from(&mut self, mut socket: &TcpStream) -> io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let count = socket.read(&mut chunk)?;
        self.rest.extend_from_slice(&chunk[..count]);
        let mut at = 0;
        // By hand and not by `FrameReader`, which is under test.
        while let Some((prefix, rest)) = self.rest[at..].split_first_chunk::<PREFIX_LEN>()
            && let Some(body) = rest.get(..u32::from_le_bytes(*prefix) as usize)
        {
            self.replies.push(body.to_vec());
            at += PREFIX_LEN + body.len();
        }
        self.rest.drain(..at);
        Ok(count)
    }
}
