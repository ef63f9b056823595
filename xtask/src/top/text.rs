//! The picture as lines of text, the same for a terminal and for a pipe.

use std::collections::BTreeMap;
use std::time::Duration;

use rpc_proto::Address;
use rpc_proto::stats::Stats;

use super::history::History;
use crate::table;

/// Everything that is known, and the `trouble` with the newest look if there was some.
pub(super) fn lines(address: &Address, history: &History, trouble: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(trouble) = trouble {
        lines.push(format!("{address}: {trouble}; trying again"));
    }
    if let Some(now) = history.now() {
        lines.extend(header(address, now, history));
        if !now.workers.is_empty() {
            lines.push(String::new());
            lines.extend(workers(now, history));
        }
        if !now.handling.is_empty() {
            lines.push(String::new());
            lines.extend(handling(now, history));
        }
    }
    lines.iter().map(|line| harmless(line)).collect()
}

/// The names that a server gives to its methods must not steer the terminal that shows them.
fn harmless(line: &str) -> String {
    line.trim_end().replace(char::is_control, "\u{fffd}")
}

fn header(address: &Address, now: &Stats, history: &History) -> Vec<String> {
    let server = &now.server;
    let uptime = humantime::format_duration(Duration::from_secs(server.uptime_ms / 1000));
    let mut first =
        format!("{address}  version {}  pid {}  up {uptime}", server.version, server.pid);
    match history.restarts() {
        0 => {}
        1 => first += "  RESTARTED since the first look",
        times => first += &format!("  RESTARTED {times} times since the first look"),
    }
    let calls = &now.calls;
    let rate = calls_a_second(history.calls_a_second());
    vec![
        first,
        format!(
            "calls        {} a second, {} in all, {} being handled, {} lost",
            rate, calls.total, calls.handling, calls.lost
        ),
        format!(
            "connections  {} open, {} accepted; refused: {}",
            now.connections.open,
            now.connections.accepted,
            counts(&now.connections.refused)
        ),
        format!("deaths       {}", counts(&now.deaths)),
    ]
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let counts = counts.iter().map(|(name, count)| format!("{count} {name}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn workers(now: &Stats, history: &History) -> Vec<String> {
    let mut table =
        table::new(["state", "worker", "gen", "age", "connections", "calls", "calls/s"], 1..7);
    for worker in &now.workers {
        table.add_row([
            worker.state.name().to_owned(),
            worker.pid.to_string(),
            worker.generation.to_string(),
            humantime::format_duration(Duration::from_secs(worker.age_ms / 1000)).to_string(),
            worker.connections.to_string(),
            worker.calls.to_string(),
            calls_a_second(history.calls_a_second_of(worker)),
        ]);
    }
    table.lines().collect()
}

fn handling(now: &Stats, history: &History) -> Vec<String> {
    let mut table = table::new(["method", "process", "for", "place", "call"], 1..5);
    for call in &now.handling {
        table.add_row([
            call.method.clone().unwrap_or_else(|| "?".to_owned()),
            call.pid.to_string(),
            format!("≥ {:.1} s", history.lasted(call).as_secs_f64()),
            call.place.to_string(),
            call.call.to_string(),
        ]);
    }
    let mut lines: Vec<String> = table.lines().collect();
    if now.handling_left_out > 0 {
        lines.push(format!("and {} more", now.handling_left_out));
    }
    lines
}

fn calls_a_second(rate: Option<f64>) -> String {
    match rate {
        None => "?".to_owned(),
        Some(rate) if rate < 100.0 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use rpc_proto::stats::{HandlingStats, WorkerState, WorkerStats};

    use super::*;

    fn stats(uptime_ms: u64) -> Stats {
        let mut stats = Stats::default();
        stats.server.version = "1.2.3".to_owned();
        stats.server.pid = 4711;
        stats.server.uptime_ms = uptime_ms;
        stats.calls.total = uptime_ms;
        stats.calls.handling = 3;
        stats.calls.lost = 1;
        stats.connections.open = 4;
        stats.connections.accepted = 5;
        stats.connections.refused.insert("busy".to_owned(), 6);
        stats.deaths.insert("signal".to_owned(), 7);
        stats.deaths.insert("killed".to_owned(), 8);
        let mut worker = WorkerStats::default();
        worker.pid = 4712;
        worker.generation = 2;
        worker.state = WorkerState::Ready;
        worker.age_ms = 61_000;
        worker.connections = 4;
        worker.calls = uptime_ms / 2;
        stats.workers.push(worker);
        let call = |place, method: Option<&str>| {
            let mut call = HandlingStats::default();
            call.pid = 4712;
            call.place = place;
            call.call = 9;
            call.method = method.map(str::to_owned);
            call
        };
        stats.handling = vec![call(0, Some("sleep")), call(1, None), call(2, Some("\u{1b}[2J"))];
        stats.handling_left_out = 10;
        stats
    }

    #[test]
    fn everything_that_is_known_is_shown() {
        let address = "127.0.0.1:8080".parse().expect("an address");
        let mut history = History::default();
        history.add(stats(59_000));
        history.add(stats(62_000));
        let shown = lines(&address, &history, None).join("\n");
        assert_eq!(
            shown,
            "\
127.0.0.1:8080  version 1.2.3  pid 4711  up 1m 2s
calls        1000 a second, 62000 in all, 3 being handled, 1 lost
connections  4 open, 5 accepted; refused: 6 busy
deaths       8 killed, 7 signal

 state  worker  gen    age  connections  calls  calls/s
────────────────────────────────────────────────────────
 ready    4712    2  1m 1s            4  31000      500

 method  process      for  place  call
───────────────────────────────────────
 sleep      4712  ≥ 3.0 s      0     9
 ?          4712  ≥ 3.0 s      1     9
 \u{fffd}[2J       4712  ≥ 3.0 s      2     9
and 10 more"
        );
    }

    #[test]
    fn trouble_and_restarts_are_said_above_the_last_look() {
        let address = "127.0.0.1:8080".parse().expect("an address");
        let mut history = History::default();
        assert_eq!(
            lines(&address, &history, Some("connection refused")),
            ["127.0.0.1:8080: connection refused; trying again"]
        );
        history.add(stats(5000));
        history.add(stats(1000));
        let shown = lines(&address, &history, Some("connection refused"));
        assert!(shown[0].ends_with("connection refused; trying again"), "{shown:?}");
        assert!(shown[1].ends_with("up 1s  RESTARTED since the first look"), "{shown:?}");
        assert!(shown[2].contains("? a second"), "{shown:?}");
    }
}
