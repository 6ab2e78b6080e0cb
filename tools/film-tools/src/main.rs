//! `film-tools`: initialise, inspect, cost and run FiLM generators in safetensors checkpoints.
//!
//! ```text
//! arguments ─ args ─▶ command ─ input ─▶ film-core ─ output ─▶ stdout or a file
//! ```

mod args;
mod chain;
mod commands;
mod device;
mod hub;
mod input;
mod output;
mod picture;
mod printer;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error; a reader who left is none either.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    cli.talk.apply();
    hub::allow_download(cli.download);
    let failed = cli.command.failed();
    match commands::run(cli.command) {
        Ok(status) => {
            log::debug!("done");
            ExitCode::from(status as u8)
        }
        Err(error) if printer::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            printer::error(&error);
            ExitCode::from(if error.is::<commands::Usage>() { 2 } else { failed })
        }
    }
}
