//! How the cost grows, as two pictures: both axes by powers of ten, a line a model.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::Context as _;
use indicatif::HumanCount;
use plotters::prelude::*;

use crate::growth::report::{GrowthFigures, GrowthRow};

const SIZE: (u32, u32) = (720, 420);

/// Colours of Okabe and Ito, which people who confuse red and green can tell apart. Lines that
/// lie on each other are told apart by the size of their points.
const LOOKS: [(RGBColor, i32); 5] = [
    (RGBColor(0, 0, 0), 7),
    (RGBColor(0, 114, 178), 6),
    (RGBColor(213, 94, 0), 5),
    (RGBColor(0, 158, 115), 4),
    (RGBColor(204, 121, 167), 3),
];

/// A number of connections and what it costs.
type Point = (f64, f64);

/// Writes `growth-calls.svg` and `growth-memory.svg` into `directory`, which is made if need be.
///
/// Nothing is drawn for what cannot be measured.
pub(crate) fn draw(rows: &[GrowthRow], directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let calls = Picture {
        title: "Calls a second with all connections busy",
        axis: "calls a second",
        free_corner: SeriesLabelPosition::LowerLeft,
        value: |figures| figures.calls_per_second.median,
    };
    let memory = Picture {
        title: "Memory of the server's processes (PSS)",
        axis: "MiB",
        free_corner: SeriesLabelPosition::UpperLeft,
        value: |figures| figures.memory.median / f64::from(1 << 20),
    };
    calls.write(rows, &directory.join("growth-calls.svg"))?;
    memory.write(rows, &directory.join("growth-memory.svg"))
}

struct Picture {
    title: &'static str,
    axis: &'static str,
    /// Where no line goes, so that the names of the models have room.
    free_corner: SeriesLabelPosition,
    value: fn(&GrowthFigures) -> f64,
}

impl Picture {
    fn write(&self, rows: &[GrowthRow], path: &Path) -> anyhow::Result<()> {
        let mut text = String::new();
        let lines = self.lines(rows);
        self.draw(&lines, SVGBackend::with_string(&mut text, SIZE))
            .map_err(|error| anyhow::anyhow!("cannot draw {}: {error}", path.display()))?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The points of each model, models in the order of the rows.
    fn lines(&self, rows: &[GrowthRow]) -> Vec<(&'static str, Vec<Point>)> {
        let mut lines: Vec<(&str, Vec<Point>)> = Vec::new();
        for row in rows {
            if !lines.iter().any(|(model, _)| *model == row.model) {
                lines.push((row.model, Vec::new()));
            }
            if let (Some(figures), Some((_, points))) =
                (&row.figures, lines.iter_mut().find(|(model, _)| *model == row.model))
            {
                points.push((row.connections as f64, (self.value)(figures)));
            }
        }
        lines
    }

    fn draw(
        &self,
        lines: &[(&'static str, Vec<Point>)],
        backend: SVGBackend<'_>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let area = backend.into_drawing_area();
        // A background of its own: the page may be light or dark.
        area.fill(&WHITE)?;
        let points = || lines.iter().flat_map(|(_, points)| points);
        let across = decades(points().map(|point| point.0));
        let up = decades(points().map(|point| point.1));
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(44)
            .y_label_area_size(70)
            .build_cartesian_2d(across.log_scale(), up.log_scale())?;
        chart
            .configure_mesh()
            .x_desc("open connections")
            .y_desc(self.axis)
            .x_label_formatter(&|number| grouped(*number))
            .y_label_formatter(&|number| grouped(*number))
            .label_style(("sans-serif", 16))
            .axis_desc_style(("sans-serif", 17))
            .bold_line_style(BLACK.mix(0.2))
            .max_light_lines(0)
            .draw()?;
        for ((model, points), (colour, radius)) in lines.iter().zip(LOOKS) {
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))?
                .label(*model)
                .legend(move |(x, y)| {
                    EmptyElement::at((x, y))
                        + PathElement::new([(0, 0), (22, 0)], style)
                        + Circle::new((11, 0), radius, colour.filled())
                });
            let circles = points.iter().map(|&point| Circle::new(point, radius, colour.filled()));
            chart.draw_series(circles)?;
        }
        chart
            .configure_series_labels()
            .position(self.free_corner.clone())
            .legend_area_size(30)
            .label_font(("sans-serif", 16))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

/// From the power of ten below all `numbers` to the one above, and one decade at least.
fn decades(numbers: impl Iterator<Item = f64>) -> Range<f64> {
    let exponents = numbers.filter(|number| *number > 0.0).map(f64::log10);
    let (low, high) = exponents
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), exponent| {
            (low.min(exponent.floor()), high.max(exponent.ceil()))
        });
    if low.is_infinite() {
        return 1.0..10.0;
    }
    10_f64.powf(low)..10_f64.powf(high.max(low + 1.0))
}

/// `10,000`, and `0.1` below one.
fn grouped(number: f64) -> String {
    if number < 1.0 { number.to_string() } else { HumanCount(number.round() as u64).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_begins_and_ends_at_a_power_of_ten() {
        let cases: [(&[f64], Range<f64>); 4] = [
            (&[], 1.0..10.0),
            (&[1.0], 1.0..10.0),
            (&[30.0, 1.0, 9_000.0], 1.0..10_000.0),
            (&[0.4, 20.0], 0.1..100.0),
        ];
        for (numbers, expected) in cases {
            assert_eq!(decades(numbers.iter().copied()), expected, "{numbers:?}");
        }
    }

    #[test]
    fn numbers_are_written_with_commas() {
        let cases = [(0.1, "0.1"), (1.0, "1"), (999.0, "999"), (1_000.0, "1,000")];
        for (number, expected) in cases {
            assert_eq!(grouped(number), expected);
        }
        assert_eq!(grouped(1_234_567.0), "1,234,567");
    }
}
