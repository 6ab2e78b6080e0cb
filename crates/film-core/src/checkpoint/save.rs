//! Writing checkpoints: the same weights give the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use super::layout::Entry;
use super::locate::CONFIG;
use super::writer::CheckpointWriter;
use crate::error::{Error, Result};

/// Writes `directory`/config.json and `directory`/model.safetensors.
///
/// Both are complete and flushed in temporary files before either is renamed into place: config.json first, then the
/// weights, right after. Should the system refuse the second, or stop between them, the new config.json stands beside
/// the weights that were there before, or beside none: see [`CheckpointWriter::commit`].
///
/// # Shapes
/// tensors of any shape, by their checkpoint names
///
/// # Errors
/// If `directory` is something else or holds one of the two, or another checkpoint's shards or index, and
/// `overwrite` is false, or the system cannot write; then neither changes. If the second rename fails, see above.
pub fn save<'a>(
    directory: &Path,
    config: &impl Serialize,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    overwrite: bool,
) -> Result<()> {
    save_sharded(directory, config, tensors, u64::MAX, overwrite)
}

/// Writes `directory`/config.json and the weights, in several files with an index if one would be larger
/// than `max_shard_bytes`: see [`CheckpointWriter`].
///
/// # Shapes
/// tensors of any shape, by their checkpoint names
///
/// # Errors
/// Those of [`save`].
pub fn save_sharded<'a>(
    directory: &Path,
    config: &impl Serialize,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    max_shard_bytes: u64,
    overwrite: bool,
) -> Result<()> {
    let mut json = serde_json::to_string_pretty(config)
        .map_err(|error| Error::Format(error.to_string()).in_file(&directory.join(CONFIG)))?;
    json.push('\n');
    let tensors: BTreeMap<&str, &Tensor> = tensors.into_iter().collect();
    let (config, limit) = (Some(json.as_bytes()), Some(max_shard_bytes));
    let writer =
        CheckpointWriter::directory(directory, config, entries(&tensors), limit, overwrite)?;
    fill(writer, &tensors)
}

/// Writes one safetensors file, which appears whole or not at all.
///
/// # Shapes
/// tensors of any shape, by their names
///
/// # Errors
/// If `path` exists and `overwrite` is false, or the system cannot write; then it does not change.
pub fn save_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    overwrite: bool,
) -> Result<()> {
    let tensors: BTreeMap<&str, &Tensor> = tensors.into_iter().collect();
    fill(CheckpointWriter::file(path, entries(&tensors), overwrite)?, &tensors)
}

fn entries(tensors: &BTreeMap<&str, &Tensor>) -> Vec<Entry> {
    let entry = |(name, tensor): (&&str, &&Tensor)| {
        ((*name).into(), tensor.dtype().into(), tensor.dims().into())
    };
    tensors.iter().map(entry).collect()
}

/// Writes the tensors and puts the files in place.
fn fill(mut writer: CheckpointWriter, tensors: &BTreeMap<&str, &Tensor>) -> Result<()> {
    for (name, tensor) in tensors {
        writer.write(name, 0, &to_le_bytes(tensor)?)?;
    }
    writer.commit().map(drop)
}

/// A tensor's elements in row-major order, as safetensors stores them.
///
/// # Shapes
/// `[*shape]`
///
/// # Errors
/// If the tensor cannot be read back from its device, or its dtype cannot be stored.
pub fn to_le_bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
    macro_rules! bytes {
        ($t:ty, $to_bytes:expr) => {
            flat.to_vec1::<$t>()?.into_iter().flat_map($to_bytes).collect()
        };
    }
    Ok(match flat.dtype() {
        DType::U8 => flat.to_vec1::<u8>()?,
        DType::U32 => bytes!(u32, u32::to_le_bytes),
        DType::I16 => bytes!(i16, i16::to_le_bytes),
        DType::I32 => bytes!(i32, i32::to_le_bytes),
        DType::I64 => bytes!(i64, i64::to_le_bytes),
        DType::F8E4M3 => bytes!(float8::F8E4M3, |x| [x.to_bits()]),
        DType::F16 => bytes!(half::f16, half::f16::to_le_bytes),
        DType::BF16 => bytes!(half::bf16, half::bf16::to_le_bytes),
        DType::F32 => bytes!(f32, f32::to_le_bytes),
        DType::F64 => bytes!(f64, f64::to_le_bytes),
        other => return Err(Error::tensor("tensor", "a dtype that can be stored", other.as_str())),
    })
}
