//! A client that is nothing but a socket, where every byte matters.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use rpc_client::{Address, ErrorCode};
use serde_json::Value;
use xtask::launch::Server;

/// How long a test waits for what must come at once, before it fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// `body` behind its length.
pub(crate) fn frame(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let len = u32::try_from(body.len()).expect("bodies of tests are short");
    [&len.to_le_bytes()[..], body].concat()
}

/// A request as Python's json.dumps spells it; `params` is JSON text.
pub(crate) fn request(method: &str, params: &str) -> Vec<u8> {
    frame(format!(r#"{{"in": "{method}", "params": {params}}}"#))
}

/// The frame with which `ping` echoes `result`, JSON text.
pub(crate) fn pong(result: &str) -> Vec<u8> {
    frame(format!(r#"{{"out":"pong","result":{result}}}"#))
}

/// A connected socket.
pub(crate) struct Raw<Stream = TcpStream> {
    stream: Stream,
}

impl Raw {
    pub(crate) fn connect(server: &Server) -> Raw {
        let Address::Tcp(address) = server.address() else {
            panic!("the server listens on {}", server.address());
        };
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Raw { stream }
    }

    /// Sends no more, and still reads.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Sends `bytes` again and again, until the server has taken nothing for `time`.
    pub(crate) fn send_until_nobody_reads(&mut self, bytes: &[u8], time: Duration) {
        self.stream.set_write_timeout(Some(time)).unwrap();
        let error = loop {
            if let Err(error) = self.stream.write_all(bytes) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    }

    /// Closes with a reset instead of an end: SO_LINGER with a time of zero, socket(7).
    pub(crate) fn reset(self) {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &at_once).unwrap();
    }

    /// Whether something can be read within `time`.
    pub(crate) fn has_something_within(&self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        !matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

impl Raw<UnixStream> {
    pub(crate) fn connect_unix(path: &Path) -> Raw<UnixStream> {
        let stream = UnixStream::connect(path).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Raw { stream }
    }
}

impl<Stream: Read + Write> Raw<Stream> {
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends without a claim that the server still reads.
    pub(crate) fn try_to_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The body of the next frame; `None` when the connection has ended before it, cleanly or by a
    /// reset. An end inside of a frame fails the test.
    #[track_caller]
    pub(crate) fn receive_or_end(&mut self) -> Option<Vec<u8>> {
        let mut prefix = [0; 4];
        match self.stream.read(&mut prefix[..1]) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error} instead of a reply or the end"),
        }
        self.stream.read_exact(&mut prefix[1..]).expect("the whole prefix comes");
        let mut body = vec![0; u32::from_le_bytes(prefix) as usize];
        self.stream.read_exact(&mut body).expect("the whole reply comes");
        Some(body)
    }

    /// The body of the next frame.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let mut prefix = [0; 4];
        let read = self.stream.read_exact(&mut prefix);
        read.expect("a reply comes");
        let mut body = vec![0; u32::from_le_bytes(prefix) as usize];
        let read = self.stream.read_exact(&mut body);
        read.expect("the whole reply comes");
        body
    }

    /// The next bytes are exactly these.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let mut received = vec![0; bytes.len()];
        let mut have = 0;
        while have < received.len() && received[..have] == bytes[..have] {
            match self.stream.read(&mut received[have..]) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(error) => panic!("{error} after {:?}", shown(&received[..have])),
            }
        }
        let received = &received[..have];
        assert!(received == bytes, "received {:?} instead of {:?}", shown(received), shown(bytes),);
    }

    /// The next frame is an error with this code. Returns the error.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, code: ErrorCode) -> Value {
        let body = self.receive();
        let mut reply: Value = serde_json::from_slice(&body).expect("a reply is JSON");
        assert_eq!(reply["out"], "error", "{reply}");
        assert_eq!(reply["result"]["code"], code.code(), "{reply}");
        assert!(reply["result"]["message"].is_string(), "{reply}");
        reply["result"].take()
    }

    /// Nothing comes any more, and the end is clean: a reset would be an error.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => panic!("received {byte:?} instead of the end"),
            Err(error) => panic!("{error} instead of a clean end"),
        }
    }

    /// A call is answered.
    #[track_caller]
    pub(crate) fn expect_service(&mut self) {
        self.send(&request("ping", "\"still there?\""));
        self.expect(&pong("\"still there?\""));
    }
}

/// As much as a message needs.
fn shown(bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    format!("{shown} ({} bytes)", bytes.len())
}
