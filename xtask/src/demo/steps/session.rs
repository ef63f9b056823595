//! The seed's session: ten pings, each answered with a pong of the same text.

use anyhow::ensure;
use serde::Serialize;

use crate::demo::steps::client::connect;
use crate::launch::Server;

const PINGS: usize = 10;

#[derive(Serialize)]
pub(crate) struct Session {
    pub(crate) exchanges: Vec<Exchange>,
}

#[derive(Serialize)]
pub(crate) struct Exchange {
    sent: String,
    kind: String,
    result: String,
}

pub(crate) fn measure(server: &Server) -> anyhow::Result<Session> {
    let mut client = connect(server)?;
    let mut exchanges = Vec::new();
    for number in 0..PINGS {
        let sent = format!("ireader {number}");
        let reply = client.call_raw("ping", &sent)?;
        let result: String = serde_json::from_str(reply.result.get())?;
        ensure!(
            reply.kind == "pong" && result == sent,
            "ping {sent:?} was answered {} {}",
            reply.kind,
            reply.result
        );
        exchanges.push(Exchange { sent, kind: reply.kind, result });
    }
    Ok(Session { exchanges })
}

impl Session {
    /// The first exchange and the last.
    pub(crate) fn summary(&self) -> String {
        let show = |exchange: &Exchange| {
            let Exchange { sent, kind, result } = exchange;
            format!("ping {sent:?} → {kind} {result:?}")
        };
        let ends = [self.exchanges.first(), self.exchanges.last()];
        ends.into_iter().flatten().map(show).collect::<Vec<_>>().join(" … ")
    }
}
