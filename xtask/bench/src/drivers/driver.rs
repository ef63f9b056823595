//! What makes the calls: threads of this process with bare sockets, the same for every server.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use nix::sys::socket::{setsockopt, sockopt};
use rpc_client::Client;
use rpc_core::Address;
use xtask::serve::methods::ECHO;

use crate::exchange::Exchange;

/// No reply takes this long unless something hangs.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Requests that are sent at once and are no longer than this, in bytes, fit in what TCP sends
/// before it has seen an acknowledgement (RFC 6928), so what it has seen before does not slow them.
const SHORT: usize = 10 * 1024;

/// What one turn came to.
pub(crate) struct Turn {
    pub(crate) calls: u64,
    pub(crate) elapsed: Duration,
    /// The time from before each write until after its reply was read, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
}

/// Something that calls for a while.
pub(crate) trait Driver {
    /// Calls for at least `length`, and at least once.
    fn turn(&mut self, length: Duration) -> anyhow::Result<Turn>;
}

/// Repeats `call`, which returns how many calls it made, for at least `length`.
fn repeat(length: Duration, mut call: impl FnMut() -> anyhow::Result<u64>) -> anyhow::Result<Turn> {
    let mut latencies = Histogram::new_with_max(TIMEOUT.as_nanos() as u64, 3)?;
    let start = Instant::now();
    let mut last = start;
    let mut calls = 0;
    loop {
        calls += call()?;
        let now = Instant::now();
        latencies.saturating_record(now.duration_since(last).as_nanos() as u64);
        last = now;
        let elapsed = now.duration_since(start);
        if elapsed >= length {
            return Ok(Turn { calls, elapsed, latencies });
        }
    }
}

/// One turn of each of `callers` at the same time, in a thread each when there are several.
pub(crate) fn together<Caller: Send>(
    callers: &mut [Caller],
    length: Duration,
    call: impl Fn(&mut Caller) -> anyhow::Result<u64> + Sync,
) -> anyhow::Result<Turn> {
    if let [only] = callers {
        return repeat(length, || call(only));
    }
    let start_line = Barrier::new(callers.len());
    let run = |caller: &mut Caller| {
        start_line.wait();
        repeat(length, || call(caller))
    };
    let run = &run;
    let turns = thread::scope(|scope| {
        let threads: Vec<_> =
            callers.iter_mut().map(|caller| scope.spawn(move || run(caller))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a driver thread does not panic"))
            .collect::<anyhow::Result<Vec<Turn>>>()
    })?;
    turns
        .into_iter()
        .reduce(|mut sum, turn| {
            sum.calls += turn.calls;
            sum.elapsed = sum.elapsed.max(turn.elapsed);
            let _ = sum.latencies.add(&turn.latencies);
            sum
        })
        .context("at least one connection")
}

/// An open connection that sends `depth` requests in one write and reads until as many replies
/// are there.
pub(crate) struct Connection {
    stream: TcpStream,
    requests: Vec<u8>,
    replies: Vec<u8>,
    depth: u64,
}

impl Connection {
    /// Connects and makes one call, whose reply is compared with what it must be.
    pub(crate) fn open(
        address: SocketAddr,
        exchange: &Exchange,
        depth: usize,
    ) -> anyhow::Result<Connection> {
        let mut stream = connect(address)?;
        stream.set_nodelay(true)?;
        if exchange.request.len() * depth > SHORT {
            send_without_pacing(&stream)?;
        }
        stream.write_all(&exchange.request)?;
        expect_reply(&mut stream, exchange)?;
        Ok(Connection {
            stream,
            requests: exchange.request.repeat(depth),
            replies: vec![0; exchange.reply.len() * depth],
            depth: depth as u64,
        })
    }

    /// So many at once, all of them the same.
    pub(crate) fn open_all(
        address: SocketAddr,
        exchange: &Exchange,
        connections: usize,
        depth: usize,
    ) -> anyhow::Result<Vec<Connection>> {
        (0..connections).map(|_| Connection::open(address, exchange, depth)).collect()
    }

    /// One write, and reads until all replies are there. Returns how many calls that were.
    pub(crate) fn call(&mut self) -> anyhow::Result<u64> {
        self.send()?;
        self.receive()
    }

    fn send(&mut self) -> anyhow::Result<()> {
        Ok(self.stream.write_all(&self.requests)?)
    }

    fn receive(&mut self) -> anyhow::Result<u64> {
        self.stream.read_exact(&mut self.replies).context("no reply")?;
        Ok(self.depth)
    }
}

pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// For long requests. BBR, where it is the system's choice, sends no faster than it has once seen a
/// connection take bytes. On loopback that is a lottery: the same server took 380 µs or 520 µs for
/// a megabyte, on one connection for seconds. Every kernel has Reno, which does not pace.
///
/// Short requests are left to the system, as `rpc-client` leaves them: a call with Reno takes
/// less time than one with BBR.
fn send_without_pacing(stream: &TcpStream) -> anyhow::Result<()> {
    Ok(setsockopt(stream, sockopt::TcpCongestion, &OsString::from("reno"))?)
}

pub(crate) fn expect_reply(stream: &mut TcpStream, exchange: &Exchange) -> anyhow::Result<()> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).context("no reply")?;
    let mut reply = vec![0; u32::from_le_bytes(prefix) as usize];
    stream.read_exact(&mut reply).context("no whole reply")?;
    let shorten = |body| String::from_utf8_lossy(body).chars().take(200).collect::<String>();
    ensure!(
        prefix == exchange.reply[..4] && reply == exchange.reply[4..],
        "the server answered {:?}, not {:?}",
        shorten(&reply),
        shorten(&exchange.reply[4..]),
    );
    Ok(())
}

/// Connections that stay open, each driven by a thread of its own.
impl Driver for Vec<Connection> {
    fn turn(&mut self, length: Duration) -> anyhow::Result<Turn> {
        together(self, length, Connection::call)
    }
}

/// Connections that are all busy at the same time, driven by this one thread: a request on each,
/// then the reply of each. Ten thousand threads would be a load of their own.
pub(crate) struct Sweep(pub(crate) Vec<Connection>);

impl Driver for Sweep {
    fn turn(&mut self, length: Duration) -> anyhow::Result<Turn> {
        repeat(length, || {
            self.0.iter_mut().try_for_each(Connection::send)?;
            self.0.iter_mut().map(Connection::receive).sum()
        })
    }
}

/// A connection for every call: connect, one call, close.
pub(crate) struct Churn {
    address: SocketAddr,
    exchange: Exchange,
    /// One a thread.
    buffers: Vec<Vec<u8>>,
}

impl Churn {
    pub(crate) fn new(
        address: SocketAddr,
        exchange: &Exchange,
        connections: usize,
    ) -> anyhow::Result<Churn> {
        Connection::open(address, exchange, 1)?;
        Ok(Churn {
            address,
            exchange: exchange.clone(),
            buffers: vec![vec![0; exchange.reply.len()]; connections],
        })
    }
}

impl Driver for Churn {
    fn turn(&mut self, length: Duration) -> anyhow::Result<Turn> {
        let Churn { address, exchange, .. } = &*self;
        let (address, exchange) = (*address, exchange.clone());
        together(&mut self.buffers, length, |buffer| {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(&exchange.request)?;
            stream.read_exact(buffer).context("no reply")?;
            Ok(1)
        })
    }
}

/// The project's own client.
pub(crate) struct OwnClient {
    client: Client,
    text: String,
}

impl OwnClient {
    pub(crate) fn connect(address: SocketAddr, text: String) -> anyhow::Result<OwnClient> {
        let client = Client::connect(&Address::Tcp(address.to_string()))?;
        let mut own_client = OwnClient { client, text };
        ensure!(own_client.call()? == own_client.text, "not an echo");
        Ok(own_client)
    }

    pub(crate) fn call(&mut self) -> anyhow::Result<String> {
        Ok(self.client.call(ECHO, &self.text)?)
    }
}

impl Driver for OwnClient {
    fn turn(&mut self, length: Duration) -> anyhow::Result<Turn> {
        repeat(length, || self.call().map(|_| 1))
    }
}

/// How the seed's client writes: prefix and body one after the other, with Nagle's algorithm on,
/// and how it reads: first the prefix, then the body.
pub(crate) struct SeedPattern {
    stream: TcpStream,
    exchange: Exchange,
    buffer: Vec<u8>,
}

impl SeedPattern {
    pub(crate) fn connect(address: SocketAddr, exchange: &Exchange) -> anyhow::Result<SeedPattern> {
        let mut stream = connect(address)?;
        stream.write_all(&exchange.request)?;
        expect_reply(&mut stream, exchange)?;
        Ok(SeedPattern {
            stream,
            exchange: exchange.clone(),
            buffer: vec![0; exchange.reply.len()],
        })
    }
}

impl Driver for SeedPattern {
    fn turn(&mut self, length: Duration) -> anyhow::Result<Turn> {
        let (prefix, body) = self.exchange.request.split_at(4);
        repeat(length, || {
            self.stream.write_all(prefix)?;
            self.stream.write_all(body)?;
            self.stream.read_exact(&mut self.buffer[..4])?;
            self.stream.read_exact(&mut self.buffer[4..])?;
            Ok(1)
        })
    }
}
