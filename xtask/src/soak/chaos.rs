//! Kills, crashes, reloads, more workers and fewer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_client::{CallError, Client, ErrorCode, Executed};

use super::dice::Dice;
use super::excuse;
use super::plan;
use super::scene::Scene;
use crate::methods::{ABORT, OVERFLOW, RAISE};
use crate::model::Model;
use crate::proc;

/// Deaths of children and workers, as many as are replaced without a long delay.
pub(super) fn take_lives(scene: &Scene<'_>, name: &str) {
    let load = scene.end.saturating_duration_since(Instant::now());
    let mut dice = scene.dice(name);
    let mut number = 0;
    while scene.goes_on() {
        // Both, in short runs too.
        let done =
            if number % 2 == 0 { kill_one(scene, &mut dice) } else { crash_one(scene, name) };
        if let Err(error) = done {
            scene.tally.fail(format!("{name}: {error:#}"));
        }
        number += 1;
        scene.pause(plan::time_between_deaths(scene.model, load));
    }
}

/// Whoever is served by a process that is killed, or comes until it is gone, may be cut.
fn kill_one(scene: &Scene<'_>, dice: &mut Dice) -> anyhow::Result<()> {
    let _span = scene.deeds.deaths.begin();
    let children = proc::children(scene.root);
    if children.is_empty() {
        return Ok(());
    }
    let victim = dice.choose(&children);
    if !proc::is_alive(victim) {
        return Ok(());
    }
    match kill(Pid::from_raw(victim), Signal::SIGKILL) {
        Ok(()) => scene.tally.kills.add(1),
        Err(Errno::ESRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    await_end(scene, victim)
}

/// A handler crashes. Its caller is told, and the callers whose handlers run beside it.
fn crash_one(scene: &Scene<'_>, name: &str) -> anyhow::Result<()> {
    let since = scene.since_now();
    let begun = Instant::now();
    let mut client = scene.connect()?;
    let pid = match scene.ask_on(&mut client) {
        Ok((_, Some(pid))) => pid,
        Ok((_, None)) => bail!("the server does not tell who serves rpc.stats"),
        // Full, or killed.
        Err(error) => {
            let excuse = excuse::find(scene.model, scene.deeds, &error, since, begun.elapsed());
            excuse.with_context(|| format!("rpc.stats failed: {error}"))?;
            return Ok(());
        }
    };
    ensure!(pid != scene.root, "the process {pid} that supervises also serves");
    let span = (scene.model == Model::PreforkThread).then(|| scene.deeds.deaths.begin());
    let died = die(&mut client, scene.tally.crashes.get());
    scene.tally.crashes.add(1);
    match died {
        Err(CallError::Rpc(error)) if error.known_code() == Some(ErrorCode::Crashed) => {
            let executed = CallError::Rpc(error).executed();
            ensure!(executed == Executed::Maybe, "the last words say that {executed}");
        }
        Err(error) => scene.judge(name, &error, since, begun.elapsed()),
        Ok(()) => bail!("a handler that crashes has returned"),
    }
    await_end(scene, pid)?;
    drop(span);
    Ok(())
}

/// Waits until the server has taken notice of a child's end. As long as one of its threads has not
/// ended its sockets are open, although its first thread may be a zombie by then.
fn await_end(scene: &Scene<'_>, child: i32) -> anyhow::Result<()> {
    scene.await_that("a child that was killed is gone", || {
        Ok(!proc::stat(child).is_ok_and(|stat| stat.parent == scene.root))
    })
}

/// In one of several ways.
fn die(client: &mut Client, number: u64) -> Result<(), CallError> {
    match number % 4 {
        0 => client.call(ABORT, &()),
        1 => client.call(RAISE, &libc::SIGSEGV),
        2 => client.call(OVERFLOW, &()),
        _ => client.call(RAISE, &libc::SIGBUS),
    }
}

/// Reloads, and one worker more and one less between them.
pub(super) fn reload(scene: &Scene<'_>, name: &str) {
    let load = scene.end.saturating_duration_since(Instant::now());
    let between = (load / 10).clamp(Duration::from_millis(100), Duration::from_secs(2));
    while scene.goes_on() {
        for signal in [Signal::SIGHUP, Signal::SIGTTIN, Signal::SIGTTOU] {
            // In the end there must be as many as in the beginning.
            if signal != Signal::SIGTTOU && !scene.goes_on() {
                return;
            }
            if let Err(error) = tell_master(scene, signal) {
                return scene.tally.fail(format!("{name}: {signal}: {error:#}"));
            }
            scene.pause(between);
        }
    }
}

/// Signals that come while one of the same kind waits are lost, so this waits until it was taken.
fn tell_master(scene: &Scene<'_>, signal: Signal) -> anyhow::Result<()> {
    kill(Pid::from_raw(scene.root), signal)?;
    if signal == Signal::SIGHUP {
        scene.tally.reloads.add(1);
    }
    scene.await_that("a signal is taken", || Ok(!proc::is_pending(scene.root, signal)?))
}
