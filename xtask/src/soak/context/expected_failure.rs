//! The faults that are injected into a server, and which failures of good calls they explain.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rpc_client::{CallError, ErrorCode, Executed, FrameError};

use crate::model::Model;
use crate::soak::context::plan;

/// Spans of time in which something was done. They may overlap each other.
#[derive(Default)]
pub(crate) struct Spans {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// Ends when it is dropped.
pub(crate) struct Span<'a>(&'a Spans);

impl Spans {
    /// To be called before the fault, and to be dropped when all its effects have been seen.
    pub(crate) fn begin(&self) -> Span<'_> {
        self.begun.fetch_add(1, SeqCst);
        Span(self)
    }

    /// Whether one was going on at some moment since so many had ended: all that had ended were
    /// among those that had begun, so one more is one that had not ended.
    fn touch(&self, ended_before: u64) -> bool {
        self.begun.load(SeqCst) > ended_before
    }
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, SeqCst);
    }
}

/// What is done on purpose and may end a connection.
#[derive(Default)]
pub(crate) struct InjectedFaults {
    /// A process is being killed that may serve others than the one who kills it.
    pub(crate) deaths: Spans,
    /// More connections are open than the server serves.
    pub(crate) floods: Spans,
}

/// From when on a fault may matter to a connection: its beginning.
#[derive(Clone, Copy)]
pub(crate) struct Since {
    at: Instant,
    deaths: u64,
    floods: u64,
}

impl Since {
    pub(crate) fn now(faults: &InjectedFaults) -> Since {
        let ended = |spans: &Spans| spans.ended.load(SeqCst);
        Since { at: Instant::now(), deaths: ended(&faults.deaths), floods: ended(&faults.floods) }
    }

    /// How old the connection is.
    pub(crate) fn age(self) -> Duration {
        self.at.elapsed()
    }

    /// The same, on a connection that may be as old as `other`.
    pub(crate) fn as_old_as(self, other: Since) -> Since {
        Since { at: other.at, ..self }
    }
}

/// Why a call may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpectedFailure {
    /// The server said no, as it should: it was full, or the worker was being replaced.
    Refused,
    /// The process that served it was killed.
    Cut,
    /// The machine held this client up for longer than the server waits.
    Slow,
}

impl ExpectedFailure {
    /// Why this failure is as it should be, on a connection that exists `since` then and on which the
    /// server was last heard, or connected to, `quiet` ago. `None` if nothing explains it.
    pub(crate) fn of(
        model: Model,
        faults: &InjectedFaults,
        error: &CallError,
        since: Since,
        quiet: Duration,
    ) -> Option<ExpectedFailure> {
        let died = faults.deaths.touch(since.deaths);
        // Others are in the same process only where it has threads. A worker that crashes tells them.
        let crashed = died && model == Model::PreforkThread;
        let flooded = plan::refuses(model) && faults.floods.touch(since.floods);
        let replaced = model.has_workers() && since.age() >= plan::DRAIN;
        let (found, executed) = match error {
            CallError::Rpc(error) => match error.known_code()? {
                ErrorCode::Busy if flooded => (ExpectedFailure::Refused, Executed::No),
                ErrorCode::ShuttingDown if replaced => (ExpectedFailure::Refused, Executed::No),
                ErrorCode::ShuttingDown if crashed => (ExpectedFailure::Cut, Executed::No),
                ErrorCode::TimedOut if quiet >= plan::FIRST_REQUEST => {
                    (ExpectedFailure::Slow, Executed::No)
                }
                ErrorCode::Crashed if crashed => (ExpectedFailure::Cut, Executed::Maybe),
                _ => return None,
            },
            // The goodbye came in one piece with the last reply.
            CallError::Unusable if replaced => (ExpectedFailure::Refused, Executed::No),
            CallError::Unusable if crashed => (ExpectedFailure::Cut, Executed::No),
            CallError::Closed(_) | CallError::NotSent(_) | CallError::Frame(_) => {
                let executed = match error {
                    CallError::NotSent(_) => Executed::No,
                    CallError::Frame(FrameError::Truncated { .. }) | CallError::Closed(_) => {
                        Executed::Maybe
                    }
                    _ => return None,
                };
                if died {
                    (ExpectedFailure::Cut, executed)
                } else if flooded {
                    // A refusal is lost if more is on its way than the server reads before it closes.
                    (ExpectedFailure::Refused, executed)
                } else if quiet >= plan::TRANSFER {
                    (ExpectedFailure::Slow, executed)
                } else {
                    return None;
                }
            }
            _ => return None,
        };
        (error.executed() == executed).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rpc_client::RpcError;

    use super::*;

    fn closed() -> CallError {
        CallError::Closed(io::ErrorKind::UnexpectedEof.into())
    }

    fn answered(code: ErrorCode, executed: &str) -> CallError {
        let data = serde_json::json!({ "executed": executed });
        CallError::Rpc(RpcError::new(code, "told").with_data(&data))
    }

    #[test]
    fn a_span_explains_what_it_touches() {
        let faults = InjectedFaults::default();
        let check = |since: &Since, expected: Option<ExpectedFailure>| {
            let found =
                ExpectedFailure::of(Model::Fork, &faults, &closed(), *since, Duration::ZERO);
            assert_eq!(found, expected);
        };
        let before = Since::now(&faults);
        check(&before, None);
        let first = faults.deaths.begin();
        let during = Since::now(&faults);
        check(&before, Some(ExpectedFailure::Cut));
        check(&during, Some(ExpectedFailure::Cut));
        let second = faults.deaths.begin();
        drop(first);
        let during_second = Since::now(&faults);
        drop(second);
        check(&before, Some(ExpectedFailure::Cut));
        check(&during_second, Some(ExpectedFailure::Cut));
        let behind = Since::now(&faults);
        check(&behind, None);
    }

    #[test]
    fn an_error_is_explained_only_by_what_causes_it() {
        use ErrorCode::{Busy, Crashed, InternalError, ShuttingDown, TimedOut};
        let faults = InjectedFaults::default();
        let young = Since::now(&faults);
        let old = Since { at: young.at.checked_sub(plan::DRAIN).expect("an uptime"), ..young };
        let (at_once, long) = (Duration::ZERO, plan::TRANSFER);
        let death = faults.deaths.begin();
        let flood = faults.floods.begin();
        let after = Since { deaths: 1, floods: 1, ..old };
        let cases = [
            (Model::Fork, closed(), young, at_once, Some(ExpectedFailure::Cut)),
            (Model::Fork, closed(), after, at_once, None),
            (Model::Fork, closed(), after, long, Some(ExpectedFailure::Slow)),
            (Model::Fork, answered(Busy, "no"), young, at_once, Some(ExpectedFailure::Refused)),
            (Model::Fork, answered(Busy, "maybe"), young, at_once, None),
            (Model::Fork, answered(Busy, "no"), after, at_once, None),
            (Model::Single, answered(Busy, "no"), young, at_once, None),
            (
                Model::Prefork,
                answered(ShuttingDown, "no"),
                old,
                at_once,
                Some(ExpectedFailure::Refused),
            ),
            (Model::Prefork, answered(ShuttingDown, "maybe"), old, at_once, None),
            (Model::Prefork, answered(ShuttingDown, "no"), young, at_once, None),
            (Model::Thread, answered(ShuttingDown, "no"), old, at_once, None),
            (Model::Thread, answered(TimedOut, "no"), old, at_once, None),
            (Model::Thread, answered(TimedOut, "no"), old, long, Some(ExpectedFailure::Slow)),
            (Model::Prefork, answered(Crashed, "maybe"), young, at_once, None),
            (
                Model::PreforkThread,
                answered(Crashed, "maybe"),
                young,
                at_once,
                Some(ExpectedFailure::Cut),
            ),
            (Model::Prefork, answered(ShuttingDown, "no"), young, at_once, None),
            (
                Model::PreforkThread,
                answered(ShuttingDown, "no"),
                young,
                at_once,
                Some(ExpectedFailure::Cut),
            ),
            (Model::PreforkThread, CallError::Unusable, young, at_once, Some(ExpectedFailure::Cut)),
            (Model::Prefork, CallError::Unusable, young, at_once, None),
            (Model::Prefork, CallError::Unusable, old, at_once, Some(ExpectedFailure::Refused)),
            (Model::PreforkThread, answered(InternalError, "no"), young, long, None),
        ];
        for (model, error, since, quiet, expected) in cases {
            let found = ExpectedFailure::of(model, &faults, &error, since, quiet);
            assert_eq!(found, expected, "{model}: {error}");
        }
        drop((death, flood));
    }
}
