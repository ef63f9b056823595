//! One model's way through all steps.

use std::env;
use std::process::Command;
use std::time::Instant;

use crate::demo::expectation::Expectation;
use crate::demo::report::{ModelReport, Steps};
use crate::demo::steps::plan::Plan;
use crate::demo::steps::step::Step;
use crate::demo::steps::{cores, faults, idle, late, load, second_client, session, stop};
use crate::launch::server_log::ServerLog;
use crate::launch::{self, Server};
use crate::model::Model;
use crate::progress::{Line, Progress};

pub(super) fn run(model: Model, plan: &Plan, progress: &Progress) -> ModelReport {
    let line = progress.line(model, Steps::COUNT);
    let mut run = ModelRun { model, plan, line: &line, log: ServerLog::default(), server: None };
    let steps = run.steps();
    let log = run.log.clone();
    drop(run);

    let report = ModelReport::new(model, steps, log.lines());
    let (passed, message) = report.outcome();
    line.finish(passed, message);
    report
}

struct ModelRun<'a> {
    model: Model,
    plan: &'a Plan,
    line: &'a Line,
    log: ServerLog,
    /// `None` where the last step ended it, or may have left it in a state of its own.
    server: Option<Server>,
}

impl ModelRun<'_> {
    fn steps(&mut self) -> Steps {
        let plan = self.plan;
        let line = self.line;
        let expected = Expectation::new(self.model, plan);
        // Bystanders leave a place for the one that calls, where places are few.
        let bystanders = expected.served(plan.bystanders + 1) - 1;

        let session =
            self.step("the seed's session", |server| session::measure(server), |_| Ok(()));
        let load = self.step(
            "calls a second",
            |server| load::measure(server, plan, &|what| line.say(what)),
            |found| expected.load(found),
        );
        let second_client = self.step(
            "a second client",
            |server| second_client::measure(server, expected.time_for_second_client(plan)),
            |found| expected.second_client(found),
        );
        let cores =
            self.step("pi on both cores", |server| cores::measure(server, plan), |_| Ok(()));
        let panic = self.step(
            "a handler that panics",
            |server| faults::panic(server, bystanders),
            |found| expected.panic(found),
        );
        let abort = self.step(
            "a handler that aborts",
            |server| faults::abort(server, bystanders),
            |found| expected.abort(found),
        );
        let late = self.step(
            "a handler that takes too long",
            |server| late::measure(server),
            |found| expected.late(found),
        );

        // A server that has not been used yet, so that only the connections make the difference.
        self.server = None;
        let mut held = Vec::new();
        let idle = self.step(
            "idle connections",
            |server| {
                let connections = expected.served(plan.idle_connections);
                idle::measure(server, connections, expected.processes_at_rest(), &mut held)
            },
            |found| expected.idle(found),
        );
        let stop = self.step(
            "stop",
            |server| stop::measure(server, held.len()),
            |found| expected.stop(found),
        );
        Steps { session, load, second_client, cores, panic, abort, late, idle, stop }
    }

    /// Measures with a server that runs. After a step that failed, or that cost the server its
    /// life, the next one gets a new server.
    fn step<Figures>(
        &mut self,
        name: &str,
        measure: impl FnOnce(&mut Server) -> anyhow::Result<Figures>,
        expectation: impl FnOnce(&Figures) -> anyhow::Result<()>,
    ) -> Step<Figures> {
        self.line.next(name);
        let begun = Instant::now();
        let running = self.server.take().filter(Server::is_running);
        let started = match running {
            Some(server) => Ok(server),
            None => self.start_server(),
        };
        let measured = started.and_then(|mut server| {
            let figures = measure(&mut server)?;
            self.server = Some(server);
            Ok(figures)
        });
        Step::new(measured, expectation, begun.elapsed())
    }

    fn start_server(&self) -> anyhow::Result<Server> {
        let mut command = launch::serve(Command::new(env::current_exe()?), self.model);
        command.args(["--fault-methods", "--log", "warn"]);
        if self.model.has_workers() {
            command.args(["--workers", &self.plan.workers.to_string()]);
        }
        self.log.attach(&mut command)?;
        Server::start_command(command)
    }
}
