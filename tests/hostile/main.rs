//! The program against files that were made to break it, and against a system that fails.
//!
//! [`corpus`] makes the files, case by case; [`refusal`] runs the program on each: it must say one clear line, leave
//! nothing behind, end by itself, and take little memory.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a test that cannot run here says so")]

mod corpus;
mod disk;
mod kill;
mod permission;
mod readers;
mod refusal;
mod shrink;
mod sound;
#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "not every helper of the other tests is needed")]
mod support;
mod writers;
