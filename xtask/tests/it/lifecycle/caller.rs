//! A connection that a test drives frame by frame.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rpc_proto::{Address, FrameReader, FrameWriter, MAX_FRAME_LEN, Request};
use serde_json::{Value, json};
use xtask::launch::Server;

use super::{PATIENCE, wait_until};

pub(super) struct Caller {
    stream: Box<dyn Stream>,
    /// Our own end, if the connection is TCP.
    own_address: Option<SocketAddr>,
    replies: FrameReader,
}

trait Stream: Read + Write + Send {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

impl Caller {
    pub(super) fn connect(server: &Server) -> Caller {
        Caller::connect_to(server.address())
    }

    pub(super) fn connect_to(address: &Address) -> Caller {
        Caller::try_connect_to(address).expect("the server listens")
    }

    pub(super) fn try_connect_to(address: &Address) -> io::Result<Caller> {
        let (stream, own_address): (Box<dyn Stream>, _) = match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
                (Box::new(stream), None)
            }
            address => {
                let stream = TcpStream::connect(address.to_string())?;
                stream.set_nodelay(true).expect("a socket");
                stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
                let own_address = stream.local_addr().expect("a connected socket");
                (Box::new(stream), Some(own_address))
            }
        };
        Ok(Caller { stream, own_address, replies: FrameReader::new(MAX_FRAME_LEN) })
    }

    /// A connection that is being served.
    pub(super) fn served(server: &Server) -> Caller {
        let mut caller = Caller::connect(server);
        caller.ping();
        caller
    }

    pub(super) fn send(&mut self, method: &str, params: Value) {
        self.try_send(method, params).expect("the server reads");
    }

    pub(super) fn try_send(&mut self, method: &str, params: Value) -> std::io::Result<()> {
        let mut frame = FrameWriter::new();
        frame.append(|body| Request::encode(body, method, &params)).expect("a short request");
        self.stream.write_all(frame.as_bytes())
    }

    /// As [`send`](Caller::send), and says that we wait for the reply so long.
    pub(super) fn send_with_timeout(&mut self, method: &str, timeout: Duration, params: Value) {
        let mut frame = FrameWriter::new();
        let request =
            |body: &mut Vec<u8>| Request::encode_with_timeout(body, method, timeout, &params);
        frame.append(request).expect("a short request");
        self.stream.write_all(frame.as_bytes()).expect("the server reads");
    }

    /// Sends, and waits until the request is in the receive queue of the server. A Unix socket puts
    /// it there directly; what came over TCP is acknowledged.
    pub(super) fn send_surely(&mut self, method: &str, params: Value) {
        self.send(method, params);
        if let Some(address) = self.own_address {
            wait_until("the acknowledgement of a request", || is_idle(address));
        }
    }

    /// The next reply, kind and result; `None` at the end of the stream.
    pub(super) fn receive(&mut self) -> Option<(String, Value)> {
        self.receive_or_fail().expect("the server answers")
    }

    /// As [`receive`](Caller::receive); `None` also when the connection breaks in between.
    pub(super) fn try_receive(&mut self) -> Option<(String, Value)> {
        match self.receive_or_fail() {
            Ok(reply) => reply,
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("silence: {error}"),
            Err(_) => None,
        }
    }

    fn receive_or_fail(&mut self) -> io::Result<Option<(String, Value)>> {
        while !self.replies.frame_is_ready() {
            match self.replies.read_from(&mut self.stream) {
                Ok(0) => {
                    self.replies.end_of_stream().expect("whole frames");
                    return Ok(None);
                }
                Ok(_) => {}
                // A read with a timeout may end so even where no signal has a handler (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let body = self.replies.next_frame().expect("a frame");
        let reply: Value = serde_json::from_slice(body.expect("is ready")).expect("JSON");
        let kind = reply["out"].as_str().expect("a kind").to_owned();
        Ok(Some((kind, reply["result"].clone())))
    }

    pub(super) fn ping(&mut self) {
        self.send("ping", json!("here"));
        assert_eq!(self.receive(), Some(("pong".to_owned(), json!("here"))));
    }

    /// The next reply must be the error `code`; returns it.
    pub(super) fn expect_error(&mut self, code: i32) -> Value {
        let (kind, error) = self.receive().expect("an error and not silence");
        assert_eq!(kind, "error", "{error}");
        assert_eq!(error["code"], code, "{error}");
        error
    }

    /// The server says -32002, nothing executed, and closes.
    pub(super) fn expect_shutdown(&mut self) {
        let error = self.expect_error(-32002);
        assert_eq!(error["data"]["executed"], "no", "{error}");
        assert_eq!(self.receive(), None);
    }
}

/// Whether everything that was sent from the TCP socket `address` was acknowledged: the column
/// `tx_queue` of /proc/net/tcp is zero (proc(5)). Reads no further than it must: the table has a
/// line for every connection of the machine, those that have ended a minute ago included.
fn is_idle(address: SocketAddr) -> bool {
    let table = BufReader::new(File::open("/proc/net/tcp").expect("proc is mounted"));
    let own_port = format!(":{:04X}", address.port());
    let entry = table.lines().map_while(Result::ok).find(|line| {
        let own_address = line.split_whitespace().nth(1);
        own_address.is_some_and(|address| address.ends_with(&own_port))
    });
    let queues = entry.as_ref().and_then(|line| line.split_whitespace().nth(4));
    queues.is_some_and(|queues| queues.starts_with("00000000:"))
}
