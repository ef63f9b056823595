//! Making a child end in steps, the last of which is SIGKILL: one mechanism for all reasons.

use std::mem;
use std::time::Duration;

use nix::sys::signal::Signal::{self, SIGALRM, SIGHUP, SIGKILL, SIGTERM};

use super::StopReason;

/// How long a child that must end at once has before the next step.
const SHORT: Duration = Duration::from_secs(1);

/// The signals that a child gets, one after the other, until it has ended.
///
/// Each means the same for every reason. SIGHUP: accept no more connections, and exit when the last
/// one is closed. SIGTERM: close connections between two calls, and exit. SIGALRM: answer in place
/// of the handlers that still run, and exit. SIGKILL: kills the process and its group.
#[derive(Debug)]
pub(crate) struct Escalation {
    pub(crate) why: StopReason,
    /// The steps that are left, the next one last: a signal, and when it is due by the parent's
    /// clock.
    left: Vec<(Signal, Duration)>,
    /// The last signal that was sent.
    sent: Option<Signal>,
    /// The steps that replace these if the child reports that it is ready.
    if_ready: Vec<(Signal, Duration)>,
}

impl Escalation {
    /// The steps for this reason. `time` is how long the child has before it must end: the grace
    /// after a stop, the drain time of its connections, the boot timeout (no peer is connected
    /// then), or the time until it must be continued.
    pub(crate) fn new(why: StopReason, now: Duration, time: Duration) -> Escalation {
        // Each step, and its delay after the previous one.
        let steps: &[(Signal, Duration)] = match why {
            StopReason::Stop => &[(SIGTERM, Duration::ZERO), (SIGALRM, time)],
            StopReason::Retire | StopReason::Recycle => {
                &[(SIGHUP, Duration::ZERO), (SIGTERM, time), (SIGALRM, SHORT)]
            }
            StopReason::BootTimeout => &[(SIGALRM, time)],
            StopReason::Hung => &[(SIGTERM, time), (SIGALRM, SHORT)],
        };
        let mut due = now;
        let steps = steps.iter().chain(&[(SIGKILL, SHORT)]).map(|&(signal, after)| {
            due = due.saturating_add(after);
            (signal, due)
        });
        let mut left: Vec<_> = steps.collect();
        left.reverse();
        Escalation { why, left, sent: None, if_ready: Vec::new() }
    }

    /// Only SIGKILL: the server stops at once.
    pub(crate) fn kill(now: Duration) -> Escalation {
        let (why, left) = (StopReason::Stop, vec![(SIGKILL, now)]);
        Escalation { why, left, sent: None, if_ready: Vec::new() }
    }

    /// The same first step, and then the shortest delays: for a child that is not ready yet. If its
    /// report that it is ready still arrives, the original steps apply again.
    pub(crate) fn unless_ready(mut self, now: Duration) -> Escalation {
        let first = self.left.last().copied();
        let hurried = [(SIGKILL, now + 2 * SHORT), (SIGALRM, now + SHORT)].into_iter().chain(first);
        self.if_ready = mem::replace(&mut self.left, hurried.collect());
        self
    }

    /// The child has reported that it is ready.
    pub(crate) fn become_ready(&mut self) {
        if !self.if_ready.is_empty() {
            self.left = mem::take(&mut self.if_ready);
        }
    }

    /// Whether a signal was sent already; before that the escalation can be called off.
    pub(crate) fn has_begun(&self) -> bool {
        self.sent.is_some()
    }

    /// Whether SIGKILL was sent.
    pub(crate) fn has_killed(&self) -> bool {
        self.sent == Some(SIGKILL)
    }

    /// When the next step is due; `None` after the last.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.left.last().map(|&(_, due)| due)
    }

    /// The signal that is due.
    pub(crate) fn next_signal(&mut self, now: Duration) -> Option<Signal> {
        let (signal, _) = self.left.pop_if(|(_, due)| *due <= now)?;
        self.sent = Some(signal);
        self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mut escalation: Escalation, expected: &[(Signal, u64)]) {
        let mut signals = Vec::new();
        for second in 0..100 {
            let now = Duration::from_secs(second);
            while let Some(signal) = escalation.next_signal(now) {
                signals.push((signal, second));
            }
        }
        assert_eq!(signals, expected);
        assert!(escalation.has_killed());
    }

    #[test]
    fn every_escalation_ends_with_a_kill() {
        let now = Duration::from_secs(5);
        let half_a_minute = Duration::from_secs(30);
        let stop = Escalation::new(StopReason::Stop, now, half_a_minute);
        check(stop, &[(SIGTERM, 5), (SIGALRM, 35), (SIGKILL, 36)]);
        let retire = Escalation::new(StopReason::Retire, now, half_a_minute);
        check(retire, &[(SIGHUP, 5), (SIGTERM, 35), (SIGALRM, 36), (SIGKILL, 37)]);
        let hung = Escalation::new(StopReason::Hung, now, half_a_minute);
        check(hung, &[(SIGTERM, 35), (SIGALRM, 36), (SIGKILL, 37)]);
        let boot = Escalation::new(StopReason::BootTimeout, now, half_a_minute);
        check(boot, &[(SIGALRM, 35), (SIGKILL, 36)]);
        let hurried = Escalation::new(StopReason::Retire, now, half_a_minute).unless_ready(now);
        check(hurried, &[(SIGHUP, 5), (SIGALRM, 6), (SIGKILL, 7)]);
        let mut ready = Escalation::new(StopReason::Stop, now, half_a_minute).unless_ready(now);
        ready.become_ready();
        check(ready, &[(SIGTERM, 5), (SIGALRM, 35), (SIGKILL, 36)]);
        check(Escalation::kill(now), &[(SIGKILL, 5)]);
    }
}
