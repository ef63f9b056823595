//! Echo with tonic: Protocol Buffers (prost) over HTTP/2, with its defaults.
//!
//! The client is one channel, whose clones share a connection.

use std::net::SocketAddr;

use peer_load::{Connect, Mode, announce, drive_tasks};
use service::echo_client::EchoClient;
use service::echo_server::{Echo, EchoServer};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

#[allow(missing_docs)]
mod service {
    include!(concat!(env!("OUT_DIR"), "/peers.Echo.rs"));
}

/// What is sent, and what comes back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Text {
    /// The text itself.
    #[prost(string, tag = "1")]
    pub text: String,
}

struct Handler;

#[tonic::async_trait]
impl Echo for Handler {
    async fn echo(&self, request: Request<Text>) -> Result<Response<Text>, Status> {
        Ok(Response::new(request.into_inner()))
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
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    // What `Server::serve` does by itself, but it does not say which port it got.
    let incoming = incoming.with_nodelay(Some(true));
    announce(incoming.local_addr()?)?;
    let echo = EchoServer::new(Handler).max_decoding_message_size(usize::MAX);
    let server = Server::builder().add_service(echo);
    Ok(server.serve_with_incoming(incoming).await?)
}

#[derive(Clone)]
struct Client;

impl Connect for Client {
    type Connection = EchoClient<Channel>;

    async fn connect(&self, address: SocketAddr) -> anyhow::Result<EchoClient<Channel>> {
        let client = EchoClient::connect(format!("http://{address}")).await?;
        Ok(client.max_decoding_message_size(usize::MAX))
    }
}

impl peer_load::Echo for EchoClient<Channel> {
    async fn echo(&mut self, text: String) -> anyhow::Result<String> {
        Ok(EchoClient::echo(self, Text { text }).await?.into_inner().text)
    }
}
