//! `man`: manual pages, from the command line's own definition.

use std::io::Write;

use anyhow::Result;
use clap::{Command, CommandFactory};
use film_core::checkpoint::{AtomicFile, OutputDirectory};

use super::Usage;
use crate::args::{Cli, Man};
use crate::printer;

pub(crate) fn run(args: &Man) -> Result<()> {
    let mut program = Cli::command().term_width(0);
    program.build();
    if let Some(directory) = &args.output {
        let output = OutputDirectory::make(directory)?;
        let pages = pages(&program);
        let files = pages.map(|(name, command)| {
            let path = directory.join(format!("{name}.1"));
            let mut file = AtomicFile::create(&path, args.force)?;
            file.write(&page(command)?)?;
            Ok::<_, anyhow::Error>(file)
        });
        let files: Vec<AtomicFile> = files.collect::<Result<_>>()?;
        let count = files.len();
        output.commit(files)?;
        printer::say(format!("wrote {count} pages to {}", directory.display()));
        return Ok(());
    }
    let wanted = match &args.command {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
            let names = program.get_subcommands().map(Command::get_name).collect::<Vec<_>>();
            Usage(format!("man: no command {name}; there are {}", names.join(", ")))
        })?,
    };
    let mut out = std::io::stdout();
    out.write_all(&page(wanted)?)?;
    Ok(out.flush()?)
}

/// The program and each command, by the name of its page.
fn pages(program: &Command) -> impl Iterator<Item = (String, Command)> {
    let commands = program.get_subcommands().filter(|command| command.get_name() != "help");
    let commands = commands.map(|command| {
        let name = format!("{}-{}", program.get_name(), command.get_name());
        (name, command.clone())
    });
    std::iter::once((program.get_name().to_string(), program.clone())).chain(commands)
}

/// One page, in roff.
fn page(command: Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}
