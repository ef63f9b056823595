//! One model's server, and everything that is done to it.

use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::Options;
use crate::launch::server_log::ServerLog;
use crate::launch::{self, Server};
use crate::model::Model;
use crate::proc;
use crate::progress::Line;
use crate::soak::actors::{bad, faults, flood, good, leak, pipelined};
use crate::soak::at_rest;
use crate::soak::context::Context;
use crate::soak::context::expected_failure::InjectedFaults;
use crate::soak::context::plan;
use crate::soak::context::results::Results;
use crate::soak::figures;

/// How often the progress shows new figures.
const SAY_EVERY: Duration = Duration::from_millis(200);

/// A client, or what injects faults: its name and what it does until the load ends.
type Actor = (&'static str, fn(&Context<'_>, &str));

pub(super) struct ModelRun<'a> {
    pub(super) model: Model,
    pub(super) options: &'a Options,
    pub(super) seed: u64,
    /// How long the load lasts, with its warm-up.
    pub(super) load: Duration,
    pub(super) line: &'a Line,
    pub(super) log: ServerLog,
}

impl ModelRun<'_> {
    pub(super) const STEPS: u64 = 5;

    /// From the start of the server to its stop; returns the line of figures. Blocks for the load and
    /// for as long as the server then takes to come to rest.
    pub(super) fn run(&self) -> anyhow::Result<String> {
        let program = match &self.options.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()?,
        };
        let mut command = launch::serve(Command::new(program), self.model);
        command.args(plan::arguments(self.model)).envs(plan::MEMORY);
        self.log.attach(&mut command)?;
        let mut server = Server::start_command(command)?;
        let (faults, results, asking) =
            (InjectedFaults::default(), Results::default(), Mutex::default());
        let address = server.address().clone();
        let mut context = Context {
            model: self.model,
            address: &address,
            root: server.pid(),
            seed: self.seed,
            end: Instant::now(),
            faults: &faults,
            results: &results,
            asking: &asking,
        };

        // Memory, buffers and threads that the first ones need are no growth.
        self.line.next("warm-up");
        let warm_up = self.load / 6;
        self.act(&mut context, warm_up, &self.clients());
        check(&results, &server)?;
        self.line.next("waiting until the connections of the warm-up are gone");
        let before = at_rest::wait(&context, None)?;
        let before = at_rest::without_idle_threads(self.model, before);

        self.line.next("good and bad clients, kills, reloads");
        let mut actors = self.clients();
        actors.extend(self.faults());
        self.act(&mut context, self.load - warm_up, &actors);
        check(&results, &server)?;
        self.line.next("waiting until everything is as before");
        let after = at_rest::wait(&context, Some(&before))?;
        check_deaths(self.model, &results)?;
        let (slow, most) = (results.slow.get(), plan::slow_calls(results.good.get()));
        ensure!(
            slow <= most,
            "the server gave up {slow} good calls, at most {most} are an accident"
        );
        if self.model.has_workers() && results.reloads.get() > 0 {
            let workers = context.ask()?.workers;
            let newest = workers.iter().map(|worker| worker.generation).max();
            ensure!(newest > Some(1), "no reload has made a new generation");
        }

        self.line.next("stop");
        stop(&mut server)?;
        Ok(figures::line(self.model, &results, &before, &after))
    }

    fn clients(&self) -> Vec<Actor> {
        let mut clients: Vec<Actor> = vec![
            ("lasting 1", good::lasting),
            ("lasting 2", good::lasting),
            ("churning 1", good::churning),
            ("churning 2", good::churning),
            ("pipelined", pipelined::pipelined),
            ("pooled", good::pooled),
            ("flood", flood::flood_repeatedly),
            ("bad 1", bad::misbehave),
        ];
        if self.model != Model::Single {
            clients.extend([("bad 2", bad::misbehave as _), ("bad 3", bad::misbehave as _)]);
        }
        clients
    }

    fn faults(&self) -> Vec<Actor> {
        let mut actors: Vec<Actor> = Vec::new();
        if matches!(self.model, Model::Fork | Model::Prefork | Model::PreforkThread) {
            actors.push(("death", faults::kill_and_crash));
        }
        if self.model.has_workers() {
            actors.push(("reload", faults::reload));
        }
        if self.options.leak {
            actors.push(("leak", leak::leak));
        }
        actors
    }

    /// Lets all of them loose for `time`.
    fn act(&self, context: &mut Context<'_>, time: Duration, actors: &[Actor]) {
        context.end = Instant::now() + time;
        let context = &*context;
        thread::scope(|scope| {
            for (name, act) in actors {
                scope.spawn(move || act(context, name));
            }
            while context.goes_on() {
                context.pause(SAY_EVERY);
                self.line.say(&figures::so_far(context.results));
            }
        });
    }
}

fn check(results: &Results, server: &Server) -> anyhow::Result<()> {
    let failures = results.failures();
    let also = if server.is_running() { "" } else { "the server has ended; " };
    ensure!(failures.is_empty(), "{also}{}", failures.join("; "));
    ensure!(server.is_running(), "the server has ended");
    ensure!(results.good.get() > 0, "not one call was answered");
    Ok(())
}

/// A process that dies takes its own connections along and no other.
fn check_deaths(model: Model, results: &Results) -> anyhow::Result<()> {
    let deaths =
        results.kills.get() + if model == Model::PreforkThread { results.crashes.get() } else { 0 };
    let most = deaths * plan::connections_a_process(model);
    let cut = results.cut.get();
    ensure!(cut <= most, "{cut} connections were cut by {deaths} deaths, {most} would be the most");
    Ok(())
}

/// SIGTERM ends it with all its processes.
fn stop(server: &mut Server) -> anyhow::Result<()> {
    let tree = proc::tree(server.pid());
    let status = server.stop(plan::GRACE)?;
    ensure!(status.code() == Some(0), "it ended with {status} after SIGTERM");
    let left: Vec<i32> = tree.into_iter().filter(|&pid| proc::is_alive(pid)).collect();
    ensure!(left.is_empty(), "after its end the processes {left:?} are left");
    Ok(())
}
