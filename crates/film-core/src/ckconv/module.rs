//! The convolution as a module.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::config::CKConvConfig;
use crate::checkpoint::{Checkpoint, FoundConv, KernelSettings};
use crate::conditional::{Condition, ConditionalKernel};
use crate::conv::{Algorithm, Boundary, Channels, Convolution};
use crate::error::Result;
use crate::mask::Mask;
use crate::ops::add_shortcut;
use crate::siren::SirenKernel;

/// Kernels of constants that are kept, each for its grid lengths.
const KEPT: usize = 4;

/// A kernel of constants, by its grid lengths.
type Kept = (Vec<usize>, Tensor);

/// y = x ∗ kernel + shortcut ⊙ x, channel by channel, with a kernel that a SIREN draws as long as the signal.
///
/// A kernel that does not depend on the input is drawn once for each signal length and kept, if all its parameters are
/// constants, as a checkpoint's builder gives them; one made of variables is drawn each time. A detached view of a
/// variable counts as a constant: build the module anew after such a variable has changed.
///
/// # Shapes
/// signal `[B, *spatial, C]` or `[B, C, *spatial]` → the same
#[derive(Debug, Clone)]
pub struct CKConvNd {
    config: CKConvConfig,
    kernel: ConditionalKernel,
    shortcut: Tensor,
    convolution: Convolution,
    channels: Channels,
    kept: Arc<Mutex<Vec<Kept>>>,
}

impl CKConvNd {
    /// Builds the convolution from `vb`: loads `shortcut`, `kernel.*` and `mask.*`, or initialises them.
    ///
    /// # Errors
    /// If the configuration is not valid, or the builder holds tensors of other shapes.
    pub fn new(config: &CKConvConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let mask = config.mask.as_ref();
        let kernel = ConditionalKernel {
            encoder: None,
            kernel: SirenKernel::new(&config.kernel, vb.pp("kernel"))?,
            mask: mask.map(|mask| Mask::new(mask, vb.pp("mask"))).transpose()?,
        };
        Self::with_kernel(config, kernel, &vb)
    }

    /// Loads a convolution found in `checkpoint`, with the register encoder that feeds it.
    ///
    /// # Errors
    /// If `settings` lacks something that shapes do not tell, or contradicts them.
    pub fn load(
        checkpoint: &Arc<Checkpoint>,
        found: &FoundConv,
        settings: &KernelSettings,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let config = found.config(settings)?;
        let kernel = ConditionalKernel::load(checkpoint, &found.kernel, settings, dtype, device)?;
        let vb = checkpoint.var_builder(dtype, device).pp(&found.prefix);
        Self::with_kernel(&config, kernel, &vb)
    }

    fn with_kernel(
        config: &CKConvConfig,
        kernel: ConditionalKernel,
        vb: &VarBuilder,
    ) -> Result<Self> {
        Ok(Self {
            kernel,
            shortcut: config.shortcut().build(vb)?,
            convolution: Convolution::new(&config.boundaries)?,
            channels: Channels::Last,
            config: config.clone(),
            kept: Arc::default(),
        })
    }

    /// The same for signals whose channels stand there. At first they stand last.
    #[must_use]
    pub fn channels(self, channels: Channels) -> Self {
        Self { channels, convolution: self.convolution.channels(channels), ..self }
    }

    /// The same computed in that way; see [`Convolution::algorithm`].
    #[must_use]
    pub fn algorithm(self, algorithm: Algorithm) -> Self {
        Self { convolution: self.convolution.algorithm(algorithm), ..self }
    }

    /// The arguments it was built with.
    pub fn config(&self) -> &CKConvConfig {
        &self.config
    }

    /// What draws the kernel.
    pub fn conditional_kernel(&self) -> &ConditionalKernel {
        &self.kernel
    }

    /// Convolves the signal with the kernels that `condition` gives.
    ///
    /// Half precision is computed in float32; the output has the signal's dtype.
    ///
    /// # Shapes
    /// signal `[B, *spatial, C]` or `[B, C, *spatial]`, condition of 1 or B samples → the signal's
    ///
    /// # Errors
    /// If signal or condition are of another shape.
    pub fn forward(&self, signal: &Tensor, condition: Condition<'_>) -> Result<Tensor> {
        let channels = self.config.kernel.out_dim;
        let (_, spatial, _) = self.convolution.check_signal(signal, Some(channels))?;
        self.convolve(signal, &self.kernel(spatial, condition)?)
    }

    /// Convolves the signal with a kernel that [`kernel`](Self::kernel) has drawn, and adds the shortcut: one kernel for
    /// many signals.
    ///
    /// # Shapes
    /// signal `[B, *spatial, C]` or `[B, C, *spatial]`, kernel `[1 or B, *K, C]` → the signal's
    ///
    /// # Errors
    /// If signal or kernel are of another shape.
    pub fn convolve(&self, signal: &Tensor, kernel: &Tensor) -> Result<Tensor> {
        let axes = self.config.boundaries.len();
        let channels = self.config.kernel.out_dim;
        self.convolution.check_signal(signal, Some(channels))?;
        let dtype = signal.dtype();
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let signal = signal.to_dtype(wide)?;
        let output = self.convolution.forward(&signal, &kernel.to_dtype(wide)?)?;
        let channel_axis = match self.channels {
            Channels::First => 1,
            Channels::Last => axes + 1,
        };
        let shortcut = self.shortcut.to_dtype(wide)?;
        Ok(add_shortcut(&output, &signal, &shortcut, channel_axis)?.to_dtype(dtype)?)
    }

    /// The kernel for a signal of `spatial` points: masked, and of a causal one the half from the present on. Without a
    /// generator it depends on no condition, and none is looked at.
    ///
    /// # Shapes
    /// `spatial`, one length an axis → `[1 or B, *K, C]`
    ///
    /// # Errors
    /// If the lengths or the condition are of another shape.
    pub fn kernel(&self, spatial: &[usize], condition: Condition<'_>) -> Result<Tensor> {
        let lengths = self.config.grid_lengths(spatial)?;
        let conditioned = self.config.kernel.film_generator.is_some();
        let condition = if conditioned { condition } else { Condition::None };
        let constant = matches!(condition, Condition::None);
        if constant {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, kernel)) = kept.iter().find(|(kept, _)| *kept == lengths) {
                return Ok(kernel.clone());
            }
        }
        let mut kernel = self.kernel.draw(&lengths, condition)?.0;
        if self.config.boundaries == [Boundary::Causal] {
            let points = kernel.dim(1)?;
            // A copy: what is kept should not hold the other half, nor be copied for every convolution.
            kernel = kernel.narrow(1, points / 2, points - points / 2)?.contiguous()?;
        }
        // What tracks its operations is made of variables, and may be another one in the next step.
        if constant && !kernel.track_op() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == KEPT {
                kept.remove(0);
            }
            kept.push((lengths, kernel.clone()));
        }
        Ok(kernel)
    }
}
