//! The model: registers, pooled to conditioning, modulate a SIREN that draws the kernels.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use film_core::health::Health;
use film_core::optim::ParameterGroups;
use film_core::siren::{SirenConfig, SirenKernel};
use film_core::{
    Condition, ConditionalKernel, Error, RegisterEncoder, RegisterPooling, RegisterPoolingConfig,
    Result, init,
};
use serde_json::{Value, json};

use super::task::{CHANNELS, LENGTHS, REGISTERS, WIDTH};

/// Where the parts stand in the checkpoint: a pooling is found by the word "register".
const POOLING: &str = "register_pooling";
const KERNEL: &str = "kernel";

/// A conditional kernel whose parameters are variables.
pub(crate) struct Model {
    vars: VarMap,
    kernel: ConditionalKernel,
    lengths: [usize; 2],
}

/// What config.json says of a model that draws on a grid of these lengths: all that film-tools needs to know.
pub(crate) fn config(lengths: [usize; 2]) -> Value {
    let hidden = 48;
    json!({
        "num_registers": REGISTERS,
        "kernel": {
            "out_dim": CHANNELS,
            "data_dim": lengths.len(),
            "mlp_hidden_dim": hidden,
            "num_layers": 3,
            "embedding_dim": hidden,
            "omega_0": 1.0,
            "L_cache": lengths,
            "film_after_pos_embed": true,
            "film_generator": {
                "cond_dim": WIDTH,
                "kernel_hidden_dim": hidden,
                "num_film_layers": 3,
                "film_hidden_dim": 96,
                "init_type": "small_random",
                "init_std": 0.01
            }
        }
    })
}

fn siren(lengths: [usize; 2]) -> Result<SirenConfig> {
    let config = config(lengths);
    let missing = || Error::config(KERNEL, "an object", "nothing");
    SirenConfig::from_json(config[KERNEL].as_object().ok_or_else(missing)?)
}

impl Model {
    /// A model of the variables that `vars` holds; fresh ones are drawn from `seed`.
    fn new(vars: VarMap, seed: u64, lengths: [usize; 2]) -> Result<Self> {
        let vb: VarBuilder = init::var_builder(&vars, seed, DType::F32, &Device::Cpu);
        let pooling = RegisterPoolingConfig { num_registers: REGISTERS };
        let pooling = RegisterPooling::new(&pooling, vb.pp(POOLING))?;
        let kernel = ConditionalKernel {
            encoder: Some(RegisterEncoder::Pooling(pooling)),
            kernel: SirenKernel::new(&siren(lengths)?, vb.pp(KERNEL))?,
            mask: None,
        };
        Ok(Self { vars, kernel, lengths })
    }

    /// A fresh model.
    pub(crate) fn fresh(seed: u64) -> Result<Self> {
        Self::new(VarMap::new(), seed, LENGTHS)
    }

    /// The same model on a grid of other lengths over the same plane.
    pub(crate) fn on_grid(&self, lengths: [usize; 2]) -> Result<Self> {
        Self::new(self.vars.clone(), 0, lengths)
    }

    /// All variables, by weight decay; `weight_decay` is that of those that decay by default.
    pub(crate) fn groups(&self, weight_decay: f64) -> Result<ParameterGroups> {
        let pooling = RegisterPoolingConfig { num_registers: REGISTERS };
        ParameterGroups::assign(&self.vars, weight_decay)?
            .module(POOLING, pooling.parameters()?)?
            .module(KERNEL, siren(self.lengths)?.parameters()?)?
            .finish()
    }

    /// registers `[B, REGISTERS, WIDTH]` → kernels `[B, *2L−1, CHANNELS]`
    pub(crate) fn draw(&self, registers: &Tensor) -> Result<Tensor> {
        Ok(self.kernel.draw(&self.lengths, Condition::Registers(registers))?.0)
    }

    /// All weights, by their checkpoint names.
    pub(crate) fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let vars = self.vars.data().lock().map_err(candle_core::Error::msg)?;
        Ok(vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect())
    }

    /// How the generator fares with these registers.
    pub(crate) fn health(&self, registers: &Tensor) -> Result<Option<Health>> {
        let parts = self.kernel.encoder.as_ref().zip(self.kernel.kernel.generator());
        let health = |(encoder, generator): (&RegisterEncoder, _)| {
            Health::new(generator, &encoder.encode(registers)?)
        };
        parts.map(health).transpose()
    }
}
