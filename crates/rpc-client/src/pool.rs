//! Many callers, few connections, and calls that are repeated where that is safe.

use std::time::{Duration, Instant};

use rpc_proto::{Address, ErrorCode, FrameError, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Client, ClientBuilder, RawReply};
use crate::connections::{AcquireError, AcquireOptions, Connections, Lease};
use crate::error::CallError;
use crate::executed::Executed;

/// How many connections, to where, and how often to try.
///
/// ```no_run
/// use std::time::Duration;
/// use rpc_client::{Address, Client, Pool};
///
/// let addresses: [Address; 2] = ["10.0.0.1:8080".parse()?, "10.0.0.2:8080".parse()?];
/// let pool = Pool::builder()
///     .client(Client::builder().call_timeout(Duration::from_secs(2)))
///     .max_connections(4)
///     .build(addresses);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder {
    client: ClientBuilder,
    max_connections: usize,
    max_attempts: u32,
}

impl Default for PoolBuilder {
    fn default() -> PoolBuilder {
        PoolBuilder { client: ClientBuilder::default(), max_connections: 10, max_attempts: 4 }
    }
}

impl PoolBuilder {
    /// The time-outs and limits of each connection and call; those of [`Client::builder`] unless
    /// told. The call time-out bounds a call with everything that it waits for: a free connection,
    /// connecting, repetitions.
    pub fn client(mut self, builder: ClientBuilder) -> PoolBuilder {
        self.client = builder;
        self
    }

    /// How many connections there may be at a time, over all addresses; 10 unless told, at least 1.
    ///
    /// Connections that lie unused count too, and a server that has a process or a thread for each
    /// connection spends one on each of them. With a prefork server stay below its workers.
    pub fn max_connections(mut self, count: usize) -> PoolBuilder {
        self.max_connections = count.max(1);
        self
    }

    /// How often a call is tried at most; 4 unless told, at least 1.
    pub fn max_attempts(mut self, count: u32) -> PoolBuilder {
        self.max_attempts = count.max(1);
        self
    }

    /// A pool without connections; they are made when calls need them.
    ///
    /// # Panics
    ///
    /// When there is no address.
    pub fn build(self, addresses: impl IntoIterator<Item = Address>) -> Pool {
        let addresses: Vec<Address> = addresses.into_iter().collect();
        assert!(!addresses.is_empty(), "a pool needs an address");
        let connections = Connections::new(addresses, self.client, self.max_connections);
        Pool {
            connections,
            call_timeout: self.client.call_timeout,
            max_attempts: self.max_attempts,
        }
    }
}

/// A bounded number of connections to servers that are equally good, shared by threads.
///
/// A call takes a connection, makes its exchange and gives it back. A connection that broke, or
/// that may still bring a late reply, is closed instead. Before one that lay unused is used again,
/// one system call looks whether it is still open and silent; one that lay unused for longer than
/// the client's idle time-out is closed. No thread runs in the background, so what nobody asks for
/// stays open until the next call. Dropping the pool closes all of them and does not block.
///
/// # What is repeated
///
/// A call that failed is tried again, within its time-out and at most
/// [`max_attempts`](PoolBuilder::max_attempts) times in all, if it was not executed for a reason
/// that passes: no connection, a request that could not be sent, a server that was busy, stopping,
/// or had just given up the connection. A call of a method that is declared
/// [`idempotent`](Method::idempotent) is also repeated, but only once, if the server may have
/// executed it and then crashed, stopped or closed the connection: a request that kills what serves
/// it should not kill them all. Nothing is repeated after a time-out, since then there is no time
/// left.
///
/// # Which address
///
/// A new connection goes to the address that has the fewest, in turn among equals. An address works
/// if a new connection to it is answered. One that did not is avoided for 50 ms, and twice as long
/// after each further failure, up to 30 s, or up to 1 s while no address works, less a random part
/// of up to a half. When that time is over one call tries it, not all; the others wait, or go
/// elsewhere. If that call fails, so do those that waited for it, each having used one attempt. So
/// a server that went away is asked once in a while, however many callers there are.
///
/// # After a fork
///
/// A child must not share its parent's sockets, so a pool that finds itself in another process
/// forgets its connections and makes new ones. As with everything that has a lock, that holds only
/// if no other thread was using the pool at the moment of the fork.
///
/// # Example
///
/// ```
/// # use rpc_core::{Acceptor, Registry, Service};
/// use std::thread;
/// use rpc_client::{Method, Pool};
///
/// const SQUARE: Method<u64, u64> = Method::new("square", "product").idempotent();
///
/// # let mut registry = Registry::new();
/// # registry.register(SQUARE, |number, _ctx| Ok(number * number))?;
/// # let service = Service::new(registry);
/// # let mut acceptor = Acceptor::bind(&"127.0.0.1:0".parse()?)?;
/// # let address = acceptor.address().clone();
/// # thread::spawn(move || {
/// #     while let Some(conn) = acceptor.accept().unwrap() {
/// #         let service = service.clone();
/// #         thread::spawn(move || service.serve_conn(conn));
/// #     }
/// # });
/// let pool = Pool::builder().max_connections(2).build([address]);
/// thread::scope(|scope| {
///     for number in 0..8 {
///         let pool = &pool;
///         scope.spawn(move || assert_eq!(pool.call(SQUARE, &number).unwrap(), number * number));
///     }
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    connections: Connections,
    call_timeout: Duration,
    max_attempts: u32,
}

impl Pool {
    /// For addresses, time-outs and limits.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// Calls a typed method. Blocks until the reply is there, at most for the call time-out (looking
    /// up a host's name is the system's and not bounded).
    ///
    /// # Errors
    ///
    /// Every [`CallError`]: that of the last attempt, or of an earlier one that may have been
    /// executed if the last was not.
    pub fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        method: Method<P, R>,
        params: &P,
    ) -> Result<R, CallError> {
        self.call_within(self.call_timeout, method, params)
    }

    /// As [`call`](Pool::call), with a time-out of its own.
    ///
    /// # Errors
    ///
    /// As [`call`](Pool::call).
    pub fn call_within<P: Serialize, R: DeserializeOwned>(
        &self,
        timeout: Duration,
        method: Method<P, R>,
        params: &P,
    ) -> Result<R, CallError> {
        self.call_with_retries(timeout, method.is_idempotent(), |client| {
            client.call(method, params)
        })
    }

    /// Calls any method with any params, and gives back what came. Blocks as [`call`](Pool::call)
    /// does. Never taken for idempotent.
    ///
    /// # Errors
    ///
    /// As [`call`](Pool::call), without `Kind` and `Result`.
    pub fn call_raw<P: Serialize + ?Sized>(
        &self,
        method: &str,
        params: &P,
    ) -> Result<RawReply, CallError> {
        self.call_with_retries(self.call_timeout, false, |client| client.call_raw(method, params))
    }

    fn call_with_retries<T>(
        &self,
        timeout: Duration,
        idempotent: bool,
        mut call: impl FnMut(&mut Client) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let deadline = Instant::now().checked_add(timeout);
        let mut options = AcquireOptions { timeout, deadline, reuse: true };
        let mut worst: Option<CallError> = None;
        for attempts_left in (0..self.max_attempts).rev() {
            let error = match self.connections.acquire(options) {
                Ok(lease) => match call_once(lease, &mut options, &mut call) {
                    Ok(result) => return Ok(result),
                    Err(error) => error,
                },
                Err(AcquireError::Failed(error)) => error,
                // What went wrong before tells more than that the time is over.
                Err(AcquireError::OutOfTime(error)) => return Err(worst.unwrap_or(error)),
            };
            let worst_executed = worst.as_ref().map_or(Executed::No, CallError::executed);
            let may_run_twice = idempotent && worst_executed == Executed::No;
            let retry = attempts_left > 0 && is_retryable(&error, may_run_twice);
            if error.executed() >= worst_executed {
                worst = Some(error);
            }
            if !retry {
                break;
            }
        }
        Err(worst.expect("there is at least one attempt, and it failed"))
    }
}

fn call_once<T>(
    mut lease: Lease<'_>,
    options: &mut AcquireOptions,
    call: &mut impl FnMut(&mut Client) -> Result<T, CallError>,
) -> Result<T, CallError> {
    // If one connection that lay unused turns out to be dead, others may be.
    options.reuse = !lease.is_reused();
    let mut result = call(lease.client(*options));
    if let Err(CallError::TimedOut { limit, .. }) = &mut result {
        *limit = options.timeout;
    }
    match &result {
        Err(CallError::Params(_)) => {}
        Err(error) if shows_address_unavailable(error) => lease.failed(error),
        Ok(_) | Err(_) => lease.succeeded(),
    }
    result
}

/// Whether an error on a new connection means that its address does not work.
fn shows_address_unavailable(error: &CallError) -> bool {
    match error {
        CallError::NotSent(_) | CallError::Closed(_) | CallError::TimedOut { .. } => true,
        CallError::Frame(FrameError::Truncated { .. } | FrameError::Foreign(_)) => true,
        CallError::Rpc(error) => matches!(
            error.known_code(),
            Some(ErrorCode::Busy | ErrorCode::ShuttingDown | ErrorCode::WrongProtocol)
        ),
        _ => false,
    }
}

/// Whether the same call may end better when it is made again.
fn is_retryable(error: &CallError, may_run_twice: bool) -> bool {
    let passes = match error {
        CallError::Connect { .. } | CallError::NotSent(_) | CallError::Closed(_) => true,
        CallError::Idle { .. } | CallError::Unusable => true,
        CallError::Frame(error) => matches!(error, FrameError::Truncated { .. }),
        CallError::Rpc(error) => matches!(
            error.known_code(),
            Some(
                ErrorCode::Busy
                    | ErrorCode::ShuttingDown
                    | ErrorCode::TimedOut
                    | ErrorCode::Crashed
            )
        ),
        _ => false,
    };
    match error.executed() {
        Executed::No => passes,
        Executed::Maybe => passes && may_run_twice,
        Executed::Yes => false,
    }
}
