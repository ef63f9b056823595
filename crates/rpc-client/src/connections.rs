//! The connections of a pool: who holds one, which lie idle, and whose turn it is to connect.

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
    /// A connection lies idle, one was closed, or something was learnt about an address.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The process that these connections belong to.
    process: u32,
    balancer: Balancer,
    /// The one that was used last is at the end, and is used first: the others grow old together
    /// and can be closed.
    idle: VecDeque<(usize, Client)>,
    /// All that exist or are being made.
    count: usize,
    /// How often a call has begun to wait.
    #[cfg(test)]
    waits: usize,
}

/// How a call wants its connection.
#[derive(Clone, Copy)]
pub(crate) struct AcquireOptions {
    pub(crate) timeout: Duration,
    /// `None`: the time-out is too long to be a time.
    pub(crate) deadline: Option<Instant>,
    /// Whether a connection that lay idle will do.
    pub(crate) reuse: bool,
}

/// Why a call has no connection.
pub(crate) enum AcquireError {
    /// An address was tried, by this call or by another that this one waited for.
    Failed(CallError),
    /// There is no time left to try again.
    OutOfTime(CallError),
}

impl AcquireOptions {
    fn is_out_of_time(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn time_left(&self) -> Duration {
        let left = |at: Instant| at.saturating_duration_since(Instant::now());
        self.deadline.map_or(self.timeout, left)
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
            count: 0,
            #[cfg(test)]
            waits: 0,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Connections { builder, max_connections, state, changed }
    }

    /// A connection to make one call on. Blocks until there is one, at most until the deadline.
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
            // One that may not be used again makes room for a new one.
            let mut full = state.count >= self.max_connections;
            if full && let Some((index, _closed)) = state.idle.pop_front() {
                self.close(&mut state, index);
                full = false;
            }
            if options.is_out_of_time(now) {
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
            let mut wake_at = options.deadline;
            if !full {
                match state.balancer.pick(now) {
                    Pick::Connect(attempt) => {
                        state.count += 1;
                        state.balancer.add_connection(attempt.index);
                        let address = state.balancer.address(attempt.index).clone();
                        drop(state);
                        return self.connect(&address, attempt, options);
                    }
                    Pick::NotBefore(at) => {
                        if state.balancer.failures() > failures_before {
                            return Err(AcquireError::Failed(state.balancer.last_failure()));
                        }
                        let nobody_will_give_one_back = state.count == 0;
                        if nobody_will_give_one_back && options.is_out_of_time(at) {
                            return Err(AcquireError::OutOfTime(state.balancer.last_failure()));
                        }
                        every_address_failed = true;
                        wake_at = Some(wake_at.map_or(at, |deadline| deadline.min(at)));
                    }
                }
            }
            #[cfg(test)]
            {
                state.waits += 1;
            }
            state = self.wait(state, wake_at, now);
        }
    }

    /// A connection that lay idle is gone. Its place may be for somebody else: this caller may
    /// have been woken for it and still have no address, or no time, to use it.
    fn close(&self, state: &mut State, index: usize) {
        state.forget(index);
        self.changed.notify_all();
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
        now: Instant,
    ) -> MutexGuard<'a, State> {
        let Some(until) = until else {
            return self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let time = until.saturating_duration_since(now);
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn connect(
        &self,
        address: &Address,
        attempt: ConnectAttempt,
        options: AcquireOptions,
    ) -> Result<Lease<'_>, AcquireError> {
        // Gives the place back if there is no connection, whatever the reason.
        let mut lease =
            Lease { connections: self, index: attempt.index, attempt: Some(attempt), client: None };
        let timeout = self.builder.connect_timeout.min(options.time_left());
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
        // Nothing is half done when one of these short sections panics.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let this_process = process::id();
        if state.process != this_process {
            // A fork: both processes hold the same sockets, and each would read the other's
            // replies. Closing this side's copies does not end the connections (close(2)).
            state.process = this_process;
            state.idle.clear();
            state.count = 0;
            state.balancer.forget_connections();
        }
        state
    }
}

impl State {
    /// A connection to the address `index` is gone.
    fn forget(&mut self, index: usize) {
        self.count = self.count.saturating_sub(1);
        self.balancer.remove_connection(index);
    }
}

/// A connection that one call holds. When dropped, by a panic too, it goes back to the others if it
/// can be used again, and is closed if not.
pub(crate) struct Lease<'a> {
    connections: &'a Connections,
    index: usize,
    /// For a new connection, on which nothing has been answered yet.
    attempt: Option<ConnectAttempt>,
    client: Option<Client>,
}

impl Lease<'_> {
    /// Whether it was used before.
    pub(crate) fn is_reused(&self) -> bool {
        self.attempt.is_none()
    }

    /// The connection, which has so long for its call.
    pub(crate) fn client(&mut self, options: AcquireOptions) -> &mut Client {
        let client = self.client.as_mut().expect("a lease that was given out is connected");
        client.set_call_timeout(options.time_left());
        client
    }

    /// A new connection was answered, so its address works.
    pub(crate) fn succeeded(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.connections.lock().balancer.succeeded(attempt);
            self.connections.changed.notify_all();
        }
    }

    /// There was no new connection, or no answer on it, so its address does not work.
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
                    state.forget(index);
                }
                self.connections.changed.notify_one();
            }
            None => {
                state.forget(self.index);
                // Some wait for a place and some for an address; who can use this one is not known.
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
        AcquireOptions { timeout, deadline: Instant::now().checked_add(timeout), reuse }
    }

    /// That a thread waits is an event that nobody sends.
    fn wait_until(is_so: impl Fn() -> bool) {
        while !is_so() {
            thread::yield_now();
        }
    }

    /// The wake-up for a connection that was given back goes to one caller only.
    #[test]
    fn who_cannot_use_what_was_given_back_passes_the_word_on() {
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
