//! All that is known of each generator, folded away where they are many and nothing is to be said.

use anyhow::Result;
use film_core::statistics::Summary;
use maud::{Markup, html};

use super::super::pictures::Pictures;
use super::super::report::{Part, Report, brief, percent};
use super::histogram::{Axis, Which, chart};
use super::{kernels, overview};
use crate::printer::label;

/// So many are unfolded all at once.
const FEW: usize = 4;
/// With more layers than this the page has charts only of generators that there are remarks on: it would be too large.
const MOST: usize = 144;

pub(super) fn cards(report: &Report, pictures: &[Option<Pictures>]) -> Result<Markup> {
    let parts = &report.generators;
    let axes = [Which::Gamma, Which::Beta].map(|which| Axis::new(parts, which));
    let mut cards = Vec::with_capacity(parts.len());
    let layers: usize = parts.iter().map(|part| part.num_film_layers).sum();
    let mut drawn = 0;
    for (index, part) in parts.iter().enumerate() {
        let remarkable = !(part.findings.is_empty() && part.stands_out.is_empty());
        let draw = (layers <= MOST || remarkable) && drawn + part.num_film_layers <= MOST;
        drawn += if draw { part.num_film_layers } else { 0 };
        let kernels = match pictures.get(index) {
            Some(Some(pictures)) if draw => Some(kernels::kernels(pictures)?),
            _ => None,
        };
        let charts = draw.then(|| charts(part, axes));
        cards.push(html! {
            details.card.generator #{ "g" (index) } open[parts.len() <= FEW || remarkable] {
                summary {
                    span.title { (label(&part.name)) }
                    @if !part.findings.is_empty() { span.badge.concern { (counted(part.findings.len(), "finding")) } }
                    @if !part.stands_out.is_empty() { span.badge.apart { "stands out" } }
                }
                @if part.name != part.prefix { p.path { (label(&part.prefix)) } }
                p.note { (overview::sizes(part)) }
                @match charts {
                    Some(charts) => (charts),
                    None => p.note { "Charts are drawn of " (MOST) " layers at most: choose by --prefix." },
                }
                (numbers(part))
                div.beside {
                    @if let Some(kernels) = kernels { (kernels) }
                    (norms(part))
                }
            }
        });
    }
    Ok(html! { @for card in cards { (card) } })
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn charts(part: &Part, axes: [Axis; 2]) -> Markup {
    html! {
        div.charts {
            @for (layer, (pair, modulation)) in part.histograms.iter().zip(part.modulations()).enumerate() {
                figure {
                    figcaption { "layer " (layer) }
                    (chart(Which::Gamma, axes[0], &pair[0], &modulation.gamma))
                    (chart(Which::Beta, axes[1], &pair[1], &modulation.beta))
                }
            }
        }
    }
}

/// The statistics of each layer.
fn numbers(part: &Part) -> Markup {
    let weights = part.health.weights.as_ref().map_or(&[][..], |weights| &weights.layers);
    let line = |summary: &Summary, weight: Option<f64>, bias: Option<f64>| {
        let Summary { min, mean, max, std, negative, spread, non_finite, .. } = summary;
        html! {
            @for value in [min, mean, max, std] { td { (brief(*value)) } }
            td { (percent(*negative)) }
            td { (brief(*spread)) }
            td { (percent(summary.dependence())) }
            td { (brief(weight)) }
            td { (brief(bias)) }
            td.bad[*non_finite > 0] { (non_finite) }
        }
    };
    let names = [
        "Min",
        "Mean",
        "Max",
        "Std",
        "< 0",
        "Spread",
        "Input",
        "Weight moved",
        "Bias moved",
        "Not finite",
    ];
    html! {
        div.scroll tabindex="0" role="region" aria-label="Statistics of each layer" {
            table.numbers {
                caption.hidden { "Statistics of γ and β in each layer" }
                thead {
                    tr {
                        th scope="col" { "Layer" }
                        @for name in names { th scope="col" { (name) } }
                    }
                }
                tbody {
                    @for (layer, modulation) in part.modulations().iter().enumerate() {
                        @let moved = weights.get(layer);
                        tr {
                            th scope="row" { (layer) " γ" }
                            (line(&modulation.gamma, moved.map(|of| of.gamma.weight), moved.map(|of| of.gamma.bias)))
                        }
                        tr {
                            th scope="row" { (layer) " β" }
                            (line(&modulation.beta, moved.map(|of| of.beta.weight), moved.map(|of| of.beta.bias)))
                        }
                    }
                }
            }
        }
    }
}

/// The sizes of the weights.
fn norms(part: &Part) -> Markup {
    let Some(weights) = &part.health.weights else { return html! {} };
    html! {
        div {
            h4 { "Weights" }
            div.scroll tabindex="0" role="region" aria-label="Norms of the weights" {
                table {
                    thead { tr { th scope="col" { "Tensor" } th scope="col" { "Norm" } th scope="col" { "At the start, about" } } }
                    tbody {
                        @for norm in &weights.norms {
                            tr { th scope="row" { (norm.tensor) } td { (brief(Some(norm.norm))) } td { (brief(Some(norm.start))) } }
                        }
                    }
                }
            }
        }
    }
}
