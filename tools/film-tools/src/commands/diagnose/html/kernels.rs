//! Kernels as small pictures: an image a panel in 2-D, a curve in 1-D.

use anyhow::Result;
use maud::{Markup, html};

use super::super::pictures::{Drawn, Pictures};
use super::super::report::brief;
use super::png;

/// Width and height of a curve.
const CURVE: (f64, f64) = (150.0, 60.0);
/// Points of a curve are joined to so many, each the least and the greatest of its own.
const COLUMNS: usize = 75;
/// Colours of the legend.
const STEPS: usize = 48;

pub(super) fn kernels(pictures: &Pictures) -> Result<Markup> {
    match pictures {
        Pictures::Not(why) => {
            Ok(html! { p.note { "Kernels are not drawn: " (crate::printer::escape(why)) } })
        }
        Pictures::Drawn(drawn) => table(drawn),
    }
}

fn table(drawn: &Drawn) -> Result<Markup> {
    let limit = drawn.limit();
    let panel = |sample: usize, index: usize| panel(drawn, sample, index, limit);
    let samples = 0..drawn.samples.len();
    let rows = samples.map(|sample| -> Result<Vec<Markup>> {
        (0..drawn.channels.len()).map(|index| panel(sample, index)).collect()
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let what = match (drawn.masked, drawn.sliced) {
        (true, true) => "masked, the middle slice of axis 0",
        (false, true) => "not masked, the middle slice of axis 0",
        (true, false) => "masked",
        (false, false) => "not masked",
    };
    let reach = brief(Some(drawn.reach));
    let scale: Vec<f64> =
        (0..STEPS).map(|step| limit * (2.0 * step as f64 / (STEPS - 1) as f64 - 1.0)).collect();
    Ok(html! {
        div {
            h4 { "Kernels for the first samples" }
            div.scroll tabindex="0" role="region" aria-label="Kernels" {
                table.kernels {
                    caption.hidden { "A kernel for each sample and channel" }
                    thead {
                        tr {
                            td {}
                            @for channel in &drawn.channels { th scope="col" { "channel " (channel) } }
                        }
                    }
                    tbody {
                        @for (sample, row) in rows.iter().enumerate() {
                            tr {
                                th scope="row" { "sample " (sample) }
                                @for panel in row { td { (panel) } }
                            }
                        }
                    }
                }
            }
            div.scale {
                @if drawn.points.len() > 1 {
                    span { (brief(Some(-limit))) }
                    img src=(png(&film_picture::pixels(STEPS, &scale, limit)?)) alt="from dark blue by grey to light yellow";
                    span { (brief(Some(limit))) }
                } @else {
                    span { "Curves reach from " (brief(Some(-limit))) " to " (brief(Some(limit))) "." }
                }
                span.note {
                    (what) ", positions -" (reach) " to " (reach)
                    @if drawn.cut { ", the centre of a longer kernel" }
                }
            }
        }
    })
}

fn panel(drawn: &Drawn, sample: usize, index: usize, limit: f64) -> Result<Markup> {
    let values = &drawn.samples[sample][index];
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let rms = (finite().map(|x| x * x).sum::<f64>() / finite().count().max(1) as f64).sqrt();
    let title = format!(
        "sample {sample}, channel {}: {} to {}, root mean square {}",
        drawn.channels[index],
        brief(finite().reduce(f64::min)),
        brief(finite().reduce(f64::max)),
        brief(finite().next().map(|_| rms))
    );
    let &[height, width] = drawn.points.as_slice() else { return Ok(curve(values, limit, &title)) };
    let image = png(&film_picture::pixels(width, values, limit)?);
    // The longer side takes 80 units.
    let unit = 80.0 / height.max(width) as f64;
    let side = |points: usize| (unit * points as f64).round().max(1.0);
    Ok(
        html! { img src=(image) width=(side(width)) height=(side(height)) alt=(title) title=(title); },
    )
}

fn curve(values: &[f64], limit: f64, title: &str) -> Markup {
    let (width, height) = CURVE;
    let step = width / (values.len().max(2) - 1) as f64;
    let rise = if limit > 0.0 { (height / 2.0 - 2.0) / limit } else { 0.0 };
    let point = |index: usize| {
        let (x, y) = (index as f64 * step, height / 2.0 - values[index] * rise);
        format!("{x:.1},{y:.1}")
    };
    let points: Vec<String> = extremes(values).into_iter().map(point).collect();
    html! {
        svg.curve viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height) role="img" aria-label=(title) {
            title { (title) }
            rect.h width=(width) height=(height) {}
            line.axis x1="0" y1=(height / 2.0) x2=(width) y2=(height / 2.0) {}
            polyline points=(points.join(" ")) {}
        }
    }
}

/// Where in each of as many parts as there are columns the finite values are least and greatest, in their order.
fn extremes(values: &[f64]) -> Vec<usize> {
    let each = values.len().div_ceil(COLUMNS).max(1);
    let mut places = vec![];
    for start in (0..values.len()).step_by(each) {
        let here =
            (start..values.len().min(start + each)).filter(|index| values[*index].is_finite());
        let order = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]);
        let ends = here.clone().min_by(order).into_iter().chain(here.max_by(order));
        let mut ends: Vec<usize> = ends.collect();
        ends.sort_unstable();
        ends.dedup();
        places.extend(ends);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::extremes;

    #[test]
    fn a_long_curve_keeps_its_peaks() {
        let mut values = vec![0.0; 1023];
        (values[500], values[501], values[7]) = (3.0, -2.0, f64::NAN);
        let kept = extremes(&values);
        assert!(
            kept.len() <= 150 && kept.contains(&500) && kept.contains(&501) && !kept.contains(&7)
        );
        assert_eq!(extremes(&[1.0, 2.0, 0.5]), [0, 1, 2]);
    }
}
