//! Calls a second and latencies, with one thread a connection that calls as fast as it can.

use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, anyhow, ensure};
use hdrhistogram::Histogram;
use rpc_client::CallError;
use serde::Serialize;

use crate::demo::steps::client::connect;
use crate::demo::steps::plan::{LOADS, Plan, TIMEOUT};
use crate::launch::Server;
use crate::serve::methods::PING;

/// The longest latency that the histogram holds, in nanoseconds.
const LONGEST_NANOS: u64 = 60_000_000_000;

#[derive(Serialize)]
pub(crate) struct Load {
    pub(crate) loads: Vec<Figures>,
}

#[derive(Serialize)]
pub(crate) struct Figures {
    pub(crate) connections: usize,
    /// How many of them had a reply before the others closed. The rest waited to be accepted.
    pub(crate) served: usize,
    pub(crate) calls_per_second: f64,
    /// Latencies of the calls of the served connections.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Load {
    pub(crate) fn at(&self, connections: usize) -> Option<&Figures> {
        let mut loads = self.loads.iter();
        loads.find(|figures| figures.connections == connections)
    }
}

pub(crate) fn measure(server: &Server, plan: &Plan, say: &dyn Fn(&str)) -> anyhow::Result<Load> {
    let loads = LOADS.iter().map(|&connections| {
        say(&format!("calls a second, connections: {connections}"));
        measure_one(server, plan, connections)
    });
    Ok(Load { loads: loads.collect::<anyhow::Result<_>>()? })
}

fn measure_one(server: &Server, plan: &Plan, connections: usize) -> anyhow::Result<Figures> {
    let begin = Begin { everybody_is_connected: Barrier::new(connections), at: OnceLock::new() };
    let callers: Vec<anyhow::Result<Caller>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| call_until_the_end(server, plan, &begin)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("a client's thread panicked")))
        };
        threads.into_iter().map(join).collect()
    });

    let mut served = 0;
    let mut latencies = new_histogram()?;
    for caller in callers {
        let caller = caller?;
        served += usize::from(caller.served);
        latencies.add(caller.latencies)?;
    }
    let micros = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Figures {
        connections,
        served,
        calls_per_second: (latencies.len() as f64 / plan.window.as_secs_f64()).round(),
        p50_us: micros(0.50),
        p99_us: micros(0.99),
    })
}

/// One moment for all, so that nobody is served only because others have ended.
struct Begin {
    everybody_is_connected: Barrier,
    at: OnceLock<Instant>,
}

struct Caller {
    served: bool,
    latencies: Histogram<u64>,
}

fn call_until_the_end(server: &Server, plan: &Plan, begin: &Begin) -> anyhow::Result<Caller> {
    let mut caller = Caller { served: false, latencies: new_histogram()? };
    // Connecting needs no server that accepts: the kernel completes it. But a caller that failed to
    // connect must not keep the others waiting.
    let connected = connect(server);
    begin.everybody_is_connected.wait();
    let mut client = connected?;
    let text = "ireader 0".to_owned();

    let mut now = *begin.at.get_or_init(Instant::now);
    let measured_from = now + plan.warm_up;
    let end = measured_from + plan.window;
    client.set_call_timeout(end.saturating_duration_since(Instant::now()));
    loop {
        let called_at = now;
        let reply = client.call(PING, &text);
        now = Instant::now();
        match reply {
            // It waited in the queue until the end, as the model has it.
            Err(CallError::TimedOut { .. }) if !caller.served => return Ok(caller),
            reply => {
                let echo = reply.context("a call under load failed")?;
                ensure!(echo == text, "sent {text:?} and got {echo:?} back");
            }
        }
        if now >= end {
            return Ok(caller);
        }
        if !caller.served {
            caller.served = true;
            client.set_call_timeout(TIMEOUT);
        }
        if now >= measured_from {
            let latency = now.duration_since(called_at);
            caller.latencies.saturating_record(latency.as_nanos() as u64);
        }
    }
}

/// Three significant digits, which is more than a measurement of a second deserves.
fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST_NANOS, 3)?)
}
