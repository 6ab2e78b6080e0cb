//! Kernels for the first rows of the input, small enough for a page.

use std::sync::Arc;

use anyhow::Result;
use candle_core::{DType, Device, IndexOp, Tensor};
use film_core::checkpoint::{Checkpoint, FoundKernel};
use film_core::{Condition, ConditionalKernel};

use super::super::kernel::check_memory;
use crate::args::Settings;
use crate::chain::{Place, read_rows, row_rank};
use crate::input::Input;
use crate::printer;

/// Rows of the input that kernels are drawn for.
const SAMPLES: usize = 3;
/// Channels that are drawn, evenly spaced.
const CHANNELS: usize = 6;
/// The greatest length of an axis that is drawn, by the number of axes; of a longer one it is the centre.
const LENGTHS: [usize; 3] = [512, 24, 12];

/// A kernel for some conditionings, or why there is none.
pub(super) enum Pictures {
    Drawn(Drawn),
    Not(String),
}

/// Some channels of a kernel for some conditionings.
pub(super) struct Drawn {
    /// Points along each axis of a panel: one or two.
    pub(super) points: Vec<usize>,
    /// The greatest coordinate on the last axis.
    pub(super) reach: f64,
    /// Whether more than that would be within the kernel's length.
    pub(super) cut: bool,
    /// Whether the panels are the middle slices of a kernel with three axes.
    pub(super) sliced: bool,
    pub(super) masked: bool,
    pub(super) channels: Vec<usize>,
    /// Row-major over the grid, channel by channel for each sample.
    pub(super) samples: Vec<Vec<Vec<f64>>>,
}

impl Drawn {
    /// The end of the scale: the greatest |value|.
    pub(super) fn limit(&self) -> f64 {
        let values = self.samples.iter().flatten().flatten();
        values.filter(|value| value.is_finite()).fold(0.0, |limit, value| limit.max(value.abs()))
    }
}

/// Draws the kernel for the first rows of the input. What cannot be drawn because the checkpoint does not tell enough is
/// no error, unless flags were to tell it.
pub(super) fn draw(
    found: &FoundKernel,
    checkpoint: &Arc<Checkpoint>,
    flags: &Settings,
    registers: bool,
    input: &Input,
) -> Result<Pictures> {
    let place = Place { device: Device::Cpu, dtype: DType::F32 };
    let settings = flags.over_config(found, checkpoint)?;
    let loaded = ConditionalKernel::load(checkpoint, found, &settings, place.dtype, &place.device);
    let mut kernel = match loaded {
        Ok(kernel) => kernel,
        Err(error) if flags.given() => return Err(flags.blame(error, checkpoint)),
        Err(error) => return Ok(not(&error.to_string())),
    };
    if flags.no_mask {
        kernel.mask = None;
    }
    if !registers {
        kernel.encoder = None;
    }
    let config = kernel.kernel.config();
    let Some(&most) = LENGTHS.get(config.data_dim.wrapping_sub(1)) else {
        return Ok(not(&format!("{}: has {} axes", found.name(), config.data_dim)));
    };
    let Some(cond_dim) = config.film_generator.as_ref().map(|film| film.cond_dim) else {
        return Ok(not(&format!("{}: nothing modulates it", found.name())));
    };
    let lengths: Vec<usize> = config.l_cache.iter().map(|length| *length.min(&most)).collect();
    check_memory(config, &lengths, "--html: grid")?;
    let rank = row_rank(kernel.encoder.as_ref(), cond_dim, input)?;
    let rows: usize = input.shape[..input.shape.len() - rank].iter().product();
    if rows == 0 {
        return Ok(not("the input has no rows"));
    }
    let values = read_rows(input, rank, 0..rows.min(SAMPLES), &place)?;
    let condition = match kernel.encoder {
        Some(_) => Condition::Registers(&values),
        None => Condition::Conditioning(&values),
    };
    let (drawn, grid) = kernel.draw(&lengths, condition)?;
    // Of three axes the slice in the middle of the first.
    let sliced = lengths.len() == 3;
    let drawn = if sliced { drawn.i((.., lengths[0] - 1))? } else { drawn };
    let points = drawn.dims()[1..drawn.rank() - 1].to_vec();
    let count = config.out_dim.min(CHANNELS);
    let channel = |index: usize| index * (config.out_dim - 1) / (count - 1).max(1);
    let channels: Vec<usize> = (0..count).map(channel).collect();
    let panels = |sample: Tensor| -> Result<Vec<Vec<f64>>> {
        let panel = |channel: &usize| -> Result<Vec<f64>> {
            let values = sample.narrow(sample.rank() - 1, *channel, 1)?.flatten_all()?;
            Ok(values.to_dtype(DType::F64)?.to_vec1()?)
        };
        channels.iter().map(panel).collect()
    };
    let samples = (0..drawn.dim(0)?).map(|sample| panels(drawn.get(sample)?));
    let samples = samples.collect::<Result<_>>()?;
    let coordinates = grid.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    Ok(Pictures::Drawn(Drawn {
        points,
        reach: coordinates.last().copied().unwrap_or(0.0),
        cut: lengths != config.l_cache,
        sliced,
        masked: kernel.mask.is_some(),
        samples,
        channels,
    }))
}

fn not(why: &str) -> Pictures {
    printer::warn(format!("kernels are not drawn: {why}"));
    Pictures::Not(why.into())
}
