//! What the driver does to a server: how many connections, how many calls in flight.

use xtask::launch::Server;

use crate::Settings;
use crate::contest::{Measure, Side};
use crate::driver::{Churn, Connection};
use crate::exchange::Exchange;

/// What the driver does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) payload: usize,
    pub(crate) churn: bool,
}

impl Load {
    /// One connection, one call in flight, the payload of this run.
    pub(crate) fn of(settings: &Settings) -> Load {
        Load { connections: 1, depth: 1, payload: settings.payload, churn: false }
    }

    pub(crate) fn connections(self, connections: usize) -> Load {
        Load { connections, ..self }
    }

    pub(crate) fn depth(self, depth: usize) -> Load {
        Load { depth, ..self }
    }

    pub(crate) fn payload(self, payload: usize) -> Load {
        Load { payload, ..self }
    }

    pub(crate) fn churn(self) -> Load {
        Load { churn: true, ..self }
    }

    /// Enough workers that no steady connection waits for another to end.
    pub(crate) fn workers(self, settings: &Settings) -> usize {
        settings.workers.max(self.connections)
    }

    pub(crate) fn measure(self) -> Measure {
        match self {
            Load { churn: true, .. } => Measure::Rate,
            Load { connections: 1, depth: 1, .. } => Measure::Latency,
            Load { connections: 1, depth, .. } => Measure::RateOfRoundTrips { depth },
            _ => Measure::Rate,
        }
    }

    pub(crate) fn side(
        self,
        name: &str,
        server: Server,
        exchange: &Exchange,
    ) -> anyhow::Result<Side> {
        let address = server.socket_address()?;
        Ok(if self.churn {
            let driver = Churn::new(address, exchange, self.connections)?;
            Side::new(name, server, driver)
        } else {
            let driver = Connection::open_all(address, exchange, self.connections, self.depth)?;
            Side::new(name, server, driver)
        })
    }
}
