//! The model: registers, pooled to conditioning, modulate a SIREN that draws the kernels.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use film_core::optim::ParameterGroups;
use film_core::siren::{SirenConfig, SirenKernel};
use film_core::{
    Condition, ConditionalKernel, Error, KernelFilmGenerator, RegisterEncoder, RegisterPooling,
    RegisterPoolingConfig, Result, init,
};
use serde_json::{Value, json};

use super::task::{CHANNELS, LENGTHS, REGISTERS, WIDTH};

/// Where the parts stand in the checkpoint: a pooling is found by the word "register".
const POOLING: &str = "register_pooling";
const KERNEL: &str = "kernel";

/// A conditional kernel whose parameters are variables.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) vars: VarMap,
    kernel: ConditionalKernel,
}

/// What config.json says: all that film-tools and [`Model::new`] need to know.
pub(crate) fn config() -> Value {
    let hidden = 48;
    json!({
        "num_registers": REGISTERS,
        "kernel": {
            "out_dim": CHANNELS,
            "data_dim": LENGTHS.len(),
            "mlp_hidden_dim": hidden,
            "num_layers": 3,
            "embedding_dim": hidden,
            "omega_0": 1.0,
            "L_cache": LENGTHS,
            "film_after_pos_embed": true,
            "film_generator": {
                "cond_dim": WIDTH,
                "kernel_hidden_dim": hidden,
                "num_film_layers": 3,
                "film_hidden_dim": 64,
                "init_type": "small_random",
                "init_std": 0.1
            }
        }
    })
}

fn siren() -> Result<SirenConfig> {
    let config = config();
    let missing = || Error::config(KERNEL, "an object", "nothing");
    SirenConfig::from_json(config[KERNEL].as_object().ok_or_else(missing)?)
}

impl Model {
    /// A fresh model, or one of the variables that `vars` holds.
    pub(crate) fn new(vars: VarMap, seed: u64) -> Result<Self> {
        let vb: VarBuilder = init::var_builder(&vars, seed, DType::F32, &Device::Cpu);
        let pooling = RegisterPoolingConfig { num_registers: REGISTERS };
        let pooling = RegisterPooling::new(&pooling, vb.pp(POOLING))?;
        let kernel = ConditionalKernel {
            encoder: Some(RegisterEncoder::Pooling(pooling)),
            kernel: SirenKernel::new(&siren()?, vb.pp(KERNEL))?,
            mask: None,
        };
        Ok(Self { vars, kernel })
    }

    /// All variables, by weight decay; `weight_decay` is that of those that decay by default.
    pub(crate) fn groups(&self, weight_decay: f64) -> Result<ParameterGroups> {
        let pooling = RegisterPoolingConfig { num_registers: REGISTERS };
        ParameterGroups::assign(&self.vars, weight_decay)?
            .module(POOLING, pooling.parameters()?)?
            .module(KERNEL, siren()?.parameters()?)?
            .finish()
    }

    /// registers `[B, REGISTERS, WIDTH]` → kernels `[B, 25, 25, CHANNELS]`
    pub(crate) fn draw(&self, registers: &Tensor) -> Result<Tensor> {
        Ok(self.kernel.draw(&LENGTHS, Condition::Registers(registers))?.0)
    }

    /// All weights, by their checkpoint names.
    pub(crate) fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let vars = self.vars.data().lock().map_err(candle_core::Error::msg)?;
        Ok(vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect())
    }

    /// What the generator is given for these registers: `[B, WIDTH]`.
    pub(crate) fn conditioning(&self, registers: &Tensor) -> Result<Tensor> {
        match &self.kernel.encoder {
            Some(encoder) => encoder.encode(registers),
            None => Ok(registers.clone()),
        }
    }

    /// What modulates the SIREN.
    pub(crate) fn generator(&self) -> Option<&KernelFilmGenerator> {
        self.kernel.kernel.generator()
    }
}
