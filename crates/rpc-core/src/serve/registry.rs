//! The method table: names, reply kinds, deadlines, handlers.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use rpc_proto::internal::{ReplyHead, check_json, parse_json};
use rpc_proto::{ERROR_KIND, FrameWriter, Method, RESERVED_METHOD_PREFIX, Response, RpcError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::scoreboard::slot::Slot;
use crate::serve::context::Context;

/// Why a method cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name is taken.
    #[error("method `{0}` is registered already")]
    Duplicate(String),
    /// The name begins with `rpc.`; such names belong to the server.
    #[error("method `{0}`: names that begin with `{RESERVED_METHOD_PREFIX}` are reserved")]
    ReservedName(String),
    /// The reply kind is `error`, which marks error replies.
    #[error("method `{0}`: the reply kind `{ERROR_KIND}` is reserved")]
    ReservedKind(String),
    /// The method that should get a deadline is not registered.
    #[error("method `{0}` is not registered")]
    Unknown(String),
}

/// The methods of a server.
///
/// Handlers must be `Send + Sync` even for a single-threaded server, so that one changed line
/// switches to another model.
///
/// ```
/// use rpc_core::Registry;
/// use rpc_proto::{Method, RpcError};
///
/// const ADD: Method<(f64, f64), f64> = Method::new("add", "sum");
///
/// let mut registry = Registry::new();
/// registry.register(ADD, |(a, b), _ctx| Ok(a + b))?;
/// assert!(registry.register(ADD, |(a, _), _ctx| Ok(a)).is_err(), "one name, one handler");
/// # Ok::<(), rpc_core::RegisterError>(())
/// ```
#[derive(Default)]
pub struct Registry {
    /// Sorted by the length of the name, then by the name: a search compares numbers before it
    /// compares bytes, which is faster here than hashing.
    methods: Vec<Entry>,
}

/// A registered method.
struct Entry {
    name: Cow<'static, str>,
    reply_head: ReplyHead,
    deadline: Option<Duration>,
    handler: Box<Handler>,
}

/// A handler with its types erased: parses the params, runs, passes its result to the
/// [`Responder`]. An error means that the params do not parse; then the handler did not run.
type Handler = dyn Fn(&str, &Context, Responder<'_>) -> Result<(), serde_json::Error> + Send + Sync;

impl Registry {
    /// A registry without methods.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Registers a handler for a typed method.
    ///
    /// The params are parsed before the handler is called; params that do not fit the type are
    /// answered with -32602. An `Err` from the handler is sent as it is. A panic is answered with
    /// -32603 and affects no other call.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when the name or the kind is reserved, or the name is taken.
    pub fn register<P, R>(
        &mut self,
        method: Method<P, R>,
        handler: impl Fn(P, &Context) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> Result<(), RegisterError>
    where
        P: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let erased = move |params: &str, ctx: &Context, responder: Responder<'_>| {
            let params = parse_json(params)?;
            responder.respond(handler(params, ctx));
            Ok(())
        };
        self.insert(method.name().into(), method.kind().into(), Box::new(erased))
    }

    /// Registers a handler that takes its params and returns its result as JSON text.
    ///
    /// Text that the handler passes through comes back unchanged, byte by byte: numbers, escapes,
    /// the order of keys. Returning [`Cow::Borrowed`] allocates nothing.
    ///
    /// ```
    /// # use rpc_core::Registry;
    /// use std::borrow::Cow;
    ///
    /// let mut registry = Registry::new();
    /// registry.register_raw("ping", "pong", |params, _ctx| Ok(Cow::Borrowed(params)))?;
    /// # Ok::<(), rpc_core::RegisterError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`register`](Registry::register).
    pub fn register_raw(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        kind: impl Into<Cow<'static, str>>,
        handler: impl for<'a> Fn(&'a RawValue, &Context) -> Result<Cow<'a, RawValue>, RpcError>
        + Send
        + Sync
        + 'static,
    ) -> Result<(), RegisterError> {
        let erased = move |params: &str, ctx: &Context, responder: Responder<'_>| {
            let params = check_json(params)?;
            responder.respond(handler(params, ctx));
            Ok(())
        };
        self.insert(name.into(), kind.into(), Box::new(erased))
    }

    /// Sets how long a call of the method `name` may take at most. A request may ask for less. For
    /// a request without a timeout this replaces
    /// [`Service::default_deadline`](crate::Service::default_deadline).
    ///
    /// ```
    /// # use rpc_core::{Method, Registry};
    /// # use std::time::Duration;
    /// const REPORT: Method<u32, String> = Method::new("report", "reported");
    ///
    /// let mut registry = Registry::new();
    /// registry.register(REPORT, |year, _ctx| Ok(format!("{year} was a good year")))?;
    /// registry.set_deadline(REPORT.name(), Duration::from_secs(300))?;
    /// # Ok::<(), rpc_core::RegisterError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RegisterError::Unknown`] when no such method is registered.
    pub fn set_deadline(&mut self, name: &str, deadline: Duration) -> Result<(), RegisterError> {
        let position = self.position(name).map_err(|_| RegisterError::Unknown(name.to_owned()))?;
        self.methods[position].deadline = Some(deadline);
        Ok(())
    }

    pub(crate) fn has_deadlines(&self) -> bool {
        self.methods.iter().any(|method| method.deadline.is_some())
    }

    fn insert(
        &mut self,
        name: Cow<'static, str>,
        kind: Cow<'static, str>,
        handler: Box<Handler>,
    ) -> Result<(), RegisterError> {
        if name.starts_with(RESERVED_METHOD_PREFIX) {
            return Err(RegisterError::ReservedName(name.into_owned()));
        }
        if kind == ERROR_KIND {
            return Err(RegisterError::ReservedKind(name.into_owned()));
        }
        match self.position(&name) {
            Ok(_) => Err(RegisterError::Duplicate(name.into_owned())),
            Err(free) => {
                let reply_head = ReplyHead::new(&kind);
                self.methods.insert(free, Entry { name, reply_head, deadline: None, handler });
                Ok(())
            }
        }
    }

    #[inline]
    pub(crate) fn find(&self, name: &str) -> Option<Found<'_>> {
        let position = self.position(name).ok()?;
        Some(Found { entry: &self.methods[position], number: position as u32 + 1 })
    }

    /// The name of the method with this number; `None` if there is none.
    pub(crate) fn name_of(&self, number: u32) -> Option<&str> {
        let position = (number as usize).checked_sub(1)?;
        self.methods.get(position).map(|entry| &*entry.name)
    }

    /// The position of the method, or where to insert it.
    #[inline]
    fn position(&self, name: &str) -> Result<usize, usize> {
        let wanted = (name.len(), name);
        self.methods.binary_search_by(|entry| (entry.name.len(), &*entry.name).cmp(&wanted))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.methods.iter().map(|entry| &entry.name)).finish()
    }
}

/// A method and its number in the registry, counted from 1.
pub(crate) struct Found<'a> {
    entry: &'a Entry,
    number: u32,
}

impl Found<'_> {
    /// How long a call of this method may take, if the method has its own deadline.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.entry.deadline
    }

    /// Calls the handler and appends its reply to `replies`.
    /// An error means that the params do not parse; then the handler did not run.
    #[inline]
    pub(crate) fn call(
        &self,
        params: &str,
        ctx: &Context,
        slot: &Slot,
        replies: &mut FrameWriter,
    ) -> Result<(), serde_json::Error> {
        slot.calls.set_method(self.number);
        let Entry { reply_head, handler, .. } = self.entry;
        handler(params, ctx, Responder { reply_head, slot, replies })
    }
}

/// Takes the one answer to one request.
pub(crate) struct Responder<'a> {
    pub(crate) reply_head: &'a ReplyHead,
    pub(crate) slot: &'a Slot,
    pub(crate) replies: &'a mut FrameWriter,
}

impl Responder<'_> {
    /// Appends the reply, unless another thread or a signal handler has answered the request.
    #[inline]
    pub(crate) fn respond<R: Serialize>(self, result: Result<R, RpcError>) {
        if !self.slot.finish_handling() {
            return;
        }
        let appended = match &result {
            Ok(result) => self.replies.append(|body| self.reply_head.encode(body, result)),
            Err(error) => return Response::append_error(self.replies, error),
        };
        if let Err(error) = appended {
            let message = format!("the result does not serialise: {error}");
            Response::append_error(self.replies, &RpcError::internal(message));
        }
    }
}
