//! Kills, crashes, reloads, more workers and fewer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_client::{CallError, Client, ErrorCode, Executed};

use crate::model::Model;
use crate::proc;
use crate::serve::methods::{ABORT, OVERFLOW, RAISE};
use crate::soak::context::Context;
use crate::soak::context::plan;
use crate::soak::context::rng::SeededRng;

/// Deaths of children and workers, as many as are replaced without a long delay.
pub(crate) fn kill_and_crash(context: &Context<'_>, name: &str) {
    let load = context.end.saturating_duration_since(Instant::now());
    let mut rng = context.rng(name);
    let mut number = 0;
    while context.goes_on() {
        // Both, in short runs too.
        let done =
            if number % 2 == 0 { kill_one(context, &mut rng) } else { crash_one(context, name) };
        if let Err(error) = done {
            context.results.fail(format!("{name}: {error:#}"));
        }
        number += 1;
        context.pause(plan::time_between_deaths(context.model, load));
    }
}

/// A connection that the killed process serves, or takes until it is gone, may be cut.
fn kill_one(context: &Context<'_>, rng: &mut SeededRng) -> anyhow::Result<()> {
    let _span = context.faults.deaths.begin();
    let children = proc::children(context.root);
    if children.is_empty() {
        return Ok(());
    }
    let victim = rng.choose(&children);
    if !proc::is_alive(victim) {
        return Ok(());
    }
    match kill(Pid::from_raw(victim), Signal::SIGKILL) {
        Ok(()) => context.results.kills.add(1),
        Err(Errno::ESRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    await_end(context, victim)
}

/// A handler crashes. Its caller is told, and the callers whose handlers run beside it.
fn crash_one(context: &Context<'_>, name: &str) -> anyhow::Result<()> {
    let since = context.since_now();
    let begun = Instant::now();
    let mut client = context.connect()?;
    let pid = match context.ask_on(&mut client) {
        Ok((_, Some(pid))) => pid,
        Ok((_, None)) => bail!("the server does not tell who serves rpc.stats"),
        // Full, or killed.
        Err(error) => {
            let expected = context.expected_failure(&error, since, begun.elapsed());
            expected.with_context(|| format!("rpc.stats failed: {error}"))?;
            return Ok(());
        }
    };
    ensure!(pid != context.root, "the process {pid} that supervises also serves");
    let span = (context.model == Model::PreforkThread).then(|| context.faults.deaths.begin());
    let died = crash(&mut client, context.results.crashes.get());
    context.results.crashes.add(1);
    match died {
        Err(CallError::Rpc(error)) if error.known_code() == Some(ErrorCode::Crashed) => {
            let executed = CallError::Rpc(error).executed();
            ensure!(executed == Executed::Maybe, "the last words say that {executed}");
        }
        Err(error) => context.count_failure(name, &error, since, begun.elapsed()),
        Ok(()) => bail!("a handler that crashes has returned"),
    }
    await_end(context, pid)?;
    drop(span);
    Ok(())
}

/// Waits until the server has taken notice of a child's end. As long as one of its threads has not
/// ended its sockets are open, although its first thread may be a zombie by then.
fn await_end(context: &Context<'_>, child: i32) -> anyhow::Result<()> {
    context.await_that("a child that was killed is gone", || {
        Ok(!proc::stat(child).is_ok_and(|stat| stat.parent == context.root))
    })
}

/// In one of several ways.
fn crash(client: &mut Client, number: u64) -> Result<(), CallError> {
    match number % 4 {
        0 => client.call(ABORT, &()),
        1 => client.call(RAISE, &libc::SIGSEGV),
        2 => client.call(OVERFLOW, &()),
        _ => client.call(RAISE, &libc::SIGBUS),
    }
}

/// Reloads, and one worker more and one less between them.
pub(crate) fn reload(context: &Context<'_>, name: &str) {
    let load = context.end.saturating_duration_since(Instant::now());
    let between = (load / 10).clamp(Duration::from_millis(100), Duration::from_secs(2));
    while context.goes_on() {
        for signal in [Signal::SIGHUP, Signal::SIGTTIN, Signal::SIGTTOU] {
            // In the end there must be as many as in the beginning.
            if signal != Signal::SIGTTOU && !context.goes_on() {
                return;
            }
            if let Err(error) = tell_master(context, signal) {
                return context.results.fail(format!("{name}: {signal}: {error:#}"));
            }
            context.pause(between);
        }
    }
}

/// Signals that come while one of the same kind waits are lost, so this waits until it was taken.
fn tell_master(context: &Context<'_>, signal: Signal) -> anyhow::Result<()> {
    kill(Pid::from_raw(context.root), signal)?;
    if signal == Signal::SIGHUP {
        context.results.reloads.add(1);
    }
    context.await_that("a signal is taken", || Ok(!proc::is_pending(context.root, signal)?))
}
