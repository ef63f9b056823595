//! Echo with the Rust crate of Apache Thrift: binary protocol, buffered transport, over TCP.
//!
//! The server is the crate's own, a pool of threads, each of which serves a connection to its end.
//! The client makes one call at a time.

mod service;

use std::net::SocketAddr;

use peer_load::{
    BlockingConnect, BlockingEcho, Mode, announce_when_reachable, drive_threads, free_address,
};
use thrift::protocol::{
    TBinaryInputProtocol, TBinaryInputProtocolFactory, TBinaryOutputProtocol,
    TBinaryOutputProtocolFactory,
};
use thrift::server::TServer;
use thrift::transport::{
    ReadHalf, TBufferedReadTransport, TBufferedReadTransportFactory, TBufferedWriteTransport,
    TBufferedWriteTransportFactory, TIoChannel as _, TTcpChannel, WriteHalf,
};

use self::service::{Client, Handler, Processor};

/// As many connections as a load may have. The pool starts them all at once and never more.
const THREADS: usize = 256;

struct Echo;

impl Handler for Echo {
    fn echo(&self, text: String) -> thrift::Result<String> {
        Ok(text)
    }
}

fn main() -> anyhow::Result<()> {
    match Mode::from_arguments()? {
        Mode::Serve => serve(),
        Mode::Drive(load) => drive_threads(&load, Connector),
    }
}

fn serve() -> anyhow::Result<()> {
    let mut server = TServer::new(
        TBufferedReadTransportFactory::new(),
        TBinaryInputProtocolFactory::new(),
        TBufferedWriteTransportFactory::new(),
        TBinaryOutputProtocolFactory::new(),
        Processor(Echo),
        THREADS,
    );
    let address = free_address()?;
    announce_when_reachable(address);
    Ok(server.listen(address)?)
}

type Input = TBinaryInputProtocol<TBufferedReadTransport<ReadHalf<TTcpChannel>>>;
type Output = TBinaryOutputProtocol<TBufferedWriteTransport<WriteHalf<TTcpChannel>>>;

struct Connector;

impl BlockingConnect for Connector {
    type Connection = Client<Input, Output>;

    fn connect(&self, address: SocketAddr) -> anyhow::Result<Client<Input, Output>> {
        let mut channel = TTcpChannel::new();
        channel.open(address)?;
        let (read_half, write_half) = channel.split()?;
        let strict = true;
        Ok(Client::new(
            TBinaryInputProtocol::new(TBufferedReadTransport::new(read_half), strict),
            TBinaryOutputProtocol::new(TBufferedWriteTransport::new(write_half), strict),
        ))
    }
}

impl BlockingEcho for Client<Input, Output> {
    fn echo(&mut self, text: &str) -> anyhow::Result<String> {
        Ok(Client::echo(self, text)?)
    }
}
