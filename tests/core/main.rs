//! The library against reference numbers, properties and malformed files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod conditional;
mod siren;
mod support;
