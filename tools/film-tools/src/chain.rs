//! A generator out of a checkpoint and, where registers go in, the register encoder in front of it.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use film_core::checkpoint::{Checkpoint, Discovery, FoundGenerator};
use film_core::{Error, KernelFilmConfig, KernelFilmGenerator, RegisterEncoder};

use crate::input::Input;
use crate::output::CHUNK_BYTES;

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
    pub(crate) generator: KernelFilmGenerator,
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

    /// The conditioning of some of the input's rows.
    ///
    /// # Shapes
    /// input `[*, *row]` → `[rows, cond_dim]`
    pub(crate) fn conditioning(
        &self,
        input: &Input,
        rows: Range<usize>,
        place: &Place,
    ) -> Result<Tensor> {
        let values = read_rows(input, self.row_rank(input)?, rows, place)?;
        Ok(match &self.encoder {
            None => values,
            Some(encoder) => encoder.encode(&values)?,
        })
    }

    /// All of the input's rows, as many at once as are asked for or take 16 MiB.
    ///
    /// # Errors
    /// If so many do not fit into memory.
    pub(crate) fn chunks(
        &self,
        input: &Input,
        rows_at_once: Option<usize>,
    ) -> Result<impl Iterator<Item = Range<usize>> + use<>> {
        let (batch, row) = input.shape.split_at(input.shape.len() - self.row_rank(input)?);
        let rows: usize = batch.iter().product();
        let row = row_bytes(&self.config, row.iter().product());
        let chunk = rows_at_once.unwrap_or((CHUNK_BYTES / row).max(1));
        check_memory(chunk.min(rows), row)?;
        let starts = (0..rows).step_by(chunk);
        Ok(starts.map(move |start| start..rows.min(start.saturating_add(chunk))))
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

/// What a row takes from the input's `numbers` on, all counted in float64 as the statistics have them.
fn row_bytes(config: &KernelFilmConfig, numbers: usize) -> usize {
    let out_dim = config.out_dim().unwrap_or(usize::MAX / 16);
    let numbers = [numbers, config.cond_dim, config.film_hidden_dim, out_dim, out_dim];
    numbers.iter().fold(0usize, |sum, size| sum.saturating_add(size.saturating_mul(8))).max(1)
}

/// An error where a chunk could not be held in memory.
fn check_memory(rows: usize, row: usize) -> Result<()> {
    let bytes = rows.saturating_mul(row);
    if Vec::<u8>::new().try_reserve_exact(bytes).is_err() {
        bail!("--chunk: not enough memory for {rows} rows of {row} bytes at once");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{KernelFilmConfig, row_bytes};

    #[test]
    fn a_row_of_registers_counts() {
        let config = KernelFilmConfig::new(64, 1, 1).with_film_hidden_dim(4);
        assert_eq!(row_bytes(&config, 64), 8 * (64 + 64 + 4 + 2 + 2));
        assert_eq!(row_bytes(&config, 4096 * 64), 8 * (4096 * 64 + 64 + 4 + 2 + 2));
    }
}
