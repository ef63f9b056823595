//! Which of several addresses to connect to, and when to retry one that failed.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::{Duration, Instant};

use rpc_proto::Address;

use crate::error::CallError;

/// How long an address is avoided after its first failure. Each further failure doubles it.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// How long an address is avoided at most while others work.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// The same while no address works: then calls are waiting for the first that recovers.
const LONGEST_BACKOFF_OF_ALL: Duration = Duration::from_secs(1);

/// What is known about the addresses. Opens no connection itself.
#[derive(Debug)]
pub(crate) struct Balancer {
    endpoints: Vec<Endpoint>,
    /// Failures of all addresses since the start.
    failures: u64,
    /// Where the search for the next address begins, so that equal ones take turns.
    next: usize,
    random: RandomState,
}

#[derive(Debug)]
struct Endpoint {
    address: Address,
    /// Connections to it, in use, idle or being made.
    connections: usize,
    /// Failures since it last succeeded.
    failures: u32,
    tried_at: Instant,
    backoff: Duration,
    /// The last failure, for the errors of calls that may not try.
    reason: (io::ErrorKind, String),
}

impl Endpoint {
    fn backoff_until(&self, longest: Duration) -> Option<Instant> {
        (self.failures > 0).then(|| self.tried_at + self.backoff.min(longest))
    }
}

/// Where to connect to.
#[derive(Debug)]
pub(crate) enum Pick {
    Connect(ConnectAttempt),
    /// Every address has failed; none may be tried before this time.
    NotBefore(Instant),
}

/// The permission to connect to an address once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectAttempt {
    pub(crate) index: usize,
    /// The failures of the address when the attempt began. Simultaneous failures of a working
    /// address count as one.
    failures: u32,
}

impl Balancer {
    pub(crate) fn new(addresses: Vec<Address>, now: Instant) -> Balancer {
        let endpoint = |address| Endpoint {
            address,
            connections: 0,
            failures: 0,
            tried_at: now,
            backoff: Duration::ZERO,
            reason: (io::ErrorKind::Other, String::new()),
        };
        let random = RandomState::new();
        // Clients that start together should not all begin with the first address.
        let next = random.hash_one(0) as usize % addresses.len();
        let endpoints = addresses.into_iter().map(endpoint).collect();
        Balancer { endpoints, failures: 0, next, random }
    }

    pub(crate) fn address(&self, index: usize) -> &Address {
        &self.endpoints[index].address
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// The working address with the fewest connections, or one that failed and whose backoff is
    /// over. Picking the latter restarts its backoff, so that only one call tries it. The connection counts
    /// until it is removed.
    pub(crate) fn pick(&mut self, now: Instant) -> Pick {
        let all_fail = self.endpoints.iter().all(|endpoint| endpoint.failures > 0);
        let longest = if all_fail { LONGEST_BACKOFF_OF_ALL } else { LONGEST_BACKOFF };
        let count = self.endpoints.len();
        let in_turn = (self.next..count).chain(0..self.next);
        let is_allowed = |index: &usize| {
            self.endpoints[*index].backoff_until(longest).is_none_or(|at| at <= now)
        };
        // A failed address is tried first, or it would never be tried while others work.
        let best = in_turn.filter(is_allowed).min_by_key(|index| {
            let endpoint = &self.endpoints[*index];
            (endpoint.failures == 0, endpoint.connections)
        });
        let Some(index) = best else {
            let times =
                self.endpoints.iter().filter_map(|endpoint| endpoint.backoff_until(longest));
            return Pick::NotBefore(times.min().unwrap_or(now));
        };
        self.next = (index + 1) % count;
        let endpoint = &mut self.endpoints[index];
        endpoint.tried_at = now;
        endpoint.connections += 1;
        Pick::Connect(ConnectAttempt { index, failures: endpoint.failures })
    }

    /// Connections to all addresses.
    pub(crate) fn connections(&self) -> usize {
        self.endpoints.iter().map(|endpoint| endpoint.connections).sum()
    }

    pub(crate) fn remove_connection(&mut self, index: usize) {
        let connections = &mut self.endpoints[index].connections;
        *connections = connections.saturating_sub(1);
    }

    /// The server answered on the new connection.
    pub(crate) fn succeeded(&mut self, attempt: ConnectAttempt) {
        self.endpoints[attempt.index].failures = 0;
    }

    /// Connecting failed, or the server did not answer.
    pub(crate) fn failed(&mut self, attempt: ConnectAttempt, now: Instant, reason: &CallError) {
        let endpoint = &mut self.endpoints[attempt.index];
        endpoint.reason = describe(reason);
        if endpoint.failures != attempt.failures {
            return;
        }
        self.failures += 1;
        endpoint.failures = endpoint.failures.saturating_add(1);
        endpoint.tried_at = now;
        let doubled = FIRST_BACKOFF.saturating_mul(1 << (endpoint.failures - 1).min(20));
        endpoint.backoff =
            jittered(doubled.min(LONGEST_BACKOFF), self.random.hash_one(self.failures));
    }

    /// The error for a call that may not try: that of the last attempt.
    pub(crate) fn last_failure(&self) -> CallError {
        let last =
            self.endpoints.iter().max_by_key(|endpoint| (endpoint.failures > 0, endpoint.tried_at));
        let endpoint = last.expect("a pool has an address");
        let (kind, text) = &endpoint.reason;
        let source = io::Error::new(*kind, format!("{text} (another call's attempt)"));
        CallError::Connect { address: endpoint.address.clone(), source }
    }

    /// For the child of a fork, which has no connections.
    pub(crate) fn forget_connections(&mut self) {
        self.endpoints.iter_mut().for_each(|endpoint| endpoint.connections = 0);
    }
}

fn describe(error: &CallError) -> (io::ErrorKind, String) {
    match error {
        CallError::Connect { source, .. } => (source.kind(), source.to_string()),
        CallError::TimedOut { .. } => (io::ErrorKind::TimedOut, error.to_string()),
        _ => (io::ErrorKind::Other, error.to_string()),
    }
}

/// Between half and all of `backoff`, so that clients that failed together do not retry together.
fn jittered(backoff: Duration, random: u64) -> Duration {
    let half = backoff / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A balancer with `count` addresses, and the time at which it was made.
    fn balancer(count: usize) -> (Balancer, Instant) {
        let addresses = (0..count).map(|number| Address::unix(format!("/{number}")));
        let now = Instant::now();
        (Balancer::new(addresses.collect(), now), now)
    }

    #[track_caller]
    fn pick(balancer: &mut Balancer, now: Instant) -> ConnectAttempt {
        match balancer.pick(now) {
            Pick::Connect(attempt) => attempt,
            Pick::NotBefore(at) => panic!("not before {:?}", at - now),
        }
    }

    #[track_caller]
    fn not_before(balancer: &mut Balancer, now: Instant) -> Instant {
        match balancer.pick(now) {
            Pick::NotBefore(at) => at,
            Pick::Connect(attempt) => panic!("{attempt:?}"),
        }
    }

    fn fail(balancer: &mut Balancer, attempt: ConnectAttempt, now: Instant) {
        balancer.failed(attempt, now, &CallError::Unusable);
    }

    #[test]
    fn new_connections_go_to_the_address_with_the_fewest() {
        let (mut balancer, now) = balancer(3);
        for _ in 0..9 {
            pick(&mut balancer, now);
        }
        assert!(balancer.endpoints.iter().all(|endpoint| endpoint.connections == 3));
        balancer.remove_connection(1);
        assert_eq!(pick(&mut balancer, now).index, 1);
    }

    #[test]
    fn equal_addresses_take_turns() {
        let (mut balancer, now) = balancer(3);
        let mut picked: Vec<_> = (0..3).map(|_| pick(&mut balancer, now).index).collect();
        picked.sort_unstable();
        assert_eq!(picked, [0, 1, 2]);
    }

    #[test]
    fn an_address_that_failed_is_avoided_and_then_tried_by_one() {
        let (mut balancer, now) = balancer(2);
        let first = pick(&mut balancer, now);
        fail(&mut balancer, first, now);
        for _ in 0..5 {
            assert_ne!(pick(&mut balancer, now).index, first.index);
        }
        let later = now + FIRST_BACKOFF;
        assert_eq!(pick(&mut balancer, later).index, first.index);
        for _ in 0..5 {
            assert_ne!(pick(&mut balancer, later).index, first.index, "another call tries it");
        }
    }

    #[test]
    fn an_address_that_works_again_begins_with_the_first_backoff() {
        let (mut balancer, now) = balancer(1);
        let first = pick(&mut balancer, now);
        fail(&mut balancer, first, now);
        let later = not_before(&mut balancer, now);
        let second = pick(&mut balancer, later);
        not_before(&mut balancer, later);
        balancer.succeeded(second);
        pick(&mut balancer, later);
        let third = pick(&mut balancer, later);
        fail(&mut balancer, third, later);
        assert!(
            not_before(&mut balancer, later) - later <= FIRST_BACKOFF,
            "as after a first failure"
        );
    }

    /// How long one of `count` addresses is avoided after `failures` failures, while the others
    /// work, if there are any.
    fn check_backoff(count: usize, failures: u32, longest: Duration) {
        let (mut balancer, mut now) = balancer(count);
        let mut attempt = pick(&mut balancer, now);
        let failing = attempt.index;
        for number in 1..=failures {
            fail(&mut balancer, attempt, now);
            if number < failures {
                now += LONGEST_BACKOFF;
                attempt = pick(&mut balancer, now);
                assert_eq!(attempt.index, failing);
            }
        }
        let endpoint = &balancer.endpoints[failing];
        let cap = if count == 1 { LONGEST_BACKOFF_OF_ALL } else { LONGEST_BACKOFF };
        let backoff = endpoint.backoff_until(cap).unwrap() - now;
        assert!(backoff <= longest && backoff >= longest / 2, "{failures} failures: {backoff:?}");
        if count == 1 {
            assert_eq!(not_before(&mut balancer, now), now + backoff);
        }
        assert_eq!(pick(&mut balancer, now + backoff).index, failing);
    }

    #[test]
    fn the_backoff_doubles_up_to_half_a_minute_while_others_work() {
        check_backoff(2, 1, FIRST_BACKOFF);
        check_backoff(2, 2, 2 * FIRST_BACKOFF);
        check_backoff(2, 3, 4 * FIRST_BACKOFF);
        check_backoff(2, 11, 30 * SECOND);
        check_backoff(2, 1000, 30 * SECOND);
    }

    #[test]
    fn the_backoff_doubles_up_to_a_second_while_no_address_works() {
        check_backoff(1, 1, FIRST_BACKOFF);
        check_backoff(1, 3, 4 * FIRST_BACKOFF);
        check_backoff(1, 11, SECOND);
    }

    #[test]
    fn simultaneous_failures_count_as_one() {
        let (mut balancer, now) = balancer(1);
        let attempts: Vec<_> = (0..10).map(|_| pick(&mut balancer, now)).collect();
        attempts.into_iter().for_each(|attempt| fail(&mut balancer, attempt, now));
        assert!(not_before(&mut balancer, now) - now <= FIRST_BACKOFF);
        assert_eq!(balancer.failures(), 1);
    }

    #[test]
    fn backoffs_differ_so_that_clients_do_not_retry_together() {
        let backoffs: Vec<_> = (0..20)
            .map(|_| {
                let (mut balancer, now) = balancer(1);
                let attempt = pick(&mut balancer, now);
                fail(&mut balancer, attempt, now);
                not_before(&mut balancer, now) - now
            })
            .collect();
        assert!(backoffs.iter().any(|backoff| *backoff != backoffs[0]), "{backoffs:?}");
    }

    #[test]
    fn a_call_that_may_not_try_gets_the_last_attempts_error() {
        let (mut balancer, now) = balancer(1);
        let attempt = pick(&mut balancer, now);
        let source = io::ErrorKind::ConnectionRefused.into();
        let address = balancer.address(attempt.index).clone();
        balancer.failed(attempt, now, &CallError::Connect { address: address.clone(), source });
        match balancer.last_failure() {
            CallError::Connect { address: at, source } => {
                assert_eq!((at, source.kind()), (address, io::ErrorKind::ConnectionRefused));
            }
            other => panic!("{other:?}"),
        }
    }
}
