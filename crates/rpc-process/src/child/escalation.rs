//! Making a child end: told first, told louder, killed. One way for every reason.

use std::mem;
use std::time::Duration;

use nix::sys::signal::Signal::{self, SIGALRM, SIGHUP, SIGKILL, SIGTERM};

use super::StopReason;

/// How long a child that was told its last words, or to end at once, has before the next step.
const SHORT: Duration = Duration::from_secs(1);

/// The signals that a child gets, one after the other, until it has ended.
///
/// What they do in a child is the same for every reason. SIGHUP: accept no more, and go when the
/// last connection is closed. SIGTERM: close connections between two calls. SIGALRM: answer in
/// the place of the handlers that still run. SIGKILL: kill the process and its group.
#[derive(Debug)]
pub(crate) struct Escalation {
    pub(crate) why: StopReason,
    /// The next step is the last of these: a signal, and when it is due by the parent's clock.
    left: Vec<(Signal, Duration)>,
    /// The last signal that was sent.
    sent: Option<Signal>,
    /// The steps that count instead when the child says that it is ready.
    if_ready: Vec<(Signal, Duration)>,
}

impl Escalation {
    /// What a child gets that is to end for this reason. `time` is what it has until it must have
    /// ended by itself: the grace after a stop, the drain time of its connections, the time until
    /// it is ready, when nobody is connected to it, or until somebody lets it go on.
    pub(crate) fn new(why: StopReason, now: Duration, time: Duration) -> Escalation {
        // Each step, and how long after the one before it is due.
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

    /// The server stops at once: nothing but the last step.
    pub(crate) fn kill(now: Duration) -> Escalation {
        let (why, left) = (StopReason::Stop, vec![(SIGKILL, now)]);
        Escalation { why, left, sent: None, if_ready: Vec::new() }
    }

    /// The same beginning, and then no more time: for a child that is not ready yet. Should its
    /// word that it is be on the way, it has all the time of this one.
    pub(crate) fn unless_ready(mut self, now: Duration) -> Escalation {
        let first = self.left.last().copied();
        let hurried = [(SIGKILL, now + 2 * SHORT), (SIGALRM, now + SHORT)].into_iter().chain(first);
        self.if_ready = mem::replace(&mut self.left, hurried.collect());
        self
    }

    /// The child has said that it is ready.
    pub(crate) fn become_ready(&mut self) {
        if !self.if_ready.is_empty() {
            self.left = mem::take(&mut self.if_ready);
        }
    }

    /// Whether the child was told to end already; before that it can be called off.
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
