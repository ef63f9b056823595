//! What the driver does to a server: how many connections, how many calls in flight.

use crate::settings::Settings;

/// What the ratio compares.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The median time of a call.
    Latency,
    /// So many calls in the median time of a round trip, a second. As robust as a median: a turn
    /// in which something else had the processor for a while counts as one in which it had not.
    RateOfRoundTrips {
        /// Calls in a round trip.
        depth: usize,
    },
    /// Calls in all, a second: where several connections share the time, or a server has things
    /// to do that no round trip waits for.
    Rate,
}

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
}
