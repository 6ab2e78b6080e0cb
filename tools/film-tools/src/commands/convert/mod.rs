//! `convert`: pickles or safetensors in, safetensors out, block by block.

mod input;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::DType;
use film_core::Error;
use film_core::checkpoint::{
    CONFIG, Cast, CheckpointWriter, Dtype, INDEX, PickleOptions, Skipped, read_config, strip_prefix,
};
use serde::Serialize;

use self::input::{Tensor, Weights};
use super::select::Select;
use super::{SCHEMA_VERSION, Usage, is_same_file, plural};
use crate::args::Convert;
use crate::output::{Progress, number, size};
use crate::printer;

/// Entries beside the weights that are listed one by one.
const LISTED: usize = 20;

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    input: String,
    format: &'static str,
    /// Where in a pickle the state dict stands; `null` for the whole of it.
    key: Option<String>,
    tensors: usize,
    parameters: u64,
    bytes: u64,
    dtypes: BTreeMap<String, u64>,
    /// Tensors in the input that `--select` left out.
    not_selected: usize,
    /// Tensors whose storages others before them have too; each is written in full.
    shared: usize,
    /// Finite numbers that `--dtype` made infinite, by tensor.
    overflowed: BTreeMap<String, u64>,
    skipped: Vec<Left>,
    files: Vec<File>,
}

/// Something that is not in the output.
#[derive(Serialize)]
struct Left {
    path: String,
    what: String,
    tensors: usize,
}

#[derive(Serialize)]
struct File {
    path: String,
    bytes: u64,
}

/// A tensor on its way.
struct Item<'a> {
    tensor: Tensor<'a>,
    /// What it is called in the output.
    name: &'a str,
    cast: Option<Cast>,
    dtype: Dtype,
    /// Finite numbers that the cast made infinite.
    overflowed: u64,
}

pub(crate) fn run(args: &Convert) -> Result<()> {
    if args.output == Path::new("-") {
        let text = "OUT: expected a .safetensors file or a directory, found - (./- is a directory)";
        return Err(Usage(text.into()).into());
    }
    let to_file = is_file(&args.output);
    if to_file && args.max_shard_size.is_some() {
        let text = "--max-shard-size: several files take a directory as OUT";
        return Err(Usage(text.into()).into());
    }
    let select = Select::parse("--select", args.select.as_deref())?;
    let options = PickleOptions { key: args.key.clone(), skip_unknown: args.skip_unknown };
    let weights = Weights::open(&args.input, &options)?;
    if args.key.is_some() && weights.format() != "pickle" {
        return Err(Usage("--key: only a pickle has state dicts to choose from".into()).into());
    }
    let mut items = items(args, select.as_ref(), &weights)?;
    let entries = items.iter().map(|item| (item.name.into(), item.dtype, item.tensor.shape.into()));
    let writer = if to_file {
        CheckpointWriter::file(&args.output, entries, args.force)?
    } else {
        let config = config(args, &weights)?;
        let limit = args.max_shard_size;
        CheckpointWriter::directory(&args.output, config.as_deref(), entries, limit, args.force)
            .map_err(name_flag)?
    };
    keep_input(&args.output, &weights, items.len(), &writer)?;
    let files = write(&weights, &mut items, writer)?;
    let report = report(args, &weights, &items, &files);
    say(args, &report);
    if to_file && weights.config_path().is_some() {
        printer::say("config.json stays behind: a directory as OUT takes it along");
    }
    if args.json { printer::json(&report) } else { Ok(()) }
}

/// Whether OUT is one file.
fn is_file(output: &Path) -> bool {
    output.extension().is_some_and(|extension| extension == "safetensors") && !output.is_dir()
}

/// The tensors that are asked for, by their names in the output.
fn items<'a>(
    args: &Convert,
    select: Option<&Select>,
    weights: &'a Weights,
) -> Result<Vec<Item<'a>>> {
    let prefix = args.strip_prefix.as_deref();
    let to: Option<Dtype> = args.dtype.map(DType::into);
    let item = |tensor: Tensor<'a>| {
        let Tensor { name, dtype, .. } = tensor;
        let stripped = prefix.and_then(|prefix| strip_prefix(name, prefix));
        let cast = to.filter(|&to| to != dtype).and_then(|to| Cast::new(dtype, to));
        Item {
            name: stripped.unwrap_or(name),
            dtype: to.filter(|_| cast.is_some()).unwrap_or(dtype),
            cast,
            overflowed: 0,
            tensor,
        }
    };
    let wanted = |tensor: &Tensor| select.is_none_or(|select| select.matches(tensor.name));
    let items: Vec<Item> = weights.tensors().filter(wanted).map(item).collect();
    let nothing = |text: String| Error::Selection(text).in_file(&args.input);
    if items.is_empty() {
        let text = select.map_or("holds no tensor".into(), Select::missed);
        return Err(nothing(text).into());
    }
    if let Some(prefix) = prefix {
        if items.iter().all(|item| item.name == item.tensor.name) {
            return Err(nothing(format!("no tensor stands below --strip-prefix {prefix}")).into());
        }
        let mut names: Vec<&str> = items.iter().map(|item| item.name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let text = format!("--strip-prefix {prefix}: two tensors would be {:?}", pair[0]);
            return Err(nothing(text).into());
        }
    }
    Ok(items)
}

/// The config.json that goes along. One that is there already is no obstacle.
fn config(args: &Convert, weights: &Weights) -> Result<Option<Vec<u8>>> {
    let Some(path) = weights.config_path() else { return Ok(None) };
    let there = args.output.join(CONFIG);
    if !args.force && is_same_file(path, &there) {
        return Ok(None);
    }
    Ok(Some(read_config(path)?))
}

/// An error if files of the input are replaced by less than they hold.
fn keep_input(
    output: &Path,
    weights: &Weights,
    kept: usize,
    writer: &CheckpointWriter,
) -> Result<()> {
    let files = weights.files();
    let index = weights.path().join(INDEX);
    let mut inputs = files.iter().copied().chain([weights.path(), &index]);
    let replaced: HashSet<PathBuf> =
        writer.replaces()?.iter().filter_map(|path| path.canonicalize().ok()).collect();
    if !inputs.any(|path| path.canonicalize().is_ok_and(|path| replaced.contains(&path))) {
        return Ok(());
    }
    let skipped: usize = weights.skipped().iter().map(|skipped| skipped.tensors).sum();
    let lost = weights.count() + skipped - kept;
    let text = match lost {
        0 if files.len() > 1 && is_file(output) => "is one of several files of IN".into(),
        0 => return Ok(()),
        lost => format!("takes the place of IN, and {} would be lost", plural(lost, "tensor")),
    };
    Err(Usage(format!("{}: {text}: choose another OUT", output.display())).into())
}

/// What the library says of a setting, said of the flag that gives it.
fn name_flag(error: Error) -> Error {
    match error {
        Error::Config { key, expected, found } if key == "max_shard_bytes" => {
            Error::config("--max-shard-size", expected, found)
        }
        error => error,
    }
}

/// Copies the tensors, cast where that is asked for, and puts the files in place.
fn write(
    weights: &Weights,
    items: &mut [Item],
    mut writer: CheckpointWriter,
) -> Result<Vec<(PathBuf, u64)>> {
    let progress = Progress::new(items.len(), "tensors");
    let mut converted = Vec::new();
    for item in items {
        let mut written = 0;
        weights.blocks(&item.tensor, |block| {
            let block = match item.cast {
                Some(cast) => {
                    item.overflowed += cast.apply(block, &mut converted);
                    &converted
                }
                None => block,
            };
            writer.write(item.name, written, block)?;
            written += block.len() as u64;
            Ok(())
        })?;
        progress.advance(1);
    }
    progress.finish();
    Ok(writer.commit()?)
}

fn report(args: &Convert, weights: &Weights, items: &[Item], files: &[(PathBuf, u64)]) -> Report {
    let file =
        |(path, bytes): &(PathBuf, u64)| File { path: path.display().to_string(), bytes: *bytes };
    let mut dtypes = BTreeMap::new();
    let (mut parameters, mut bytes) = (0, 0);
    for item in items {
        let count = item.tensor.shape.iter().product::<usize>() as u64;
        *dtypes.entry(item.dtype.to_string()).or_default() += count;
        parameters += count;
        bytes += count * item.dtype.bitsize() as u64 / 8;
    }
    let storages: Vec<_> = items.iter().filter_map(|item| item.tensor.storage).collect();
    let overflowed = items.iter().filter(|item| item.overflowed > 0);
    let left = |Skipped { path, what, tensors }| Left { path, what, tensors };
    Report {
        schema_version: SCHEMA_VERSION,
        input: args.input.display().to_string(),
        format: weights.format(),
        key: weights.key().map(Into::into),
        tensors: items.len(),
        parameters,
        bytes,
        dtypes,
        not_selected: weights.count() - items.len(),
        shared: storages.len() - storages.iter().collect::<HashSet<_>>().len(),
        overflowed: overflowed.map(|item| (item.name.into(), item.overflowed)).collect(),
        skipped: weights.skipped().into_iter().map(left).collect(),
        files: files.iter().map(file).collect(),
    }
}

/// What was done, for the person at the terminal.
fn say(args: &Convert, report: &Report) {
    for Left { path, what, tensors } in report.skipped.iter().take(LISTED) {
        let tensors = match tensors {
            0 => String::new(),
            count => format!(", {}", plural(*count, "tensor")),
        };
        printer::say(format!("skipped {path}: {what}{tensors}"));
    }
    if report.skipped.len() > LISTED {
        let more = number((report.skipped.len() - LISTED) as u64);
        printer::say(format!("skipped {more} more; --json lists them"));
    }
    if report.shared > 0 {
        let count = number(report.shared as u64);
        printer::say(format!(
            "{count} of the tensors share storages with others; each is written in full"
        ));
    }
    let lost: u64 = report.overflowed.values().sum();
    if let Some(first) = report.overflowed.keys().next() {
        let tensors = report.overflowed.len();
        let of =
            if tensors == 1 { first.clone() } else { format!("{tensors} tensors, {first} first") };
        printer::warn(format!("{} finite numbers became infinite, of {of}", number(lost)));
    }
    let dtypes: Vec<&str> = report.dtypes.keys().map(String::as_str).collect();
    printer::say(format!(
        "wrote {}: {}, {}, {}, {}",
        args.output.display(),
        plural(report.tensors, "tensor"),
        plural(report.parameters as usize, "parameter"),
        size(report.bytes),
        dtypes.join(" + ")
    ));
}
