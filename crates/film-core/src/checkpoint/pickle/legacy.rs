//! The format before zip archives: pickles and storages one behind the other.
//!
//! ```text
//! magic ─ protocol ─ system ─ object ─ keys of the storages ─ (count ─ elements) for each key
//! ```
//!
//! Counts and elements are little-endian on every machine.

use std::borrow::Cow;

use super::stream::Stream;
use super::value::{Id, Value, Values};
use super::{Region, machine};
use crate::checkpoint::read::Source;
use crate::error::{Error, Result};
use crate::short::short;

/// The first pickle is this number: 0x1950a86a20f9469cfc6c.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The same as protocols 0 and 1 write it, with which the file begins.
pub(in crate::checkpoint) const MAGIC_LINE: &[u8] = b"L119547037146038801333356L\n";
const PROTOCOL: i64 = 1001;

/// The object, and where the storages are, in the order of `values.storages()`.
pub(super) fn read(
    source: &Source,
    values: &mut Values,
    skip_unknown: bool,
) -> Result<(Id, Vec<Option<Region>>)> {
    let mut stream = Stream::new(source, 0, source.bytes);
    if !begins_with_magic(&mut stream, values)? {
        let text = "a Python pickle, but not one that torch.save wrote";
        return Err(Error::Format(text.into()));
    }
    let mut next = |values: &mut Values| machine::load(&mut stream, values, skip_unknown);
    let protocol = next(values)?;
    if !matches!(values.get(protocol), Value::Int(PROTOCOL)) {
        let found = values.describe(protocol);
        let text = format!("expected a PyTorch pickle of protocol {PROTOCOL}, found {found}");
        return Err(Error::Format(text));
    }
    let _system = next(values)?;
    let object = next(values)?;
    let keys = next(values)?;
    let regions = storages(source, values, keys, stream.position())?;
    Ok((object, regions))
}

/// Whether the first pickle is the magic number. Another pickle is not looked into further than a few bytes.
fn begins_with_magic(stream: &mut Stream, values: &mut Values) -> Result<bool> {
    let mut first = Stream::new(stream.source(), 0, stream.source().bytes.min(32));
    let Ok(magic) = machine::load(&mut first, values, false) else { return Ok(false) };
    *stream = Stream::new(stream.source(), first.position(), stream.source().bytes);
    let is_magic =
        |bytes: &[u8]| bytes == MAGIC || MAGIC_LINE[1..].strip_suffix(b"L\n") == Some(bytes);
    Ok(matches!(values.get(magic), Value::Long(bytes) if is_magic(bytes)))
}

/// Where each storage is, in the order that `keys` says.
fn storages(
    source: &Source,
    values: &Values,
    keys: Id,
    mut position: u64,
) -> Result<Vec<Option<Region>>> {
    let says = |problem: String| Error::Format(format!("storages: {problem}"));
    let Some(keys) = values.sequence(keys) else {
        return Err(says(format!("expected a list of keys, found {}", values.describe(keys))));
    };
    let mut regions = vec![None; values.storages().len()];
    for &key in keys {
        let name = values.text(key).map_or_else(|| values.describe(key).into(), Cow::from);
        let Some(storage) = values.storage_of(&name) else {
            return Err(says(format!(
                "nothing in the pickle says what {:?} consists of",
                short(&name)
            )));
        };
        let cut_off =
            |found: u64| says(format!("{:?} is cut off: {found} bytes are left", short(&name)));
        let left = source.bytes - position;
        let mut count = [0; 8];
        if left < 8 {
            return Err(cut_off(left));
        }
        source.read_at(&mut count, position)?;
        let bytes = u64::from_le_bytes(count).checked_mul(values.storages()[storage].element_bytes);
        let bytes = bytes.filter(|&bytes| bytes <= left - 8).ok_or_else(|| cut_off(left - 8))?;
        if regions[storage].replace(Region { offset: position + 8, bytes }).is_some() {
            return Err(says(format!("{:?} stands there twice", short(&name))));
        }
        position += 8 + bytes;
    }
    Ok(regions)
}
