//! `completions`: what a shell needs to complete the command line, from the command line's own definition.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::{Cli, Completions};

pub(crate) fn run(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "film-tools", &mut script);
    let mut script = String::from_utf8(script)?;
    if args.shell == Shell::Bash {
        // clap_complete spells a hyphen of the program's name in two ways, so that nothing is completed behind a command:
        // https://github.com/clap-rs/clap/issues/6421
        script = script.replace("film__subcmd__tools", "film__tools");
    }
    let mut out = std::io::stdout();
    out.write_all(script.as_bytes())?;
    Ok(out.flush()?)
}
