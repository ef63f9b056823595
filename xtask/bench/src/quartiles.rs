//! What a series of figures says: its middle, and how far it may be believed.

use serde::Serialize;

/// When the quartiles of a series lie further apart than this share of its median, something else
/// was at work on the machine, and no verdict is given.
pub(crate) const NOISE_LIMIT: f64 = 0.15;

/// The middle of a series, and where its inner half lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Quartiles {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Quartiles {
    /// Of at least one number.
    pub(crate) fn of(mut series: Vec<f64>) -> Quartiles {
        series.sort_by(f64::total_cmp);
        // Between two numbers, in proportion: method 7 of Hyndman and Fan, the usual one.
        let at = |share: f64| {
            let position = share * (series.len() - 1) as f64;
            let (below, above) = (position.floor() as usize, position.ceil() as usize);
            series[below] + (series[above] - series[below]) * position.fract()
        };
        Quartiles { low: at(0.25), median: at(0.5), high: at(0.75) }
    }

    pub(crate) fn range(self) -> String {
        format!("{}–{}", number(self.low), number(self.high))
    }

    /// How far the quartiles lie apart, as a share of the median.
    pub(crate) fn spread(self) -> f64 {
        (self.high - self.low) / self.median
    }
}

pub(crate) fn number(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.3}") } else { format!("{ratio:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_numbers_in_proportion() {
        let cases: [(&[f64], [f64; 3]); 4] = [
            (&[7.0], [7.0, 7.0, 7.0]),
            (&[2.0, 1.0], [1.25, 1.5, 1.75]),
            (&[5.0, 1.0, 4.0, 2.0, 3.0], [2.0, 3.0, 4.0]),
            (&[4.0, 1.0, 3.0, 2.0], [1.75, 2.5, 3.25]),
        ];
        for (series, [low, median, high]) in cases {
            let expected = Quartiles { low, median, high };
            assert_eq!(Quartiles::of(series.to_vec()), expected, "{series:?}");
        }
    }
}
