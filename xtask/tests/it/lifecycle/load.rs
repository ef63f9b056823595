//! Callers that keep a server busy while something happens to it, and what became of their calls.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rpc_proto::Address;
use serde_json::{Value, json};
use xtask::launch::Server;

use super::{Caller, wait_until};

/// What became of the calls so far.
#[derive(Default)]
pub(super) struct Load {
    answered: AtomicU64,
    /// -32002 and `"executed": "no"`: to be called again elsewhere.
    told: AtomicU64,
    /// No answer at all. A caller has one call in flight.
    lost: AtomicU64,
    /// Nobody listens. Such a caller gives up.
    refused: AtomicU64,
    is_over: AtomicBool,
}

impl Load {
    /// Runs `event` while `callers` connect, call three times, and connect again. Returns once
    /// every caller knows what became of its last call.
    pub(super) fn during<T>(
        server: &Server,
        callers: usize,
        event: impl FnOnce(&Load) -> T,
    ) -> (T, Seen) {
        Load::during_at(server.address(), callers, event)
    }

    /// As [`during`](Load::during), for an event that needs the server itself.
    pub(super) fn during_at<T>(
        address: &Address,
        callers: usize,
        event: impl FnOnce(&Load) -> T,
    ) -> (T, Seen) {
        let load = Load::default();
        let value = thread::scope(|scope| {
            for _ in 0..callers {
                scope.spawn(|| load.call_until_over(address));
            }
            load.wait_for_calls();
            let value = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| event(&load)));
            load.is_over.store(true, Ordering::Relaxed);
            value
        });
        let value = value.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (value, load.seen())
    }

    /// Waits until a hundred more calls were answered: the server is in full swing.
    pub(super) fn wait_for_calls(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        wait_until("calls", || self.answered.load(Ordering::Relaxed) >= before + 100);
    }

    fn seen(&self) -> Seen {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Seen {
            answered: count(&self.answered),
            told: count(&self.told),
            lost: count(&self.lost),
            refused: count(&self.refused),
        }
    }

    fn call_until_over(&self, address: &Address) {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        while !self.is_over.load(Ordering::Relaxed) {
            let Ok(mut caller) = Caller::try_connect_to(address) else {
                // The port may soon be somebody else's.
                count(&self.refused);
                return;
            };
            for _ in 0..3 {
                // What cannot be sent any more may have been answered before.
                let _ = caller.try_send("ping", json!("here"));
                match caller.try_receive() {
                    Some((kind, result)) if kind == "pong" => {
                        assert_eq!(result, "here");
                        count(&self.answered);
                    }
                    Some((_, error)) => {
                        expect_not_executed(&error);
                        count(&self.told);
                        break;
                    }
                    None => {
                        count(&self.lost);
                        break;
                    }
                }
            }
        }
    }
}

fn expect_not_executed(error: &Value) {
    assert_eq!(error["code"], -32002, "{error}");
    assert_eq!(error["data"]["executed"], "no", "{error}");
}

/// What became of all calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) answered: u64,
    pub(super) told: u64,
    pub(super) lost: u64,
    pub(super) refused: u64,
}

impl Seen {
    /// Nobody has noticed anything.
    #[track_caller]
    pub(super) fn expect_nothing(self) {
        assert_eq!((self.told, self.lost, self.refused), (0, 0, 0), "{self:?}");
    }

    /// Every call that was sent was answered, or was said not to be executed.
    #[track_caller]
    pub(super) fn expect_no_call_lost(self) {
        assert!(self.lost == 0 && self.answered > 0, "{self:?}");
    }

    /// As many calls are lost as were in flight at one moment, at most.
    #[track_caller]
    pub(super) fn expect_lost_at_most(self, in_flight: usize) {
        assert!(self.lost <= in_flight as u64 && self.refused == 0, "{self:?}");
    }
}
