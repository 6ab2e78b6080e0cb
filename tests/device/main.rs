//! Every module on the device that the build is for, in float32 and bfloat16, against the same numbers as on the CPU: on CUDA
//! with the feature `cuda`, on Metal with `metal`, else on the CPU, where the plain operations that a GPU is given are run
//! wherever the fused ones do not stand before them.
//!
//! On a GPU: `cargo test --package film-core --features cuda --test device -- --ignored`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod ckconv;
mod classifier;
mod conditional;
mod generator;
mod gradients;
mod optim;
#[path = "../core/reference.rs"]
mod reference;
mod registers;
mod siren;
mod support;
