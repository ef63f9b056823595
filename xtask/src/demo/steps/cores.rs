//! The CPU-bound method `pi`: one call alone against two at once.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use rpc_client::Client;
use serde::Serialize;

use crate::demo::steps::client::connect;
use crate::demo::steps::plan::Plan;
use crate::demo::steps::step::millis;
use crate::launch::Server;
use crate::serve::methods::PI;

/// Two connections: the demo compares one core with two, however many there are.
const TOGETHER: usize = 2;

/// A call that takes this long is long enough to be scaled up.
const CALIBRATED: Duration = Duration::from_millis(10);

#[derive(Serialize)]
pub(crate) struct Cores {
    /// Processors that the demo and the server may use.
    pub(crate) cores: usize,
    /// The params of `pi`.
    pub(crate) terms: u64,
    pub(crate) result: f64,
    /// One call alone.
    pub(crate) alone_ms: f64,
    /// Two calls on two connections, from the begin of both to the end of the last.
    pub(crate) together_ms: f64,
    /// Twice the time of one, divided by the time of both.
    pub(crate) speed_up: f64,
}

pub(crate) fn measure(server: &Server, plan: &Plan) -> anyhow::Result<Cores> {
    let terms = match plan.pi_terms.get() {
        Some(&terms) => terms,
        None => {
            let terms = calibrate(server, plan.pi_call)?;
            *plan.pi_terms.get_or_init(|| terms)
        }
    };
    let mut result = 0.0;
    let mut alone = Duration::MAX;
    let mut together = Duration::MAX;
    for _ in 0..plan.pi_rounds {
        let mut client = connect(server)?;
        let begun = Instant::now();
        result = call_pi(&mut client, terms)?;
        alone = alone.min(begun.elapsed());
        drop(client);
        together = together.min(call_together(server, terms)?);
    }
    Ok(Cores {
        cores: plan.cores,
        terms,
        result,
        alone_ms: millis(alone),
        together_ms: millis(together),
        speed_up: TOGETHER as f64 * alone.as_secs_f64() / together.as_secs_f64(),
    })
}

/// How many terms take about `wanted`.
fn calibrate(server: &Server, wanted: Duration) -> anyhow::Result<u64> {
    let mut client = connect(server)?;
    let mut terms = 100_000;
    loop {
        let begun = Instant::now();
        call_pi(&mut client, terms)?;
        let took = begun.elapsed();
        if took >= CALIBRATED {
            return Ok((terms as f64 * wanted.as_secs_f64() / took.as_secs_f64()) as u64);
        }
        terms *= 4;
    }
}

/// Each connection closes after its call: where the second has to wait for the first, it waits for
/// that.
fn call_together(server: &Server, terms: u64) -> anyhow::Result<Duration> {
    let everybody_is_connected = Barrier::new(TOGETHER);
    let call_one = || {
        let connected = connect(server);
        everybody_is_connected.wait();
        let mut client = connected?;
        let begun = Instant::now();
        call_pi(&mut client, terms)?;
        anyhow::Ok((begun, Instant::now()))
    };
    thread::scope(|scope| {
        let calls = [scope.spawn(call_one), scope.spawn(call_one)];
        let times = calls
            .map(|call| call.join().unwrap_or_else(|_| Err(anyhow!("a client's thread panicked"))));
        let [(begun, ended), (other_begun, other_ended)] = match times {
            [Ok(one), Ok(other)] => [one, other],
            [Err(error), _] | [_, Err(error)] => return Err(error.context("two calls at once")),
        };
        Ok(ended.max(other_ended) - begun.min(other_begun))
    })
}

fn call_pi(client: &mut Client, terms: u64) -> anyhow::Result<f64> {
    let result = client.call(PI, &terms).context("pi")?;
    ensure!((result - std::f64::consts::PI).abs() < 1e-4, "pi of {terms} terms is {result}");
    Ok(result)
}
