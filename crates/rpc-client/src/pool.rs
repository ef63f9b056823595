//! A few connections shared by many callers, and retries of calls where that is safe.

use std::time::{Duration, Instant};

use rpc_proto::{Address, ErrorCode, FrameError, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Client, ClientBuilder, RawReply};
use crate::connections::{AcquireError, AcquireOptions, Connections, Lease};
use crate::error::CallError;
use crate::executed::Executed;

/// How many connections a pool has, to which addresses, and how often it tries a call.
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
    /// The time-outs and limits of each connection and call (default: those of
    /// [`Client::builder`]). The call time-out covers everything that a call waits for: a free
    /// connection, connecting, retries.
    pub fn client(mut self, builder: ClientBuilder) -> PoolBuilder {
        self.client = builder;
        self
    }

    /// How many connections there may be at a time, over all addresses (default: 10, at least 1).
    ///
    /// Idle connections count too, and a server with one process or thread per connection spends
    /// one on each of them. With a prefork server stay below its number of workers.
    pub fn max_connections(mut self, count: usize) -> PoolBuilder {
        self.max_connections = count.max(1);
        self
    }

    /// How often a call is tried at most (default: 4, at least 1).
    pub fn max_attempts(mut self, count: u32) -> PoolBuilder {
        self.max_attempts = count.max(1);
        self
    }

    /// Makes the pool. It connects when calls need it, so this does not block.
    ///
    /// # Panics
    ///
    /// If there is no address.
    pub fn build(self, addresses: impl IntoIterator<Item = Address>) -> Pool {
        let addresses: Vec<Address> = addresses.into_iter().collect();
        assert!(!addresses.is_empty(), "a pool needs an address");
        let connections = Connections::new(addresses, self.client, self.max_connections);
        Pool { connections, settings: self }
    }
}

/// A bounded number of connections to interchangeable servers, shared by threads.
///
/// A call takes a connection, uses it and returns it. A connection that broke, or that may still
/// deliver a late reply, is closed instead. Before an idle connection is used again, one system
/// call checks that it is still open and silent; one that was idle for longer than the client's
/// idle time-out is closed. No thread runs in the background, so an idle connection stays open
/// until the next call. Dropping the pool closes all connections and does not block.
///
/// # What is retried
///
/// A call that failed is retried, within its time-out and at most
/// [`max_attempts`](PoolBuilder::max_attempts) times in all, if it was not executed and the cause
/// is temporary: no connection, a request that could not be sent, a server that was busy, stopping,
/// or had just timed the connection out. A call of a method that is declared
/// [`idempotent`](Method::idempotent) is also retried, but only once, if the server may have
/// executed it and then crashed, stopped or closed the connection: a request that kills its server
/// should not kill all of them. Nothing is retried after a time-out, since no time is left.
///
/// # Which address
///
/// A new connection goes to the address that has the fewest, in turn among equals. An address works
/// if the server answers on a new connection to it. One that failed is avoided for 50 ms, and twice
/// as long after each further failure, up to 30 s, or up to 1 s while no address works, less a
/// random part of up to a half. After that time one call tries it; the other calls wait or use
/// another address. If that call fails, the calls that waited for it fail too, and each has used
/// one attempt. So the load on a server that is down does not grow with the number of callers.
///
/// # After a fork
///
/// A child must not share its parent's sockets, so a pool that detects a new process drops its
/// connections and makes new ones. As with everything that has a lock, this works only if no other
/// thread was using the pool at the moment of the fork.
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
    settings: PoolBuilder,
}

impl Pool {
    /// A builder, for addresses, time-outs and limits.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// Calls a typed method. Blocks until the reply is there, at most for the call time-out (the
    /// system's lookup of a host name is not bounded).
    ///
    /// # Errors
    ///
    /// Any [`CallError`]: that of the last attempt, or of an earlier one that may have been
    /// executed if the last was not.
    pub fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        method: Method<P, R>,
        params: &P,
    ) -> Result<R, CallError> {
        self.call_within(self.settings.client.call_timeout, method, params)
    }

    /// Like [`call`](Pool::call), with this time-out instead of the pool's.
    ///
    /// # Errors
    ///
    /// Those of [`call`](Pool::call).
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

    /// Calls any method with any params and returns the reply unchecked. Blocks as
    /// [`call`](Pool::call) does. The method does not count as idempotent.
    ///
    /// # Errors
    ///
    /// Those of [`call`](Pool::call), except `Kind` and `Result`.
    pub fn call_raw<P: Serialize + ?Sized>(
        &self,
        method: &str,
        params: &P,
    ) -> Result<RawReply, CallError> {
        let timeout = self.settings.client.call_timeout;
        self.call_with_retries(timeout, false, |client| client.call_raw(method, params))
    }

    fn call_with_retries<T>(
        &self,
        timeout: Duration,
        idempotent: bool,
        mut call: impl FnMut(&mut Client) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut options = AcquireOptions { started: Instant::now(), timeout, reuse: true };
        let mut worst: Option<CallError> = None;
        for attempts_left in (0..self.settings.max_attempts).rev() {
            let error = match self.connections.acquire(options) {
                Ok(lease) => match call_once(lease, &mut options, &mut call) {
                    Ok(result) => return Ok(result),
                    Err(error) => error,
                },
                Err(AcquireError::Failed(error)) => error,
                // An earlier error tells more than the fact that the time is over.
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
    // If one idle connection turns out to be dead, others may be dead too.
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

/// Whether a retry is safe and may succeed.
fn is_retryable(error: &CallError, may_run_twice: bool) -> bool {
    let is_temporary = match error {
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
        Executed::No => is_temporary,
        Executed::Maybe => is_temporary && may_run_twice,
        Executed::Yes => false,
    }
}
