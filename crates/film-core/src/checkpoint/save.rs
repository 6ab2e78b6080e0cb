//! Writing checkpoints: the same weights give the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use serde::Serialize;

use super::atomic::AtomicFile;
use super::locate::{CONFIG, WEIGHTS};
use crate::error::{Error, Result};

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
    /// If a name stands twice, or sizes overflow.
    pub fn new(tensors: impl IntoIterator<Item = (String, Dtype, Vec<usize>)>) -> Result<Self> {
        let mut tensors: Vec<_> = tensors.into_iter().collect();
        tensors.sort_by(|(a, a_dtype, _), (b, b_dtype, _)| {
            b_dtype.bitsize().cmp(&a_dtype.bitsize()).then_with(|| a.cmp(b))
        });
        let mut json = serde_json::Map::new();
        json.insert("__metadata__".into(), serde_json::json!({"format": "pt"}));
        let mut places = BTreeMap::new();
        let mut end = 0u64;
        for (name, dtype, shape) in tensors {
            let start = end;
            let bits = shape
                .iter()
                .try_fold(dtype.bitsize() as u64, |bits, &size| bits.checked_mul(size as u64));
            end = bits.and_then(|bits| start.checked_add(bits / 8)).ok_or_else(|| {
                Error::Overflow {
                    what: format!("{name}: the size"),
                    detail: format!("shape {shape:?} of {dtype}"),
                }
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

/// Writes `directory`/config.json and `directory`/model.safetensors.
///
/// Both are complete and flushed in temporary files before either is renamed into place: the weights first,
/// then config.json. Two renames are two steps. Should the system refuse the second, or stop between them,
/// the new weights stand beside the config.json that was there before, or beside none.
///
/// # Shapes
/// tensors of any shape, by their checkpoint names
///
/// # Errors
/// If `directory` is something else, one of the two exists and `overwrite` is false, or the system cannot
/// write; then neither changes. If the second rename fails, see above; the error names config.json.
pub fn save<'a>(
    directory: &Path,
    config: &impl Serialize,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    overwrite: bool,
) -> Result<()> {
    save_with(directory, config, overwrite, |path| stage(path, tensors, overwrite))
}

/// As [`save`], with weights that `stage` writes, not yet in place.
pub(super) fn save_with(
    directory: &Path,
    config: &impl Serialize,
    overwrite: bool,
    stage: impl FnOnce(&Path) -> Result<AtomicFile>,
) -> Result<()> {
    let mut json = serde_json::to_string_pretty(config)
        .map_err(|error| Error::Format(error.to_string()).in_file(&directory.join(CONFIG)))?;
    json.push('\n');
    if directory.exists() && !directory.is_dir() {
        return Err(Error::Format("is not a directory".into()).in_file(directory));
    }
    std::fs::create_dir_all(directory).map_err(|error| Error::io("create", directory, error))?;
    let mut config_file = AtomicFile::create(&directory.join(CONFIG), overwrite)?;
    config_file.write(json.as_bytes())?;
    let weights = stage(&directory.join(WEIGHTS))?;
    weights.commit()?;
    config_file.commit()
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
    stage(path, tensors, overwrite)?.commit()
}

/// The file with its tensors, not yet in place.
fn stage<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    overwrite: bool,
) -> Result<AtomicFile> {
    let tensors: BTreeMap<&str, &Tensor> = tensors.into_iter().collect();
    let layout = Layout::new(
        tensors
            .iter()
            .map(|(name, tensor)| ((*name).into(), tensor.dtype().into(), tensor.dims().into())),
    )?;
    let mut file = AtomicFile::create(path, overwrite)?;
    file.write(layout.header())?;
    for (name, tensor) in tensors {
        if let Some((offset, _)) = layout.place(name) {
            file.write_at(&to_le_bytes(tensor)?, offset)?;
        }
    }
    Ok(file)
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
}
