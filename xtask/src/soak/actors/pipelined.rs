//! A client that sends many requests before it reads a reply, and compares every byte.

use std::time::Instant;

use rpc_client::CallError;

use crate::raw::{Raw, frame, request};
use crate::soak::context::Context;
use crate::soak::context::expected_failure::Since;
use crate::soak::context::plan::{self, TIMEOUT};
use crate::soak::context::rng::SeededRng;

pub(crate) fn pipelined(context: &Context<'_>, name: &str) {
    let mut rng = context.rng(name);
    while context.goes_on() {
        let since = context.since_now();
        let begun = Instant::now();
        match Raw::connect(context.address, TIMEOUT) {
            Ok(mut connection) => {
                let batches = 1 + rng.below(plan::calls_a_connection(context.model) / 10);
                let mut goes_on = true;
                for _ in 0..batches {
                    goes_on = goes_on
                        && context.goes_on()
                        && batch(context, name, &mut rng, &mut connection, since);
                }
            }
            Err(error) => context.count_failure(name, &error, since, begun.elapsed()),
        }
    }
}

/// Whether the connection goes on. At most 32 KiB, which the server reads even if it says goodbye.
fn batch(
    context: &Context<'_>,
    name: &str,
    rng: &mut SeededRng,
    connection: &mut Raw,
    since: Since,
) -> bool {
    let texts: Vec<String> = (0..1 + rng.below(32))
        .map(|number| {
            let len = rng.choose(&[10, 100, 700]);
            let unique = format!("{name} {number} {} ", rng.below(1 << 30));
            let text = rng.text(&unique, len);
            serde_json::to_string(&text).expect("a string serialises")
        })
        .collect();
    let requests: Vec<u8> = texts.iter().flat_map(|text| request("ping", text)).collect();
    let begun = Instant::now();
    let sent = connection.send(&requests);
    for text in &texts {
        let expected = format!(r#"{{"out":"pong","result":{text}}}"#);
        match connection.receive() {
            Ok(got) if got == expected.as_bytes() => context.results.good(begun.elapsed()),
            Ok(got) => {
                let got = String::from_utf8_lossy(&got);
                context.results.fail(format!("{name}: expected {expected:?} and got {got:?}"));
                return false;
            }
            Err(error) => {
                let told = matches!(error, CallError::Rpc(_));
                // What the server said matters more than that it stopped reading.
                let error = match (sent, error) {
                    (Err(not_sent), CallError::Closed(_)) => not_sent,
                    (_, error) => error,
                };
                context.count_failure(name, &error, since, begun.elapsed());
                if told && let Ok(more) = connection.receive() {
                    let more = frame(&more);
                    context.results.fail(format!("{name}: a reply behind {error}: {more:?}"));
                }
                return false;
            }
        }
    }
    if let Err(error) = sent {
        context.count_failure(name, &error, since, begun.elapsed());
        return false;
    }
    true
}
