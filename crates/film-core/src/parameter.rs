//! What is known of a trainable tensor before it exists: name, shape, start, decay.
//!
//! A configuration lists its parameters; the module is built from that list, the counts and the
//! optimizer's groups are read off it. There is no second list.

use candle_core::{Tensor, Var};
use candle_nn::VarBuilder;

use crate::error::Result;
use crate::init::Init;

/// How the optimizer should decay a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WeightDecay {
    /// As the optimizer is set.
    Default,
    /// Not at all.
    None,
    /// By this value.
    Value(f64),
}

/// One trainable tensor of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name relative to the module, as in a checkpoint ("mlp.0.weight").
    pub name: String,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// How a fresh one starts.
    pub init: Init,
    /// How it decays.
    pub weight_decay: WeightDecay,
    /// Factor on the optimizer's learning rate.
    pub learning_rate_scale: f64,
}

impl Parameter {
    /// A parameter with the optimizer's own learning rate.
    pub(crate) fn new(name: &str, shape: &[usize], init: Init, weight_decay: WeightDecay) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            init,
            weight_decay,
            learning_rate_scale: 1.0,
        }
    }

    /// The same parameter as part of a larger module.
    pub(crate) fn under(self, module: &str) -> Self {
        Self { name: format!("{module}.{}", self.name), ..self }
    }

    /// Number of elements.
    pub fn count(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }

    /// Takes the tensor from `vb`: loaded where the builder holds it, else initialised.
    ///
    /// # Shapes
    /// → `[*shape]`, in the builder's dtype and on its device.
    ///
    /// # Errors
    /// If the builder can neither find nor make it, or holds it in another shape.
    pub fn build(&self, vb: &VarBuilder) -> Result<Tensor> {
        let held = vb.contains_tensor(&self.name);
        let tensor = vb.get_with_hints(self.shape.as_slice(), &self.name, self.init.hint())?;
        if held {
            return Ok(tensor);
        }
        let Some(value) = self.init.refine(&tensor)? else { return Ok(tensor) };
        if tensor.is_variable() {
            Var::from_tensor(&tensor)?.set(&value)?;
            return Ok(tensor);
        }
        Ok(value)
    }
}
