//! What the driver does to a server: how many connections, how many calls in flight.

use super::Settings;
use super::contest::{Measure, Side};
use super::driver::{Churn, Steady};
use super::exchange::Exchange;
use super::server::Running;

/// What the driver does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) connections: usize,
    pub(super) depth: usize,
    pub(super) payload: usize,
    pub(super) churn: bool,
}

impl Load {
    /// One connection, one call in flight, the payload of this run.
    pub(super) fn of(settings: &Settings) -> Load {
        Load { connections: 1, depth: 1, payload: settings.payload, churn: false }
    }

    pub(super) fn connections(self, connections: usize) -> Load {
        Load { connections, ..self }
    }

    pub(super) fn depth(self, depth: usize) -> Load {
        Load { depth, ..self }
    }

    pub(super) fn payload(self, payload: usize) -> Load {
        Load { payload, ..self }
    }

    pub(super) fn churn(self) -> Load {
        Load { churn: true, ..self }
    }

    /// Enough workers that no steady connection waits for another to end.
    pub(super) fn workers(self, settings: &Settings) -> usize {
        settings.workers.max(self.connections)
    }

    pub(super) fn measure(self) -> Measure {
        match self {
            Load { churn: true, .. } => Measure::Rate,
            Load { connections: 1, depth: 1, .. } => Measure::Latency,
            Load { connections: 1, depth, .. } => Measure::RateOfRoundTrips { depth },
            _ => Measure::Rate,
        }
    }

    pub(super) fn side(
        self,
        name: &str,
        server: Running,
        exchange: &Exchange,
    ) -> anyhow::Result<Side> {
        let address = server.address()?;
        Ok(if self.churn {
            let driver = Churn::new(address, exchange, self.connections)?;
            Side::new(name, server, driver)
        } else {
            let driver = Steady::open(address, exchange, self.connections, self.depth)?;
            Side::new(name, server, driver)
        })
    }
}
