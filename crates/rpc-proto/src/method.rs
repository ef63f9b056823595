//! A method with its types, shared by both sides as a constant.

use std::fmt;
use std::marker::PhantomData;

/// Method names that begin like this belong to the server itself.
pub const RESERVED_METHOD_PREFIX: &str = "rpc.";

/// A method: its name in a request, the kind of its reply, and the types of both.
///
/// Declare it once, as a constant that server and client share; the compiler then checks the
/// handler and every call against it.
///
/// ```
/// use rpc_proto::Method;
///
/// pub const PING: Method<String, String> = Method::new("ping", "pong");
/// assert_eq!(PING.name(), "ping");
/// ```
///
/// Names are checked where a method is registered: the kind `error` and names that begin with
/// `rpc.` are reserved.
pub struct Method<Params, Result> {
    name: &'static str,
    kind: &'static str,
    types: PhantomData<fn(Params) -> Result>,
}

impl<Params, Result> Method<Params, Result> {
    /// A method called `name` whose replies are of the kind `kind`.
    pub const fn new(name: &'static str, kind: &'static str) -> Self {
        Method { name, kind, types: PhantomData }
    }

    /// What a request says in its field `in`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What a reply says in its field `out`.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }
}

impl<Params, Result> Clone for Method<Params, Result> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Params, Result> Copy for Method<Params, Result> {}

impl<Params, Result> fmt::Debug for Method<Params, Result> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Method").field("name", &self.name).field("kind", &self.kind).finish()
    }
}
