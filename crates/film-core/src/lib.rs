//! FiLM-conditioned convolution kernels for [Candle](candle_core).
//!
//! A small MLP, the [`KernelFilmGenerator`], turns a conditioning vector into one (γ, β) pair per
//! hidden layer of a network that draws a convolution kernel: h ← γ ⊙ h + β. The modules here load
//! the checkpoints that PyTorch wrote, give PyTorch's numbers, and train.
//!
//! ```text
//! registers [B, R, C] ─ pooling ─▶ conditioning [B, cond_dim] ─ generator ─▶ L × (γ, β) [B, H]
//! grid lengths L ─ SIREN, modulated by (γ, β) ─▶ kernel [B, *2L−1, out_dim] ─▶ mask
//! signal [B, *spatial, C] ─ convolution with the kernel, + shortcut ⊙ signal ─▶ output
//! ```
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use film_core::{KernelFilmConfig, KernelFilmGenerator, init};
//!
//! let vars = candle_nn::VarMap::new();
//! let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
//! let generator = KernelFilmGenerator::new(&KernelFilmConfig::new(384, 32, 3), vb)?;
//!
//! let conditioning = Tensor::zeros((8, 384), DType::F32, &Device::Cpu)?;
//! let hidden = Tensor::ones((1, 29, 29, 32), DType::F32, &Device::Cpu)?;
//! let films = generator.films(&conditioning)?;
//! assert_eq!(films.len(), 3);
//! assert_eq!(films[0].apply(&hidden)?.dims(), [8, 29, 29, 32]);
//! assert_eq!(generator.forward(&conditioning)?.dims(), [8, 3 * 2 * 32]);
//! # Ok::<(), film_core::Error>(())
//! ```
//!
//! # Shapes
//! Shapes are written `[B, cond_dim]`, row-major. `B` is the batch, `R` registers, `C` channels,
//! `L` FiLM layers, `H` = kernel_hidden_dim; `*` stands for any number of axes, none included.
//! Weights are `[out_features, in_features]`, as in PyTorch.
//!
//! # Numbers
//! - A module computes in the dtype of its [`VarBuilder`](candle_nn::VarBuilder) on its device, and its
//!   inputs must be of that dtype. Register pooling, the grid, the positional embedding, masks and
//!   convolutions are computed in float32 at least.
//! - Against a float64 computation of the same stored weights, γ and β in float32 differ by no more
//!   than 1e-6 of the largest |value|, in float64 by no more than 1e-12. SIREN kernels multiply what
//!   rounding leaves: theirs differ in float32 by no more than twice what PyTorch's do, on each of the
//!   fixtures, and in float64 by no more than 1e-10.
//! - On the CPU in float32 the generator and the kernels are computed by fused operations. A sample's numbers do not depend
//!   on the batch it stands in, nor on the number of threads.
//! - GELU is the exact one, x · Φ(x), not the tanh approximation.
//! - A fresh module depends on the seed and the tensors' names alone: see [`init`].

pub mod checkpoint;
mod ckconv;
mod conditional;
mod config;
pub mod conv;
mod error;
mod film;
pub mod flops;
mod generator;
pub mod health;
pub mod init;
mod json;
pub mod mask;
mod ops;
pub mod optim;
mod parameter;
mod registers;
mod short;
pub mod siren;
pub mod statistics;
#[cfg(test)]
mod testing;

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

pub use ckconv::{CKConvConfig, CKConvNd};
pub use conditional::{Condition, ConditionalKernel};
pub use config::{InitType, KernelFilmConfig, NoWeightDecay};
pub use error::{Error, Result};
pub use film::Film;
pub use generator::KernelFilmGenerator;
pub use parameter::{Parameter, WeightDecay};
pub use registers::{
    RegisterCompressConcat, RegisterCompressConcatConfig, RegisterEncoder, RegisterPooling,
    RegisterPoolingConfig,
};
pub use short::{Short, short};
