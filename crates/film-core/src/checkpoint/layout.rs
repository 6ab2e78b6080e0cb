//! The header of a safetensors file to be.

use safetensors::Dtype;
use serde::Serialize;

use super::entries::METADATA;
use super::header::MAX_HEADER_BYTES;
use super::names::MAX_NAME;
use crate::error::{Error, Result};
use crate::short::short;

/// A tensor to be written: name, dtype, shape.
pub(super) type Entry = (String, Dtype, Vec<usize>);

/// The header of a safetensors file to be, and where each tensor's bytes go.
///
/// Tensors are laid out by falling alignment, then by name, so the bytes depend on nothing else.
/// The metadata is `{"format": "pt"}`, which `transformers`-style loaders ask for.
#[derive(Debug, Clone)]
pub struct Layout {
    header: Vec<u8>,
    /// Sorted by name.
    tensors: Vec<(String, Place)>,
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
        let mut entries: Vec<Entry> = tensors.into_iter().collect();
        entries.sort_by(|(a, a_dtype, _), (b, b_dtype, _)| {
            b_dtype.bitsize().cmp(&a_dtype.bitsize()).then_with(|| a.cmp(b))
        });
        let mut header = format!(r#"        {{"{METADATA}":{{"format":"pt"}}"#).into_bytes();
        let mut end = 0u64;
        let places = entries.into_iter().map(|(name, dtype, shape)| {
            check_name(&name)?;
            let (offset, bytes) = (end, stored_bytes(&name, dtype, &shape)?);
            end = offset.checked_add(bytes).ok_or_else(|| {
                let detail = format!("shape {shape:?} of {dtype}");
                Error::Overflow { what: format!("{}: the end", short(&name)), detail }
            })?;
            header.push(b',');
            describe(&mut header, &name, dtype, &shape, (offset, end))?;
            Ok((name, Place { dtype, offset, bytes }))
        });
        let mut tensors = places.collect::<Result<Vec<_>>>()?;
        tensors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::tensor(&pair[0].0, "one tensor of that name", "two"));
        }
        header.push(b'}');
        // The data begins at a multiple of 8, as loaders that map the file want it.
        header.resize(header.len().next_multiple_of(LENGTH), b' ');
        let json = (header.len() - LENGTH) as u64;
        if json > MAX_HEADER_BYTES {
            let text = format!("{json} bytes of names are too many for a safetensors file");
            return Err(Error::Format(text));
        }
        header[..LENGTH].copy_from_slice(&json.to_le_bytes());
        for (_, place) in &mut tensors {
            place.offset += header.len() as u64;
        }
        Ok(Self { bytes: header.len() as u64 + end, header, tensors })
    }

    /// The bytes in front of the tensors.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The whole file's size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|(name, _)| name.as_str())
    }

    /// Where a tensor's bytes begin in the file, and how many they are.
    pub fn place(&self, name: &str) -> Option<(u64, u64)> {
        self.get(name).map(|place| (place.offset, place.bytes))
    }

    /// A tensor's dtype.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.get(name).map(|place| place.dtype)
    }

    fn get(&self, name: &str) -> Option<&Place> {
        let found = self.tensors.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        Some(&self.tensors[found].1)
    }
}

/// The bytes that tell how long the JSON is.
const LENGTH: usize = 8;

fn check_name(name: &str) -> Result<()> {
    if name == METADATA {
        let expected = "a name that the format does not reserve";
        return Err(Error::tensor(name, expected, format!("{name:?}")));
    }
    if name.len() > MAX_NAME {
        let expected = format!("a name of at most {MAX_NAME} bytes");
        return Err(Error::tensor(short(name).to_string(), expected, name.len().to_string()));
    }
    Ok(())
}

/// Writes a tensor's entry in the header.
pub(super) fn describe(
    out: &mut Vec<u8>,
    name: &str,
    dtype: Dtype,
    shape: &[usize],
    data_offsets: (u64, u64),
) -> Result<()> {
    #[derive(Serialize)]
    struct Described<'a> {
        dtype: Dtype,
        shape: &'a [usize],
        data_offsets: (u64, u64),
    }

    let described = Described { dtype, shape, data_offsets };
    let written = serde_json::to_writer(&mut *out, name).and_then(|()| {
        out.push(b':');
        serde_json::to_writer(&mut *out, &described)
    });
    written.map_err(|error| Error::tensor(short(name).to_string(), "an entry", error.to_string()))
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
