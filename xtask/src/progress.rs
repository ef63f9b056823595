//! What is going on, on standard error: a line a model, which moves only on a terminal.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::model::Model;

const TICK: Duration = Duration::from_millis(120);

// `wide_msg` is cut to the width of the terminal, so that a line stays a line.
const RUNNING: &str = "{spinner:.cyan} {prefix:14} {pos}/{len} {wide_msg}";
const PASSED: &str = "{spinner:.green} {prefix:14} {wide_msg}";
const FAILED: &str = "{spinner:.red} {prefix:14} {wide_msg}";

pub(crate) struct Progress {
    lines: MultiProgress,
    moves: bool,
}

pub(crate) struct Line {
    bar: ProgressBar,
    moves: bool,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        let target = ProgressDrawTarget::stderr();
        Progress { moves: !target.is_hidden(), lines: MultiProgress::with_draw_target(target) }
    }

    pub(crate) fn line(&self, model: Model, steps: u64) -> Line {
        let bar = ProgressBar::new(steps)
            .with_style(style(RUNNING, "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "))
            .with_prefix(model.name());
        let bar = self.lines.add(bar);
        if self.moves {
            bar.enable_steady_tick(TICK);
        }
        Line { bar, moves: self.moves }
    }

    /// The lines stay; what follows begins below them.
    pub(crate) fn finish(&self) {
        if self.moves {
            say("");
        }
    }
}

impl Line {
    /// The next step begins.
    pub(crate) fn next(&self, step: &str) {
        self.bar.inc(1);
        self.say(step);
    }

    /// What the step is doing.
    pub(crate) fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// The line stays, with how it ended.
    pub(crate) fn finish(&self, passed: bool, message: String) {
        if self.moves {
            let (template, mark) = if passed { (PASSED, "✓✓") } else { (FAILED, "✗✗") };
            self.bar.set_style(style(template, mark));
            self.bar.finish_with_message(message);
        } else {
            let mark = if passed { "ok" } else { "FAILED" };
            say(&format!("{:14} {mark}  {message}", self.bar.prefix()));
        }
    }
}

fn style(template: &str, ticks: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates above are well-formed")
        .tick_chars(ticks)
}

/// Progress that cannot be shown is no failure.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
