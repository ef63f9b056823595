//! A client that makes the server leak, to see whether the soak notices.

use crate::methods::LEAK;

use super::scene::Scene;

/// Once is enough.
pub(super) fn leak(scene: &Scene<'_>, name: &str) {
    let leaked = scene.connect().and_then(|mut client| client.call(LEAK, &()));
    if let Err(error) = leaked {
        scene.tally.fail(format!("{name}: {error}"));
    }
}
