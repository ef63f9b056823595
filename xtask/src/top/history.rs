//! What several looks tell that one does not: rates, and how long a call has lasted at least.
//!
//! All times are differences of the server's own clock, so that a look which was long on its way
//! distorts nothing.

use std::collections::HashMap;
use std::time::Duration;

use rpc_proto::stats::{HandlingStats, STATS, Stats, WorkerStats};

/// The newest look, and what is remembered of those before.
#[derive(Default)]
pub(super) struct History {
    now: Option<Stats>,
    before: Option<Stats>,
    /// When a call, known by its place and its number there, was first seen; in milliseconds of
    /// the server's life.
    first_seen: HashMap<(u32, u64), u64>,
    restarts: u64,
}

impl History {
    pub(super) fn add(&mut self, mut stats: Stats) {
        let lives_on = self.now.as_ref().is_none_or(|before| is_same_server(before, &stats));
        if !lives_on {
            self.restarts += 1;
            self.first_seen.clear();
        }
        self.before = self.now.take().filter(|_| lives_on);

        // The call that looks is one of them.
        let all = stats.handling.len();
        stats.handling.retain(|call| call.method.as_deref() != Some(STATS.name()));
        let lookers = all - stats.handling.len();
        stats.calls.handling = stats.calls.handling.saturating_sub(lookers as u64);

        let now_ms = stats.server.uptime_ms;
        let mut first_seen = HashMap::new();
        for call in &stats.handling {
            let since = self.first_seen.get(&key(call)).copied().unwrap_or(now_ms);
            first_seen.insert(key(call), since);
        }
        self.first_seen = first_seen;
        // The call that has lasted longest is what somebody is looking for.
        stats.handling.sort_by_key(|call| (self.first_seen[&key(call)], call.place));
        self.now = Some(stats);
    }

    /// The newest look.
    pub(super) fn now(&self) -> Option<&Stats> {
        self.now.as_ref()
    }

    /// How often another server was found at the same address.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// How long a call of the newest look has lasted at least.
    pub(super) fn lasted(&self, call: &HandlingStats) -> Duration {
        let now_ms = self.now.as_ref().map_or(0, |now| now.server.uptime_ms);
        let since_ms = self.first_seen.get(&key(call)).copied().unwrap_or(now_ms);
        Duration::from_millis(now_ms.saturating_sub(since_ms))
    }

    /// Calls a second between the last two looks; `None` before there are two.
    pub(super) fn calls_a_second(&self) -> Option<f64> {
        let (before, now) = (self.before.as_ref()?, self.now.as_ref()?);
        rate(before, now, before.calls.total, now.calls.total)
    }

    /// As [`calls_a_second`](History::calls_a_second), of one worker.
    pub(super) fn calls_a_second_of(&self, worker: &WorkerStats) -> Option<f64> {
        let (before, now) = (self.before.as_ref()?, self.now.as_ref()?);
        let earlier = before.workers.iter().find(|earlier| earlier.pid == worker.pid);
        rate(before, now, earlier.map_or(0, |earlier| earlier.calls), worker.calls)
    }
}

fn is_same_server(before: &Stats, now: &Stats) -> bool {
    before.server.pid == now.server.pid && before.server.uptime_ms <= now.server.uptime_ms
}

fn key(call: &HandlingStats) -> (u32, u64) {
    (call.place, call.call)
}

fn rate(before: &Stats, now: &Stats, calls_before: u64, calls_now: u64) -> Option<f64> {
    let millis = now.server.uptime_ms.checked_sub(before.server.uptime_ms)?;
    let calls = calls_now.saturating_sub(calls_before);
    (millis > 0).then(|| calls as f64 * 1000.0 / millis as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(pid: i32, uptime_ms: u64, total: u64, handling: &[(u32, u64, &str)]) -> Stats {
        let mut stats = Stats::default();
        stats.server.pid = pid;
        stats.server.uptime_ms = uptime_ms;
        stats.calls.total = total;
        stats.calls.handling = handling.len() as u64;
        let call = |&(place, call, method): &(u32, u64, &str)| {
            let mut stats = HandlingStats::default();
            stats.pid = pid;
            stats.place = place;
            stats.call = call;
            stats.method = Some(method.to_owned());
            stats
        };
        stats.handling = handling.iter().map(call).collect();
        stats
    }

    /// After these looks: calls a second, restarts, and who has been handling for how many ms.
    #[track_caller]
    fn check(looks: &[Stats], rate: Option<f64>, restarts: u64, lasted: &[(u32, u64)]) {
        let mut history = History::default();
        looks.iter().cloned().for_each(|look| history.add(look));
        assert_eq!(history.calls_a_second(), rate);
        assert_eq!(history.restarts(), restarts);
        let now = history.now().expect("a look");
        let found = now.handling.iter().map(|call| {
            (call.place, u64::try_from(history.lasted(call).as_millis()).expect("short"))
        });
        assert_eq!(found.collect::<Vec<_>>(), lasted);
        assert_eq!(now.calls.handling, lasted.len() as u64);
    }

    #[test]
    fn one_look_has_no_rate() {
        check(&[stats(1, 500, 7, &[(3, 1, "spin")])], None, 0, &[(3, 0)]);
    }

    #[test]
    fn rates_and_times_are_those_of_the_servers_clock() {
        let first = stats(1, 1000, 10, &[(3, 1, "spin"), (4, 9, "sleep")]);
        let second = stats(1, 3000, 30, &[(3, 1, "spin"), (4, 10, "sleep")]);
        let third = stats(1, 3500, 31, &[(4, 10, "sleep"), (3, 1, "spin")]);
        let looks = [first, second, third];
        check(&looks[..2], Some(10.0), 0, &[(3, 2000), (4, 0)]);
        check(&looks, Some(2.0), 0, &[(3, 2500), (4, 500)]);
    }

    #[test]
    fn the_call_that_looks_is_left_out() {
        check(&[stats(1, 1, 2, &[(0, 1, "rpc.stats"), (1, 1, "spin")])], None, 0, &[(1, 0)]);
    }

    #[test]
    fn another_server_begins_anew() {
        let before = stats(1, 1000, 10, &[(3, 1, "spin")]);
        for after in [stats(2, 2000, 5, &[(3, 1, "spin")]), stats(1, 999, 5, &[(3, 1, "spin")])] {
            check(&[before.clone(), after], None, 1, &[(3, 0)]);
        }
    }

    #[test]
    fn two_looks_within_a_millisecond_have_no_rate() {
        check(&[stats(1, 5, 1, &[]), stats(1, 5, 2, &[])], None, 0, &[]);
    }
}
