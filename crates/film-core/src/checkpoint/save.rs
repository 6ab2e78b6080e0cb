//! Writing checkpoints: the same weights give the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use serde::Serialize;

use super::entries::METADATA;
use super::header::MAX_HEADER_BYTES;
use super::locate::CONFIG;
use super::names::MAX_NAME;
use super::shards::Entry;
use super::writer::CheckpointWriter;
use crate::error::{Error, Result};
use crate::short::short;

/// The header of a safetensors file to be, and where each tensor's bytes go.
///
/// Tensors are laid out by falling alignment, then by name, so the bytes depend on nothing else.
/// The metadata is `{"format": "pt"}`, which `transformers`-style loaders ask for.
#[derive(Debug, Clone)]
pub struct Layout {
    header: Vec<u8>,
    tensors: BTreeMap<String, Place>,
    bytes: u64,
}

#[derive(Debug, Clone)]
struct Place {
    dtype: Dtype,
    offset: u64,
    bytes: u64,
}

impl Layout {
    /// Lays out tensors of these names, dtypes and shapes.
    ///
    /// # Errors
    /// If a name stands twice or is `__metadata__`, names are too long for the format, or sizes overflow.
    pub fn new(tensors: impl IntoIterator<Item = (String, Dtype, Vec<usize>)>) -> Result<Self> {
        let mut tensors: Vec<_> = tensors.into_iter().collect();
        tensors.sort_by(|(a, a_dtype, _), (b, b_dtype, _)| {
            b_dtype.bitsize().cmp(&a_dtype.bitsize()).then_with(|| a.cmp(b))
        });
        let mut json = serde_json::Map::new();
        json.insert(METADATA.into(), serde_json::json!({"format": "pt"}));
        let mut places = BTreeMap::new();
        let mut end = 0u64;
        for (name, dtype, shape) in tensors {
            if name == METADATA {
                let expected = "a name that the format does not reserve";
                return Err(Error::tensor(&name, expected, format!("{name:?}")));
            }
            if name.len() > MAX_NAME {
                let expected = format!("a name of at most {MAX_NAME} bytes");
                let bytes = name.len().to_string();
                return Err(Error::tensor(short(&name).to_string(), expected, bytes));
            }
            let start = end;
            end = start.checked_add(stored_bytes(&name, dtype, &shape)?).ok_or_else(|| {
                let detail = format!("shape {shape:?} of {dtype}");
                Error::Overflow { what: format!("{}: the end", short(&name)), detail }
            })?;
            let entry = serde_json::json!({"dtype": dtype.to_string(), "shape": shape, "data_offsets": [start, end]});
            let place = Place { dtype, offset: start, bytes: end - start };
            if json.insert(name.clone(), entry).is_some()
                || places.insert(name.clone(), place).is_some()
            {
                return Err(Error::tensor(name, "one tensor of that name", "two"));
            }
        }
        let mut text = serde_json::Value::Object(json).to_string();
        // The data begins at a multiple of 8, as loaders that map the file want it.
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        if text.len() as u64 > MAX_HEADER_BYTES {
            let text = format!("{} bytes of names are too many for a safetensors file", text.len());
            return Err(Error::Format(text));
        }
        let header = [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
        for place in places.values_mut() {
            place.offset += header.len() as u64;
        }
        Ok(Self { bytes: header.len() as u64 + end, header, tensors: places })
    }

    /// The bytes in front of the tensors.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The whole file's size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where a tensor's bytes begin in the file, and how many they are.
    pub fn place(&self, name: &str) -> Option<(u64, u64)> {
        self.tensors.get(name).map(|place| (place.offset, place.bytes))
    }

    /// A tensor's dtype.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|place| place.dtype)
    }
}

/// What a tensor takes in a file.
pub(super) fn stored_bytes(name: &str, dtype: Dtype, shape: &[usize]) -> Result<u64> {
    let bits =
        shape.iter().try_fold(dtype.bitsize() as u64, |bits, &size| bits.checked_mul(size as u64));
    bits.map(|bits| bits / 8).ok_or_else(|| {
        let detail = format!("shape {shape:?} of {dtype}");
        Error::Overflow { what: format!("{}: the size", short(name)), detail }
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_tensors_come_first_then_names() {
        let tensor = |name: &str, dtype| (name.to_string(), dtype, vec![2]);
        let layout = Layout::new([
            tensor("b", Dtype::F32),
            tensor("c", Dtype::F16),
            tensor("a", Dtype::F32),
            tensor("d", Dtype::F64),
        ]);
        let layout = layout.unwrap();
        let (length, text) = layout.header().split_at(8);
        assert_eq!(u64::from_le_bytes(length.try_into().unwrap()), text.len() as u64);
        assert_eq!(layout.header().len() % 8, 0);
        let text = std::str::from_utf8(text).unwrap().trim_end();
        assert_eq!(
            text,
            "{\"__metadata__\":{\"format\":\"pt\"},\
             \"d\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]},\
             \"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]},\
             \"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]},\
             \"c\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[32,36]}}"
        );
        assert_eq!(layout.place("b").unwrap().0, layout.header().len() as u64 + 24);
        assert!(Layout::new([tensor("a", Dtype::F32), tensor("a", Dtype::F16)]).is_err());
    }

    #[test]
    fn names_are_no_longer_than_what_is_read() {
        let layout = |bytes| Layout::new([("n".repeat(bytes), Dtype::F32, vec![2])]);
        assert!(layout(MAX_NAME).is_ok());
        let text = layout(MAX_NAME + 1).unwrap_err().to_string();
        assert!(
            text.ends_with("n: expected a name of at most 1048576 bytes, found 1048577"),
            "{text}"
        );
    }
}
