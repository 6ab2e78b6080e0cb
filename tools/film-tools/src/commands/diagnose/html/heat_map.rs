//! A measure of every layer of every generator, as a table whose cells are coloured.

use film_core::health::Measure;
use film_core::statistics::median;
use maud::{Markup, html};

use super::super::report::{Part, Report, brief, percent};
use super::scale::Scale;
use crate::printer::label;

/// What a map shows of a generator's layer.
type Value = dyn Fn(&Part, usize) -> Option<f64>;

/// One map.
struct Map {
    title: &'static str,
    what: &'static str,
    scale: Scale,
    value: Box<Value>,
    /// As what it is compared between the generators.
    measure: Option<Measure>,
    share: bool,
}

fn all(report: &Report) -> Vec<Map> {
    let measured = |title, what, measure: Measure| Map {
        title,
        what,
        scale: Scale::Up(measure.threshold(&report.thresholds)),
        value: Box::new(move |part: &Part, layer| part.health.measure(layer, measure)),
        measure: Some(measure),
        share: measure == Measure::Negative,
    };
    let mean = Map {
        title: "γ, mean",
        what: "starts at 1",
        scale: Scale::AroundOne,
        value: Box::new(|part, layer| part.modulations().get(layer)?.gamma.mean),
        measure: None,
        share: false,
    };
    let dependence = Map {
        title: "γ, from the input",
        what: "share of variance",
        scale: Scale::Up(1.0),
        value: Box::new(|part, layer| part.layers.get(layer)?.gamma_dependence),
        measure: None,
        share: true,
    };
    vec![
        mean,
        measured("γ < 0", "share of flipped signs", Measure::Negative),
        measured("|γ|", "the greatest", Measure::Gamma),
        measured("|β| / π", "root mean square", Measure::BetaOverPi),
        measured("γ, spread", "over the samples", Measure::GammaSpread),
        measured("β, spread", "over the samples", Measure::BetaSpread),
        dependence,
        measured("mlp.2, moved", "from its start", Measure::Weight),
    ]
}

/// All maps, and how to read them.
pub(super) fn maps(report: &Report) -> Markup {
    html! {
        p.note {
            "Colours end where a finding begins. "
            span.key.bad { "0.00" } " a finding  "
            span.key.out { "0.00" } " stands out from the median of the generators"
        }
        div.maps { @for map in all(report) { (map.table(report)) } }
    }
}

impl Map {
    fn text(&self, value: Option<f64>) -> String {
        if self.share { percent(value) } else { brief(value) }
    }

    fn table(&self, report: &Report) -> Markup {
        let parts = &report.generators;
        let layers = parts.iter().map(|part| part.num_film_layers).max().unwrap_or(0);
        let middle =
            |layer: usize| median(parts.iter().filter_map(|part| (self.value)(part, layer)));
        html! {
            figure.map {
                figcaption { b { (self.title) } " " span { (self.what) } }
                div.scroll tabindex="0" role="region" aria-label=(self.title) {
                    table {
                        caption.hidden { (self.title) ", " (self.what) ", by generator and layer" }
                        thead {
                            tr {
                                th scope="col" { "layer" }
                                @for layer in 0..layers { th scope="col" { (layer) } }
                            }
                        }
                        tbody {
                            @for (index, part) in parts.iter().enumerate() {
                                tr {
                                    th scope="row" { a href={ "#g" (index) } { (label(&part.name)) } }
                                    @for layer in 0..layers { (self.cell(part, layer, middle(layer))) }
                                }
                            }
                        }
                        @if parts.len() > 1 {
                            tfoot {
                                tr {
                                    th scope="row" { "median" }
                                    @for layer in 0..layers { td { (self.text(middle(layer))) } }
                                }
                            }
                        }
                    }
                }
                (self.legend())
            }
        }
    }

    fn cell(&self, part: &Part, layer: usize, median: Option<f64>) -> Markup {
        let value = (self.value)(part, layer);
        let finding = self.measure.and_then(|measure| part.finding(layer, measure));
        let out = self.measure.is_some_and(|measure| part.stands_out_in(layer, measure));
        let class = value.map_or(String::new(), |value| self.scale.class(value));
        let name = label(&part.name);
        let mut title = format!("{name}, layer {layer}: {} {}", self.title, self.text(value));
        if let Some(median) = median {
            title += &format!("; median of the generators {}", self.text(Some(median)));
        }
        if let Some(finding) = finding {
            title += &format!("; {}", finding.text);
        }
        html! { td.(class).bad[finding.is_some()].out[out] title=(title) { (self.text(value)) } }
    }

    fn legend(&self) -> Markup {
        let marks = self.scale.marks(|value| match self.share {
            true => format!("{}%", 100.0 * value),
            false => brief(Some(value)),
        });
        html! {
            div.legend aria-hidden="true" {
                div.ramp { @for class in self.scale.classes() { i.(class) {} } }
                div.marks { @for mark in marks { span { (mark) } } }
            }
        }
    }
}
