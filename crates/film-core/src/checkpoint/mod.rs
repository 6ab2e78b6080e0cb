//! Safetensors checkpoints: open, look into, load, save. The only file I/O in the crate.
//!
//! ```text
//! path ─ locate ─▶ files ─ header ─▶ names and shapes ─ discover ─▶ generators
//!                                          └─ read ─▶ tensors ─ builder ─▶ VarBuilder
//! pickles ─ pickle ─▶ tensors                     path ─ verify ─▶ everything that is wrong
//! tensors ─ save, shards, layout ─▶ writer ─▶ atomic ─▶ path   two checkpoints ─ compare ─▶ how they differ
//! a generator, kernel or convolution ─ extract ─▶ writer
//! ```
//!
//! Opening reads the headers alone: 8 + N bytes a file. A tensor's bytes are read when it is asked
//! for, by position and straight into the buffer that candle keeps. They are not memory-mapped: a
//! mapped file that another process shortens kills the reader, a read of it is an error. What is read,
//! from where and how fast is told to the [`log`], at level debug.

mod atomic;
mod builder;
mod cast;
mod compare;
mod discover;
mod entries;
mod extract;
mod hash;
mod header;
mod index;
mod layout;
mod locate;
mod names;
mod parallel;
mod pickle;
mod problems;
mod read;
mod save;
mod shards;
mod values;
mod verify;
mod writer;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::json;
use crate::short::short;
pub use locate::{CONFIG, INDEX, WEIGHTS};
use locate::{Located, Report};
use read::Source;

pub use atomic::{AtomicFile, OutputDirectory};
pub use cast::Cast;
pub use compare::{Comparison, Difference, Pair, Renamed, Side, Tolerance, compare};
pub use discover::{
    Discovery, Encoder, FoundConv, FoundEncoder, FoundGenerator, FoundKernel, FoundMask,
    KernelSettings, Module, NearMiss, is_below, join, strip_prefix,
};
pub use extract::Extraction;
pub use hash::Digest;
pub use header::TensorInfo;
pub use index::stays_inside;
pub use layout::Layout;
pub use pickle::{PickleCheckpoint, PickleFile, PickleOptions, PickleTensor, Skipped};
pub use safetensors::Dtype;
pub use save::{save, save_sharded, save_tensors, to_le_bytes};
pub use values::Values;
pub use verify::{Verified, verify};
pub use writer::CheckpointWriter;

/// One safetensors file of a checkpoint.
#[derive(Debug)]
pub struct CheckpointFile {
    source: Source,
    metadata: Vec<(String, String)>,
    /// Where the tensors' bytes begin.
    data: u64,
}

impl CheckpointFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.source.bytes
    }

    /// Its `__metadata__`, sorted by key.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }
}

/// A safetensors checkpoint: one file or several shards, and perhaps a config.json.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<CheckpointFile>,
    tensors: Vec<TensorInfo>,
    config: Option<PathBuf>,
}

impl Checkpoint {
    /// Opens a .safetensors file, a directory (model.safetensors, or shards and
    /// model.safetensors.index.json; with or without config.json), or an index file.
    ///
    /// # Errors
    /// If something is missing, unreadable, not a regular file, or breaks a rule of the format; the
    /// error names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::gather(path.as_ref(), &mut Err)?.0)
    }

    /// Opens what can be read of a checkpoint; everything that is wrong is reported, in the order of the files.
    fn gather(path: &Path, report: &mut Report) -> Result<(Self, Located)> {
        let located = locate::locate(path, &locate::SAFETENSORS, report)?;
        let (mut files, mut tensors) =
            (Vec::with_capacity(located.files.len()), Vec::<TensorInfo>::new());
        for file in &located.files {
            let opened = Source::open(file).and_then(|source| {
                let header = header::read(&source, files.len());
                Ok((source, header.map_err(|error| error.in_file(file))?))
            });
            let (source, header) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    report(error)?;
                    continue;
                }
            };
            log::debug!("{}: {} tensors in its header", file.display(), header.tensors.len());
            for problem in &header.problems {
                report(header::malformed(problem).in_file(file))?;
            }
            match tensors.is_empty() {
                true => tensors = header.tensors,
                false => tensors.extend(header.tensors),
            }
            files.push(CheckpointFile { source, metadata: header.metadata, data: header.data });
        }
        if files.len() > 1 {
            tensors.sort_by(|a, b| a.name.cmp(&b.name));
        }
        if let Some(index) = &located.index {
            let paths: Vec<&Path> = files.iter().map(CheckpointFile::path).collect();
            index.check(&paths, &tensors, |tensor| (&tensor.name, tensor.file), report)?;
        }
        for pair in tensors.windows(2).filter(|pair| pair[0].name == pair[1].name) {
            let shards = [pair[0].file, pair[1].file];
            // A header in which a name stands twice has said so.
            if shards[0] != shards[1] {
                let shards = shards.map(|file| files[file].path().display());
                let name = short(&pair[0].name);
                let text = format!("{name}: stands in both {} and {}", shards[0], shards[1]);
                report(Error::Format(text).in_file(path))?;
            }
        }
        tensors.dedup_by(|later, first| later.name == first.name);
        let config = located.config.clone();
        Ok((Self { path: path.into(), files, tensors, config }, located))
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its files, in the order of their names.
    pub fn files(&self) -> &[CheckpointFile] {
        &self.files
    }

    /// Its tensors, sorted by name.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The file that holds `tensor`.
    pub fn file_of(&self, tensor: &TensorInfo) -> &CheckpointFile {
        &self.files[tensor.file]
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        let found = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        Some(&self.tensors[found])
    }

    /// The tensors whose names begin with `prefix`.
    pub fn starting_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a TensorInfo> {
        let start = self.tensors.partition_point(|tensor| tensor.name.as_str() < prefix);
        self.tensors[start..].iter().take_while(move |tensor| tensor.name.starts_with(prefix))
    }

    /// Where its config.json is, if there is one beside the weights.
    pub fn config_path(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// What its config.json says, if there is one.
    ///
    /// # Errors
    /// If it cannot be read or is not a JSON object.
    pub fn config(&self) -> Result<Option<Map<String, Value>>> {
        self.config.as_deref().map(read_json_object).transpose()
    }

    /// The generators and register encoders in it, by name and shape.
    ///
    /// # Errors
    /// If its config.json cannot be read, or contradicts the shapes.
    pub fn discover(&self) -> Result<Discovery> {
        Discovery::new(self, &self.config()?.unwrap_or_default())
    }

    /// Reads a tensor in its stored dtype.
    ///
    /// # Shapes
    /// → `[*shape]`
    ///
    /// # Errors
    /// If candle has no such dtype, or the file changed under us.
    pub fn load(&self, tensor: &TensorInfo, device: &Device) -> Result<Tensor> {
        let flat = self.load_range(tensor, 0..tensor.count(), device)?;
        Ok(flat.reshape(tensor.shape.as_slice())?)
    }

    /// Hands the tensor's bytes to `each` as they are stored, a MiB at a time.
    ///
    /// # Errors
    /// If the file changed under us, or `each` returns an error.
    pub fn blocks(&self, tensor: &TensorInfo, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; tensor.bytes.min(1 << 20) as usize];
        self.for_blocks(tensor, &mut buffer, each)
    }

    /// Reads some of a tensor's elements, in row-major order and in its stored dtype.
    ///
    /// # Shapes
    /// → `[elements.len()]`
    ///
    /// # Errors
    /// If the range reaches beyond the tensor, candle has no such dtype, or the file changed under us.
    pub fn load_range(
        &self,
        tensor: &TensorInfo,
        elements: std::ops::Range<usize>,
        device: &Device,
    ) -> Result<Tensor> {
        let source = &self.files[tensor.file].source;
        let flat = read::elements(source, tensor, elements)
            .map_err(|error| error.in_file(&source.path))?;
        Ok(flat.to_device(device)?)
    }
}

impl Checkpoint {
    /// Reads some of a tensor's stored bytes, from its byte number `offset` on, into the whole of `buffer`.
    ///
    /// # Errors
    /// If there are not that many, or the file changed under us.
    pub fn read_bytes(&self, tensor: &TensorInfo, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let source = &self.files[tensor.file].source;
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > tensor.bytes) {
            let expected = format!("at most {} bytes", tensor.bytes);
            let found = format!("{} from byte {offset} on", buffer.len());
            return Err(Error::tensor(&tensor.name, expected, found).in_file(&source.path));
        }
        source.read_at(buffer, tensor.offset + offset)
    }

    /// Shows a tensor's stored bytes to `see`, in their order and as many at once as `buffer` takes.
    fn for_blocks(
        &self,
        tensor: &TensorInfo,
        buffer: &mut [u8],
        mut see: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        for (offset, length) in blocks(tensor.bytes, buffer.len()) {
            let block = &mut buffer[..length];
            self.read_bytes(tensor, offset, block)?;
            see(block)?;
        }
        Ok(())
    }
}

/// `bytes` in blocks of at most `most`: where each begins, and its length.
fn blocks(bytes: u64, most: usize) -> impl Iterator<Item = (u64, usize)> {
    let begins = (0..bytes).step_by(most.max(1));
    begins.map(move |begin| (begin, (bytes - begin).min(most as u64) as usize))
}

/// The largest config.json that is read. In memory a value takes up to 16 times its text.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// Reads the bytes of a config.json, or of another file that should be as small: at most 16 MiB.
///
/// # Errors
/// If it cannot be read, is larger, or is a pipe or a device, for which nobody waits; the error names the file.
pub fn read_config(path: &Path) -> Result<Vec<u8>> {
    Source::open(path)?.read_at_most(MAX_JSON_BYTES)
}

/// Reads a file that holds a JSON object of at most 16 MiB and 131,072 values.
///
/// # Errors
/// Those of [`read_config`], or if it holds something else; the error names the file.
pub fn read_json_object(path: &Path) -> Result<Map<String, Value>> {
    json::object(&read_config(path)?)
        .map_err(|error| Error::Format(format!("not a JSON object: {error}")).in_file(path))
}
