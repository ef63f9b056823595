//! A client that sends many requests before it reads a reply, and compares every byte.

use std::time::Instant;

use rpc_client::CallError;

use super::dice::Dice;
use super::excuse::Since;
use super::plan;
use super::raw::{Raw, frame, request};
use super::scene::Scene;

pub(super) fn pipelined(scene: &Scene<'_>, name: &str) {
    let mut dice = scene.dice(name);
    while scene.goes_on() {
        let since = scene.since_now();
        let begun = Instant::now();
        match Raw::connect(scene.address) {
            Ok(mut connection) => {
                let batches = 1 + dice.below(plan::calls_a_connection(scene.model) / 10);
                let mut goes_on = true;
                for _ in 0..batches {
                    goes_on = goes_on
                        && scene.goes_on()
                        && batch(scene, name, &mut dice, &mut connection, since);
                }
            }
            Err(error) => scene.judge(name, &error, since, begun.elapsed()),
        }
    }
}

/// Whether the connection goes on. At most 32 KiB, which the server reads even if it says goodbye.
fn batch(
    scene: &Scene<'_>,
    name: &str,
    dice: &mut Dice,
    connection: &mut Raw,
    since: Since,
) -> bool {
    let texts: Vec<String> = (0..1 + dice.below(32))
        .map(|number| {
            let len = dice.choose(&[10, 100, 700]);
            let unique = format!("{name} {number} {} ", dice.below(1 << 30));
            let text = dice.text(&unique, len);
            serde_json::to_string(&text).expect("a string serialises")
        })
        .collect();
    let requests: Vec<u8> = texts.iter().flat_map(|text| request("ping", text)).collect();
    let begun = Instant::now();
    let sent = connection.send(&requests);
    for text in &texts {
        let expected = format!(r#"{{"out":"pong","result":{text}}}"#);
        match connection.receive() {
            Ok(got) if got == expected.as_bytes() => scene.tally.good(begun.elapsed()),
            Ok(got) => {
                let got = String::from_utf8_lossy(&got);
                scene.tally.fail(format!("{name}: expected {expected:?} and got {got:?}"));
                return false;
            }
            Err(error) => {
                let told = matches!(error, CallError::Rpc(_));
                // What the server said matters more than that it stopped reading.
                let error = match (sent, error) {
                    (Err(not_sent), CallError::Closed(_)) => not_sent,
                    (_, error) => error,
                };
                scene.judge(name, &error, since, begun.elapsed());
                if told && let Ok(more) = connection.receive() {
                    let more = frame(&more);
                    scene.tally.fail(format!("{name}: a reply behind {error}: {more:?}"));
                }
                return false;
            }
        }
    }
    if let Err(error) = sent {
        scene.judge(name, &error, since, begun.elapsed());
        return false;
    }
    true
}
