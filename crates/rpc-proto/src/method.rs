//! A method with its types, shared by both sides as a constant.

use std::fmt;
use std::marker::PhantomData;

/// Method names with this prefix belong to the server itself.
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
/// Names are checked when a method is registered: the kind `error` and names that begin with `rpc.`
/// are reserved.
pub struct Method<Params, Result> {
    name: &'static str,
    kind: &'static str,
    idempotent: bool,
    types: PhantomData<fn(Params) -> Result>,
}

impl<Params, Result> Method<Params, Result> {
    /// A method called `name` whose replies are of the kind `kind`.
    pub const fn new(name: &'static str, kind: &'static str) -> Self {
        Method { name, kind, idempotent: false, types: PhantomData }
    }

    /// The same method, declared idempotent: executing it twice has the same effect as executing it
    /// once (RFC 9110, section 9.2.2). A client may then retry a call that may have been executed.
    /// The declaration is not sent.
    ///
    /// ```
    /// use rpc_proto::Method;
    ///
    /// pub const READ: Method<String, Vec<u8>> = Method::new("read", "content").idempotent();
    /// assert!(READ.is_idempotent());
    /// ```
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// The name of the method, the field `in` of a request.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The kind of the reply, its field `out`.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Whether it was declared [`idempotent`](Method::idempotent).
    pub const fn is_idempotent(&self) -> bool {
        self.idempotent
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
        f.debug_struct("Method")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("idempotent", &self.idempotent)
            .finish()
    }
}
