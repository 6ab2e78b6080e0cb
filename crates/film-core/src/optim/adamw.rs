//! AdamW by groups, in PyTorch's arithmetic.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};

use super::clip;
use super::groups::{self, ParameterGroup, ParameterGroups};
use super::update::{Descend, Lerp, SecondMoment, wide};
use crate::error::{Error, Result};
use crate::json::{non_negative, positive};

/// What all groups share; decay and scale are the groups' own.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamWConfig {
    /// The learning rate, before a group's scale. Default 1e-3.
    pub learning_rate: f64,
    /// How much of the first and the second moment a step keeps. Default (0.9, 0.999).
    pub betas: (f64, f64),
    /// What is added to the denominator. Default 1e-8.
    pub eps: f64,
    /// The norm, over all gradients together, to which larger ones are scaled down, as by PyTorch's
    /// `clip_grad_norm_`. Default none.
    pub max_grad_norm: Option<f64>,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-3, betas: (0.9, 0.999), eps: 1e-8, max_grad_norm: None }
    }
}

impl AdamWConfig {
    fn validate(&self) -> Result<()> {
        non_negative("learning_rate", self.learning_rate)?;
        for (key, beta) in [("beta1", self.betas.0), ("beta2", self.betas.1)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::config(key, "a number from 0 to below 1", beta));
            }
        }
        // 0/0 where a gradient has always been 0, in float32 also for what float32 rounds to 0.
        if !self.eps.is_finite() || self.eps as f32 <= 0.0 {
            return Err(Error::config("eps", "a number above 0, in float32", self.eps));
        }
        self.max_grad_norm.map(|norm| positive("max_grad_norm", norm)).transpose()?;
        Ok(())
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// The step's number, from 1.
    pub step: u64,
    /// The learning rate, before a group's scale.
    pub learning_rate: f64,
    /// ‖g‖₂ over all gradients, before clipping.
    pub grad_norm: f64,
    /// What the gradients were multiplied by to clip them; 1 if they were not.
    pub clip_factor: f64,
    /// Variables that had no gradient, and were left alone.
    pub without_gradient: Vec<String>,
}

/// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2) with a weight decay and a learning-rate scale
/// for each group.
///
/// With learning rate η (that of the group), decay λ, gradient g (clipped, if so set) and t the number of
/// gradients that the variable has had, this one included:
///
/// ```text
/// m ← β₁·m + (1 − β₁)·g            θ ← (1 − η·λ)·θ − η/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps)
/// v ← β₂·v + (1 − β₂)·g²
/// ```
///
/// The moments m and v, and all of the arithmetic, are float64 for float64 variables and float32 for all others.
/// A half-precision variable is rounded once a step; steps below half of its last place are lost, so train such
/// models in float32 where memory allows.
///
/// A variable without a gradient is left alone as in PyTorch: no decay, and its moments and its t stay.
///
/// As a candle [`Optimizer`] made by `new` it has one group of all floating-point variables, as candle's own
/// AdamW, and its state cannot be saved, as its variables have no names; [`with_groups`](Self::with_groups) is the way to
/// more.
#[derive(Debug)]
pub struct GroupedAdamW {
    pub(super) config: AdamWConfig,
    pub(super) groups: ParameterGroups,
    /// In the order of the groups' variables.
    pub(super) moments: Vec<Moments>,
    pub(super) steps: u64,
}

/// A variable's moments.
#[derive(Debug)]
pub(super) struct Moments {
    pub(super) first: Var,
    pub(super) second: Var,
    /// Gradients they are made of.
    pub(super) count: u64,
}

impl GroupedAdamW {
    /// An optimizer of `groups` that has made no step yet.
    ///
    /// # Errors
    /// If a number of the configuration cannot be, or there is no memory for the moments.
    pub fn with_groups(groups: ParameterGroups, config: AdamWConfig) -> Result<Self> {
        config.validate()?;
        let moments =
            groups.trained().map(|(_, _, var)| Moments::zeros(var)).collect::<Result<_>>()?;
        Ok(Self { config, groups, moments, steps: 0 })
    }

    /// What all groups share, with the learning rate as it is now.
    pub fn config(&self) -> &AdamWConfig {
        &self.config
    }

    /// The groups.
    pub fn groups(&self) -> &ParameterGroups {
        &self.groups
    }

    /// Steps made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Makes a step; what [`Optimizer::step`] does, with a report.
    ///
    /// # Shapes
    /// gradients as their variables, in any floating-point dtype
    ///
    /// # Errors
    /// If a gradient has another shape or device than its variable or holds a NaN or an infinity (the error names the
    /// variable), or the learning rate is negative or not finite. Then no variable, no moment and no count has
    /// changed.
    pub fn update(&mut self, gradients: &GradStore) -> Result<StepReport> {
        let learning_rate = non_negative("learning_rate", self.config.learning_rate)?;
        let gradients = self
            .groups
            .trained()
            .map(|(_, name, var)| gradient_of(name, var, gradients))
            .collect::<Result<Vec<_>>>()?;
        let (mut found, mut without_gradient) = (vec![], vec![]);
        for ((_, name, _), gradient) in self.groups.trained().zip(&gradients) {
            match gradient {
                Some(gradient) => found.push((name, gradient)),
                None => without_gradient.push(name.to_string()),
            }
        }
        let grad_norm = clip::global_norm(&found)?;
        let clip_factor = clip::factor(grad_norm, self.config.max_grad_norm);
        let trained = self.groups.trained().zip(&mut self.moments).zip(&gradients);
        for (((group, _, var), moments), gradient) in trained {
            if let Some(gradient) = gradient {
                moments.update(group, var, gradient, clip_factor, &self.config)?;
            }
        }
        self.steps += 1;
        Ok(StepReport { step: self.steps, learning_rate, grad_norm, clip_factor, without_gradient })
    }
}

/// The gradient of a variable in the dtype of its moments, if it has one.
fn gradient_of(name: &str, var: &Var, gradients: &GradStore) -> Result<Option<Tensor>> {
    let Some(gradient) = gradients.get(var) else { return Ok(None) };
    if gradient.dims() != var.dims() {
        let expected = format!("shape {:?}", var.dims());
        let found = format!("{:?}", gradient.dims());
        return Err(Error::tensor(format!("gradient of {name}"), expected, found));
    }
    if !gradient.device().same_device(var.device()) {
        let [expected, found] = [var.device(), gradient.device()].map(|at| format!("{at:?}"));
        return Err(Error::tensor(format!("gradient of {name}"), expected, found));
    }
    Ok(Some(gradient.to_dtype(wide(var.dtype()))?.contiguous()?))
}

impl Moments {
    fn zeros(var: &Var) -> Result<Self> {
        let zeros = || Var::zeros(var.shape(), wide(var.dtype()), var.device());
        Ok(Self { first: zeros()?, second: zeros()?, count: 0 })
    }

    fn update(
        &mut self,
        group: &ParameterGroup,
        var: &Var,
        gradient: &Tensor,
        clip_factor: f64,
        config: &AdamWConfig,
    ) -> Result<()> {
        self.count += 1;
        let (beta1, beta2) = config.betas;
        // 1 − βᵗ, by a power that is the same on every platform.
        let correction = |beta: f64| 1.0 - libm::pow(beta, self.count as f64);
        let rate = config.learning_rate * group.learning_rate_scale;
        Lerp { weight: 1.0 - beta1, factor: clip_factor }.apply(&self.first, gradient)?;
        SecondMoment { beta: beta2, factor: clip_factor }.apply(&self.second, gradient)?;
        let descend = Descend {
            keep: 1.0 - rate * group.weight_decay,
            rate: rate / correction(beta1),
            scale: 1.0 / correction(beta2).sqrt(),
            eps: config.eps,
        };
        descend.apply(var, &self.first, &self.second)
    }
}

impl Optimizer for GroupedAdamW {
    type Config = ParamsAdamW;

    fn new(vars: Vec<Var>, config: ParamsAdamW) -> candle_core::Result<Self> {
        let ParamsAdamW { lr, beta1, beta2, eps, weight_decay } = config;
        let config =
            AdamWConfig { learning_rate: lr, betas: (beta1, beta2), eps, ..AdamWConfig::default() };
        Ok(Self::with_groups(groups::unnamed(vars, weight_decay)?, config)?)
    }

    fn step(&mut self, gradients: &GradStore) -> candle_core::Result<()> {
        self.update(gradients)?;
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.config.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.learning_rate = learning_rate;
    }
}
