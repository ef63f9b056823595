//! Driving a library that is asynchronous: a task a call in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::turn::Stopwatch;
use crate::{Load, Turn};

/// A connection. Its clones share it, as the library means them to.
pub trait Echo: Clone + Send + 'static {
    /// Calls the method.
    fn echo(&mut self, text: String) -> impl Future<Output = anyhow::Result<String>> + Send;
}

/// How to connect with the library's own client.
pub trait Connect: Clone + Send + Sync + 'static {
    /// The connection.
    type Connection: Echo;

    /// Opens one.
    fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = anyhow::Result<Self::Connection>> + Send;
}

/// Calls as `load` says and prints what came of it. Blocks until then.
///
/// The runtime is the one that `#[tokio::main]` makes and the examples of all three asynchronous
/// peers use. All calls are made by spawned tasks: the main function's own task lives in a thread
/// that is none of the workers, and each of its calls would cost two switches between threads.
///
/// # Errors
///
/// When a call fails or answers another text.
pub fn drive_tasks(load: &Load, connect: impl Connect) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let turn = runtime.block_on(async {
        let length = load.length()?;
        if load.churn {
            call_with_new_connections(load, length / 10, connect.clone()).await?;
            return call_with_new_connections(load, length, connect).await;
        }
        let mut callers = Vec::new();
        for _ in 0..load.connections {
            let connection = connect.connect(load.address).await?;
            callers.extend(vec![connection; load.in_flight]);
        }
        call(load, length / 10, &callers).await?;
        call(load, length, &callers).await
    })?;
    turn.print()
}

async fn call<Connection: Echo>(
    load: &Load,
    length: Duration,
    callers: &[Connection],
) -> anyhow::Result<Turn> {
    let all_are_there = Arc::new(Barrier::new(callers.len()));
    let mut tasks = JoinSet::new();
    for caller in callers {
        let (text, all_are_there) = (load.text(), Arc::clone(&all_are_there));
        let mut caller = caller.clone();
        tasks.spawn(async move {
            all_are_there.wait().await;
            let mut stopwatch = Stopwatch::start(length)?;
            loop {
                let echo = caller.echo(text.clone()).await?;
                ensure!(echo == text, "not an echo: {echo:?}");
                if !stopwatch.called() {
                    return Ok(stopwatch.stop());
                }
            }
        });
    }
    finish(tasks).await
}

async fn call_with_new_connections(
    load: &Load,
    length: Duration,
    connect: impl Connect,
) -> anyhow::Result<Turn> {
    let mut tasks = JoinSet::new();
    for _ in 0..load.connections {
        let (text, address, connect) = (load.text(), load.address, connect.clone());
        tasks.spawn(async move {
            let mut stopwatch = Stopwatch::start(length)?;
            loop {
                let echo = connect.connect(address).await?.echo(text.clone()).await?;
                ensure!(echo == text, "not an echo: {echo:?}");
                if !stopwatch.called() {
                    return Ok(stopwatch.stop());
                }
            }
        });
    }
    finish(tasks).await
}

async fn finish(tasks: JoinSet<anyhow::Result<Turn>>) -> anyhow::Result<Turn> {
    let turns: anyhow::Result<Vec<Turn>> = tasks.join_all().await.into_iter().collect();
    Turn::together(turns?)
}
