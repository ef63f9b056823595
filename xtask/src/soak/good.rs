//! Clients that behave, and check every reply.

use std::thread;
use std::time::Instant;

use rpc_client::{CallError, Client, Method, Pool};

use super::dice::Dice;
use super::excuse::Since;
use super::plan::{self, PATIENCE};
use super::scene::Scene;
use crate::methods::{ECHO, PING};
use crate::model::Model;

const ECHO_AGAIN: Method<String, String> = Method::new("echo", "echoed").idempotent();

/// A long text. The server's limit is twice as much.
const LONG: usize = 1_000_000;

const POOL_THREADS: usize = 3;

/// Many calls on each connection.
pub(super) fn lasting(scene: &Scene<'_>, name: &str) {
    let mut dice = scene.dice(name);
    while scene.goes_on() {
        let most = plan::calls_a_connection(scene.model);
        let calls = 1 + dice.below(most);
        connection(scene, name, &mut dice, calls, false);
    }
}

/// A new connection for a few calls, sometimes for a long one.
pub(super) fn churning(scene: &Scene<'_>, name: &str) {
    let mut dice = scene.dice(name);
    while scene.goes_on() {
        // A connection that is old may be told to go, and a long request that is on its way then
        // does not read that. So long ones travel on connections of their own.
        let long = dice.one_in(16);
        let calls = if long { 1 } else { 1 + dice.below(4) };
        connection(scene, name, &mut dice, calls, long);
    }
}

fn connection(scene: &Scene<'_>, name: &str, dice: &mut Dice, calls: usize, long: bool) {
    let mut sent = text(name, dice, long);
    let since = scene.since_now();
    let mut heard = Instant::now();
    let mut client = match scene.connect() {
        Ok(client) => client,
        Err(error) => return scene.judge(name, &error, since, heard.elapsed()),
    };
    for _ in 0..calls {
        if !scene.goes_on() {
            return;
        }
        let begun = Instant::now();
        match call(&mut client, dice, &sent) {
            Ok(got) => check(scene, name, begun, &sent, &got),
            Err(error) => return scene.judge(name, &error, since, heard.elapsed()),
        }
        heard = Instant::now();
        sent = text(name, dice, false);
    }
}

/// One of a kind, so that no other reply can be taken for its own.
fn text(name: &str, dice: &mut Dice, long: bool) -> String {
    let unique = format!("{name} {} {} ", dice.below(1 << 30), dice.below(1 << 30));
    let len = if long { LONG } else { dice.choose(&[10, 100, 1_000, 10_000]) };
    dice.text(&unique, len)
}

/// The same call in one of the ways to make it.
fn call(client: &mut Client, dice: &mut Dice, text: &String) -> Result<String, CallError> {
    match dice.below(3) {
        0 => client.call(ECHO, text),
        1 => client.call(PING, text),
        _ => {
            let reply = client.call_raw("ping", text)?;
            serde_json::from_str(reply.result.get()).map_err(CallError::Result)
        }
    }
}

/// Calls through pools that threads share, one pool after the other.
pub(super) fn pooled(scene: &Scene<'_>, name: &str) {
    let mut dice = scene.dice(name);
    let client = Client::builder().connect_timeout(PATIENCE).call_timeout(PATIENCE);
    // An unused connection of a pool would keep everybody else waiting in `single`.
    let connections = if scene.model == Model::Single { 1 } else { 2 };
    while scene.goes_on() {
        let calls = 1 + dice.below(plan::calls_a_connection(scene.model).min(200));
        let since = scene.since_now();
        let pool = Pool::builder().client(client).max_connections(connections);
        let pool = pool.build([scene.address.clone()]);
        thread::scope(|scope| {
            for caller in 0..POOL_THREADS {
                let name = format!("{name} {caller} {}", dice.below(1 << 30));
                let (pool, name) = (&pool, name);
                scope.spawn(move || call_pool(scene, pool, &name, calls, since));
            }
        });
    }
}

fn call_pool(scene: &Scene<'_>, pool: &Pool, name: &str, calls: usize, since: Since) {
    let mut dice = scene.dice(name);
    for number in 0..calls {
        if !scene.goes_on() {
            return;
        }
        let len = dice.choose(&[10, 1_000]);
        let sent = dice.text(&format!("{name} {number} "), len);
        // A pool looks at a connection before it uses it, so only what happens during the call can
        // make it fail. How old the connection is nobody knows but the pool.
        let since = scene.since_now().as_old_as(since);
        let begun = Instant::now();
        let method = if dice.one_in(2) { ECHO } else { ECHO_AGAIN };
        match pool.call(method, &sent) {
            Ok(got) => check(scene, name, begun, &sent, &got),
            Err(error) => return scene.judge(name, &error, since, begun.elapsed()),
        }
    }
}

/// The one place that decides whether a typed reply is right.
fn check(scene: &Scene<'_>, name: &str, begun: Instant, sent: &str, got: &str) {
    if got == sent {
        return scene.tally.good(begun.elapsed());
    }
    let same = sent.bytes().zip(got.bytes()).take_while(|(sent, got)| sent == got).count();
    scene.tally.fail(format!(
        "{name}: a wrong reply: sent {} bytes, got {}, the same up to byte {same}; got {:?}",
        sent.len(),
        got.len(),
        got.chars().take(100).collect::<String>(),
    ));
}
