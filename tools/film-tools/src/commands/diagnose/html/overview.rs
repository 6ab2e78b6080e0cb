//! A line a generator, and the remarks.

use film_core::health::Measure;
use maud::{Markup, html};

use super::super::report::{Part, Report, brief, percent};
use crate::output::number;
use crate::printer::label;

/// Its columns, each with what it is.
const COLUMNS: [(&str, &str); 9] = [
    ("γ mean", "mean of γ over all layers"),
    ("γ std", "standard deviation of γ over all layers"),
    ("γ < 0", "share of negative γ, in the layer where it is greatest"),
    ("|γ|", "greatest |γ| of all layers"),
    ("|β|/π", "root mean square of β over π, in the layer where it is greatest"),
    ("Input", "share of γ's variance that is over the samples, mean over the layers"),
    ("Moved", "distance of mlp.2.weight from its start, in the layer where it is greatest"),
    ("Stands out", "measures that differ from the median of the generators"),
    ("Findings", "measures beyond their thresholds"),
];

pub(super) fn table(report: &Report) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Overview of the generators" {
            table.overview {
                caption.hidden { "Each generator over all its layers" }
                thead {
                    tr {
                        th scope="col" { "Generator" }
                        @for (name, what) in COLUMNS { th scope="col" title=(what) { (name) } }
                    }
                }
                tbody {
                    @for (index, part) in report.generators.iter().enumerate() {
                        tr {
                            th scope="row" { a href={ "#g" (index) } { (label(&part.name)) } }
                            (cells(part))
                        }
                    }
                }
            }
        }
        p.note {
            "γ < 0, |γ|, |β|/π and Moved are those of the layer where they are greatest; marked is what is a finding in some layer."
        }
    }
}

fn cells(part: &Part) -> Markup {
    let overview = part.overview();
    let worst = |measure: Measure, text: fn(Option<f64>) -> String| {
        html! { td.bad[part.is_concerning(measure)] { (text(part.worst(measure))) } }
    };
    let count = |count: usize| match count {
        0 => "–".to_string(),
        count => count.to_string(),
    };
    html! {
        td { (brief(overview.gamma_mean)) }
        td { (brief(overview.gamma_std)) }
        (worst(Measure::Negative, percent))
        (worst(Measure::Gamma, brief))
        (worst(Measure::BetaOverPi, brief))
        td { (percent(overview.dependence)) }
        (worst(Measure::Weight, brief))
        td { (count(part.stands_out.len())) }
        td.bad[!part.findings.is_empty()] { (count(part.findings.len())) }
    }
}

/// The findings and what stands out, by generator.
pub(super) fn remarks(report: &Report) -> Markup {
    let remarkable =
        |part: &&(usize, &Part)| !(part.1.findings.is_empty() && part.1.stands_out.is_empty());
    let parts: Vec<(usize, &Part)> = report.generators.iter().enumerate().collect();
    let shown: Vec<_> = parts.iter().filter(remarkable).collect();
    html! {
        @if report.findings == 0 { p { "No measure is beyond its threshold." } }
        div.remarks {
            @for (index, part) in shown {
                article.card {
                    h3 { a href={ "#g" (index) } { (label(&part.name)) } }
                    (of_part(part))
                }
            }
        }
    }
}

/// The findings of a generator and in what it stands out.
pub(super) fn of_part(part: &Part) -> Markup {
    html! {
        @if !part.findings.is_empty() {
            ul.findings { @for said in &part.findings { li { (label(&said.text)) } } }
        }
        @if !part.stands_out.is_empty() {
            p.note { "Stands out:" }
            ul.apart { @for said in &part.stands_out { li { (label(&said.text)) } } }
        }
    }
}

/// The sizes of a generator, in words.
pub(super) fn sizes(part: &Part) -> String {
    format!(
        "cond_dim {} → film_hidden_dim {} → {} × (γ, β) × {}; {} samples",
        part.cond_dim,
        part.film_hidden_dim,
        part.num_film_layers,
        part.kernel_hidden_dim,
        number(part.samples())
    )
}
