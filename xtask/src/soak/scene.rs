//! What everybody shares who does something to one server at the same time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rpc_client::{Address, CallError, Client};
use rpc_proto::stats::{STATS, Stats};

use super::dice::Dice;
use super::excuse::{self, Deeds, Excuse, Since};
use super::plan::PATIENCE;
use super::tally::Tally;
use crate::model::Model;

/// From one look at something that no event tells to the next.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

pub(super) struct Scene<'a> {
    pub(super) model: Model,
    pub(super) address: &'a Address,
    /// The process id of the server.
    pub(super) root: i32,
    pub(super) seed: u64,
    pub(super) end: Instant,
    pub(super) deeds: &'a Deeds,
    pub(super) tally: &'a Tally,
    /// Nobody else asks for `rpc.stats`, so whoever holds this knows its own call among those that
    /// are being handled.
    pub(super) asking: &'a Mutex<()>,
}

impl Scene<'_> {
    /// Whether there is more to do.
    pub(super) fn goes_on(&self) -> bool {
        !self.tally.has_failed() && Instant::now() < self.end
    }

    /// Does nothing for some time, or until the load ends.
    pub(super) fn pause(&self, time: Duration) {
        let left = self.end.saturating_duration_since(Instant::now());
        self.tally.await_failure(time.min(left));
    }

    pub(super) fn dice(&self, roller: &str) -> Dice {
        Dice::new(self.seed, &format!("{} {roller}", self.model))
    }

    pub(super) fn since_now(&self) -> Since {
        Since::now(self.deeds)
    }

    /// A connection of a client that behaves.
    pub(super) fn connect(&self) -> Result<Client, CallError> {
        Client::builder().connect_timeout(PATIENCE).call_timeout(PATIENCE).connect(self.address)
    }

    /// A call of `who` failed: it is counted if that is as it should be, or else ends the run.
    pub(super) fn judge(&self, who: &str, error: &CallError, since: Since, quiet: Duration) {
        match excuse::find(self.model, self.deeds, error, since, quiet) {
            Some(Excuse::Refused) => self.tally.refused.add(1),
            Some(Excuse::Cut) => self.tally.cut.add(1),
            Some(Excuse::Slow) => self.tally.slow.add(1),
            None => self.tally.fail(format!(
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
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = self.connect().and_then(|mut client| self.ask_on(&mut client));
            match asked {
                Ok((stats, _)) => return Ok(stats),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("the server does not tell what it is doing");
                }
                Err(_) => self.tally.await_failure(BETWEEN_LOOKS),
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
        let deadline = Instant::now() + PATIENCE;
        while !holds()? {
            ensure!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            self.tally.await_failure(BETWEEN_LOOKS);
        }
        Ok(())
    }
}
