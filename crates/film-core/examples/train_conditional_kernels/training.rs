//! The training: settings in, a model that learns step by step out.

use candle_core::Tensor;
use candle_nn::Optimizer;
use film_core::optim::{AdamWConfig, GroupedAdamW, schedule};
use film_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::model::Model;
use super::task::Batch;

/// Decay of the weights that decay by default.
const WEIGHT_DECAY: f64 = 1e-3;
/// Kernels that no step trains on.
const HELD_OUT: usize = 256;

/// What a run is given, once and for all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Steps of the whole run, by which the learning rate falls.
    pub(crate) steps: u64,
    /// Kernels in a step.
    pub(crate) batch: usize,
    /// The highest learning rate.
    pub(crate) learning_rate: f64,
    /// Of the start and of all kernels drawn.
    pub(crate) seed: u64,
}

impl Settings {
    /// The most steps of a run.
    pub(crate) const STEPS: u64 = 1_000_000;
    /// The most kernels in a step.
    pub(crate) const BATCH: u64 = 1024;

    /// Checks what may have come from a file.
    fn validate(&self) -> Result<()> {
        for (key, value, most) in
            [("steps", self.steps, Self::STEPS), ("batch", self.batch as u64, Self::BATCH)]
        {
            if !(1..=most).contains(&value) {
                return Err(Error::config(key, format!("an integer from 1 to {most}"), value));
            }
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            let expected = "a finite number above 0";
            return Err(Error::config("learning_rate", expected, self.learning_rate));
        }
        Ok(())
    }
}

/// How it went so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    /// The loss of each step, before it was made: ‖kernels − targets‖² / ‖targets‖².
    pub(crate) losses: Vec<f64>,
    /// Steps made, and the relative error on the held-out kernels after them.
    pub(crate) errors: Vec<(u64, f64)>,
}

/// A run, as far as it has come.
pub(crate) struct Training {
    pub(crate) settings: Settings,
    pub(crate) model: Model,
    pub(crate) optimizer: GroupedAdamW,
    pub(crate) history: History,
    pub(crate) held_out: Batch,
}

impl Training {
    /// A run that has made no step yet.
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        settings.validate()?;
        let model = Model::fresh(settings.seed)?;
        let config = AdamWConfig {
            // A run this short forgets large early gradients sooner than the default, 0.999.
            betas: (0.9, 0.99),
            max_grad_norm: Some(1.0),
            ..AdamWConfig::default()
        };
        let optimizer = GroupedAdamW::with_groups(model.groups(WEIGHT_DECAY)?, config)?;
        let held_out = Batch::new(settings.seed, "held out", HELD_OUT)?;
        Ok(Self { settings, model, optimizer, history: History::default(), held_out })
    }

    /// Steps made so far.
    pub(crate) fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// Makes a step, and gives its loss.
    pub(crate) fn step(&mut self) -> Result<f64> {
        let Settings { steps, batch, learning_rate, seed } = self.settings;
        let step = self.steps();
        let factor = schedule::cosine(step, (steps / 20).max(1), steps, 0.0);
        self.optimizer.set_learning_rate(learning_rate * factor);
        let batch = Batch::new(seed, &format!("step {step}"), batch)?;
        let loss = squared_error(&self.model.draw(&batch.registers)?, &batch.targets)?;
        self.optimizer.update(&loss.backward()?)?;
        let loss = f64::from(loss.to_scalar::<f32>()?);
        let loss = finite("the loss", loss)?;
        self.history.losses.push(loss);
        Ok(loss)
    }

    /// Notes the relative error on the held-out kernels, and gives it.
    pub(crate) fn evaluate(&mut self) -> Result<f64> {
        let drawn = self.model.draw(&self.held_out.registers)?;
        let error = squared_error(&drawn, &self.held_out.targets)?.to_scalar::<f32>()?;
        let error = f64::from(error).sqrt();
        let error = finite("the error on held-out kernels", error)?;
        self.history.errors.push((self.steps(), error));
        Ok(error)
    }
}

/// The value, if it is finite: JSON has no others, and a run that got here is lost.
fn finite(what: &str, value: f64) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(Error::tensor(what, "a finite number", value.to_string()))
}

/// ‖kernels − targets‖² / ‖targets‖², over all samples together.
fn squared_error(kernels: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let error = (kernels - targets)?.sqr()?.sum_all()?;
    Ok((error / targets.sqr()?.sum_all()?)?)
}
