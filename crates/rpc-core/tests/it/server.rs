use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, fs, process};

use rpc_core::{Acceptor, Address, Method, Registry, RpcError, ServeError, Service, Shutdown};
use serde_json::Value;

pub(crate) const PING: Method<String, String> = Method::new("ping", "pong");

/// How long a read may take; only a hang takes this long.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A server that serves one connection after the other in its own thread.
pub(crate) struct Server {
    pub(crate) address: Address,
    pub(crate) shutdown: Shutdown,
    thread: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    pub(crate) fn start(mut acceptor: Acceptor, service: Service) -> Server {
        Server {
            address: acceptor.address().clone(),
            shutdown: acceptor.shutdown(),
            thread: thread::spawn(move || {
                while let Some(conn) = acceptor.accept()? {
                    service.serve_conn(conn);
                }
                Ok(())
            }),
        }
    }

    pub(crate) fn ping_at(address: &Address) -> Server {
        Server::start(Acceptor::bind(address).unwrap(), ping_service())
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer::connect(&self.address)
    }

    pub(crate) fn stop(self) {
        self.shutdown.stop();
        self.join();
    }

    /// Waits for the end of the serving loop.
    pub(crate) fn join(self) {
        self.thread.join().unwrap().unwrap();
    }
}

pub(crate) fn any_port() -> Address {
    "127.0.0.1:0".parse().unwrap()
}

pub(crate) fn ping_service() -> Service {
    let mut registry = Registry::new();
    registry.register(PING, |text, _ctx| Ok(text)).unwrap();
    Service::new(registry)
}

/// A plain socket of any family, whose reads fail the test instead of never returning.
pub(crate) struct Peer(UnixStream);

impl Peer {
    /// A peer on one end of a pair, or on any other connection.
    pub(crate) fn new(stream: impl Into<OwnedFd>) -> Peer {
        let stream = UnixStream::from(stream.into());
        stream.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
        Peer(stream)
    }

    pub(crate) fn connect(address: &Address) -> Peer {
        match address {
            Address::Tcp(address) => Peer::new(TcpStream::connect(address.as_str()).unwrap()),
            Address::Unix(path) => Peer::new(UnixStream::connect(path).unwrap()),
            other => panic!("{other}"),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn body(&mut self) -> Vec<u8> {
        let prefix = self.bytes(4).try_into().unwrap();
        self.bytes(u32::from_le_bytes(prefix) as usize)
    }

    /// The next reply: kind and result.
    pub(crate) fn reply(&mut self) -> (String, Value) {
        let body = self.body();
        let reply = rpc_proto::Response::parse(&body).unwrap();
        let result = serde_json::from_str(reply.result.get()).unwrap();
        (reply.kind.into_owned(), result)
    }

    /// The next reply, which must be an error.
    pub(crate) fn refusal(&mut self) -> RpcError {
        let body = self.body();
        let reply = rpc_proto::Response::parse(&body).unwrap();
        assert_eq!(reply.kind, "error", "{}", reply.result);
        serde_json::from_str(reply.result.get()).unwrap()
    }

    pub(crate) fn ping(&mut self) {
        self.send(&frame(r#"{"in":"ping","params":"x"}"#));
        assert_eq!(self.reply(), ("pong".to_owned(), "x".into()));
    }

    /// Checks that the server has closed without sending more.
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }
}

pub(crate) fn frame(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let prefix = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&prefix, body].concat()
}

/// A new directory that is removed with everything in it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("rpc-core-it-{}-{number}", process::id()));
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
