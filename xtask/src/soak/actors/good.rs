//! Clients that behave, and check every reply.

use std::thread;
use std::time::Instant;

use rpc_client::{CallError, Client, Method, Pool};

use crate::model::Model;
use crate::serve::methods::{ECHO, PING};
use crate::soak::context::Context;
use crate::soak::context::expected_failure::Since;
use crate::soak::context::plan::{self, TIMEOUT};
use crate::soak::context::rng::SeededRng;

const ECHO_AGAIN: Method<String, String> = Method::new("echo", "echoed").idempotent();

/// A long text. The server's limit is twice as much.
const LONG: usize = 1_000_000;

const POOL_THREADS: usize = 3;

/// Many calls on each connection.
pub(crate) fn lasting(context: &Context<'_>, name: &str) {
    let mut rng = context.rng(name);
    while context.goes_on() {
        let most = plan::calls_a_connection(context.model);
        let calls = 1 + rng.below(most);
        connection(context, name, &mut rng, calls, false);
    }
}

/// A new connection for a few calls, sometimes for a long one.
pub(crate) fn churning(context: &Context<'_>, name: &str) {
    let mut rng = context.rng(name);
    while context.goes_on() {
        // A connection that is old may be told to go, and a long request that is on its way then
        // does not read that. So long ones travel on connections of their own.
        let long = rng.one_in(16);
        let calls = if long { 1 } else { 1 + rng.below(4) };
        connection(context, name, &mut rng, calls, long);
    }
}

fn connection(context: &Context<'_>, name: &str, rng: &mut SeededRng, calls: usize, long: bool) {
    let mut sent = text(name, rng, long);
    let since = context.since_now();
    let mut heard = Instant::now();
    let mut client = match context.connect() {
        Ok(client) => client,
        Err(error) => return context.count_failure(name, &error, since, heard.elapsed()),
    };
    for _ in 0..calls {
        if !context.goes_on() {
            return;
        }
        let begun = Instant::now();
        match call(&mut client, rng, &sent) {
            Ok(got) => check(context, name, begun, &sent, &got),
            Err(error) => return context.count_failure(name, &error, since, heard.elapsed()),
        }
        heard = Instant::now();
        sent = text(name, rng, false);
    }
}

/// One of a kind, so that no other reply can be taken for its own.
fn text(name: &str, rng: &mut SeededRng, long: bool) -> String {
    let unique = format!("{name} {} {} ", rng.below(1 << 30), rng.below(1 << 30));
    let len = if long { LONG } else { rng.choose(&[10, 100, 1_000, 10_000]) };
    rng.text(&unique, len)
}

/// The same call in one of the ways to make it.
fn call(client: &mut Client, rng: &mut SeededRng, text: &String) -> Result<String, CallError> {
    match rng.below(3) {
        0 => client.call(ECHO, text),
        1 => client.call(PING, text),
        _ => {
            let reply = client.call_raw("ping", text)?;
            serde_json::from_str(reply.result.get()).map_err(CallError::Result)
        }
    }
}

/// Calls through pools that threads share, one pool after the other.
pub(crate) fn pooled(context: &Context<'_>, name: &str) {
    let mut rng = context.rng(name);
    let client = Client::builder().connect_timeout(TIMEOUT).call_timeout(TIMEOUT);
    // An unused connection of a pool would keep all others waiting in `single`.
    let connections = if context.model == Model::Single { 1 } else { 2 };
    while context.goes_on() {
        let calls = 1 + rng.below(plan::calls_a_connection(context.model).min(200));
        let since = context.since_now();
        let pool = Pool::builder().client(client).max_connections(connections);
        let pool = pool.build([context.address.clone()]);
        thread::scope(|scope| {
            for caller in 0..POOL_THREADS {
                let name = format!("{name} {caller} {}", rng.below(1 << 30));
                let (pool, name) = (&pool, name);
                scope.spawn(move || call_pool(context, pool, &name, calls, since));
            }
        });
    }
}

fn call_pool(context: &Context<'_>, pool: &Pool, name: &str, calls: usize, since: Since) {
    let mut rng = context.rng(name);
    for number in 0..calls {
        if !context.goes_on() {
            return;
        }
        let len = rng.choose(&[10, 1_000]);
        let sent = rng.text(&format!("{name} {number} "), len);
        // A pool looks at a connection before it uses it, so only what happens during the call can
        // make it fail. How old the connection is nobody knows but the pool.
        let since = context.since_now().as_old_as(since);
        let begun = Instant::now();
        let method = if rng.one_in(2) { ECHO } else { ECHO_AGAIN };
        match pool.call(method, &sent) {
            Ok(got) => check(context, name, begun, &sent, &got),
            Err(error) => return context.count_failure(name, &error, since, begun.elapsed()),
        }
    }
}

/// The one place that decides whether a typed reply is right.
fn check(context: &Context<'_>, name: &str, begun: Instant, sent: &str, got: &str) {
    if got == sent {
        return context.results.good(begun.elapsed());
    }
    let same = sent.bytes().zip(got.bytes()).take_while(|(sent, got)| sent == got).count();
    context.results.fail(format!(
        "{name}: a wrong reply: sent {} bytes, got {}, the same up to byte {same}; got {:?}",
        sent.len(),
        got.len(),
        got.chars().take(100).collect::<String>(),
    ));
}
