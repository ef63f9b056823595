//! The methods that `serve` offers.

use std::borrow::Cow;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use rpc_core::{Method, RegisterError, Registry, RpcError};

/// Returns its params, whatever they are; here a text.
pub const PING: Method<String, String> = Method::new("ping", "pong");

/// The sum of 1/(2k+1)² for k from 0 to n, times 8, and the root of that: towards π.
pub const PI: Method<u64, f64> = Method::new("pi", "pi_r");

/// Returns its text: what a typed handler costs and nothing else.
pub const ECHO: Method<String, String> = Method::new("echo", "echoed");

/// Sleeps for so many milliseconds and returns the number.
pub const SLEEP: Method<u64, u64> = Method::new("sleep", "slept");

/// Panics.
pub const PANIC: Method<(), ()> = Method::new("panic", "panicked");

/// Aborts the process.
pub const ABORT: Method<(), ()> = Method::new("abort", "aborted");

/// Raises the signal of that number in its own thread.
pub const RAISE: Method<i32, ()> = Method::new("raise", "raised");

/// Calls itself until its stack overflows.
pub const OVERFLOW: Method<(), ()> = Method::new("overflow", "overflowed");

/// Connects to the Unix socket of that path, and returns when the other side has closed.
pub const HOLD: Method<PathBuf, ()> = Method::new("hold", "held");

/// Opens a descriptor and forgets it.
pub const LEAK: Method<(), ()> = Method::new("leak", "leaked");

/// Never returns.
pub const SPIN: Method<(), ()> = Method::new("spin", "spun");

/// Starts a program that runs for ten minutes, and returns its process id.
pub const BROOD: Method<(), u32> = Method::new("brood", "pid");

/// `ping`, `echo` and `pi`.
///
/// # Errors
///
/// Never: the names are distinct and not reserved.
pub fn registry() -> Result<Registry, RegisterError> {
    let mut registry = Registry::new();
    registry.register_raw(PING.name(), PING.kind(), |params, _ctx| Ok(Cow::Borrowed(params)))?;
    registry.register(ECHO, |text, _ctx| Ok(text))?;
    registry.register(PI, |n, _ctx| Ok(pi(n)))?;
    Ok(registry)
}

/// The methods that misbehave.
///
/// # Errors
///
/// As [`registry`].
///
/// # Panics
///
/// Not here: the method `panic` does, when it is called.
#[expect(clippy::disallowed_methods, reason = "this is the method `sleep`")]
pub fn add_fault_methods(registry: &mut Registry) -> Result<(), RegisterError> {
    registry.register(SLEEP, |millis, _ctx| {
        thread::sleep(Duration::from_millis(millis));
        Ok(millis)
    })?;
    registry.register(PANIC, |(), _ctx| panic!("asked to panic"))?;
    registry.register(BROOD, |(), _ctx| {
        let program = Command::new("sleep").arg("600").spawn();
        Ok(program.map_err(RpcError::internal)?.id())
    })?;
    registry.register(ABORT, |(), _ctx| std::process::abort())?;
    registry.register(RAISE, |number, _ctx| {
        let signal = Signal::try_from(number).map_err(RpcError::invalid_params)?;
        raise(signal).map_err(RpcError::internal)
    })?;
    registry.register(OVERFLOW, |(), _ctx| {
        black_box(descend(black_box(1)));
        Ok(())
    })?;
    registry.register(HOLD, |path, _ctx| {
        let mut held = UnixStream::connect(path).map_err(RpcError::internal)?;
        held.read_to_end(&mut Vec::new()).map(drop).map_err(RpcError::internal)
    })?;
    registry.register(LEAK, |(), _ctx| {
        std::mem::forget(File::open("/dev/null").map_err(RpcError::internal)?);
        Ok(())
    })?;
    registry.register(SPIN, |(), _ctx| {
        loop {
            std::hint::spin_loop();
        }
    })
}

/// Deeper than any stack.
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == 0 { 0 } else { descend(depth.wrapping_add(1)) ^ black_box(frame)[7] }
}

fn pi(n: u64) -> f64 {
    let sum: f64 = (0..=n).map(|k| 1.0 / (2.0 * k as f64 + 1.0).powi(2)).sum();
    (8.0 * sum).sqrt()
}
