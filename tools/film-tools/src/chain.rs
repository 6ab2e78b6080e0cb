//! A generator out of a checkpoint and, where registers go in, the register encoder in front of it.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use film_core::checkpoint::{Checkpoint, Discovery, FoundGenerator};
use film_core::{Error, Film, KernelFilmConfig, KernelFilmGenerator, RegisterEncoder};

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

impl Chain {
    /// Loads the generator, and the encoder that feeds it if `registers` are to go in.
    pub(crate) fn load(
        checkpoint: &Arc<Checkpoint>,
        discovery: &Discovery,
        found: &FoundGenerator,
        config: KernelFilmConfig,
        registers: bool,
        place: &Place,
    ) -> Result<Self, Error> {
        let vb = checkpoint.var_builder(place.dtype, &place.device);
        let encoder = match registers {
            true => Some(discovery.encoder_of(found)?.build(config.cond_dim, &vb)?),
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
        row_rank(self.encoder.as_ref(), self.config.cond_dim, input)
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
        let values = read_rows(input, self.row_rank(input)?, rows, place)?;
        Ok(match &self.encoder {
            None => self.generator.films(&values)?,
            Some(encoder) => self.generator.films(&encoder.encode(&values)?)?,
        })
    }
}

/// How many of the input's axes, from the last, make one conditioning vector.
///
/// # Errors
/// If those axes are not `[cond_dim]`, or `[R, C]` with an encoder.
pub(crate) fn row_rank(
    encoder: Option<&RegisterEncoder>,
    cond_dim: usize,
    input: &Input,
) -> Result<usize> {
    let (row, names) = match encoder {
        None => (vec![cond_dim], "cond_dim"),
        Some(encoder) => (encoder.row(cond_dim).to_vec(), "registers, channels"),
    };
    if input.shape.ends_with(&row) {
        return Ok(row.len());
    }
    let sizes: Vec<String> = row.iter().map(ToString::to_string).collect();
    Err(input.error(&format!("shape [*, {}] ({names})", sizes.join(", "))))
}

/// Some rows of the input, in their own shape.
///
/// # Shapes
/// input `[*, *row]` → `[rows, *row]`
pub(crate) fn read_rows(
    input: &Input,
    row_rank: usize,
    rows: Range<usize>,
    place: &Place,
) -> Result<Tensor> {
    let row = &input.shape[input.shape.len() - row_rank..];
    let shape = [&[rows.len()], row].concat();
    let values = input.rows(rows, row.iter().product(), place.dtype, &place.device)?;
    Ok(values.reshape(shape)?)
}
