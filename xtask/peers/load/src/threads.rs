//! Driving a library that blocks: a thread a connection.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::ensure;

use crate::turn::Stopwatch;
use crate::{Load, Turn};

/// A connection, which makes one call at a time.
pub trait BlockingEcho: Send {
    /// Calls the method. Blocks until the result is there.
    ///
    /// # Errors
    ///
    /// When there is none.
    fn echo(&mut self, text: &str) -> anyhow::Result<String>;
}

/// How to connect with the library's own client.
pub trait BlockingConnect: Sync {
    /// The connection.
    type Connection: BlockingEcho;

    /// Opens one.
    ///
    /// # Errors
    ///
    /// When nobody accepts it.
    fn connect(&self, address: SocketAddr) -> anyhow::Result<Self::Connection>;
}

/// Calls as `load` says and prints what came of it. Blocks until then.
///
/// # Errors
///
/// When a call fails or answers another text, and when the load wants more than one call at a
/// time on a connection: such a library cannot do that.
pub fn drive_threads(load: &Load, connect: impl BlockingConnect) -> anyhow::Result<()> {
    ensure!(load.in_flight == 1, "one call at a time on a connection");
    let length = load.length()?;
    let turn = if load.churn {
        let mut callers = vec![(); load.connections];
        let call = |(): &mut ()| connect.connect(load.address)?.echo(&load.text());
        call_together(load, length / 10, &mut callers, call)?;
        call_together(load, length, &mut callers, call)?
    } else {
        let mut callers = (0..load.connections)
            .map(|_| connect.connect(load.address))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let text = load.text();
        let call = |connection: &mut _| BlockingEcho::echo(connection, &text);
        call_together(load, length / 10, &mut callers, call)?;
        call_together(load, length, &mut callers, call)?
    };
    turn.print()
}

fn call_together<Caller: Send>(
    load: &Load,
    length: Duration,
    callers: &mut [Caller],
    call: impl Fn(&mut Caller) -> anyhow::Result<String> + Sync,
) -> anyhow::Result<Turn> {
    let (text, all_are_there) = (load.text(), Barrier::new(callers.len()));
    let run = |caller: &mut Caller| {
        all_are_there.wait();
        let mut stopwatch = Stopwatch::start(length)?;
        loop {
            let echo = call(caller)?;
            ensure!(echo == text, "not an echo: {echo:?}");
            if !stopwatch.called() {
                return Ok(stopwatch.stop());
            }
        }
    };
    let run = &run;
    let turns = thread::scope(|scope| {
        let threads: Vec<_> =
            callers.iter_mut().map(|caller| scope.spawn(move || run(caller))).collect();
        let turns = threads.into_iter();
        let turns = turns.map(|thread| thread.join().expect("a caller does not panic"));
        turns.collect::<anyhow::Result<Vec<Turn>>>()
    })?;
    Turn::together(turns)
}
