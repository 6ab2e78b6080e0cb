//! Curves on a logarithmic scale, over a linear one.

use crate::Result;
use crate::canvas::{Anchor, Area, CHARACTER, Canvas, Drawing, labels};
use crate::colour::{BLACK, GREY, RULE, Rgb};

const LEFT: f64 = 58.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 44.0;
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 220.0;

/// Digits at which a logarithmic axis may begin and end.
const ROUND: [f64; 3] = [1.0, 2.0, 5.0];
/// Powers closer than this are the same.
const SLACK: f64 = 1e-9;

/// One curve.
#[derive(Debug, Clone)]
pub struct Series {
    /// What it is called.
    pub label: String,
    /// Its colour.
    pub colour: Rgb,
    /// Its points, from left to right. Those that a logarithmic scale has no place for are left out.
    pub points: Vec<(f64, f64)>,
}

/// A chart of curves, all on one pair of axes.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The line above it.
    pub title: String,
    /// What the horizontal axis counts.
    pub across: String,
    /// The curves; later ones are drawn over earlier ones.
    pub series: Vec<Series>,
}

/// From where to where an axis goes.
#[derive(Clone, Copy)]
struct Span {
    from: f64,
    to: f64,
}

impl Span {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (from, to) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), x| (from.min(x), to.max(x)));
        if from < to { Self { from, to } } else { Self { from: 0.0, to: 1.0 } }
    }

    fn share(self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }
}

impl Chart {
    /// The points that have a place, their heights as powers of ten.
    fn placed<'a>(&self, series: &'a Series) -> impl Iterator<Item = (f64, f64)> + use<'a> {
        let points = series.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        points.filter(|(_, y)| *y > 0.0).map(|(x, y)| (*x, y.log10()))
    }

    fn spans(&self) -> (Span, Span) {
        let points = || self.series.iter().flat_map(|series| self.placed(series));
        let powers = Span::of(points().map(|(_, power)| power));
        // From one round number to another.
        let powers = Span { from: around(powers.from).0, to: around(powers.to).1 };
        (Span::of(points().map(|(x, _)| x)), powers)
    }
}

impl Drawing for Chart {
    fn size(&self) -> (f64, f64) {
        (LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM)
    }

    fn draw(&self, canvas: &mut impl Canvas) -> Result<()> {
        let (across, powers) = self.spans();
        let x = |value: f64| LEFT + WIDTH * across.share(value);
        let y = |power: f64| TOP + HEIGHT * (1.0 - powers.share(power));
        canvas.text(LEFT, 14.0, Anchor::Start, &self.title);
        for (power, text) in decades(powers) {
            let colour = if text.is_some() { GREY } else { RULE };
            canvas.line(&[(LEFT, y(power)), (LEFT + WIDTH, y(power))], colour);
            if let Some(text) = text {
                canvas.text(LEFT - 6.0, y(power), Anchor::End, &text);
            }
        }
        let ticks: Vec<f64> = ticks(across).collect();
        for &tick in &ticks {
            canvas.line(&[(x(tick), TOP), (x(tick), TOP + HEIGHT)], RULE);
        }
        let names = ticks
            .iter()
            .map(|&tick| (x(tick), Anchor::Middle, ((tick * 1e6).round() / 1e6).to_string()));
        labels(canvas, TOP + HEIGHT + 12.0, names);
        canvas.text(LEFT + WIDTH / 2.0, TOP + HEIGHT + 30.0, Anchor::Middle, &self.across);
        let mut left = LEFT;
        for series in &self.series {
            canvas.line(
                &self.placed(series).map(|(at, power)| (x(at), y(power))).collect::<Vec<_>>(),
                series.colour,
            );
            canvas.line(&[(left, 34.0), (left + 18.0, 34.0)], series.colour);
            canvas.text(left + 24.0, 34.0, Anchor::Start, &series.label);
            left += 48.0 + series.label.chars().count() as f64 * CHARACTER;
        }
        canvas.frame(Area { x: LEFT, y: TOP, width: WIDTH, height: HEIGHT }, BLACK);
        Ok(())
    }
}

/// The round powers next to one: at or below it, and at or above it.
fn around(power: f64) -> (f64, f64) {
    let decade = power.floor();
    let places = ROUND.map(|digit| decade + digit.log10());
    let below = places.into_iter().filter(|place| *place <= power + SLACK);
    let above = places.into_iter().filter(|place| *place >= power - SLACK);
    (below.fold(decade, f64::max), above.fold(decade + 1.0, f64::min))
}

/// The lines of a logarithmic axis, as powers: of 1 to 9 of each decade; those of 1 have a text, and in a short span
/// those of 2 and 5.
fn decades(powers: Span) -> Vec<(f64, Option<String>)> {
    let mut lines = Vec::new();
    for decade in powers.from.floor() as i32..=powers.to.ceil() as i32 {
        for digit in 1..=9 {
            let power = f64::from(decade) + f64::from(digit).log10();
            if power < powers.from - SLACK || power > powers.to + SLACK {
                continue;
            }
            let named =
                digit == 1 || (powers.to - powers.from < 1.5 && ROUND.contains(&f64::from(digit)));
            let text = match decade {
                0..4 => (digit * 10i32.pow(decade as u32)).to_string(),
                -4..0 => format!("{:.*}", -decade as usize, f64::from(digit) * 10f64.powi(decade)),
                _ => format!("{digit}e{decade}"),
            };
            lines.push((power, named.then_some(text)));
        }
    }
    lines
}

/// Round numbers along a linear axis, at most 9 of them.
fn ticks(span: Span) -> impl Iterator<Item = f64> {
    let least = (span.to - span.from) / 8.0;
    let decade = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * decade);
    let step = step.into_iter().find(|step| *step >= least).unwrap_or(10.0 * decade);
    let (first, last) = ((span.from / step).ceil() as i64, (span.to / step).floor() as i64);
    (first..=last).map(move |index| index as f64 * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let of = |from: f64, to: f64| ticks(Span { from, to }).collect::<Vec<_>>();
        assert_eq!(
            of(0.0, 4000.0),
            [0.0, 500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0, 3500.0, 4000.0]
        );
        assert_eq!(of(1.0, 30.0), [5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        assert_eq!(of(0.0, 1.0).len(), 6);
    }

    #[test]
    fn decades_are_named_by_their_numbers() {
        let named = |from: f64, to: f64| -> Vec<String> {
            decades(Span { from, to }).into_iter().filter_map(|(_, text)| text).collect()
        };
        assert_eq!(named(-3.0, 1.0), ["0.001", "0.01", "0.1", "1", "10"]);
        assert_eq!(named(-0.5, 0.5), ["0.5", "1", "2"]);
        let chart = |low: f64, high: f64| {
            let points = vec![(0.0, low), (1.0, high)];
            let series = Series { label: String::new(), colour: BLACK, points };
            let chart = Chart { title: String::new(), across: String::new(), series: vec![series] };
            let span = chart.spans().1;
            [span.from, span.to].map(|power| format!("{:.3}", 10f64.powf(power)))
        };
        assert_eq!(chart(0.11, 1.1), ["0.100", "2.000"]);
        assert_eq!(chart(0.05, 1.0), ["0.050", "1.000"]);
        assert_eq!(named(-6.0, -4.0), ["1e-6", "1e-5", "0.0001"]);
    }

    #[test]
    fn empty_and_impossible_curves_leave_an_empty_chart() {
        for points in [vec![], vec![(0.0, f64::NAN), (1.0, 0.0), (2.0, -1.0)], vec![(3.0, 1.0)]] {
            let series = Series { label: "loss".into(), colour: BLACK, points };
            let chart = Chart { title: "t".into(), across: "step".into(), series: vec![series] };
            assert!(crate::svg(&chart).unwrap().ends_with("</svg>\n"));
            assert!(!crate::png(&chart).unwrap().is_empty());
        }
    }
}
