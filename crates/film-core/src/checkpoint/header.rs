//! The header of one safetensors file: 8 bytes of length, then that much JSON.
//!
//! The rules are the format's own (<https://huggingface.co/docs/safetensors>, "Format"): tensors fill the
//! rest of the file without overlap or hole, no name stands twice, the header is at most 100 MB.

use std::collections::BTreeMap;
use std::fmt;

use safetensors::Dtype;
use serde::de::{
    Deserialize, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

use super::read::{Source, zeroed};
use crate::error::{Error, Result};
use crate::json::OfObject;

/// What the format allows.
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;
/// As many axes as a tensor may have in NumPy and PyTorch.
const MAX_RANK: usize = 64;
/// Metadata are for a few lines of text; a header full of them would take many times its size in memory.
const MAX_METADATA: usize = 1 << 16;

/// A tensor as the header describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Full name.
    pub name: String,
    /// Stored dtype.
    pub dtype: Dtype,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// Stored bytes.
    pub bytes: u64,
    /// Where they begin in the file.
    pub offset: u64,
    /// Which of the checkpoint's files.
    pub(super) file: usize,
}

impl TensorInfo {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

#[derive(Debug)]
pub(super) struct Header {
    pub(super) tensors: Vec<TensorInfo>,
    pub(super) metadata: Vec<(String, String)>,
}

/// Reads and checks the header of file number `file`.
pub(super) fn read(source: &Source, file: usize) -> Result<Header> {
    let mut length = [0; 8];
    match source.bytes {
        0 => return Err(Error::Format("the file is empty".into())),
        1..8 => return Err(malformed(&format!("{} bytes are too few for a header", source.bytes))),
        _ => source.read_at(&mut length, 0)?,
    }
    let length = u64::from_le_bytes(length);
    if length > source.bytes - 8 || length > MAX_HEADER_BYTES {
        if let Some(what) = disguise(source)? {
            return Err(Error::Format(format!("not a safetensors file but {what}")));
        }
        let limit = MAX_HEADER_BYTES.min(source.bytes - 8);
        return Err(malformed(&format!(
            "the header claims {length} bytes, at most {limit} can be"
        )));
    }
    let mut json = zeroed(length)?;
    source.read_at(&mut json, 8)?;
    let raw: RawHeader =
        serde_json::from_slice(&json).map_err(|error| malformed(&error.to_string()))?;
    drop(json);
    let data = 8 + length;
    let tensors = raw
        .tensors
        .into_iter()
        .map(|(name, raw)| raw.check(name, data, file))
        .collect::<Result<Vec<_>>>()?;
    check_layout(&tensors, data, source.bytes)?;
    Ok(Header { tensors, metadata: raw.metadata })
}

/// Whether a file of so many bytes that begins so may be a safetensors file.
pub(super) fn may_begin(start: &[u8], file_bytes: u64) -> bool {
    match start.split_first_chunk::<8>() {
        Some((length, [b'{', ..])) => {
            let length = u64::from_le_bytes(*length);
            length <= MAX_HEADER_BYTES && length <= file_bytes - 8
        }
        _ => false,
    }
}

fn malformed(problem: &str) -> Error {
    Error::Format(format!("not a valid safetensors file: {problem}"))
}

/// What a file that is no safetensors file looks like, where that is easy to tell.
fn disguise(source: &Source) -> Result<Option<&'static str>> {
    let mut start = [0; 64];
    let start = &mut start[..source.bytes.min(64) as usize];
    source.read_at(start, 0)?;
    let text = start.trim_ascii_start().to_ascii_lowercase();
    let is = |magic: &[u8]| text.starts_with(magic);
    Ok(if is(b"version https://git-lfs") {
        Some("a git-lfs pointer: fetch the file itself with `git lfs pull`")
    } else if is(b"<!doctype") || is(b"<html") {
        Some("an HTML page: the download went wrong")
    } else if is(b"\x93numpy") {
        Some("a NumPy array (.npy)")
    } else if is(b"pk\x03\x04") && text.windows(4).any(|window| window == b".npy") {
        Some("an archive of NumPy arrays (.npz)")
    } else if is(b"pk\x03\x04") || is(b"\x80\x02") || is(b"\x80\x03") || is(b"\x80\x04") {
        Some("a PyTorch pickle")
    } else if is(b"{") {
        Some("JSON text")
    } else if is(b"gguf") {
        Some("a GGUF file")
    } else {
        None
    })
}

/// Tensors fill the file from the header's end to the file's, each once.
fn check_layout(tensors: &[TensorInfo], data: u64, file_bytes: u64) -> Result<()> {
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
    by_offset.sort_unstable_by_key(|tensor| (tensor.offset, tensor.bytes));
    let mut end = data;
    for tensor in by_offset {
        let problem = match tensor.offset.cmp(&end) {
            std::cmp::Ordering::Less => "overlaps the tensor before it",
            std::cmp::Ordering::Greater => "leaves a hole before it",
            std::cmp::Ordering::Equal => {
                end += tensor.bytes;
                continue;
            }
        };
        return Err(malformed(&format!("tensor {:?} {problem}", tensor.name)));
    }
    match file_bytes.cmp(&end) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(malformed(&format!(
            "the file is truncated: {} of {} bytes of tensors are there",
            file_bytes - data,
            end - data
        ))),
        std::cmp::Ordering::Greater => {
            Err(malformed(&format!("{} bytes stand behind the last tensor", file_bytes - end)))
        }
    }
}

/// One tensor's entry, as JSON has it. There may be millions.
#[derive(serde::Deserialize)]
struct RawTensor {
    dtype: RawDtype,
    #[serde(deserialize_with = "shape")]
    shape: Box<[u64]>,
    data_offsets: (u64, u64),
}

/// A dtype, or its name where that is none.
struct RawDtype(std::result::Result<Dtype, Box<str>>);

impl<'de> Deserialize<'de> for RawDtype {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let dtype: std::result::Result<_, serde::de::value::Error> =
            Dtype::deserialize((&*name).into_deserializer());
        Ok(Self(dtype.map_err(|_| name.into())))
    }
}

fn shape<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Box<[u64]>, D::Error> {
    struct Sizes;

    impl<'de> Visitor<'de> for Sizes {
        type Value = Box<[u64]>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list of sizes")
        }

        fn visit_seq<A: SeqAccess<'de>>(
            self,
            mut sizes: A,
        ) -> std::result::Result<Box<[u64]>, A::Error> {
            let mut shape = Vec::new();
            while let Some(size) = sizes.next_element()? {
                if shape.len() == MAX_RANK {
                    let text = format!("the shape has more than {MAX_RANK} axes");
                    return Err(A::Error::custom(text));
                }
                shape.push(size);
            }
            Ok(shape.into())
        }
    }

    deserializer.deserialize_seq(Sizes)
}

impl RawTensor {
    fn check(self, name: String, data: u64, file: usize) -> Result<TensorInfo> {
        let says = |problem: String| malformed(&format!("tensor {name:?}: {problem}"));
        let dtype = self.dtype.0.map_err(|name| says(format!("unknown dtype {name:?}")))?;
        let bits = self
            .shape
            .iter()
            .try_fold(dtype.bitsize() as u64, |bits, &size| bits.checked_mul(size))
            .filter(|bits| bits % 8 == 0)
            .ok_or_else(|| {
                says(format!("shape {:?} of {dtype} is no number of bytes", self.shape))
            })?;
        let (start, end) = self.data_offsets;
        let bytes = end
            .checked_sub(start)
            .ok_or_else(|| says(format!("its offsets run backwards, from {start} to {end}")))?;
        if bytes != bits / 8 {
            let (shape, expected) = (&self.shape, bits / 8);
            return Err(says(format!(
                "shape {shape:?} of {dtype} takes {expected} bytes, not {bytes}"
            )));
        }
        let offset =
            data.checked_add(start).and_then(|offset| offset.checked_add(bytes).map(|_| offset));
        let offset = offset.ok_or_else(|| says(format!("offset {start} is beyond any file")))?;
        let shape = self.shape.iter().map(|&size| usize::try_from(size));
        let shape = shape.collect::<std::result::Result<_, _>>();
        let shape = shape.map_err(|_| says(format!("shape {:?} does not fit", self.shape)))?;
        Ok(TensorInfo { name, dtype, shape, bytes, offset, file })
    }
}

/// A few lines of text, by key.
struct Metadata(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Metadata, A::Error> {
                let mut metadata = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    metadata.insert(key, value);
                    if metadata.len() > MAX_METADATA {
                        let text = format!("it has more than {MAX_METADATA} keys");
                        return Err(A::Error::custom(text));
                    }
                }
                Ok(Metadata(metadata))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// The whole header, in which every name stands once.
struct RawHeader {
    tensors: Vec<(String, RawTensor)>,
    metadata: Vec<(String, String)>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<RawHeader, A::Error> {
                let mut header = RawHeader { tensors: Vec::new(), metadata: Vec::new() };
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    let in_entry = |error| A::Error::custom(format!("entry {name:?}: {error}"));
                    if name == "__metadata__" {
                        if std::mem::replace(&mut has_metadata, true) {
                            return Err(A::Error::custom("entry \"__metadata__\" stands twice"));
                        }
                        let Metadata(metadata) = map.next_value().map_err(in_entry)?;
                        header.metadata = metadata.into_iter().collect();
                    } else {
                        let OfObject(raw) = map.next_value().map_err(in_entry)?;
                        header.tensors.push((name, raw));
                    }
                }
                header.tensors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
                match header.tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    Some(pair) => {
                        Err(A::Error::custom(format!("tensor {:?} stands twice", pair[0].0)))
                    }
                    None => Ok(header),
                }
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
