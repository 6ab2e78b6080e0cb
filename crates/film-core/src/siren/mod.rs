//! A SIREN (Sitzmann et al. 2020, arXiv:2006.09661) that draws a convolution kernel, modulated by FiLM.
//!
//! ```text
//! grid lengths ─ grid ─▶ [1, *2L−1, D] ─ embedding ─▶ h₀ ─ hidden layers, each with (γ, β) ─▶ kernel [1 or B, *2L−1, out_dim]
//! ```

mod config;
mod embedding;
mod fused;
mod gradient;
mod grid;
mod kernel;
mod network;
mod omega;
mod op;
mod plain;
#[cfg(test)]
mod tests;

pub use config::SirenConfig;
pub use grid::grid;
pub use kernel::{Phase, SirenKernel};
pub use omega::{Blocks, Omega, Scale, Spacing};
