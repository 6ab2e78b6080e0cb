//! The library against reference numbers, properties and malformed files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod broken;
mod checkpoint;
mod ckconv;
mod classifier;
mod conditional;
mod conv;
mod discovery;
mod film;
mod flops;
mod gradients;
mod health;
mod init;
mod learning;
mod malformed;
mod optim;
mod parity;
mod reference;
mod shapes;
mod siren;
mod support;
mod weight_decay;
