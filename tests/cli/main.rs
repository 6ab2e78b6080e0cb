//! The program, run as people run it: what it prints, what it writes, and how it says no.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod conv;
mod convert;
mod damage;
mod device;
mod diagnose;
mod diagnose_page;
mod diff;
mod errors;
mod errors_input;
mod errors_kernel;
mod errors_output;
mod extract;
mod formats;
mod help;
mod hub;
mod init;
mod inspect;
mod kernel;
mod manual;
mod parity;
mod pipes;
mod reports;
mod rows;
mod snapshots;
mod support;
mod terminal;
mod verify;
