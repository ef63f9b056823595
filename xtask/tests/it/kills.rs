//! Processes that are killed at any moment never make a client read what is not its answer.
//!
//! Some hundred kills in the suite; `RPC_KILLS=3000` makes that many for each model.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_client::ErrorCode::{Crashed, DeadlineExceeded, ShuttingDown};
use serde_json::Value;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use crate::raw::{PATIENCE, Raw, frame, request};
use crate::server::start;

/// As many as workers, so that every worker serves.
const CALLERS: u64 = 12;

/// After so long without anybody to kill, a reload brings new workers: a place whose workers are
/// killed again and again is filled more and more slowly, and a reload forgets that.
const RELOAD_AFTER: Duration = Duration::from_millis(500);

#[test]
fn kills_at_random_moments_never_garble_an_answer_fork() {
    check(Model::Fork, 300);
}

#[test]
fn kills_at_random_moments_never_garble_an_answer_prefork() {
    check(Model::Prefork, 60);
}

#[test]
fn kills_at_random_moments_never_garble_an_answer_prefork_thread() {
    check(Model::PreforkThread, 60);
}

/// What the callers saw.
#[derive(Default, Debug)]
struct Seen {
    replies: AtomicU64,
    last_words: AtomicU64,
    deadlines: AtomicU64,
    stops: AtomicU64,
    closes: AtomicU64,
}

fn check(model: Model, kills_in_suite: u64) {
    let asked = std::env::var("RPC_KILLS").ok().and_then(|count| count.parse().ok());
    let kills = asked.unwrap_or(kills_in_suite);
    // The server inherits it: thousands of core dumps are no use to anybody.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).unwrap();
    let workers = CALLERS.to_string();
    let server = start(model, &["--fault-methods", "--workers", &workers]);
    let seen = Seen::default();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..CALLERS {
            let (server, seen, is_over) = (&server, &seen, &is_over);
            scope.spawn(move || {
                let mut caller = Caller { random: Random(number + 1), number, sent: 0 };
                while !is_over.load(Ordering::Relaxed) {
                    caller.call_until_the_end(server, seen, is_over);
                }
            });
        }
        let killed = kill_at_random(&server, model, kills);
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(killed, kills);
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    eprintln_figures(model, kills, &seen);
    assert!(count(&seen.replies) > kills, "{seen:?}");
    assert!(count(&seen.last_words) > 0, "{seen:?}");
    assert!(count(&seen.closes) > 0, "{seen:?}");
    // It goes on as if nothing had been.
    let deadline = Instant::now() + PATIENCE;
    while proc::children(server.pid()).is_empty() && model != Model::Fork {
        assert!(Instant::now() < deadline);
    }
    Raw::connect(&server).expect_service();
}

/// For whoever asks for thousands and wants to know what came of them.
fn eprintln_figures(model: Model, kills: u64, seen: &Seen) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{model}: {kills} kills, {seen:?}");
}

/// Kills processes of the server, one after the other.
#[expect(
    clippy::disallowed_methods,
    reason = "so that a process dies at any point of what it does"
)]
fn kill_at_random(server: &Server, model: Model, kills: u64) -> u64 {
    const SIGNALS: [Signal; 3] = [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGABRT];
    let mut random = Random(0x5eed);
    let mut killed = 0;
    let mut last = Instant::now();
    let mut reloaded = last;
    while killed < kills {
        assert!(last.elapsed() < PATIENCE, "nobody to kill any more, after {killed}");
        thread::sleep(Duration::from_micros(random.below(3000)));
        let alive = proc::children(server.pid());
        if alive.is_empty() {
            if model.has_workers() && last.max(reloaded).elapsed() > RELOAD_AFTER {
                server.signal(Signal::SIGHUP).expect("the server lives");
                reloaded = Instant::now();
            }
            continue;
        }
        let pid = alive[random.below(alive.len() as u64) as usize];
        let signal = SIGNALS[random.below(3) as usize];
        // It may have ended meanwhile.
        if kill(Pid::from_raw(pid), signal).is_ok() {
            killed += 1;
            last = Instant::now();
        }
    }
    killed
}

struct Caller {
    random: Random,
    number: u64,
    sent: u64,
}

impl Caller {
    /// Calls in batches, over one connection, until that ends.
    fn call_until_the_end(&mut self, server: &Server, seen: &Seen, is_over: &AtomicBool) {
        let mut client = Raw::connect(server);
        while !is_over.load(Ordering::Relaxed) {
            let calls = 1 + self.random.below(8);
            let batch: Vec<_> = (0..calls).map(|_| self.call()).collect();
            let requests: Vec<u8> = batch.iter().flat_map(|(request, _)| request.clone()).collect();
            // It may be gone already; what it has said can be read all the same.
            let _ = client.try_to_send(&requests);
            for (_, expected) in &batch {
                let Some(body) = client.receive_or_end() else {
                    seen.closes.fetch_add(1, Ordering::Relaxed);
                    return;
                };
                if body == *expected {
                    seen.replies.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                expect_known_error(&body, seen);
                let more = client.receive_or_end();
                assert!(more.is_none(), "behind an error that ends: {more:?}");
                return;
            }
        }
    }

    /// A request that nobody else sends, and the body of its reply.
    fn call(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.sent += 1;
        let slept = br#"{"out":"slept","result":1}"#.to_vec();
        match self.random.below(10) {
            0 => (frame(r#"{"in":"sleep","timeout_ms":1,"params":1}"#), slept),
            1..4 => (request("sleep", "1"), slept),
            _ => {
                let filling = "x".repeat(self.random.below(2000) as usize);
                let text = format!("\"{}/{} {filling}\"", self.number, self.sent);
                let reply = format!(r#"{{"out":"pong","result":{text}}}"#);
                (request("ping", &text), reply.into_bytes())
            }
        }
    }
}

fn expect_known_error(body: &[u8], seen: &Seen) {
    let text = String::from_utf8_lossy(body);
    let reply: Value = serde_json::from_slice(body).unwrap_or_else(|_| panic!("garbled: {text}"));
    assert_eq!(reply["out"], "error", "not the answer to this request: {text}");
    let (code, executed) = (&reply["result"]["code"], &reply["result"]["data"]["executed"]);
    let known = [
        (Crashed, "maybe", &seen.last_words),
        (DeadlineExceeded, "maybe", &seen.deadlines),
        // A worker that crashes stops accepting first.
        (ShuttingDown, "no", &seen.stops),
    ];
    let found = known.iter().find(|(known, ..)| *code == known.code());
    let (_, expected, counter) = found.unwrap_or_else(|| panic!("no error to expect: {text}"));
    assert_eq!(executed, expected, "{text}");
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % limit
    }
}
