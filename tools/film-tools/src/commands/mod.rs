//! One file a subcommand.

mod conv;
mod flops;
mod init;
mod inspect;
mod kernel;
mod run;

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Device;
use film_core::checkpoint::{Checkpoint, Discovery, KernelSettings, read_json_object};
use film_core::{Error, KernelFilmConfig};
use serde_json::{Map, Value};

use crate::args::{Command, DeviceName, Sizes};

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

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Init(args) => init::run(args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Flops(args) => flops::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Kernel(args) => kernel::run(&args),
        Command::Conv(args) => conv::run(&args),
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
            Some(path) => read_json_object(path)?,
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

/// What a checkpoint holds; errors name it.
fn discover(checkpoint: &Checkpoint) -> Result<Discovery> {
    Ok(checkpoint.discover().map_err(|error| error.in_file(checkpoint.path()))?)
}

/// What a checkpoint's config.json says of its kernels; errors name it.
pub(crate) fn kernel_settings(checkpoint: &Checkpoint) -> Result<KernelSettings> {
    let settings = KernelSettings::from_json(&checkpoint.config()?.unwrap_or_default());
    Ok(settings
        .map_err(|error| error.in_file(checkpoint.config_path().unwrap_or(checkpoint.path())))?)
}

/// Says of a selection that failed which file it was made in and how to choose.
fn selection(error: Error, checkpoint: &Checkpoint) -> anyhow::Error {
    let file: &Path = match checkpoint.files() {
        [one] => one.path(),
        _ => checkpoint.path(),
    };
    error.in_file(file).into()
}

fn device(name: DeviceName) -> Result<Device> {
    match name {
        DeviceName::Cpu => Ok(Device::Cpu),
        DeviceName::Cuda(ordinal) => {
            Device::new_cuda(ordinal).with_context(|| format!("--device cuda:{ordinal}"))
        }
        DeviceName::Metal => Device::new_metal(0).context("--device metal"),
    }
}
