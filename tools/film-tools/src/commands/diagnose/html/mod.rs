//! One page that needs nothing beside it: no network, no script, no font.
//!
//! Numbers are on the page itself, in tables; what is drawn says them again under the pointer, by CSS and `title`.

mod cards;
mod heat_map;
mod histogram;
mod kernels;
mod overview;
mod scale;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::pictures::Pictures;
use super::report::Report;
use crate::printer::{escape, label};

/// Nothing is fetched, nothing is run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
const STYLE: &str = include_str!("style.css");

/// The page; `pictures` has for each generator the kernels that it modulates, if it does.
pub(super) fn page(report: &Report, pictures: &[Option<Pictures>]) -> Result<String> {
    let path = escape(&report.checkpoint);
    let count = report.generators.len();
    let cards = cards::cards(report, pictures)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "FiLM health: " (path) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "FiLM health" }
                    p.path { (path) }
                    (facts(report))
                }
                main {
                    section aria-labelledby="overview" {
                        h2 #overview { "Overview" }
                        (overview::table(report))
                    }
                    section aria-labelledby="remarks" {
                        h2 #remarks { "Findings" }
                        (overview::remarks(report))
                    }
                    section aria-labelledby="maps" {
                        h2 #maps { "Layer by layer" }
                        (heat_map::maps(report))
                    }
                    section aria-labelledby="cards" {
                        h2 #cards { @if count == 1 { "The generator" } @else { "Each generator" } }
                        (histogram::legend())
                        (cards)
                    }
                }
                footer { (thresholds(report)) p { "Made by film-tools " (env!("CARGO_PKG_VERSION")) ": diagnose." } }
            }
        }
    };
    Ok(page.into_string())
}

/// What was looked at, and what came of it.
fn facts(report: &Report) -> Markup {
    let parts = &report.generators;
    let concerned = parts.iter().filter(|part| !part.findings.is_empty()).count();
    let apart: Vec<_> =
        parts.iter().enumerate().filter(|(_, part)| !part.stands_out.is_empty()).collect();
    html! {
        dl.facts {
            div { dt { "Generators" } dd { (parts.len()) } }
            div { dt { "Input" } dd.text { (escape(&report.input())) } }
            div.concern[report.findings > 0] {
                dt { "Findings" }
                dd {
                    (report.findings)
                    @if parts.len() > 1 && concerned > 0 { small { " in " (concerned) " of " (parts.len()) } }
                }
            }
            div.apart[!apart.is_empty()] {
                dt { "Stands out" }
                dd.text {
                    @if parts.len() < 4 { small { "not compared: fewer than 4" } }
                    @else if apart.is_empty() { "none" }
                    @for (place, (index, part)) in apart.iter().take(4).enumerate() {
                        @if place > 0 { ", " }
                        a href={ "#g" (index) } { (label(&part.name)) }
                    }
                    @if apart.len() > 4 { " and " (apart.len() - 4) " more" }
                }
            }
        }
        @if !report.tail.is_empty() {
            p.note { "Names go on with " code { "." (label(&report.tail)) } }
        }
    }
}

/// From where on a measure is a finding.
fn thresholds(report: &Report) -> Markup {
    let of = &report.thresholds;
    let rows = [
        ("γ < 0", format!("more than {:.0} % of a layer", 100.0 * of.negative_share)),
        (
            "biases of γ < 0, where γ is not measured",
            format!("more than {:.0} % of a layer", 100.0 * of.negative_share),
        ),
        ("|γ|", format!("beyond {:.2}", of.gamma)),
        ("|β|: √(mean of β²)", format!("beyond {} π", of.beta_over_pi)),
        ("spread over the samples, of γ and β", format!("below {}", of.least_spread)),
        ("spread over the samples, of γ", format!("beyond {}", of.greatest_spread)),
        ("mlp.2.weight, distance from its start", format!("beyond {:.2}", of.weight_distance)),
        ("mlp.2.bias, distance from its start", format!("beyond {}", of.bias_distance)),
    ];
    html! {
        details.card {
            summary { "What is measured, and from where on it is a finding" }
            div.scroll tabindex="0" role="region" aria-label="Thresholds" {
                table {
                    thead { tr { th scope="col" { "Measure" } th scope="col" { "Finding" } } }
                    tbody { @for (what, from) in rows { tr { th scope="row" { (what) } td.left { (from) } } } }
                }
            }
            p {
                "NaN and infinite values, and conditioning that is zero throughout, are findings as well. "
                "A generator stands out among four or more in what is at least twice the median or at most half of it, and "
                "3.5 robust standard deviations away. "
                "Spread: standard deviation over the samples, mean over the outputs. "
                "Input: share of γ's variance that is over the samples; the rest is between the outputs' means, whatever the "
                "conditioning. "
                "Moved: √(mean over the rows of ‖w − w₀‖²) of mlp.2.weight."
            }
        }
    }
}

/// A picture in the page itself.
fn png(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}
