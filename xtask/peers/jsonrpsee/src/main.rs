//! Echo with jsonrpsee: JSON-RPC 2.0 over WebSocket.
//!
//! WebSocket and not HTTP, since only there one connection carries several calls at a time. The
//! limits on calls and connections are raised, where the defaults (100) would refuse a load.

use std::net::SocketAddr;
use std::sync::Arc;

use jsonrpsee::core::RpcResult;
use jsonrpsee::proc_macros::rpc;
use jsonrpsee::server::{Server, ServerConfig};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use peer_load::{Connect, Mode, announce, drive_tasks};

const LIMIT: u32 = 100_000;

#[rpc(server, client)]
trait Echo {
    /// Returns its text.
    #[method(name = "echo")]
    fn echo(&self, text: String) -> RpcResult<String>;
}

struct Handler;

impl EchoServer for Handler {
    fn echo(&self, text: String) -> RpcResult<String> {
        Ok(text)
    }
}

fn main() -> anyhow::Result<()> {
    match Mode::from_arguments()? {
        Mode::Serve => serve(),
        Mode::Drive(load) => drive_tasks(&load, Client),
    }
}

#[tokio::main]
async fn serve() -> anyhow::Result<()> {
    let config = ServerConfig::builder().max_connections(LIMIT).build();
    let server = Server::builder().set_config(config);
    let server = server.build("127.0.0.1:0").await?;
    let address = server.local_addr()?;
    let handle = server.start(Handler.into_rpc());
    announce(address)?;
    handle.stopped().await;
    Ok(())
}

#[derive(Clone)]
struct Client;

impl Connect for Client {
    type Connection = Connection;

    async fn connect(&self, address: SocketAddr) -> anyhow::Result<Connection> {
        let client = WsClientBuilder::new()
            .max_concurrent_requests(LIMIT as usize)
            .build(format!("ws://{address}"))
            .await?;
        Ok(Connection(Arc::new(client)))
    }
}

#[derive(Clone)]
struct Connection(Arc<WsClient>);

impl peer_load::Echo for Connection {
    async fn echo(&mut self, text: String) -> anyhow::Result<String> {
        Ok(EchoClient::echo(&*self.0, text).await?)
    }
}
