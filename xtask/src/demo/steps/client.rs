//! Clients of the demo's servers.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rpc_client::{CallError, Client};

use crate::demo::steps::plan::TIMEOUT;
use crate::launch::Server;
use crate::serve::methods::PING;

/// A new connection, whose calls may take as long as a loaded machine needs.
pub(crate) fn connect(server: &Server) -> anyhow::Result<Client> {
    connect_with(server, TIMEOUT)
}

/// A new connection, whose calls may take `call_timeout`.
pub(crate) fn connect_with(server: &Server, call_timeout: Duration) -> anyhow::Result<Client> {
    let builder = Client::builder().connect_timeout(TIMEOUT).call_timeout(call_timeout);
    Ok(builder.connect(server.address())?)
}

/// New connections that are all being served at the same time: each has had a reply.
pub(crate) fn connect_served(server: &Server, count: usize) -> anyhow::Result<Vec<Client>> {
    let clients = (1..=count).map(|number| {
        let mut client = connect(server)?;
        ping(&mut client)
            .with_context(|| format!("connection {number} of {count} is not served"))?;
        Ok(client)
    });
    clients.collect()
}

/// One ping whose echo is the same.
pub(crate) fn ping(client: &mut Client) -> anyhow::Result<()> {
    let sent = "ireader 0".to_owned();
    let echo = client.call(PING, &sent)?;
    ensure!(echo == sent, "sent {sent:?} and got {echo:?} back");
    Ok(())
}

/// Whether a new client has a reply within `time`.
pub(crate) fn is_served_within(server: &Server, time: Duration) -> anyhow::Result<bool> {
    match connect_with(server, time)?.call(PING, &"ireader 0".to_owned()) {
        Err(CallError::TimedOut { .. }) => Ok(false),
        reply => Ok(reply.map(|_| true)?),
    }
}

/// The code of the error that the caller was told, if it was one.
pub(crate) fn code_of(reply: &Result<(), CallError>) -> Option<i32> {
    reply.as_ref().err().and_then(CallError::rpc_error).map(|error| error.code)
}

/// What the caller saw of its call, for people.
pub(crate) fn describe(reply: Result<(), CallError>) -> String {
    match reply {
        Ok(()) => "a result".to_owned(),
        Err(CallError::Rpc(error)) => format!("error {}: {}", error.code, error.message),
        Err(CallError::Closed(_)) => "its connection closed".to_owned(),
        Err(error) => error.to_string(),
    }
}
