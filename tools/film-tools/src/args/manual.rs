//! What the program says about itself.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools completions bash > film-tools.bash
  film-tools completions zsh > _film-tools
  film-tools completions fish > film-tools.fish")]
pub(crate) struct Completions {
    /// Shell to complete in
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools man > film-tools.1
  film-tools man inspect > film-tools-inspect.1
  film-tools man --output man1")]
pub(crate) struct Man {
    /// The command whose page to print [default: film-tools itself]
    #[arg(conflicts_with = "output")]
    pub(crate) command: Option<String>,
    /// Directory to write the pages of all commands into; made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
}
