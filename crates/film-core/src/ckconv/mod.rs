//! Convolution with continuous kernels (CKConv, Romero et al. 2021, arXiv:2102.02611).
//!
//! ```text
//! signal lengths ─ config ─▶ grid lengths ─ conditional kernel ─▶ kernel [1 or B, *K, C]
//! signal ─ conv with the kernel, + shortcut ⊙ signal ─▶ output                        flops: what it costs
//! ```

mod config;
mod flops;
mod module;

pub use config::CKConvConfig;
pub(crate) use config::boundaries;
pub use module::CKConvNd;
