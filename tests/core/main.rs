//! The library against reference numbers, properties and malformed files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod broken;
mod checkpoint;
mod ckconv;
mod classifier;
mod compare;
mod concurrency;
mod conditional;
mod conv;
mod discovery;
mod extremes;
mod film;
mod flops;
mod gradients;
mod health;
mod init;
mod killed;
mod learning;
mod malformed;
mod optim;
mod parity;
mod pickle;
mod reference;
mod saving;
mod shapes;
mod siren;
mod support;
mod verify;
mod weight_decay;
