//! A client that makes the server leak, to see whether the soak notices.

use crate::methods::LEAK;

use super::context::Context;

/// Once is enough.
pub(super) fn leak(context: &Context<'_>, name: &str) {
    let leaked = context.connect().and_then(|mut client| client.call(LEAK, &()));
    if let Err(error) = leaked {
        context.results.fail(format!("{name}: {error}"));
    }
}
