//! Echo with tarpc: JSON in length-prefixed frames over TCP.
//!
//! The server is shaped like tarpc's own example service: a task a connection and a task a call.
//! TCP_NODELAY is set on both sides, which tarpc does not do by itself: with several calls in
//! flight, Nagle's algorithm would make the last of them wait 40 ms for an acknowledgement.

use std::net::SocketAddr;

use futures::prelude::*;
use peer_load::{Connect, Mode, announce, drive_tasks};
use tarpc::server::BaseChannel;
use tarpc::server::incoming::{Incoming as _, spawn_incoming};
use tarpc::tokio_serde::formats::Json;
use tarpc::{client, context, serde_transport};

#[tarpc::service]
trait Echo {
    /// Returns its text.
    async fn echo(text: String) -> String;
}

#[derive(Clone)]
struct Server;

impl Echo for Server {
    async fn echo(self, _: context::Context, text: String) -> String {
        text
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
    let mut listener = serde_transport::tcp::listen("127.0.0.1:0", Json::default).await?;
    listener.config_mut().max_frame_length(usize::MAX);
    announce(listener.local_addr())?;
    let channels = listener
        .filter_map(|transport| future::ready(transport.ok()))
        .inspect(|transport| drop(transport.get_ref().set_nodelay(true)))
        .map(BaseChannel::with_defaults);
    spawn_incoming(channels.execute(Server.serve())).await;
    Ok(())
}

#[derive(Clone)]
struct Client;

impl Connect for Client {
    type Connection = EchoClient;

    async fn connect(&self, address: SocketAddr) -> anyhow::Result<EchoClient> {
        let mut connecting = serde_transport::tcp::connect(address, Json::default);
        connecting.config_mut().max_frame_length(usize::MAX);
        let transport = connecting.await?;
        transport.get_ref().set_nodelay(true)?;
        Ok(EchoClient::new(client::Config::default(), transport).spawn())
    }
}

impl peer_load::Echo for EchoClient {
    async fn echo(&mut self, text: String) -> anyhow::Result<String> {
        Ok(EchoClient::echo(self, context::current(), text).await?)
    }
}
