//! Echo with varlink: JSON up to a zero byte, over TCP.
//!
//! It serves a thread a connection, and its client makes one call at a time.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use peer_load::{
    BlockingConnect, BlockingEcho, Mode, announce_when_reachable, drive_threads, free_address,
};
use varlink::{Connection, ListenConfig, VarlinkService};

use self::interface::{VarlinkClient, VarlinkClientInterface as _};

/// What the generator makes of peers.echo.varlink.
#[allow(missing_docs, nonstandard_style, rust_2018_idioms, clippy::all)]
mod interface {
    include!(concat!(env!("OUT_DIR"), "/peers.echo.rs"));
}

/// As many connections as a load may have, started ahead. A pool that grows by need (the default)
/// may not notice that it has to when several connections come at once, and then one of them
/// waits until another ends.
const THREADS: usize = 256;

struct Handler;

impl interface::VarlinkInterface for Handler {
    fn echo(&self, call: &mut dyn interface::Call_Echo, text: String) -> varlink::Result<()> {
        call.reply(text)
    }
}

fn main() -> anyhow::Result<()> {
    match Mode::from_arguments()? {
        Mode::Serve => serve(),
        Mode::Drive(load) => drive_threads(&load, Client),
    }
}

fn serve() -> anyhow::Result<()> {
    let interface = interface::new(Box::new(Handler));
    let service = VarlinkService::new("", "echo", "0", "", vec![Box::new(interface)]);
    let config = ListenConfig {
        initial_worker_threads: THREADS,
        max_worker_threads: THREADS,
        ..ListenConfig::default()
    };
    let address = free_address()?;
    announce_when_reachable(address);
    Ok(varlink::listen(service, &format!("tcp:{address}"), &config)?)
}

struct Client;

impl BlockingConnect for Client {
    type Connection = Caller;

    fn connect(&self, address: SocketAddr) -> anyhow::Result<Caller> {
        let connection = Connection::with_address(&format!("tcp:{address}"))?;
        Ok(Caller { client: VarlinkClient::new(Arc::clone(&connection)), _connection: connection })
    }
}

struct Caller {
    client: VarlinkClient,
    _connection: Arc<RwLock<Connection>>,
}

impl BlockingEcho for Caller {
    fn echo(&mut self, text: &str) -> anyhow::Result<String> {
        Ok(self.client.echo(text.to_owned()).call()?.text)
    }
}
