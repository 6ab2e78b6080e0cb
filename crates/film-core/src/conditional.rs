//! The whole chain of a conditional kernel: registers → conditioning → γ, β → kernel → mask.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::checkpoint::{Checkpoint, FoundKernel, KernelSettings};
use crate::error::{Error, Result};
use crate::mask::Mask;
use crate::registers::RegisterEncoder;
use crate::siren::SirenKernel;

/// What a kernel is to be drawn for.
#[derive(Debug, Clone, Copy)]
pub enum Condition<'a> {
    /// Nothing: the kernel is not modulated.
    None,
    /// Conditioning `[B, cond_dim]`.
    Conditioning(&'a Tensor),
    /// Register tokens `[B, R, C]`, which go through the register encoder first.
    Registers(&'a Tensor),
}

/// A SIREN kernel with its generator, and the encoder and the mask that belong to it, if there are such.
#[derive(Debug, Clone)]
pub struct ConditionalKernel {
    /// What makes conditioning of registers.
    pub encoder: Option<RegisterEncoder>,
    /// What draws the kernel.
    pub kernel: SirenKernel,
    /// What it is multiplied by.
    pub mask: Option<Mask>,
}

impl ConditionalKernel {
    /// Loads all parts of a kernel found in `checkpoint`.
    ///
    /// # Errors
    /// If `settings` lacks something that shapes do not tell, or they or config.json contradict the shapes.
    pub fn load(
        checkpoint: &Arc<Checkpoint>,
        found: &FoundKernel,
        settings: &KernelSettings,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        checkpoint.kernel_settings(found)?;
        let vb = checkpoint.var_builder(dtype, device);
        let config = found.config(settings)?;
        let cond_dim = config.film_generator.as_ref().map(|film| film.cond_dim);
        let encoder = found.encoder.as_ref().zip(cond_dim);
        let mask = found.mask_config(settings, &config.l_cache)?;
        let mask = mask.zip(found.mask.as_ref());
        Ok(Self {
            encoder: encoder.map(|(encoder, cond_dim)| encoder.build(cond_dim, &vb)).transpose()?,
            kernel: SirenKernel::new(&config, vb.pp(&found.prefix))?,
            mask: mask.map(|(config, mask)| Mask::new(&config, vb.pp(&mask.prefix))).transpose()?,
        })
    }

    /// Draws the kernel, masked if there is a mask.
    ///
    /// # Shapes
    /// `lengths` L, one an axis → kernel `[1 or B, *2L−1, out_dim]`, grid `[1, *2L−1, D]`
    ///
    /// # Errors
    /// If the lengths or the condition are of another shape, or registers come without an encoder.
    pub fn draw(&self, lengths: &[usize], condition: Condition<'_>) -> Result<(Tensor, Tensor)> {
        let encoded;
        let conditioning = match condition {
            Condition::None => None,
            Condition::Conditioning(conditioning) => Some(conditioning),
            Condition::Registers(registers) => {
                let missing =
                    || Error::Selection("holds no register encoder for this kernel".into());
                encoded = self.encoder.as_ref().ok_or_else(missing)?.encode(registers)?;
                Some(&encoded)
            }
        };
        let (kernel, grid) = self.kernel.forward(lengths, conditioning)?;
        match &self.mask {
            Some(mask) => Ok((mask.apply_to_own(&grid, kernel)?, grid)),
            None => Ok((kernel, grid)),
        }
    }
}
