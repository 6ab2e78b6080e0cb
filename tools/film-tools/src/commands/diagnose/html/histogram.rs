//! Histograms of γ and β, as SVG whose bars say their numbers under the pointer.

use std::f64::consts::PI;

use film_core::statistics::{Bin, Histogram, Summary, median};
use maud::{Markup, html};

use super::super::report::{Part, brief, percent};
use crate::output::number;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 112.0;
const LEFT: f64 = 10.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 32.0;
const BOTTOM: f64 = 20.0;
/// Bars on an axis, about.
const BARS: f64 = 36.0;
/// Ticks on an axis, at most.
const TICKS: f64 = 6.0;

/// Which of the two is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Which {
    Gamma,
    Beta,
}

/// The axis that all charts of γ, or of β, share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    /// The bars' width is 2 to this power.
    exponent: i32,
}

/// From where to where the numbers are, without those that are far from nearly all others.
fn bulk(histogram: &Histogram) -> Option<(f64, f64)> {
    let at = |share: f64| histogram.quantile(share);
    let (low, high) = (at(0.002)?, at(0.998)?);
    let reach = (high - low) / 2.0;
    Some((at(0.0)?.max(low - reach), at(1.0)?.min(high + reach)))
}

impl Axis {
    /// An axis for all but the farthest numbers of these histograms. One that is far wider than the others does not
    /// squeeze them: it is cut.
    pub(super) fn new(parts: &[Part], which: Which) -> Self {
        let all =
            || parts.iter().flat_map(|part| &part.histograms).map(|pair| &pair[which as usize]);
        let (low, high): (Vec<f64>, Vec<f64>) = all().filter_map(bulk).unzip();
        let start = if which == Which::Gamma { 1.0 } else { 0.0 };
        let middle = |values: &[f64]| median(values.iter().copied()).unwrap_or(start);
        let (usual_low, usual_high) = (middle(&low).min(start), middle(&high).max(start));
        // Where nothing varies any width will do.
        let width = Some(usual_high - usual_low).filter(|width| *width > 0.0).unwrap_or(1.0);
        let least = low.iter().copied().fold(usual_low, f64::min).max(usual_low - width);
        let most = high.iter().copied().fold(usual_high, f64::max).min(usual_high + width);
        let margin = (most - least).max(width) / 16.0;
        let exponent = ((most - least + 2.0 * margin) / BARS).log2().round().clamp(-1000.0, 1000.0);
        let bar = exponent.exp2();
        Self {
            from: ((least - margin) / bar).floor() * bar,
            to: ((most + margin) / bar).ceil() * bar,
            exponent: exponent as i32,
        }
    }

    fn x(self, value: f64) -> f64 {
        let share = (value - self.from) / (self.to - self.from);
        LEFT + (WIDTH - LEFT - RIGHT) * share.clamp(0.0, 1.0)
    }

    fn holds(self, value: f64) -> bool {
        self.from <= value && value <= self.to
    }

    /// Round numbers on it.
    fn ticks(self) -> Vec<f64> {
        let least = (self.to - self.from) / TICKS;
        let decade = 10f64.powf(least.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * decade);
        let step = steps.into_iter().find(|step| *step >= least).unwrap_or(steps[3]);
        let (first, last) = ((self.from / step).ceil() as i64, (self.to / step).floor() as i64);
        (first..=last).map(|index| index as f64 * step).collect()
    }
}

/// What the colours and lines are.
pub(super) fn legend() -> Markup {
    html! {
        p.note.swatches {
            span { i.gamma {} "γ" }
            span { i.flipped {} "γ < 0: flipped signs" }
            span { i.beta {} "β" }
            span { i.line {} "the start, γ = 1 or β = 0, and β = ±π" }
        }
        p.note {
            "All charts of γ share an axis, and so do those of β; bars are as high as their share of the chart's highest. "
            "Point at a bar for its numbers."
        }
    }
}

/// A chart of one layer.
pub(super) fn chart(which: Which, axis: Axis, histogram: &Histogram, summary: &Summary) -> Markup {
    let name = if which == Which::Gamma { "γ" } else { "β" };
    let wide = histogram.widened(axis.exponent);
    let total = wide.total();
    let inside = |bin: &Bin| bin.to > axis.from && bin.from < axis.to;
    let highest = wide.bins().filter(inside).map(|bin| bin.count).max().unwrap_or(0).max(1);
    let (below, beyond) = outside(&wide, axis);
    let bottom = HEIGHT - BOTTOM;
    let lines = match which {
        Which::Gamma => vec![1.0],
        Which::Beta => vec![0.0, -PI, PI],
    };
    let statistics = format!(
        "mean {}, std {}, {} to {}",
        brief(summary.mean),
        brief(summary.std),
        brief(summary.min),
        brief(summary.max)
    );
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ (name) ": " (statistics) } {
            text.name x=(LEFT) y="14" { (name) }
            text.stat x=(WIDTH - RIGHT) y="14" { (statistics) }
            line.axis x1=(LEFT) y1=(bottom) x2=(WIDTH - RIGHT) y2=(bottom) {}
            @for tick in axis.ticks() {
                line.axis x1=(round(axis.x(tick))) y1=(bottom) x2=(round(axis.x(tick))) y2=(bottom + 4.0) {}
                text.tick x=(round(axis.x(tick))) y=(HEIGHT - 4.0) { (label(tick)) }
            }
            @for bin in wide.bins().filter(|bin| bin.count > 0 && inside(bin)) {
                (bar(which, axis, bin, highest, total))
            }
            @for at in lines.into_iter().filter(|at| axis.holds(*at)) {
                line.start x1=(round(axis.x(at))) y1=(TOP) x2=(round(axis.x(at))) y2=(bottom) {}
            }
            @if below > 0 { text.off x=(LEFT) y=(TOP - 4.0) { "‹ " (number(below)) " below" } }
            @if beyond > 0 { text.off.end x=(WIDTH - RIGHT) y=(TOP - 4.0) { (number(beyond)) " beyond ›" } }
            @if total == 0 { text.off x=(LEFT) y=(bottom - 8.0) { "no finite values" } }
        }
    }
}

/// How many numbers are below the axis, and beyond it.
fn outside(histogram: &Histogram, axis: Axis) -> (u64, u64) {
    let count = |is: fn(&Bin, Axis) -> bool| {
        histogram.bins().filter(|bin| is(bin, axis)).map(|bin| bin.count).sum()
    };
    (count(|bin, axis| bin.to <= axis.from), count(|bin, axis| bin.from >= axis.to))
}

fn bar(which: Which, axis: Axis, bin: Bin, highest: u64, total: u64) -> Markup {
    let class = match which {
        Which::Gamma if bin.from < 0.0 => "flipped",
        Which::Gamma => "gamma",
        Which::Beta => "beta",
    };
    let (left, right) = (axis.x(bin.from), axis.x(bin.to));
    let full = HEIGHT - BOTTOM - TOP;
    // Even a single number is to be seen.
    let height = (full * bin.count as f64 / highest as f64).max(1.0);
    let (x, width) = (round(left), round((right - left).max(1.0)));
    let share = percent(Some(bin.count as f64 / total as f64));
    html! {
        g.b {
            rect.h x=(x) y=(TOP) width=(width) height=(full) {}
            rect.(class) x=(x) y=(round(HEIGHT - BOTTOM - height)) width=(round((right - left - 0.6).max(0.6))) height=(round(height)) {}
            text x=(WIDTH - RIGHT) y="14" {
                (label(bin.from)) " to " (label(bin.to)) ": " (number(bin.count)) ", " (share)
            }
        }
    }
}

/// Tenths of a unit are enough.
fn round(position: f64) -> f64 {
    (position * 10.0).round() / 10.0
}

/// A number without zeros at its end.
fn label(value: f64) -> String {
    let text = brief(Some(value));
    if text.contains('.') && !text.contains('e') {
        return text.trim_end_matches('0').trim_end_matches('.').into();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let axis = Axis { from: -1.25, to: 3.0, exponent: -3 };
        assert_eq!(axis.ticks(), [-1.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(
            axis.ticks().into_iter().map(label).collect::<Vec<_>>(),
            ["-1", "0", "1", "2", "3"]
        );
    }

    #[test]
    fn what_is_outside_is_counted() {
        let mut histogram = Histogram::default();
        histogram.add(&[-9.0, -0.5, 0.5, 1.5, 7.0, 8.0]);
        let axis = Axis { from: -1.0, to: 2.0, exponent: -3 };
        assert_eq!(outside(&histogram.widened(axis.exponent), axis), (1, 2));
    }
}
