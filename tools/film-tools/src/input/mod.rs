//! Conditioning or registers, from a file, from stdin or from a seed, read a few rows at a time.

mod json;
mod npy;

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use film_core::checkpoint::{Checkpoint, TensorInfo};
use film_core::init::Stream;
use film_core::{Error, short};

/// A tensor that is read by ranges of its elements.
#[derive(Debug)]
pub(crate) struct Input {
    /// What to call it in messages: the file, or the flag.
    pub(crate) name: PathBuf,
    pub(crate) shape: Vec<usize>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Safetensors(Box<Checkpoint>, TensorInfo),
    Npy(npy::Array),
    Json(json::Spool),
    Random { seed: u64 },
}

impl Input {
    /// Opens `FILE[:TENSOR]`, or JSON on stdin for `-`.
    pub(crate) fn open(text: &str) -> Result<Self> {
        if text == "-" {
            let spool = json::spool(std::io::stdin().lock()).context("standard input")?;
            return Ok(Self {
                name: "standard input".into(),
                shape: spool.shape.clone(),
                source: Source::Json(spool),
            });
        }
        let (path, tensor) = split(text);
        let extension = path.extension().and_then(|extension| extension.to_str());
        let (shape, source) = match (extension, tensor) {
            (Some("safetensors"), tensor) => {
                let checkpoint = Checkpoint::open(&path)?;
                let info =
                    choose(&checkpoint, tensor).map_err(|error| error.in_file(&path))?.clone();
                (info.shape.clone(), Source::Safetensors(Box::new(checkpoint), info))
            }
            (Some("npy"), None) => {
                let array = npy::Array::open(&path)?;
                (array.shape.clone(), Source::Npy(array))
            }
            (Some("json"), None) => {
                let spool = json::open(&path).with_context(|| path.display().to_string())?;
                (spool.shape.clone(), Source::Json(spool))
            }
            (Some("npy" | "json"), Some(_)) => {
                bail!("{}: holds one tensor without a name: leave out :TENSOR", path.display())
            }
            _ => bail!("{}: expected a .safetensors, .npy or .json file", path.display()),
        };
        Ok(Self { name: path, shape, source })
    }

    /// Random normal numbers, the same for the same seed however they are read.
    pub(crate) fn random(rows: usize, columns: usize, seed: u64) -> Result<Self> {
        if rows.checked_mul(columns).is_none() {
            bail!("--random {rows}: rows of {columns} numbers are more than can be counted");
        }
        let shape = vec![rows, columns];
        Ok(Self { name: "--random".into(), shape, source: Source::Random { seed } })
    }

    /// Rows `rows` of the tensor, seen as a matrix of rows of `width` elements.
    pub(crate) fn rows(
        &self,
        rows: Range<usize>,
        width: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let elements = rows.start * width..rows.end * width;
        let flat = match &self.source {
            Source::Safetensors(checkpoint, info) => {
                checkpoint.load_range(info, elements, &Device::Cpu)?
            }
            Source::Npy(array) => array.elements(elements)?,
            Source::Json(spool) => spool.elements(elements)?,
            Source::Random { seed } => random_rows(*seed, rows.clone(), width)?,
        };
        Ok(flat.to_dtype(dtype)?.to_device(device)?.reshape((rows.len(), width))?)
    }

    /// An error about the whole input.
    pub(crate) fn error(&self, expected: &str) -> anyhow::Error {
        let name = match &self.source {
            Source::Safetensors(_, tensor) => format!("{}:{}", self.name.display(), tensor.name),
            _ => self.name.display().to_string(),
        };
        Error::tensor(name, expected, format!("{:?}", self.shape)).into()
    }
}

fn random_rows(seed: u64, rows: Range<usize>, width: usize) -> Result<Tensor> {
    let count = rows.len() * width;
    let mut values = Vec::new();
    values.try_reserve_exact(count).with_context(|| format!("{} rows at once", rows.len()))?;
    for row in rows {
        let mut stream = Stream::new(seed, &format!("conditioning.{row}"));
        values.extend((0..width).map(|_| stream.normal()));
    }
    Ok(Tensor::from_vec(values, count, &Device::Cpu)?)
}

/// The path and the tensor: split at the first colon that ends a file's name, unless the whole is one; at
/// the last colon where no file is there.
fn split(text: &str) -> (PathBuf, Option<&str>) {
    if Path::new(text).exists() {
        return (text.into(), None);
    }
    let mut colons = text.match_indices(':').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let there = colons.find(|(path, _)| Path::new(path).is_file());
    match there.or_else(|| text.rsplit_once(':')) {
        Some((path, tensor)) if !path.is_empty() => (path.into(), Some(tensor)),
        _ => (text.into(), None),
    }
}

fn choose<'a>(checkpoint: &'a Checkpoint, tensor: Option<&str>) -> Result<&'a TensorInfo, Error> {
    let names = || {
        let name = |tensor: &TensorInfo| short(&tensor.name).to_string();
        let names: Vec<String> = checkpoint.tensors().iter().take(6).map(name).collect();
        let more = checkpoint.tensors().len() - names.len();
        names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    };
    match (tensor, checkpoint.tensors()) {
        (Some(name), _) => checkpoint.get(name).ok_or_else(|| {
            Error::Selection(format!("holds no tensor {name}; there are {}", names()))
        }),
        (None, [one]) => Ok(one),
        (None, []) => Err(Error::Selection("holds no tensor".into())),
        (None, _) => Err(Error::Selection(format!(
            "holds several tensors: choose one as FILE:TENSOR: {}",
            names()
        ))),
    }
}
