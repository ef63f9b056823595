//! A connection that sends any bytes, for clients who pipeline, who misbehave, or who look at what
//! `rpc-client` does not show.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use rpc_client::CallError;
use rpc_proto::{Address, ERROR_KIND, FrameReader, MAX_FRAME_LEN, Response, RpcError};

pub(crate) struct Raw {
    stream: TcpStream,
    replies: FrameReader,
    timeout: Duration,
}

/// `body` behind its length.
pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("bodies are far below 4 GiB");
    [&len.to_le_bytes()[..], body].concat()
}

/// A request; `params` is JSON text.
pub(crate) fn request(method: &str, params: &str) -> Vec<u8> {
    frame(format!(r#"{{"in":"{method}","params":{params}}}"#).as_bytes())
}

impl Raw {
    /// Reading and writing may take `timeout` each time.
    pub(crate) fn connect(address: &Address, timeout: Duration) -> Result<Raw, CallError> {
        let connect = || {
            let stream = TcpStream::connect(address.to_string())?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(stream)
        };
        let failed = |source| CallError::Connect { address: address.clone(), source };
        let (stream, replies) = (connect().map_err(failed)?, FrameReader::new(MAX_FRAME_LEN));
        Ok(Raw { stream, replies, timeout })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), CallError> {
        self.stream.write_all(bytes).map_err(CallError::NotSent)
    }

    /// The body of the next reply, or the error that it is.
    pub(crate) fn receive(&mut self) -> Result<Vec<u8>, CallError> {
        while !self.replies.frame_is_ready() {
            match self.replies.read_from(&mut self.stream) {
                Ok(0) => {
                    self.replies.end_of_stream().map_err(CallError::Frame)?;
                    return Err(CallError::Closed(ErrorKind::UnexpectedEof.into()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_a_timeout(&error) => {
                    let executed = rpc_client::Executed::Maybe;
                    return Err(CallError::TimedOut { limit: self.timeout, executed });
                }
                Err(error) => return Err(CallError::Closed(error)),
            }
        }
        let body = self.replies.next_frame().map_err(CallError::Frame)?;
        let body = body.expect("a frame is ready").to_vec();
        let reply = Response::parse(&body).map_err(CallError::Message)?;
        if reply.kind != ERROR_KIND {
            return Ok(body);
        }
        let error: RpcError =
            serde_json::from_str(reply.result.get()).map_err(CallError::Result)?;
        Err(CallError::Rpc(error))
    }

    /// The next reply, to what was `sent`. What the server said matters more than that it stopped
    /// reading.
    pub(crate) fn receive_after(
        &mut self,
        sent: Result<(), CallError>,
    ) -> Result<Vec<u8>, CallError> {
        match (self.receive(), sent) {
            (Err(CallError::Closed(_)), Err(not_sent)) => Err(not_sent),
            (received, _) => received,
        }
    }

    /// Sends no more, and still reads.
    pub(crate) fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Closes with a reset instead of an end: SO_LINGER with a time of zero, socket(7).
    pub(crate) fn reset(self) -> io::Result<()> {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        Ok(setsockopt(&self.stream, sockopt::Linger, &at_once)?)
    }

    /// Sends `bytes` again and again without reading, until the server has had enough.
    pub(crate) fn send_until_closed(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(time))?;
        // Far more than the buffers of both kernels take.
        for _ in 0..64 {
            match self.stream.write_all(bytes) {
                Ok(()) => {}
                Err(error) if is_a_timeout(&error) => return Err(error),
                Err(_) => return Ok(()),
            }
        }
        Err(io::Error::other("the server took everything although nobody reads its replies"))
    }
}

fn is_a_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
