//! Which of several addresses to connect to, and when to try one again that failed.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::{Duration, Instant};

use rpc_proto::Address;

use crate::error::CallError;

/// How long an address is avoided that failed once. Every further failure doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// The longest time that an address is avoided while others work.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// The same when no address works: then somebody waits for the first that comes back.
const LONGEST_DELAY_OF_ALL: Duration = Duration::from_secs(1);

/// What is known of the addresses. Opens no connection itself.
#[derive(Debug)]
pub(crate) struct AddressBook {
    entries: Vec<Entry>,
    /// Failures of any address, ever.
    failures: u64,
    /// Where the search for the next address begins, so that equals take turns.
    next: usize,
    random: RandomState,
}

#[derive(Debug)]
struct Entry {
    address: Address,
    /// Connections to it, in use or not.
    connections: usize,
    /// Failures since it last worked.
    failures: u32,
    tried_at: Instant,
    delay: Duration,
    /// What the last failure was, to tell those who are not allowed to try.
    reason: (io::ErrorKind, String),
}

impl Entry {
    fn avoided_until(&self, longest: Duration) -> Option<Instant> {
        (self.failures > 0).then(|| self.tried_at + self.delay.min(longest))
    }
}

/// Where to connect to.
#[derive(Debug)]
pub(crate) enum Choice {
    Connect(Trial),
    /// Every address has failed; none is to be tried before this.
    NotBefore(Instant),
}

/// The leave to connect to an address once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    pub(crate) index: usize,
    /// What was known of the address when the trial began. Many who try a working address at once
    /// and fail are one failure.
    failures: u32,
}

impl AddressBook {
    pub(crate) fn new(addresses: Vec<Address>, now: Instant) -> AddressBook {
        let entry = |address| Entry {
            address,
            connections: 0,
            failures: 0,
            tried_at: now,
            delay: Duration::ZERO,
            reason: (io::ErrorKind::Other, String::new()),
        };
        let random = RandomState::new();
        // Clients that are started together should not all begin with the first address.
        let next = random.hash_one(0) as usize % addresses.len();
        let entries = addresses.into_iter().map(entry).collect();
        AddressBook { entries, failures: 0, next, random }
    }

    pub(crate) fn address(&self, index: usize) -> &Address {
        &self.entries[index].address
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// The address with the fewest connections of those that work; one that failed, if its time has
    /// come. Asking for one that failed puts it off for everybody else.
    pub(crate) fn choose(&mut self, now: Instant) -> Choice {
        let all_fail = self.entries.iter().all(|entry| entry.failures > 0);
        let longest = if all_fail { LONGEST_DELAY_OF_ALL } else { LONGEST_DELAY };
        let count = self.entries.len();
        let in_turn = (self.next..count).chain(0..self.next);
        let is_allowed =
            |index: &usize| self.entries[*index].avoided_until(longest).is_none_or(|at| at <= now);
        // An address whose time has come is tried first, or it would never be while others work.
        let best = in_turn.filter(is_allowed).min_by_key(|index| {
            let entry = &self.entries[*index];
            (entry.failures == 0, entry.connections)
        });
        let Some(index) = best else {
            let times = self.entries.iter().filter_map(|entry| entry.avoided_until(longest));
            return Choice::NotBefore(times.min().unwrap_or(now));
        };
        self.next = (index + 1) % count;
        let entry = &mut self.entries[index];
        entry.tried_at = now;
        Choice::Connect(Trial { index, failures: entry.failures })
    }

    pub(crate) fn add_connection(&mut self, index: usize) {
        self.entries[index].connections += 1;
    }

    pub(crate) fn remove_connection(&mut self, index: usize) {
        let connections = &mut self.entries[index].connections;
        *connections = connections.saturating_sub(1);
    }

    /// A new connection was answered.
    pub(crate) fn worked(&mut self, trial: Trial) {
        self.entries[trial.index].failures = 0;
    }

    /// There was no new connection, or no answer on it.
    pub(crate) fn failed(&mut self, trial: Trial, now: Instant, reason: &CallError) {
        let entry = &mut self.entries[trial.index];
        entry.reason = describe(reason);
        if entry.failures != trial.failures {
            return;
        }
        self.failures += 1;
        entry.failures = entry.failures.saturating_add(1);
        entry.tried_at = now;
        let doubled = FIRST_DELAY.saturating_mul(1 << (entry.failures - 1).min(20));
        entry.delay = jittered(doubled.min(LONGEST_DELAY), self.random.hash_one(self.failures));
    }

    /// The error for somebody who may not try: that of the last who did.
    pub(crate) fn last_failure(&self) -> CallError {
        let last = self.entries.iter().max_by_key(|entry| (entry.failures > 0, entry.tried_at));
        let entry = last.expect("a pool has an address");
        let (kind, text) = &entry.reason;
        let source = io::Error::new(*kind, format!("{text} (another call's attempt)"));
        CallError::Connect { address: entry.address.clone(), source }
    }

    /// For the child of a fork, which has none.
    pub(crate) fn forget_connections(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.connections = 0);
    }
}

fn describe(error: &CallError) -> (io::ErrorKind, String) {
    match error {
        CallError::Connect { source, .. } => (source.kind(), source.to_string()),
        CallError::TimedOut { .. } => (io::ErrorKind::TimedOut, error.to_string()),
        _ => (io::ErrorKind::Other, error.to_string()),
    }
}

/// Between a half and the whole of `delay`, so that those who failed together do not come back
/// together.
fn jittered(delay: Duration, random: u64) -> Duration {
    let half = delay / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A book of so many addresses, and the time at which it was made.
    fn book(count: usize) -> (AddressBook, Instant) {
        let addresses = (0..count).map(|number| Address::unix(format!("/{number}")));
        let now = Instant::now();
        (AddressBook::new(addresses.collect(), now), now)
    }

    #[track_caller]
    fn choose(book: &mut AddressBook, now: Instant) -> Trial {
        match book.choose(now) {
            Choice::Connect(trial) => trial,
            Choice::NotBefore(at) => panic!("not before {:?}", at - now),
        }
    }

    #[track_caller]
    fn not_before(book: &mut AddressBook, now: Instant) -> Instant {
        match book.choose(now) {
            Choice::NotBefore(at) => at,
            Choice::Connect(trial) => panic!("{trial:?}"),
        }
    }

    fn fail(book: &mut AddressBook, trial: Trial, now: Instant) {
        book.failed(trial, now, &CallError::Unusable);
    }

    #[test]
    fn new_connections_go_to_the_address_with_the_fewest() {
        let (mut book, now) = book(3);
        for _ in 0..9 {
            let trial = choose(&mut book, now);
            book.add_connection(trial.index);
        }
        assert!(book.entries.iter().all(|entry| entry.connections == 3));
        book.remove_connection(1);
        assert_eq!(choose(&mut book, now).index, 1);
    }

    #[test]
    fn equal_addresses_take_turns() {
        let (mut book, now) = book(3);
        let mut chosen: Vec<_> = (0..3).map(|_| choose(&mut book, now).index).collect();
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 1, 2]);
    }

    #[test]
    fn an_address_that_failed_is_avoided_and_then_tried_by_one() {
        let (mut book, now) = book(2);
        let first = choose(&mut book, now);
        fail(&mut book, first, now);
        for _ in 0..5 {
            assert_ne!(choose(&mut book, now).index, first.index);
        }
        let later = now + FIRST_DELAY;
        assert_eq!(choose(&mut book, later).index, first.index);
        for _ in 0..5 {
            assert_ne!(choose(&mut book, later).index, first.index, "somebody else tries");
        }
    }

    #[test]
    fn an_address_that_works_again_is_nothing_special() {
        let (mut book, now) = book(1);
        let first = choose(&mut book, now);
        fail(&mut book, first, now);
        let later = not_before(&mut book, now);
        let second = choose(&mut book, later);
        not_before(&mut book, later);
        book.worked(second);
        choose(&mut book, later);
        let third = choose(&mut book, later);
        fail(&mut book, third, later);
        assert!(not_before(&mut book, later) - later <= FIRST_DELAY, "as after a first failure");
    }

    /// How long one of `count` addresses is avoided after so many failures, while the others work
    /// if there are any.
    fn check_delay(count: usize, failures: u32, longest: Duration) {
        let (mut book, mut now) = book(count);
        let mut trial = choose(&mut book, now);
        let failing = trial.index;
        for number in 1..=failures {
            fail(&mut book, trial, now);
            if number < failures {
                now += LONGEST_DELAY;
                trial = choose(&mut book, now);
                assert_eq!(trial.index, failing);
            }
        }
        let entry = &book.entries[failing];
        let cap = if count == 1 { LONGEST_DELAY_OF_ALL } else { LONGEST_DELAY };
        let delay = entry.avoided_until(cap).unwrap() - now;
        assert!(delay <= longest && delay >= longest / 2, "{failures} failures: {delay:?}");
        if count == 1 {
            assert_eq!(not_before(&mut book, now), now + delay);
        }
        assert_eq!(choose(&mut book, now + delay).index, failing);
    }

    #[test]
    fn the_delay_doubles_up_to_half_a_minute_while_others_work() {
        check_delay(2, 1, FIRST_DELAY);
        check_delay(2, 2, 2 * FIRST_DELAY);
        check_delay(2, 3, 4 * FIRST_DELAY);
        check_delay(2, 11, 30 * SECOND);
        check_delay(2, 1000, 30 * SECOND);
    }

    #[test]
    fn the_delay_doubles_up_to_a_second_while_nobody_works() {
        check_delay(1, 1, FIRST_DELAY);
        check_delay(1, 3, 4 * FIRST_DELAY);
        check_delay(1, 11, SECOND);
    }

    #[test]
    fn many_who_fail_together_are_one_failure() {
        let (mut book, now) = book(1);
        let trials: Vec<_> = (0..10).map(|_| choose(&mut book, now)).collect();
        trials.into_iter().for_each(|trial| fail(&mut book, trial, now));
        assert!(not_before(&mut book, now) - now <= FIRST_DELAY);
        assert_eq!(book.failures(), 1);
    }

    #[test]
    fn delays_differ_so_that_nobody_comes_back_together() {
        let delays: Vec<_> = (0..20)
            .map(|_| {
                let (mut book, now) = book(1);
                let trial = choose(&mut book, now);
                fail(&mut book, trial, now);
                not_before(&mut book, now) - now
            })
            .collect();
        assert!(delays.iter().any(|delay| *delay != delays[0]), "{delays:?}");
    }

    #[test]
    fn who_may_not_try_is_told_what_the_last_who_did_was_told() {
        let (mut book, now) = book(1);
        let trial = choose(&mut book, now);
        let source = io::ErrorKind::ConnectionRefused.into();
        let address = book.address(trial.index).clone();
        book.failed(trial, now, &CallError::Connect { address: address.clone(), source });
        match book.last_failure() {
            CallError::Connect { address: at, source } => {
                assert_eq!((at, source.kind()), (address, io::ErrorKind::ConnectionRefused));
            }
            other => panic!("{other:?}"),
        }
    }
}
