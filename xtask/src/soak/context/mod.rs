//! What all clients of one server and all injected faults share.
//!
//! Here belongs what decides and counts: the `plan`, the random numbers, the expected failures, the
//! results. What is done to the server belongs into `actors`.

pub(super) mod expected_failure;
pub(super) mod plan;
pub(super) mod results;
pub(super) mod rng;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rpc_client::{Address, CallError, Client};
use rpc_proto::stats::{STATS, Stats};

use crate::model::Model;
use crate::soak::context::expected_failure::{ExpectedFailure, InjectedFaults, Since};
use crate::soak::context::plan::TIMEOUT;
use crate::soak::context::results::Results;
use crate::soak::context::rng::SeededRng;

/// From one look at something that no event tells to the next.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

pub(super) struct Context<'a> {
    pub(super) model: Model,
    pub(super) address: &'a Address,
    /// The process id of the server.
    pub(super) root: i32,
    pub(super) seed: u64,
    pub(super) end: Instant,
    pub(super) faults: &'a InjectedFaults,
    pub(super) results: &'a Results,
    /// Only who holds this asks for `rpc.stats`, and so finds the own call among those that are being
    /// handled.
    pub(super) asking: &'a Mutex<()>,
}

impl Context<'_> {
    /// Whether there is more to do.
    pub(super) fn goes_on(&self) -> bool {
        !self.results.has_failed() && Instant::now() < self.end
    }

    /// Does nothing for some time, or until the load ends.
    pub(super) fn pause(&self, time: Duration) {
        let left = self.end.saturating_duration_since(Instant::now());
        self.results.await_failure(time.min(left));
    }

    pub(super) fn rng(&self, client: &str) -> SeededRng {
        SeededRng::new(self.seed, &format!("{} {client}", self.model))
    }

    pub(super) fn since_now(&self) -> Since {
        Since::now(self.faults)
    }

    /// Why this failure is as it should be; see [`ExpectedFailure::of`].
    pub(super) fn expected_failure(
        &self,
        error: &CallError,
        since: Since,
        quiet: Duration,
    ) -> Option<ExpectedFailure> {
        ExpectedFailure::of(self.model, self.faults, error, since, quiet)
    }

    /// A connection of a client that behaves.
    pub(super) fn connect(&self) -> Result<Client, CallError> {
        Client::builder().connect_timeout(TIMEOUT).call_timeout(TIMEOUT).connect(self.address)
    }

    /// A call of `who` failed: the failure is counted if it is an expected one, or else ends the run.
    pub(super) fn count_failure(
        &self,
        who: &str,
        error: &CallError,
        since: Since,
        quiet: Duration,
    ) {
        match self.expected_failure(error, since, quiet) {
            Some(ExpectedFailure::Refused) => self.results.refused.add(1),
            Some(ExpectedFailure::Cut) => self.results.cut.add(1),
            Some(ExpectedFailure::Slow) => self.results.slow.add(1),
            None => self.results.fail(format!(
                "{who}: nothing explains this failure, {quiet:?} after the last word on a connection \
                 {:?} old: {error} ({error:?}, {})",
                since.age(),
                error.executed()
            )),
        }
    }

    /// What the server tells about itself, and the process that tells it. Tries again while it is
    /// refused or cut.
    pub(super) fn ask(&self) -> anyhow::Result<Stats> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let asked = self.connect().and_then(|mut client| self.ask_on(&mut client));
            match asked {
                Ok((stats, _)) => return Ok(stats),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("the server does not tell what it is doing");
                }
                Err(_) => self.results.await_failure(BETWEEN_LOOKS),
            }
        }
    }

    /// What the server tells about itself on this connection, and which process serves that.
    pub(super) fn ask_on(&self, client: &mut Client) -> Result<(Stats, Option<i32>), CallError> {
        let _only_one = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = client.call(STATS, &())?;
        let asks = |method: &Option<String>| method.as_deref() == Some(STATS.name());
        let mut asking = stats.handling.iter().filter(|call| asks(&call.method));
        let pid = asking.next().map(|call| call.pid).filter(|_| asking.next().is_none());
        Ok((stats, pid))
    }

    /// Waits until `holds`, which no event tells.
    pub(super) fn await_that(
        &self,
        what: &str,
        holds: impl Fn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        while !holds()? {
            ensure!(Instant::now() < deadline, "{what}: not within {TIMEOUT:?}");
            self.results.await_failure(BETWEEN_LOOKS);
        }
        Ok(())
    }
}
