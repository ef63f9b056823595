//! The connections of a pool: which are in use, which are idle, and which call may connect.

use std::collections::VecDeque;
use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rpc_proto::Address;

use crate::balancer::{Balancer, ConnectAttempt, Pick};
use crate::client::{Client, ClientBuilder};
use crate::error::CallError;
use crate::executed::Executed;

#[derive(Debug)]
pub(crate) struct Connections {
    builder: ClientBuilder,
    max_connections: usize,
    state: Mutex<State>,
    /// A connection became idle or was closed, or an address succeeded or failed.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The process that these connections belong to.
    process: u32,
    balancer: Balancer,
    /// Each with the index of its address. The one used last is at the end and is taken first, so
    /// that the others reach the idle time-out and can be closed.
    idle: VecDeque<(usize, Client)>,
    /// How often a call has begun to wait.
    #[cfg(test)]
    waits: usize,
}

/// How a call wants its connection.
#[derive(Clone, Copy)]
pub(crate) struct AcquireOptions {
    pub(crate) started: Instant,
    pub(crate) timeout: Duration,
    /// Whether an idle connection may be used.
    pub(crate) reuse: bool,
}

/// Why a call got no connection.
pub(crate) enum AcquireError {
    /// Connecting failed, in this call or in another one that it waited for.
    Failed(CallError),
    /// No time is left to try again.
    OutOfTime(CallError),
}

impl AcquireOptions {
    fn time_left(&self, now: Instant) -> Duration {
        self.timeout.saturating_sub(now.saturating_duration_since(self.started))
    }
}

impl Connections {
    pub(crate) fn new(
        addresses: Vec<Address>,
        builder: ClientBuilder,
        max_connections: usize,
    ) -> Connections {
        let state = State {
            process: process::id(),
            balancer: Balancer::new(addresses, Instant::now()),
            idle: VecDeque::new(),
            #[cfg(test)]
            waits: 0,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Connections { builder, max_connections, state, changed }
    }

    /// A connection for one call. Blocks until there is one, at most for the time-out.
    pub(crate) fn acquire(&self, options: AcquireOptions) -> Result<Lease<'_>, AcquireError> {
        let mut state = self.lock();
        let failures_before = state.balancer.failures();
        let mut every_address_failed = false;
        loop {
            let now = Instant::now();
            while options.reuse
                && let Some((index, client)) = state.idle.pop_back()
            {
                if client.check_usable(now).is_ok() && client.is_silent() {
                    let client = Some(client);
                    return Ok(Lease { connections: self, index, attempt: None, client });
                }
                self.close(&mut state, index);
            }
            // An idle connection that may not be used makes room for a new one.
            let mut full = state.balancer.connections() >= self.max_connections;
            if full && let Some((index, _closed)) = state.idle.pop_front() {
                self.close(&mut state, index);
                full = false;
            }
            let mut time = options.time_left(now);
            if time.is_zero() {
                let limit = options.timeout;
                let error = if full {
                    CallError::Exhausted { max_connections: self.max_connections, limit }
                } else if every_address_failed {
                    state.balancer.last_failure()
                } else {
                    CallError::TimedOut { limit, executed: Executed::No }
                };
                return Err(AcquireError::OutOfTime(error));
            }
            if !full {
                match state.balancer.pick(now) {
                    Pick::Connect(attempt) => {
                        let address = state.balancer.address(attempt.index).clone();
                        drop(state);
                        return self.connect(&address, attempt, options);
                    }
                    Pick::NotBefore(at) => {
                        if state.balancer.failures() > failures_before {
                            return Err(AcquireError::Failed(state.balancer.last_failure()));
                        }
                        let none_will_be_returned = state.balancer.connections() == 0;
                        if none_will_be_returned && options.time_left(at).is_zero() {
                            return Err(AcquireError::OutOfTime(state.balancer.last_failure()));
                        }
                        every_address_failed = true;
                        time = time.min(at.saturating_duration_since(now));
                    }
                }
            }
            #[cfg(test)]
            {
                state.waits += 1;
            }
            let waited = self.changed.wait_timeout(state, time);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Counts an idle connection as closed and wakes the other callers: this one may have been
    /// woken for the free capacity and have no address, or no time, to use it.
    fn close(&self, state: &mut State, index: usize) {
        state.balancer.remove_connection(index);
        self.changed.notify_all();
    }

    fn connect(
        &self,
        address: &Address,
        attempt: ConnectAttempt,
        options: AcquireOptions,
    ) -> Result<Lease<'_>, AcquireError> {
        // Its drop frees the capacity if there is no connection, whatever the reason.
        let mut lease =
            Lease { connections: self, index: attempt.index, attempt: Some(attempt), client: None };
        let timeout = self.builder.connect_timeout.min(options.time_left(Instant::now()));
        match self.builder.connect_timeout(timeout).connect(address) {
            Ok(client) => {
                lease.client = Some(client);
                Ok(lease)
            }
            Err(error) => {
                lease.failed(&error);
                Err(AcquireError::Failed(error))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No state is inconsistent if one of these short sections panics.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let this_process = process::id();
        if state.process != this_process {
            // After a fork both processes hold the same sockets, and each would read the other's
            // replies. Closing this process's copies does not close the connections (close(2)).
            state.process = this_process;
            state.idle.clear();
            state.balancer.forget_connections();
        }
        state
    }
}

/// A connection in use by one call. When dropped, also by a panic, it becomes idle if it can be
/// used again and is closed if not.
pub(crate) struct Lease<'a> {
    connections: &'a Connections,
    index: usize,
    /// Present for a new connection on which the server has not answered yet.
    attempt: Option<ConnectAttempt>,
    client: Option<Client>,
}

impl Lease<'_> {
    /// Whether an earlier call has used it.
    pub(crate) fn is_reused(&self) -> bool {
        self.attempt.is_none()
    }

    /// The connection, with the time that is left as its call time-out.
    pub(crate) fn client(&mut self, options: AcquireOptions) -> &mut Client {
        let client = self.client.as_mut().expect("a lease that was given out is connected");
        client.set_call_timeout(options.time_left(Instant::now()));
        client
    }

    /// The server answered. If the connection is new, its address works.
    pub(crate) fn succeeded(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.connections.lock().balancer.succeeded(attempt);
            self.connections.changed.notify_all();
        }
    }

    /// Connecting failed, or the server did not answer. If the connection is new, its address does
    /// not work.
    pub(crate) fn failed(&mut self, error: &CallError) {
        if let Some(attempt) = self.attempt.take() {
            self.connections.lock().balancer.failed(attempt, Instant::now(), error);
            self.connections.changed.notify_all();
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.connections.lock();
        match self.client.take().filter(|client| client.check_usable(now).is_ok()) {
            Some(client) => {
                state.idle.push_back((self.index, client));
                let is_too_old = |(_, client): &(usize, Client)| client.check_usable(now).is_err();
                while state.idle.front().is_some_and(is_too_old)
                    && let Some((index, _closed)) = state.idle.pop_front()
                {
                    state.balancer.remove_connection(index);
                }
                self.connections.changed.notify_one();
            }
            None => {
                state.balancer.remove_connection(self.index);
                // Some callers wait for capacity and some for an address, so all must look.
                self.connections.changed.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn options(millis: u64, reuse: bool) -> AcquireOptions {
        let timeout = Duration::from_millis(millis);
        AcquireOptions { started: Instant::now(), timeout, reuse }
    }

    /// Nothing signals that a thread waits, so this polls.
    fn wait_until(is_so: impl Fn() -> bool) {
        while !is_so() {
            thread::yield_now();
        }
    }

    /// The wake-up for a returned connection goes to one caller only.
    #[test]
    fn a_caller_that_cannot_use_a_returned_connection_wakes_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let connections = Connections::new(vec![address], ClientBuilder::default(), 1);
        let Ok(mut held) = connections.acquire(options(5000, true)) else {
            panic!("no connection")
        };
        held.succeeded();
        let mut state = connections.lock();
        for _ in 0..10 {
            let later = Instant::now() + Duration::from_secs(3600);
            let Pick::Connect(attempt) = state.balancer.pick(later) else {
                panic!("its time came")
            };
            state.balancer.failed(attempt, Instant::now(), &CallError::Unusable);
            state.balancer.remove_connection(attempt.index);
        }
        drop(state);
        thread::scope(|scope| {
            let connections = &connections;
            let impatient = scope.spawn(|| connections.acquire(options(1000, false)).is_ok());
            wait_until(|| connections.lock().waits == 1);
            let patient = scope.spawn(|| {
                let begun = Instant::now();
                (connections.acquire(options(10_000, true)).is_ok(), begun.elapsed())
            });
            wait_until(|| connections.lock().waits == 2);
            drop(held);
            assert!(!impatient.join().unwrap(), "its address may not be tried before it gives up");
            let (has_connection, waited) = patient.join().unwrap();
            assert!(has_connection, "after {waited:?}");
        });
    }
}
