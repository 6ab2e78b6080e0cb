//! A generator out of a checkpoint and, where registers go in, the register encoder in front of it.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use film_core::checkpoint::{Checkpoint, Discovery, Encoder, FoundEncoder, FoundGenerator};
use film_core::{
    Error, Film, KernelFilmConfig, KernelFilmGenerator, RegisterCompressConcat,
    RegisterCompressConcatConfig, RegisterPooling, RegisterPoolingConfig,
};

use crate::input::Input;

/// Where and in which dtype to compute.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) device: Device,
    pub(crate) dtype: DType,
}

#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) prefix: String,
    pub(crate) config: KernelFilmConfig,
    encoder: Option<RegisterEncoder>,
    generator: KernelFilmGenerator,
}

#[derive(Debug)]
enum RegisterEncoder {
    Pooling(RegisterPooling, RegisterPoolingConfig),
    CompressConcat(RegisterCompressConcat, RegisterCompressConcatConfig),
}

impl Chain {
    /// Loads the generator, and the encoder that feeds it if `registers` are to go in.
    pub(crate) fn load(
        checkpoint: &Arc<Checkpoint>,
        discovery: &Discovery,
        found: &FoundGenerator,
        kernel_hidden_dim: Option<usize>,
        registers: bool,
        place: &Place,
    ) -> Result<Self, Error> {
        let config = found.config(kernel_hidden_dim)?;
        let vb = checkpoint.var_builder(place.dtype, &place.device);
        let encoder = match registers {
            true => {
                Some(RegisterEncoder::load(discovery.encoder_of(found)?, config.cond_dim, &vb)?)
            }
            false => None,
        };
        let generator = KernelFilmGenerator::new(&config, vb.pp(&found.prefix))?;
        Ok(Self { prefix: found.prefix.clone(), config, encoder, generator })
    }

    /// How many of the input's axes, from the last, make one row.
    ///
    /// # Errors
    /// If those axes are not what the chain takes.
    pub(crate) fn row_rank(&self, input: &Input) -> Result<usize> {
        let cond_dim = self.config.cond_dim;
        let (row, names) = match &self.encoder {
            None => (vec![cond_dim], "cond_dim"),
            Some(RegisterEncoder::Pooling(_, config)) => {
                (vec![config.num_registers, cond_dim], "registers, channels")
            }
            Some(RegisterEncoder::CompressConcat(_, config)) => {
                (vec![config.num_registers, config.hidden_dim], "registers, channels")
            }
        };
        if input.shape.ends_with(&row) {
            return Ok(row.len());
        }
        let sizes: Vec<String> = row.iter().map(ToString::to_string).collect();
        Err(input.error(&format!("shape [*, {}] ({names})", sizes.join(", "))))
    }

    /// γ and β of some of the input's rows.
    ///
    /// # Shapes
    /// input `[*, *row]` → per layer, γ and β `[rows, kernel_hidden_dim]`
    pub(crate) fn films(
        &self,
        input: &Input,
        rows: Range<usize>,
        place: &Place,
    ) -> Result<Vec<Film>> {
        let row = &input.shape[input.shape.len() - self.row_rank(input)?..];
        let shape = [&[rows.len()], row].concat();
        let values =
            input.rows(rows, row.iter().product(), place.dtype, &place.device)?.reshape(shape)?;
        let conditioning = match &self.encoder {
            None => values,
            Some(RegisterEncoder::Pooling(pooling, _)) => pooling.pool(&values)?,
            Some(RegisterEncoder::CompressConcat(encoder, _)) => encoder.encode(&values)?,
        };
        Ok(self.generator.films(&conditioning)?)
    }
}

impl RegisterEncoder {
    fn load(found: &FoundEncoder, cond_dim: usize, vb: &VarBuilder) -> Result<Self, Error> {
        let vb = vb.pp(&found.prefix);
        match found.kind {
            Encoder::Pooling { num_registers } => {
                let config = RegisterPoolingConfig { num_registers };
                Ok(Self::Pooling(RegisterPooling::new(&config, vb)?, config))
            }
            Encoder::CompressConcat { hidden_dim, compressed_dim } => {
                let num_registers = cond_dim / compressed_dim;
                let config =
                    RegisterCompressConcatConfig { num_registers, hidden_dim, compressed_dim };
                Ok(Self::CompressConcat(RegisterCompressConcat::new(&config, vb)?, config))
            }
        }
    }
}
