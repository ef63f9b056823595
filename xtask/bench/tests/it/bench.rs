//! The bench measures every case, whatever the figures are.

use std::fs;
use std::path::Path;
use std::process::{self, Command};

use serde_json::Value;

/// The lines of each case in a run without further options.
const LINES: [(&str, usize); 12] = [
    ("one-call", 5),
    ("pipeline-16", 1),
    ("pipeline-128", 1),
    ("16-connections", 2),
    ("churn", 4),
    ("large", 1),
    ("own-client", 1),
    ("seed-client", 1),
    ("idle-memory", 3),
    ("stop", 5),
    ("crowd", 1),
    ("seed-servers", 4),
];

fn bench(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask-bench"))
        .args(["--quick", "--json"])
        .args(arguments)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("standard output is one JSON text")
}

fn lines_of<'a>(report: &'a Value, case: &str) -> Vec<&'a Value> {
    let rows = report["rows"].as_array().expect("rows");
    rows.iter().filter(|row| row["case"] == case).collect()
}

/// The one number that a figure is about.
fn number(figure: &Value) -> f64 {
    let numbers = [
        &figure["latency"]["median_ns"],
        &figure["rate"]["per_second"],
        &figure["memory"]["bytes"],
    ];
    numbers
        .iter()
        .find_map(|number| number.as_f64())
        .unwrap_or_else(|| panic!("a figure without a number: {figure}"))
}

#[test]
fn a_quick_bench_measures_every_case() {
    let report = bench(&[]);
    for (case, count) in LINES {
        let rows = lines_of(&report, case);
        assert_eq!(rows.len(), count, "{case}: {report:#}");
        for row in rows {
            assert!(number(&row["figure"]) > 0.0, "{row:#}");
            if !["idle-memory", "stop"].contains(&case) {
                assert!(number(&row["floor"]) > 0.0, "{row:#}");
                assert!(row["ratio"]["median"].as_f64() > Some(0.0), "{row:#}");
            }
        }
    }
    let rows = report["rows"].as_array().map_or(0, Vec::len);
    assert_eq!(rows, LINES.iter().map(|(_, count)| count).sum::<usize>());
    assert_eq!(report["missing"], Value::Array(vec![]));
}

#[test]
fn a_bench_of_one_load_measures_the_models_that_can_bear_it() {
    let models = ["thread", "fork", "prefork", "prefork-thread"];
    let report = bench(&["--connections", "3", "--depth", "4", "--method", "ping"]);
    let rows = lines_of(&report, "custom");
    let measured: Vec<&str> = rows.iter().filter_map(|row| row["subject"].as_str()).collect();
    assert_eq!(measured, models);
    for row in rows {
        assert!(number(&row["figure"]) > 0.0, "{row:#}");
    }
}

#[test]
fn growth_measures_what_each_model_can_hold_says_why_not_the_rest_and_draws_both() {
    // The tests may run twice at the same time.
    let name = format!("growth-{}", process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let path = directory.to_str().expect("the path is text");
    let report = bench(&["--growth", "--svg", path]);
    let rows = report["rows"].as_array().expect("rows");
    let models = ["single", "thread", "fork", "prefork", "prefork-thread"];
    assert_eq!(rows.len(), 2 * models.len(), "{report:#}");
    for (row, (connections, model)) in
        rows.iter().zip([1, 10].into_iter().flat_map(|count| models.map(|model| (count, model))))
    {
        assert_eq!((&row["model"], &row["connections"]), (&model.into(), &connections.into()));
        let can = (model, connections) != ("single", 10);
        for figure in ["calls_per_second", "memory", "opened_per_second"] {
            let median = row["figures"][figure]["median"].as_f64();
            assert_eq!(median > Some(0.0), can, "{row:#}");
        }
        let reason = if can { Value::Null } else { "serves one connection at a time".into() };
        assert_eq!(row["cannot"], reason, "{row:#}");
    }
    for (name, unit) in [("growth-calls.svg", "calls a second"), ("growth-memory.svg", "MiB")] {
        let picture = fs::read_to_string(directory.join(name)).expect("the picture was written");
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"), "{picture}");
        for text in models.into_iter().chain(["open connections", unit]) {
            assert!(picture.contains(&format!("\n{text}\n")), "no {text} in {picture}");
        }
        // A point for each figure, and one beside each name.
        let points = rows.iter().filter(|row| !row["figures"].is_null()).count() + models.len();
        assert_eq!(picture.matches("<circle").count(), points, "{picture}");
    }
    fs::remove_dir_all(directory).expect("the pictures can be removed");
}
