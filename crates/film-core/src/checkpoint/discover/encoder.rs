//! Register encoders, by the name and shape of their one parameter.

use super::names::{parent, segments};
use candle_nn::VarBuilder;

use crate::checkpoint::TensorInfo;
use crate::error::Result;
use crate::flops::Flops;
use crate::registers::{
    RegisterCompressConcat, RegisterCompressConcatConfig, RegisterEncoder, RegisterPooling,
    RegisterPoolingConfig,
};

/// A register encoder's place and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEncoder {
    /// What stands before its parameter's name; empty at the root.
    pub prefix: String,
    /// Which encoder it is.
    pub kind: Encoder,
}

/// The kinds of register encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoder {
    /// [`RegisterPooling`](crate::RegisterPooling).
    Pooling {
        /// R.
        num_registers: usize,
    },
    /// [`RegisterCompressConcat`](crate::RegisterCompressConcat); R is `cond_dim / compressed_dim`.
    CompressConcat {
        /// Channels of a register.
        hidden_dim: usize,
        /// Channels it is compressed to.
        compressed_dim: usize,
    },
}

impl FoundEncoder {
    /// What making one conditioning vector `cond_dim` wide costs.
    ///
    /// # Errors
    /// If a count overflows.
    pub fn flops(&self, cond_dim: usize) -> Result<Flops> {
        match self.kind {
            Encoder::Pooling { num_registers } => {
                RegisterPoolingConfig { num_registers }.flops(cond_dim)
            }
            Encoder::CompressConcat { hidden_dim, compressed_dim } => {
                let num_registers = cond_dim / compressed_dim;
                RegisterCompressConcatConfig { num_registers, hidden_dim, compressed_dim }.flops()
            }
        }
    }

    /// Builds the encoder, for conditioning `cond_dim` wide, from a builder of the whole checkpoint.
    ///
    /// # Errors
    /// If the checkpoint changed under us.
    pub fn build(&self, cond_dim: usize, vb: &VarBuilder) -> Result<RegisterEncoder> {
        let vb = vb.pp(&self.prefix);
        Ok(match self.kind {
            Encoder::Pooling { num_registers } => {
                let config = RegisterPoolingConfig { num_registers };
                RegisterEncoder::Pooling(RegisterPooling::new(&config, vb)?)
            }
            Encoder::CompressConcat { hidden_dim, compressed_dim } => {
                let num_registers = cond_dim / compressed_dim;
                let config =
                    RegisterCompressConcatConfig { num_registers, hidden_dim, compressed_dim };
                RegisterEncoder::CompressConcat(RegisterCompressConcat::new(&config, vb)?)
            }
        })
    }

    /// Whether it can yield conditioning of that width. A pooling keeps the registers' width, whatever it is.
    pub(super) fn yields(&self, cond_dim: usize) -> bool {
        match self.kind {
            Encoder::Pooling { .. } => true,
            Encoder::CompressConcat { compressed_dim, .. } => {
                cond_dim.is_multiple_of(compressed_dim)
            }
        }
    }
}

/// The encoder that `tensor` is the parameter of, if it is.
pub(super) fn encoder(tensor: &TensorInfo) -> Option<FoundEncoder> {
    let named = |prefix: &str| {
        prefix.is_empty() || segments(prefix).last().is_some_and(|last| last.contains("register"))
    };
    let (prefix, kind) = match *tensor.shape {
        [num_registers] if num_registers > 0 => {
            (parent(&tensor.name, "logits")?, Encoder::Pooling { num_registers })
        }
        [compressed_dim, hidden_dim] if compressed_dim > 0 && hidden_dim > 0 => (
            parent(&tensor.name, "compress.weight")?,
            Encoder::CompressConcat { hidden_dim, compressed_dim },
        ),
        _ => return None,
    };
    named(prefix).then(|| FoundEncoder { prefix: prefix.into(), kind })
}
