//! How long and how often the demo measures.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// The whole demo ends within this time, whatever happens.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How long a call may take that nothing should hold up. Generous, since a loaded machine is no
/// failure of the server.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);

/// How many connections call at the same time.
pub(crate) const LOADS: [usize; 3] = [1, 2, 16];

pub(crate) struct Plan {
    pub(crate) cores: usize,
    /// Worker processes of the two prefork models.
    pub(crate) workers: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// How long a second client waits until we believe that it has to wait.
    pub(crate) second_client_waits: Duration,
    /// How long one call of `pi` should take.
    pub(crate) pi_call: Duration,
    /// Rounds of `pi`, of which the fastest counts.
    pub(crate) pi_rounds: usize,
    /// The params of `pi`, once the first model has found out how many terms take that long.
    pub(crate) pi_terms: OnceLock<u64>,
    /// Connections that are open beside the one that calls `panic` or `abort`.
    pub(crate) bystanders: usize,
    pub(crate) idle_connections: usize,
}

impl Plan {
    pub(crate) fn full() -> Plan {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Plan {
            cores,
            workers: 2 * cores + 1,
            warm_up: Duration::from_millis(100),
            window: Duration::from_millis(800),
            second_client_waits: Duration::from_millis(300),
            pi_call: Duration::from_millis(200),
            pi_rounds: 5,
            pi_terms: OnceLock::new(),
            bystanders: 8,
            idle_connections: 100,
        }
    }

    pub(crate) fn quick() -> Plan {
        Plan {
            warm_up: Duration::from_millis(50),
            window: Duration::from_millis(250),
            second_client_waits: Duration::from_millis(100),
            pi_call: Duration::from_millis(20),
            pi_rounds: 1,
            idle_connections: 20,
            ..Plan::full()
        }
    }
}
