//! A client that makes the server leak, to see whether the soak notices.

use crate::serve::methods::LEAK;

use crate::soak::context::Context;

/// Once is enough.
pub(crate) fn leak(context: &Context<'_>, name: &str) {
    let leaked = context.connect().and_then(|mut client| client.call(LEAK, &()));
    if let Err(error) = leaked {
        context.results.fail(format!("{name}: {error}"));
    }
}
