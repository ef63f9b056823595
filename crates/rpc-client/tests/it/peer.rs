use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::{env, fs, process};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use rpc_client::{Address, Client};

pub(crate) trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// More bytes than a client can send while its peer does not read: the sending side buffers at most
/// 4 MiB by default (tcp(7), tcp_wmem).
pub(crate) const MORE_THAN_SOCKETS_BUFFER: usize = 8 << 20;

/// A server for one connection that runs a script and then closes it.
pub(crate) struct Peer {
    pub(crate) address: Address,
    thread: JoinHandle<()>,
}

impl Peer {
    pub(crate) fn tcp(script: impl FnOnce(&mut dyn Stream) + Send + 'static) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Accepted connections inherit it.
        setsockopt(&listener, sockopt::RcvBuf, &4096).unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            script(&mut stream);
        });
        Peer { address, thread }
    }

    pub(crate) fn unix(script: impl FnOnce(&mut dyn Stream) + Send + 'static) -> Peer {
        let path = unused_path();
        let listener = UnixListener::bind(&path).unwrap();
        let address = Address::unix(&path);
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            fs::remove_file(path).unwrap();
            script(&mut stream);
        });
        Peer { address, thread }
    }

    /// The same script over both families.
    pub(crate) fn both(script: impl FnOnce(&mut dyn Stream) + Send + Clone + 'static) -> [Peer; 2] {
        [Peer::tcp(script.clone()), Peer::unix(script)]
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address).unwrap()
    }

    /// Waits for the end of the script; its panic fails the test.
    pub(crate) fn join(self) {
        self.thread.join().unwrap();
    }
}

/// A path for a socket that does not exist yet.
pub(crate) fn unused_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("rpc-client-it-{}-{number}.sock", process::id()))
}

pub(crate) fn frame(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let prefix = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&prefix, body].concat()
}

/// Reads one request and returns its body.
pub(crate) fn read_request(stream: &mut dyn Stream) -> String {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).unwrap();
    let mut body = vec![0; u32::from_le_bytes(prefix) as usize];
    stream.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

/// Checks that the client closes without sending anything. If the client had unread bytes, its
/// close is a reset.
pub(crate) fn expect_end(stream: &mut dyn Stream) {
    match stream.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// A server whose connections the test serves itself, one after the other.
pub(crate) struct TestServer {
    pub(crate) address: Address,
    listener: TcpListener,
}

impl TestServer {
    pub(crate) fn start() -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // So that a missing connection fails the test; it bounds accept(2) (socket(7)).
        setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::new(20, 0)).unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        TestServer { address, listener }
    }

    pub(crate) fn accept(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().expect("a connection within 20 s");
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Checks that no connection waits to be accepted.
    pub(crate) fn expect_no_connection(&self) {
        self.listener.set_nonblocking(true).unwrap();
        let error = self.listener.accept().expect_err("one connection too many");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        self.listener.set_nonblocking(false).unwrap();
    }
}
