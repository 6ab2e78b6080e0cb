//! What is drawn: the error step by step, and learned kernels under their targets.

use candle_core::{D, Tensor};
use film_core::Result;
use film_picture::{Chart, FAINT, Panel, RED, Series, Sheet};

use super::task::{self, CHANNELS, Gabor};
use super::training::{History, Training};

/// How many held-out kernels are shown.
const SHOWN: usize = 6;
/// Kernels are drawn three times as fine as they are trained on: a SIREN is defined between the points as well.
const FINE: [usize; 2] = [25, 25];
/// By how much errors are magnified.
const MAGNIFIED: f64 = 10.0;

/// The relative error of each step's kernels, and of the held-out ones.
pub(crate) fn loss(history: &History) -> Chart {
    let steps = history.losses.iter().enumerate();
    let steps = steps.map(|(step, loss)| (step as f64, loss.sqrt())).collect();
    let held_out = history.errors.iter().map(|(step, error)| (*step as f64, *error)).collect();
    let last = history.errors.last().map_or(String::new(), |(step, error)| {
        format!(": {:.1} % after {step} steps", 100.0 * error)
    });
    Chart {
        title: format!("Relative error of the learned kernels{last}"),
        across: "step".into(),
        series: vec![
            Series { label: "each step's batch".into(), colour: FAINT, points: steps },
            Series { label: "held-out kernels".into(), colour: RED, points: held_out },
        ],
    }
}

/// The first held-out kernels, each above what was learned and the error.
pub(crate) fn kernels(training: &Training) -> Result<Sheet> {
    let held_out = &training.held_out;
    let shown = SHOWN.min(held_out.gabors.len());
    let gabors = &held_out.gabors[..shown];
    let targets = task::kernels(gabors, FINE)?;
    let registers = held_out.registers.narrow(0, 0, shown)?;
    let learned = training.model.on_grid(FINE)?.draw(&registers)?;
    let errors = ((&learned - &targets)? * MAGNIFIED)?;
    let mut panels = Vec::new();
    for channel in 0..CHANNELS {
        for kernels in [&targets, &learned, &errors] {
            panels.extend(row(kernels, channel)?);
        }
    }
    let rows = ["even", "odd"].iter().flat_map(|parity| {
        [format!("{parity}: target"), "learned".into(), format!("error × {MAGNIFIED}")]
    });
    let label = |Gabor { angle, frequency, spread }: &Gabor| {
        format!("{:.0}°, {frequency:.2}, {spread:.2}", angle.to_degrees())
    };
    Ok(Sheet {
        title: format!(
            "Held-out Gabor kernels by angle, frequency and width, after {} steps",
            training.steps()
        ),
        rows: rows.collect(),
        columns: gabors.iter().map(label).collect(),
        panels,
        points: FINE.map(|length| 2 * length - 1).into(),
        reach: vec![1.0; FINE.len()],
    })
}

/// A panel for each sample: kernels `[B, *2L−1, CHANNELS]`.
fn row(kernels: &Tensor, channel: usize) -> Result<Vec<Panel>> {
    let one = kernels.narrow(D::Minus1, channel, 1)?.flatten_from(1)?.to_vec2::<f32>()?;
    let panel = |values: Vec<f32>| Panel { values: values.into_iter().map(f64::from).collect() };
    Ok(one.into_iter().map(panel).collect())
}
