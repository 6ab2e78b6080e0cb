//! One file a subcommand.

mod completions;
mod conv;
mod convert;
mod diagnose;
mod diff;
mod extract;
mod flops;
mod init;
mod inspect;
mod kernel;
mod man;
mod run;
mod select;
mod settings;
mod verify;

use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use film_core::checkpoint::{
    Checkpoint, CheckpointFile, Discovery, FoundGenerator, FoundKernel, INDEX, NearMiss, is_below,
    read_json_object,
};
use film_core::{Error, KernelFilmConfig};
use serde_json::{Map, Value};

use crate::args::{Command, Rows, Sizes, Tensors};
use crate::hub;
use crate::input::Input;
use crate::output::{Target, number, significant, wrap};
use crate::printer::{self, BOLD, label};

/// The version of everything that `--json` prints.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// Wrong usage that clap cannot see. Exit status 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// How a command ended that did its work: its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// There is nothing more to say.
    Fine = 0,
    /// What was looked for is there: findings, differences. The output tells which.
    Found = 1,
}

pub(crate) fn run(command: Command) -> Result<Status> {
    let fine = |()| Status::Fine;
    match command {
        Command::Init(args) => init::run(args).map(fine),
        Command::Inspect(args) => inspect::run(&args).map(fine),
        Command::Flops(args) => flops::run(&args).map(fine),
        Command::Run(args) => run::run(&args).map(fine),
        Command::Kernel(args) => kernel::run(&args).map(fine),
        Command::Conv(args) => conv::run(&args).map(fine),
        Command::Diagnose(args) => diagnose::run(&args).map(fine),
        Command::Convert(args) => convert::run(&args).map(fine),
        Command::Verify(args) => verify::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Extract(args) => extract::run(&args).map(fine),
        Command::Completions(args) => completions::run(&args).map(fine),
        Command::Man(args) => man::run(&args).map(fine),
    }
    .map_err(|error| match error.downcast_ref::<Error>().map(Error::cause) {
        Some(Error::Exists) => anyhow::anyhow!("{error}: --force replaces it"),
        _ => error,
    })
}

impl Sizes {
    /// The configuration that the flags (and `more`, by JSON key) and the config file give together.
    fn config(
        &self,
        more: impl IntoIterator<Item = (&'static str, Option<Value>)>,
    ) -> Result<KernelFilmConfig> {
        let mut json = match &self.config {
            Some(path) if path.is_dir() => {
                bail!("{}: a directory: --config takes the config.json in it", path.display())
            }
            Some(path) => film_part(read_json_object(path)?),
            None => Map::new(),
        };
        let sizes = [
            ("cond_dim", self.cond_dim),
            ("kernel_hidden_dim", self.kernel_hidden_dim),
            ("num_film_layers", self.num_film_layers),
            ("film_hidden_dim", self.film_hidden_dim),
        ];
        let sizes = sizes.map(|(key, size)| (key, size.map(Value::from)));
        json.extend(
            sizes.into_iter().chain(more).filter_map(|(key, value)| Some((key.into(), value?))),
        );
        let Some(path) = &self.config else {
            let flags = ["cond_dim", "kernel_hidden_dim", "num_film_layers"];
            let missing: Vec<String> = flags
                .iter()
                .filter(|key| !json.contains_key(**key))
                .map(|key| format!("--{}", key.replace('_', "-")))
                .collect();
            if !missing.is_empty() {
                return Err(Usage(format!("give {} (or --config FILE)", missing.join(", "))).into());
            }
            return KernelFilmConfig::from_json(&json)
                .map_err(|error| Usage(error.to_string()).into());
        };
        Ok(KernelFilmConfig::from_json(&json).map_err(|error| error.in_file(path))?)
    }
}

/// What a config.json says of the generator: a kernel's has an object for it.
fn film_part(mut json: Map<String, Value>) -> Map<String, Value> {
    if json.contains_key("cond_dim") {
        return json;
    }
    let kernel = json.get_mut("kernel").and_then(Value::as_object_mut);
    let inside = kernel.and_then(|kernel| kernel.remove("film_generator"));
    match json.remove("film_generator").or(inside) {
        Some(Value::Object(film)) => film,
        _ => json,
    }
}

impl Tensors {
    /// An error if both the report and the tensors are to go to stdout.
    fn check(&self) -> Result<()> {
        if self.json && matches!(self.output, Some(Target::Stdout)) {
            let text = "--json and --output - both print to stdout: choose one";
            return Err(Usage(text.into()).into());
        }
        Ok(())
    }

    /// The file that is written, if one is.
    fn path(&self) -> Option<String> {
        let path = self.output.as_ref().and_then(Target::path);
        path.map(|path| path.display().to_string())
    }
}

/// The heading of a report: the prefix, or the checkpoint's path at its root.
fn title(out: &mut impl Write, prefix: &str, checkpoint: &str) -> Result<()> {
    let name = if prefix.is_empty() { checkpoint } else { prefix };
    for line in wrap(&label(name), printer::columns()) {
        writeln!(out, "{BOLD}{line}{BOLD:#}")?;
    }
    Ok(())
}

/// "1 file", "2 files".
fn plural(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", number(count as u64), if count == 1 { "" } else { "s" })
}

/// Lines of statistics, their names as wide as the longest.
fn statistics(out: &mut impl Write, values: &[(&str, Option<f64>)]) -> Result<()> {
    let width = values.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 1;
    for (name, value) in values {
        writeln!(out, "{name:<width$} {:>10}", value.map_or("–".into(), significant))?;
    }
    Ok(())
}

impl Rows {
    /// Where conditioning or registers are read from, if from somewhere.
    fn text(&self) -> Option<&str> {
        self.conditioning.as_deref().or(self.registers.as_deref())
    }

    /// The conditioning or registers, if some are asked for; random conditioning is `cond_dim` wide.
    fn open(&self, cond_dim: usize) -> Result<Option<Input>> {
        Ok(match (self.text(), self.random) {
            (Some(text), _) => Some(Input::open(text)?),
            (None, Some(rows)) => Some(Input::random(rows, cond_dim, self.seed()?)?),
            (None, None) => None,
        })
    }

    /// The seed of `--random`.
    fn seed(&self) -> Result<u64> {
        match (self.seed, self.random) {
            (Some(_), None) => Err(Usage("--seed: only --random takes one".into()).into()),
            (seed, _) => Ok(seed.unwrap_or_default()),
        }
    }
}

/// A generator's configuration, with what `--kernel-hidden-dim` says where the checkpoint does not.
fn generator_config(
    found: &FoundGenerator,
    kernel_hidden_dim: Option<usize>,
) -> Result<KernelFilmConfig, Error> {
    const FLAG: &str = "--kernel-hidden-dim";
    found.config(kernel_hidden_dim).map_err(|error| match error {
        Error::Config { key, expected, found } if key == "kernel_hidden_dim" => {
            Error::config(FLAG, expected, found)
        }
        error @ Error::Selection(_) => Error::Selection(format!("{error}; give {FLAG}")),
        error => error,
    })
}

/// An error unless `--grid` has a length for each of the kernel's axes.
fn check_grid(lengths: &[usize], found: &FoundKernel) -> Result<()> {
    if lengths.len() == found.data_dim {
        return Ok(());
    }
    let sizes: Vec<String> = lengths.iter().map(ToString::to_string).collect();
    Err(Usage(format!(
        "--grid: expected {} lengths, one for each axis of the kernel, found {}",
        found.data_dim,
        sizes.join("x")
    ))
    .into())
}

/// Whether two paths lead to one file.
fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Whether `path` leads to one of the checkpoint's files.
fn is_file_of(checkpoint: &Checkpoint, path: &Path) -> bool {
    let index = checkpoint.path().join(INDEX);
    let files = checkpoint.files().iter().map(CheckpointFile::path);
    let mut own = files.chain(checkpoint.config_path()).chain([checkpoint.path(), &index]);
    own.any(|own| is_same_file(own, path))
}

/// An error if the file that `flag` names is one of the checkpoint's: --force is not meant for those.
fn keep_checkpoint(flag: &str, output: Option<&Path>, checkpoint: &Checkpoint) -> Result<()> {
    let Some(output) = output else { return Ok(()) };
    if is_file_of(checkpoint, output) {
        let text = format!("{flag} {}: a file of the checkpoint: choose another", output.display());
        return Err(Usage(text).into());
    }
    Ok(())
}

/// The checkpoint that the user names.
fn open(path: &Path) -> Result<Checkpoint> {
    Ok(Checkpoint::open(hub::locate(path)?)?)
}

/// What a checkpoint holds; errors name it.
fn discover(checkpoint: &Checkpoint) -> Result<Discovery> {
    Ok(checkpoint.discover().map_err(|error| error.in_file(checkpoint.path()))?)
}

/// Says of what looks like a generator at `prefix` or below it, and is none, that it is left out.
fn warn_of_near_misses(discovery: &Discovery, prefix: Option<&str>) {
    let below = |miss: &&NearMiss| prefix.is_none_or(|prefix| is_below(&miss.prefix, prefix));
    for miss in discovery.near_misses().iter().filter(below) {
        printer::warn(format!("left out what is no FiLM generator: {}", miss.why));
    }
}

/// Says that a kernel's generator had nothing to do, where no report says so.
fn warn_of_generator(found: &FoundKernel) {
    if found.generator.is_some() {
        printer::warn(
            "drawn without the kernel's FiLM generator: give --registers, --conditioning or --random",
        );
    }
}

/// Says of a selection that failed which file it was made in and how to choose.
fn selection(error: Error, checkpoint: &Checkpoint) -> anyhow::Error {
    let file: &Path = match checkpoint.files() {
        [one] => one.path(),
        _ => checkpoint.path(),
    };
    let error = match error {
        Error::Selection(text) => {
            Error::Selection(text.replace("choose one by its prefix", "choose one by its --prefix"))
        }
        error => error,
    };
    error.in_file(file).into()
}
