//! Register tokens `[B, R, C]` → conditioning `[B, cond_dim]`.

use candle_core::{DType, Module, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::flops::{Flops, Item};
use crate::init::Init;
use crate::json::at_least_1;
use crate::ops::linear;
use crate::parameter::{Parameter, WeightDecay};

/// The arguments of a [`RegisterPooling`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterPoolingConfig {
    /// Number of register tokens, R.
    pub num_registers: usize,
}

/// A learned weighted mean over the registers: c = Σ_r softmax(`logits`)_r · x_r.
///
/// # Shapes
/// registers `[*, R, C]` → conditioning `[*, C]`
#[derive(Debug, Clone)]
pub struct RegisterPooling {
    logits: Tensor,
}

/// The arguments of a [`RegisterCompressConcat`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterCompressConcatConfig {
    /// Number of register tokens, R.
    pub num_registers: usize,
    /// Channels of a register token, C.
    pub hidden_dim: usize,
    /// Channels each token is compressed to.
    pub compressed_dim: usize,
}

/// One linear map without bias, shared by all registers, whose outputs are concatenated in
/// register order.
///
/// # Shapes
/// registers `[*, R, hidden_dim]` → conditioning `[*, R · compressed_dim]`
#[derive(Debug, Clone)]
pub struct RegisterCompressConcat {
    config: RegisterCompressConcatConfig,
    weight: Tensor,
}

/// Either encoder.
#[derive(Debug, Clone)]
pub enum RegisterEncoder {
    /// A weighted mean.
    Pooling(RegisterPooling),
    /// A shared linear map, concatenated.
    CompressConcat(RegisterCompressConcat),
}

impl RegisterEncoder {
    /// The axes `[R, C]` of the registers that make one conditioning vector `cond_dim` wide.
    pub fn row(&self, cond_dim: usize) -> [usize; 2] {
        match self {
            Self::Pooling(pooling) => [pooling.logits.elem_count(), cond_dim],
            Self::CompressConcat(encoder) => {
                [encoder.config.num_registers, encoder.config.hidden_dim]
            }
        }
    }

    /// The conditioning.
    ///
    /// # Shapes
    /// registers `[*, R, C]` → conditioning `[*, cond_dim]`
    ///
    /// # Errors
    /// If the registers are of another shape.
    pub fn encode(&self, registers: &Tensor) -> Result<Tensor> {
        match self {
            Self::Pooling(pooling) => pooling.pool(registers),
            Self::CompressConcat(encoder) => encoder.encode(registers),
        }
    }
}

impl RegisterPoolingConfig {
    /// The parameter, `logits`: zero at first (a plain mean), never decayed.
    ///
    /// # Errors
    /// If `num_registers` is 0.
    pub fn parameters(&self) -> Result<[Parameter; 1]> {
        at_least_1("num_registers", self.num_registers)?;
        Ok([Parameter::new("logits", &[self.num_registers], Init::Zeros, WeightDecay::None)])
    }

    /// What pooling one sample with `channels` channels costs: 3R + 2RC.
    ///
    /// # Errors
    /// If a size is 0 or a count overflows.
    pub fn flops(&self, channels: usize) -> Result<Flops> {
        let [logits] = self.parameters()?;
        at_least_1("channels", channels)?;
        let registers = ("num_registers", self.num_registers);
        Flops::new(vec![
            Item::elementwise("softmax", 3, &[registers])?.with_parameters(&[&logits]),
            Item::multiply_adds("pooling", &[registers, ("channels", channels)])?,
        ])
    }
}

impl RegisterPooling {
    /// Builds the pooling from `vb`, loading or initialising `logits`.
    ///
    /// # Errors
    /// If `num_registers` is 0 or the builder holds `logits` in another shape.
    pub fn new(config: &RegisterPoolingConfig, vb: VarBuilder) -> Result<Self> {
        let [logits] = config.parameters()?;
        Ok(Self { logits: logits.build(&vb)? })
    }

    /// Pools the registers, in float32 at least, and returns the registers' dtype.
    ///
    /// # Shapes
    /// registers `[*, R, C]` → conditioning `[*, C]`
    ///
    /// # Errors
    /// If there are not R registers.
    pub fn pool(&self, registers: &Tensor) -> Result<Tensor> {
        let num_registers = self.logits.dim(0)?;
        let (count, _) = last_two(registers, num_registers, None)?;
        let wide = at_least_f32(registers.dtype());
        // exp(l − max) / Σ in plain ops: candle_nn's fused softmax has no gradient on some devices.
        let logits = self.logits.to_dtype(wide)?;
        let powers = logits.broadcast_sub(&logits.max_keepdim(0)?)?.exp()?;
        let weights = powers.broadcast_div(&powers.sum_keepdim(0)?)?.reshape((count, 1))?;
        let pooled =
            registers.to_dtype(wide)?.broadcast_mul(&weights)?.sum(registers.rank() - 2)?;
        Ok(pooled.to_dtype(registers.dtype())?)
    }
}

impl Module for RegisterPooling {
    fn forward(&self, registers: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.pool(registers)?)
    }
}

impl RegisterCompressConcatConfig {
    /// The parameter, `compress.weight`, which starts as PyTorch's Linear does.
    ///
    /// # Errors
    /// If a size is 0.
    pub fn parameters(&self) -> Result<[Parameter; 1]> {
        at_least_1("num_registers", self.num_registers)?;
        at_least_1("hidden_dim", self.hidden_dim)?;
        at_least_1("compressed_dim", self.compressed_dim)?;
        let bound = 1.0 / (self.hidden_dim as f64).sqrt();
        let shape = [self.compressed_dim, self.hidden_dim];
        Ok([Parameter::new(
            "compress.weight",
            &shape,
            Init::Uniform { bound },
            WeightDecay::Default,
        )])
    }

    /// What one sample costs: R · 2 · `hidden_dim` · `compressed_dim`.
    ///
    /// # Errors
    /// If a size is 0 or a count overflows.
    pub fn flops(&self) -> Result<Flops> {
        let [weight] = self.parameters()?;
        let sizes = [
            ("num_registers", self.num_registers),
            ("hidden_dim", self.hidden_dim),
            ("compressed_dim", self.compressed_dim),
        ];
        Flops::new(vec![Item::multiply_adds("compress", &sizes)?.with_parameters(&[&weight])])
    }
}

impl RegisterCompressConcat {
    /// Builds the encoder from `vb`, loading or initialising `compress.weight`.
    ///
    /// # Errors
    /// If a size is 0 or the builder holds `compress.weight` in another shape.
    pub fn new(config: &RegisterCompressConcatConfig, vb: VarBuilder) -> Result<Self> {
        let [weight] = config.parameters()?;
        Ok(Self { config: config.clone(), weight: weight.build(&vb)? })
    }

    /// Compresses each register and concatenates the results.
    ///
    /// # Shapes
    /// registers `[*, R, hidden_dim]` → conditioning `[*, R · compressed_dim]`
    ///
    /// # Errors
    /// If there are not R registers of `hidden_dim` channels.
    pub fn encode(&self, registers: &Tensor) -> Result<Tensor> {
        let RegisterCompressConcatConfig { num_registers, hidden_dim, compressed_dim } =
            self.config;
        last_two(registers, num_registers, Some(hidden_dim))?;
        let compressed = linear(registers, &self.weight, None, "registers")?;
        let leading = &registers.dims()[..registers.rank() - 2];
        Ok(compressed.reshape([leading, &[num_registers * compressed_dim]].concat())?)
    }
}

impl Module for RegisterCompressConcat {
    fn forward(&self, registers: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.encode(registers)?)
    }
}

/// The last two axes of `registers`, which must be R and, where it is known, C long.
fn last_two(
    registers: &Tensor,
    num_registers: usize,
    channels: Option<usize>,
) -> Result<(usize, usize)> {
    match *registers.dims() {
        [.., r, c] if r == num_registers && channels.is_none_or(|channels| channels == c) => {
            Ok((r, c))
        }
        _ => {
            let channels = channels.map_or("C".to_string(), |channels| channels.to_string());
            let expected = format!("shape [*, {num_registers}, {channels}]");
            Err(Error::tensor("registers", expected, format!("{:?}", registers.dims())))
        }
    }
}

/// The dtype in which sums are taken: half precision is widened.
fn at_least_f32(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}
