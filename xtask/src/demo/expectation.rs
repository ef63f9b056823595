//! What each step must show in each model. Whatever else comes is a failed step.

use std::time::Duration;

use anyhow::{bail, ensure};

use crate::demo::steps::faults::{Aborted, Panicked};
use crate::demo::steps::idle::Idle;
use crate::demo::steps::late::Late;
use crate::demo::steps::load::Load;
use crate::demo::steps::plan::{Plan, TIMEOUT};
use crate::demo::steps::second_client::SecondClient;
use crate::demo::steps::stop::Stop;
use crate::model::Model;

/// -32603: the handler failed or panicked.
const INTERNAL_ERROR: i32 = -32603;

/// -32004: the last words of the process that ran the handler.
const CRASHED: i32 = -32004;

/// -32001: the handler did not return in time.
const DEADLINE_EXCEEDED: i32 = -32001;

#[derive(Clone, Copy)]
pub(super) struct Expectation {
    model: Model,
    workers: usize,
}

impl Expectation {
    pub(super) fn new(model: Model, plan: &Plan) -> Expectation {
        Expectation { model, workers: plan.workers }
    }

    /// How many of so many connections are served at the same time.
    pub(super) fn served(self, connections: usize) -> usize {
        match self.model {
            Model::Single => connections.min(1),
            Model::Prefork => connections.min(self.workers),
            Model::Thread | Model::Fork | Model::PreforkThread => connections,
        }
    }

    /// Processes of a server that nobody is connected to.
    pub(super) fn processes_at_rest(self) -> usize {
        match self.model {
            Model::Single | Model::Thread | Model::Fork => 1,
            Model::Prefork | Model::PreforkThread => 1 + self.workers,
        }
    }

    fn second_client_waits(self) -> bool {
        self.served(2) < 2
    }

    /// How long to give the second client. Who should be served at once is given more time than
    /// that takes, since a loaded machine is no failure.
    pub(super) fn time_for_second_client(self, plan: &Plan) -> Duration {
        if self.second_client_waits() { plan.second_client_waits } else { TIMEOUT }
    }

    pub(super) fn load(self, load: &Load) -> anyhow::Result<()> {
        for figures in &load.loads {
            let expected = self.served(figures.connections);
            ensure!(
                figures.served == expected,
                "{} of {} connections were served at the same time, expected {expected}",
                figures.served,
                figures.connections
            );
        }
        Ok(())
    }

    pub(super) fn second_client(self, found: &SecondClient) -> anyhow::Result<()> {
        match (self.second_client_waits(), found.waits) {
            (true, false) => bail!("the second client was served at once, expected to wait"),
            (false, true) => bail!(
                "the second client was not served within {} ms, expected to be served at once",
                found.given_ms
            ),
            _ => Ok(()),
        }
    }

    /// A panic takes down nothing, in every model.
    pub(super) fn panic(self, found: &Panicked) -> anyhow::Result<()> {
        let saw = &found.caller_saw;
        ensure!(
            found.code == Some(INTERNAL_ERROR),
            "the caller got {saw}, expected {INTERNAL_ERROR}"
        );
        ensure!(found.connection_goes_on, "the caller's connection did not go on");
        all_survive(found.survivors, found.bystanders)
    }

    pub(super) fn abort(self, found: &Aborted) -> anyhow::Result<()> {
        let server_survives = !matches!(self.model, Model::Single | Model::Thread);
        let saw = &found.caller_saw;
        ensure!(found.code == Some(CRASHED), "the caller got {saw}, expected {CRASHED}");
        let happened = if found.server_survives { "lived on" } else { "ended" };
        ensure!(
            found.server_survives == server_survives,
            "the server {happened}, expected the opposite"
        );
        let was = if server_survives { "no" } else { "a" };
        ensure!(
            server_survives == found.served_again_ms.is_some(),
            "{was} new client was served, expected the opposite"
        );
        match self.model {
            Model::Single | Model::Thread if found.survivors > 0 => {
                bail!("{} connections outlived their server", found.survivors)
            }
            Model::Fork | Model::Prefork => all_survive(found.survivors, found.bystanders),
            // The kernel decides which connections share the worker that aborts.
            Model::Single | Model::Thread | Model::PreforkThread => Ok(()),
        }
    }

    /// Everywhere the caller is told in time; only single has nothing else to serve with.
    pub(super) fn late(self, found: &Late) -> anyhow::Result<()> {
        let saw = &found.caller_saw;
        ensure!(
            found.code == Some(DEADLINE_EXCEEDED),
            "the caller got {saw}, expected {DEADLINE_EXCEEDED}"
        );
        let blocked = self.model == Model::Single;
        let was = if blocked { "was" } else { "was not" };
        ensure!(
            found.next_is_served_at_once != blocked,
            "a new client {was} served while the handler ran"
        );
        Ok(())
    }

    pub(super) fn idle(self, found: &Idle) -> anyhow::Result<()> {
        let connections = found.connections as u64;
        let expected = match self.model {
            Model::Single | Model::Prefork => (0, 0),
            Model::Thread | Model::PreforkThread => (0, connections),
            // Every process has a thread.
            Model::Fork => (connections, connections),
        };
        let grown_by = (found.processes.more(), found.threads.more());
        ensure!(
            grown_by == expected,
            "{connections} connections took {} more processes and {} more threads, \
             expected {} and {}",
            grown_by.0,
            grown_by.1,
            expected.0,
            expected.1
        );
        Ok(())
    }

    pub(super) fn stop(self, found: &Stop) -> anyhow::Result<()> {
        match found.status {
            Some(0) => Ok(()),
            Some(status) => bail!("the server ended with the status {status}"),
            None => bail!("the server was ended by a signal"),
        }
    }
}

fn all_survive(survivors: usize, bystanders: usize) -> anyhow::Result<()> {
    ensure!(
        survivors == bystanders,
        "{survivors} of {bystanders} other connections lived on, expected all"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::steps::idle::BeforeAndAfter;
    use crate::demo::steps::load::Figures;

    const WORKERS: usize = 5;

    /// Checks that exactly the models in `agreeing` expect what was found.
    fn check(what: &str, agreeing: &[Model], expect: impl Fn(Expectation) -> anyhow::Result<()>) {
        for model in Model::ALL {
            let expectation = Expectation { model, workers: WORKERS };
            let agrees = expect(expectation);
            assert_eq!(agrees.is_ok(), agreeing.contains(&model), "{model}: {what}: {agrees:?}");
        }
    }

    fn load(connections: usize, served: usize) -> Load {
        let figures =
            Figures { connections, served, calls_per_second: 1.0, p50_us: 1.0, p99_us: 1.0 };
        Load { loads: vec![figures] }
    }

    fn aborted(server_survives: bool, survivors: usize) -> Aborted {
        Aborted {
            code: Some(-32004),
            caller_saw: String::new(),
            bystanders: 4,
            survivors,
            server_survives,
            server_ended: None,
            served_again_ms: server_survives.then_some(1.0),
        }
    }

    fn idle(processes: u64, threads: u64) -> Idle {
        let more = |count| BeforeAndAfter { before: 3, after: 3 + count };
        Idle {
            connections: 10,
            processes: more(processes),
            threads: more(threads),
            pss_kib: None,
            pss_kib_per_connection: None,
        }
    }

    use Model::{Fork, Prefork, PreforkThread, Single, Thread};

    #[test]
    fn each_model_serves_as_many_connections_as_it_has_places() {
        for (connections, served, agreeing) in [
            (1, 1, &Model::ALL[..]),
            (2, 1, &[Single]),
            (2, 2, &[Thread, Fork, Prefork, PreforkThread]),
            (16, 5, &[Prefork]),
            (16, 16, &[Thread, Fork, PreforkThread]),
            (16, 0, &[]),
        ] {
            let what = format!("{served} of {connections} served");
            check(&what, agreeing, |model| model.load(&load(connections, served)));
        }
    }

    #[test]
    fn only_single_lets_a_second_client_wait() {
        for (waits, agreeing) in
            [(true, &[Single][..]), (false, &[Thread, Fork, Prefork, PreforkThread])]
        {
            let found = SecondClient { waits, given_ms: 1, first_reply_us: 1.0 };
            check("second client", agreeing, |model| model.second_client(&found));
        }
    }

    #[test]
    fn a_panic_takes_down_nothing() {
        for (code, connection_goes_on, survivors, agreeing) in [
            (Some(-32603), true, 4, &Model::ALL[..]),
            (Some(-32603), true, 3, &[]),
            (Some(-32603), false, 4, &[]),
            (Some(-32600), true, 4, &[]),
            (None, true, 4, &[]),
        ] {
            let found = Panicked {
                code,
                caller_saw: String::new(),
                connection_goes_on,
                bystanders: 4,
                survivors,
            };
            check("panic", agreeing, |model| model.panic(&found));
        }
    }

    #[test]
    fn an_abort_takes_down_its_process() {
        for (found, agreeing) in [
            (aborted(false, 0), &[Single, Thread][..]),
            (aborted(false, 1), &[]),
            (aborted(true, 4), &[Fork, Prefork, PreforkThread]),
            (aborted(true, 3), &[PreforkThread]),
        ] {
            check("abort", agreeing, |model| model.abort(&found));
        }
        let silent = Aborted { code: None, ..aborted(true, 4) };
        check("a caller that is told nothing", &[], |model| model.abort(&silent));
        let nobody_served_again = Aborted { served_again_ms: None, ..aborted(true, 4) };
        check("nobody served again", &[], |model| model.abort(&nobody_served_again));
    }

    #[test]
    fn a_late_handler_blocks_only_single() {
        for (code, next_is_served_at_once, agreeing) in [
            (Some(-32001), true, &[Thread, Fork, Prefork, PreforkThread][..]),
            (Some(-32001), false, &[Single]),
            (None, true, &[]),
        ] {
            let found = Late {
                code,
                caller_saw: String::new(),
                limit_ms: 100,
                told_after_ms: 100.0,
                next_is_served_at_once,
            };
            check("late", agreeing, |model| model.late(&found));
        }
    }

    #[test]
    fn an_idle_connection_costs_nothing_a_thread_or_a_process() {
        for (processes, threads, agreeing) in [
            (0, 0, &[Single, Prefork][..]),
            (0, 10, &[Thread, PreforkThread]),
            (10, 10, &[Fork]),
            (10, 0, &[]),
            (0, 9, &[]),
        ] {
            let what = format!("{processes} processes, {threads} threads");
            check(&what, agreeing, |model| model.idle(&idle(processes, threads)));
        }
    }

    #[test]
    fn a_stop_ends_with_status_0() {
        for (status, agreeing) in [(Some(0), &Model::ALL[..]), (Some(1), &[]), (None, &[])] {
            let found = Stop { status, millis: 1.0, connections: 1 };
            check("stop", agreeing, |model| model.stop(&found));
        }
    }
}
