//! PyTorch pickles as files of tensors, read without running anything in them.
//!
//! ```text
//! file ─ archive or legacy ─▶ pickle, storages ─ machine ─▶ values ─ state_dict ─▶ tensors ─ gather ─▶ bytes
//! ```
//!
//! A pickle is a program: Python's own reader imports and calls whatever a file names. Here names are compared
//! with short lists. Containers and tensors are understood; classes that are known to be plain data, such as
//! `argparse.Namespace`, are noted and passed over; a call of anything else is refused by its name. A name that
//! is not called, such as a class that serves as a key, does no harm and is allowed.
//!
//! Read are the zip format and the one before it (`_use_new_zipfile_serialization=False`), of all protocols that
//! `torch.save` writes. Tensors may be contiguous or strided and may share storages. Quantized, sparse and other
//! tensors that safetensors cannot hold are an error where they stand among the weights.

mod archive;
mod call;
mod gather;
mod globals;
mod legacy;
mod machine;
mod state_dict;
mod stream;
mod tensors;
mod value;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;

use self::archive::Archive;
use self::gather::View;
pub(super) use self::legacy::MAGIC_LINE;
use self::state_dict::StateDict;
use self::stream::Stream;
use self::value::{TensorRef, Values, block};
use super::header;
use super::locate::{self, PICKLES};
use super::read::{Source, zeroed};
use crate::error::{Error, Result};
use crate::short::short;

/// Tensors may take this many times the file's bytes in all, by sharing and repeating elements, …
const MAX_EXPANSION: u64 = 64;
/// … or this many bytes.
const EXPANSION_FLOOR: u64 = 1 << 30;

/// Bytes of a file.
#[derive(Debug, Clone, Copy)]
struct Region {
    offset: u64,
    bytes: u64,
}

/// How to read a pickle.
#[derive(Debug, Clone, Default)]
pub struct PickleOptions {
    /// Which state dict, by its key or the keys that lead to it, joined by dots; empty for the whole object.
    /// Without it the only dict that holds tensors by name (and not just single numbers), or among several the
    /// one named `state_dict`.
    pub key: Option<String>,
    /// Whether objects of unknown classes are passed over like plain data, instead of refused. Nothing is run
    /// either way; functions that start programs or run code are refused all the same.
    pub skip_unknown: bool,
}

/// A tensor as a pickle describes it.
#[derive(Debug, Clone)]
pub struct PickleTensor {
    /// Its name in the state dict.
    pub name: String,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its shape; row-major order is what [`PickleCheckpoint::blocks`] makes of it.
    pub shape: Vec<usize>,
    file: usize,
    storage: usize,
    view: View,
}

impl PickleTensor {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// In which file its elements are, and in which of that file's storages: tied weights and views have the
    /// same.
    pub fn storage(&self) -> (usize, usize) {
        (self.file, self.storage)
    }
}

/// Something in a pickle that is not among the weights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// The keys that lead to it, joined by dots.
    pub path: String,
    /// What it is, in a few words.
    pub what: String,
    /// Tensors in it that stand nowhere else.
    pub tensors: usize,
}

/// One file of a checkpoint of pickles.
#[derive(Debug)]
pub struct PickleFile {
    source: Source,
    key: String,
    skipped: Vec<Skipped>,
}

impl PickleFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.source.bytes
    }

    /// The key of its state dict, or the keys that lead to it, joined by dots; empty for the whole object.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What else it holds: at most about a thousand entries, the last of which sums up the rest.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

/// The weights in PyTorch pickles: a file of any name, or several with an index.
///
/// ```no_run
/// use candle_core::Device;
/// use film_core::checkpoint::{PickleCheckpoint, PickleOptions};
/// let checkpoint = PickleCheckpoint::open("last.ckpt", &PickleOptions::default())?;
/// for tensor in checkpoint.tensors() {
///     println!("{} {:?}", tensor.name, checkpoint.load(tensor, &Device::Cpu)?.shape());
/// }
/// # Ok::<(), film_core::Error>(())
/// ```
#[derive(Debug)]
pub struct PickleCheckpoint {
    path: PathBuf,
    files: Vec<PickleFile>,
    tensors: Vec<PickleTensor>,
    config: Option<PathBuf>,
}

impl PickleCheckpoint {
    /// Whether what stands at `path` (a file, a directory or an index) are pickles, going by the content.
    ///
    /// # Errors
    /// If there is nothing, or it cannot be read.
    pub fn is_at(path: impl AsRef<Path>) -> Result<bool> {
        let located = locate::locate(path.as_ref(), &locate::EITHER, &mut Err)?;
        let Some(file) = located.files.first() else { return Ok(false) };
        let source = Source::open(file)?;
        Ok(form(&source)?.is_some())
    }

    /// Opens a pickle, a directory (pytorch_model.bin, or shards and pytorch_model.bin.index.json), or an
    /// index file. The pickles are read, the tensors are not.
    ///
    /// # Errors
    /// If something is missing, unreadable or malformed, calls for what is not understood, holds no state
    /// dict or several, or one with a tensor that safetensors cannot hold; the error names the file.
    pub fn open(path: impl AsRef<Path>, options: &PickleOptions) -> Result<Self> {
        let path = path.as_ref();
        let located = locate::locate(path, &PICKLES, &mut Err)?;
        let (mut files, mut tensors) = (Vec::new(), Vec::new());
        for (index, path) in located.files.iter().enumerate() {
            let source = Source::open(path)?;
            let (file, found) =
                read(source, index, options).map_err(|error| error.in_file(path))?;
            files.push(file);
            tensors.extend(found);
        }
        tensors.sort_by(|a: &PickleTensor, b| a.name.cmp(&b.name));
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(stands_twice(&pair[0].name).in_file(files[pair[1].file].path()));
        }
        if let Some(index) = &located.index {
            let paths: Vec<&Path> = files.iter().map(PickleFile::path).collect();
            index.check(&paths, &tensors, |tensor| (&tensor.name, tensor.file), &mut Err)?;
        }
        Ok(Self { path: path.into(), files, tensors, config: located.config })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its files, in the order of their names.
    pub fn files(&self) -> &[PickleFile] {
        &self.files
    }

    /// Its tensors, sorted by name.
    pub fn tensors(&self) -> &[PickleTensor] {
        &self.tensors
    }

    /// Where its config.json is, if there is one beside the weights.
    pub fn config_path(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Hands the tensor's elements to `each`, little-endian and in row-major order, a few MiB at a time.
    ///
    /// # Errors
    /// If the file changed under us, or `each` returns an error.
    pub fn blocks(
        &self,
        tensor: &PickleTensor,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        gather::blocks(&self.files[tensor.file].source, &tensor.view, &mut each)
    }

    /// Reads a tensor in its stored dtype.
    ///
    /// # Shapes
    /// → `[*shape]`
    ///
    /// # Errors
    /// If candle has no such dtype, there is too little memory, or the file changed under us.
    pub fn load(&self, tensor: &PickleTensor, device: &Device) -> Result<Tensor> {
        let dtype = DType::try_from(tensor.dtype).map_err(|_| {
            let found = tensor.dtype.to_string();
            Error::tensor(&tensor.name, "a dtype that candle can load", found)
        })?;
        let mut bytes = zeroed((tensor.count() * tensor.view.size) as u64)?;
        let mut filled = 0;
        self.blocks(tensor, |block| {
            bytes[filled..filled + block.len()].copy_from_slice(block);
            filled += block.len();
            Ok(())
        })?;
        Ok(Tensor::from_raw_buffer(&bytes, dtype, &tensor.shape, device)?)
    }
}

fn stands_twice(name: &str) -> Error {
    Error::Format(format!("tensor {:?} stands twice", short(name)))
}

/// The forms that pickles come in.
enum Form {
    Zip,
    Legacy,
    Tar,
}

/// Which form of pickle a file is, if it is one.
fn form(source: &Source) -> Result<Option<Form>> {
    let mut start = [0; 512];
    let start = &mut start[..source.bytes.min(512) as usize];
    source.read_at(start, 0)?;
    // The length of a safetensors header may look like the beginning of a pickle.
    if header::may_begin(start, source.bytes) {
        return Ok(None);
    }
    let is_npz = start.windows(4).any(|window| window == b".npy");
    Ok(match start {
        [b'P', b'K', 3, 4, ..] if !is_npz => Some(Form::Zip),
        [0x80, 0..=5, ..] => Some(Form::Legacy),
        [..] if start.starts_with(MAGIC_LINE) => Some(Form::Legacy),
        [..] if start.get(257..262) == Some(b"ustar") => Some(Form::Tar),
        _ => None,
    })
}

/// Reads one file, number `index`.
fn read(
    source: Source,
    index: usize,
    options: &PickleOptions,
) -> Result<(PickleFile, Vec<PickleTensor>)> {
    let (values, root, regions, big_endian) = match form(&source)? {
        Some(Form::Zip) => {
            let mut archive = Archive::open(&source)?;
            let Region { offset, bytes } = archive.pickle;
            let mut values = Values::new(bytes, source.bytes);
            let mut stream = Stream::new(&source, offset, offset + bytes);
            let root = machine::load(&mut stream, &mut values, options.skip_unknown)?;
            let regions = archive.storages(&values)?;
            (values, root, regions, archive.big_endian)
        }
        Some(Form::Legacy) => {
            let mut values = Values::new(source.bytes, source.bytes);
            let (root, regions) = legacy::read(&source, &mut values, options.skip_unknown)?;
            (values, root, regions, false)
        }
        Some(Form::Tar) => {
            let text = "a tar archive, PyTorch's format before 2017: load it with PyTorch and save it again";
            return Err(Error::Format(text.into()));
        }
        None => return Err(Error::Format("not a PyTorch pickle".into())),
    };
    let state_dict = StateDict::find(&values, root, options.key.as_deref())?;
    let (mut tensors, mut total) = (Vec::new(), 0u64);
    let weights = state_dict.tensors(&values)?;
    values.afford(weights.iter().map(|(name, tensor)| taken(name, tensor)).sum())?;
    for (name, tensor) in weights {
        let storage = tensor.storage.storage;
        let region = regions[storage].ok_or_else(|| {
            let found =
                format!("the bytes of storage {:?} are missing", values.storages()[storage].key);
            Error::tensor(name, "a storage in the file", found)
        })?;
        let view = view(name, tensor, region, big_endian)?;
        let count: u64 = tensor.shape.iter().product::<usize>() as u64;
        total = total.saturating_add(count * view.size as u64);
        tensors.push(PickleTensor {
            name: name.into(),
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            file: index,
            storage,
            view,
        });
    }
    if total > EXPANSION_FLOOR.max(source.bytes.saturating_mul(MAX_EXPANSION)) {
        let text = format!(
            "{} bytes would become {total}: its tensors repeat their elements too often",
            source.bytes
        );
        return Err(Error::Format(text));
    }
    let (key, skipped) = (state_dict.key(&values), state_dict.skipped(&values));
    Ok((PickleFile { source, key, skipped }, tensors))
}

/// The memory that a [`PickleTensor`] takes.
fn taken(name: &str, tensor: &TensorRef) -> usize {
    let axes = block(3 * tensor.shape.len() * size_of::<usize>());
    size_of::<PickleTensor>() + block(name.len()) + axes
}

/// Where a tensor's elements are in the file.
fn view(name: &str, tensor: &TensorRef, region: Region, big_endian: bool) -> Result<View> {
    let storage = &tensor.storage;
    let claimed = storage.start.saturating_add(storage.bytes);
    if claimed > region.bytes {
        let expected = format!("a storage of {claimed} bytes");
        return Err(Error::tensor(name, expected, region.bytes.to_string()));
    }
    let element = storage.element;
    let axes = tensor.shape.iter().copied().zip(tensor.strides.iter().copied()).collect();
    Ok(View {
        // Of an empty tensor the offset may be anything, and is not looked at.
        offset: (region.offset + storage.start)
            .saturating_add(tensor.offset.saturating_mul(element.bytes)),
        size: element.bytes as usize,
        swapped: if big_endian { element.word } else { 1 },
        axes,
    })
}
