//! One model's server, and everything that is done to it.

use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::Options;
use super::excuse::Deeds;
use super::figures::Figures;
use super::rest;
use super::scene::Scene;
use super::tally::Tally;
use super::{bad, chaos, flood, good, leak, pipelined, plan};
use crate::launch::{self, Server};
use crate::model::Model;
use crate::proc;
use crate::progress::Line;
use crate::server_log::ServerLog;

/// How often the progress shows new figures.
const SAY_EVERY: Duration = Duration::from_millis(200);

type Actor = (&'static str, fn(&Scene<'_>, &str));

pub(super) struct Stage<'a> {
    pub(super) model: Model,
    pub(super) options: &'a Options,
    pub(super) seed: u64,
    /// How long the load lasts, with its warm-up.
    pub(super) load: Duration,
    pub(super) line: &'a Line,
    pub(super) log: ServerLog,
}

impl Stage<'_> {
    pub(super) fn play(&self) -> anyhow::Result<Figures> {
        let program = match &self.options.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()?,
        };
        let mut command = launch::serve(Command::new(program), self.model);
        command.args(plan::arguments(self.model)).envs(plan::MEMORY);
        self.log.attach(&mut command)?;
        let mut server = Server::start_command(command)?;
        let (deeds, tally, asking) = (Deeds::default(), Tally::default(), Mutex::default());
        let address = server.address().clone();
        let mut scene = Scene {
            model: self.model,
            address: &address,
            root: server.pid(),
            seed: self.seed,
            end: Instant::now(),
            deeds: &deeds,
            tally: &tally,
            asking: &asking,
        };

        // Memory, buffers and threads that the first ones need are no growth.
        self.line.next("warm-up");
        let warm_up = self.load / 6;
        self.act(&mut scene, warm_up, &self.clients());
        check(&tally, &server)?;
        self.line.next("waiting until the connections of the warm-up are gone");
        let before = rest::wait(&scene, None)?;
        let before = rest::without_idle_threads(self.model, before);

        self.line.next("good and bad clients, kills, reloads");
        let mut actors = self.clients();
        actors.extend(self.enemies());
        self.act(&mut scene, self.load - warm_up, &actors);
        check(&tally, &server)?;
        self.line.next("waiting until everything is as before");
        let after = rest::wait(&scene, Some(&before))?;
        check_deaths(self.model, &tally)?;
        let (slow, most) = (tally.slow.get(), plan::slow_calls(tally.good.get()));
        ensure!(
            slow <= most,
            "the server gave up {slow} good calls, at most {most} are an accident"
        );
        if self.model.has_workers() && tally.reloads.get() > 0 {
            let workers = scene.ask()?.workers;
            let newest = workers.iter().map(|worker| worker.generation).max();
            ensure!(newest > Some(1), "no reload has made a new generation");
        }

        self.line.next("stop");
        stop(&mut server)?;
        Ok(Figures::new(self.model, &tally, before, after))
    }

    fn clients(&self) -> Vec<Actor> {
        let mut clients: Vec<Actor> = vec![
            ("lasting 1", good::lasting),
            ("lasting 2", good::lasting),
            ("churning 1", good::churning),
            ("churning 2", good::churning),
            ("pipelined", pipelined::pipelined),
            ("pooled", good::pooled),
            ("flood", flood::flood_again_and_again),
            ("bad 1", bad::misbehave),
        ];
        if self.model != Model::Single {
            clients.extend([("bad 2", bad::misbehave as _), ("bad 3", bad::misbehave as _)]);
        }
        clients
    }

    fn enemies(&self) -> Vec<Actor> {
        let mut enemies: Vec<Actor> = Vec::new();
        if matches!(self.model, Model::Fork | Model::Prefork | Model::PreforkThread) {
            enemies.push(("death", chaos::take_lives));
        }
        if self.model.has_workers() {
            enemies.push(("reload", chaos::reload));
        }
        if self.options.leak {
            enemies.push(("leak", leak::leak));
        }
        enemies
    }

    /// Lets all of them loose for `time`.
    fn act(&self, scene: &mut Scene<'_>, time: Duration, actors: &[Actor]) {
        scene.end = Instant::now() + time;
        let scene = &*scene;
        thread::scope(|scope| {
            for (name, act) in actors {
                scope.spawn(move || act(scene, name));
            }
            while scene.goes_on() {
                scene.pause(SAY_EVERY);
                self.line.say(&Figures::so_far(scene.tally));
            }
        });
    }
}

fn check(tally: &Tally, server: &Server) -> anyhow::Result<()> {
    let failures = tally.failures();
    let also = if server.is_running() { "" } else { "the server has ended; " };
    ensure!(failures.is_empty(), "{also}{}", failures.join("; "));
    ensure!(server.is_running(), "the server has ended");
    ensure!(tally.good.get() > 0, "not one call was answered");
    Ok(())
}

/// A process that dies takes its own connections along and no other.
fn check_deaths(model: Model, tally: &Tally) -> anyhow::Result<()> {
    let deaths =
        tally.kills.get() + if model == Model::PreforkThread { tally.crashes.get() } else { 0 };
    let most = deaths * plan::connections_a_process(model);
    let cut = tally.cut.get();
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

impl Stage<'_> {
    /// What is said of a run that failed: the figures of what went well do not matter then.
    pub(super) fn context<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.with_context(|| format!("{}, --seed {}", self.model, self.seed))
    }

    pub(super) const STEPS: u64 = 5;
}
