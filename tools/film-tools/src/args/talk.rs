//! Flags of every command: how it talks.

use clap::{ArgAction, Args, ValueEnum};

use crate::printer::Talkative;

// How the program talks.
#[derive(Debug, Args)]
pub(crate) struct Talk {
    /// When to colour the output
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        display_order = 1000,
        default_value = "auto",
        hide_default_value = true
    )]
    color: Color,
    /// Say nothing but errors: no notes, warnings or progress
    #[arg(short, long, global = true, display_order = 1001, conflicts_with = "verbose")]
    quiet: bool,
    /// Say what is read, from where and how long it takes
    #[arg(short, long, global = true, display_order = 1002, action = ArgAction::SetTrue)]
    verbose: bool,
}

/// When to colour the output.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Talk {
    /// Tells the printer.
    pub(crate) fn apply(&self) {
        match self.color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        }
        .write_global();
        match (self.quiet, self.verbose) {
            (true, _) => Talkative::Quiet,
            (_, true) => Talkative::Verbose,
            _ => Talkative::Normal,
        }
        .write_global();
    }
}
