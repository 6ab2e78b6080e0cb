//! The zip archive that `torch.save` writes: its records, found by name.
//!
//! Records are stored uncompressed, so a tensor's bytes can be read where they are in the file.

use std::collections::HashMap;
use std::io::BufReader;

use zip::{CompressionMethod, ZipArchive};

use super::Region;
use crate::checkpoint::read::Source;
use crate::error::{Error, Result};
use crate::short::short;

/// The records of one archive, without the folder that they all stand in.
#[derive(Debug)]
pub(super) struct Archive {
    records: HashMap<String, Region>,
    pub(super) pickle: Region,
    /// Whether numbers have their highest byte first.
    pub(super) big_endian: bool,
}

impl Archive {
    pub(super) fn read(source: &Source) -> Result<Self> {
        let broken =
            |error| Error::Format(format!("a zip archive that is broken or cut off: {error}"));
        let mut zip = ZipArchive::new(BufReader::new(source.file())).map_err(broken)?;
        if zip.has_duplicate_names() {
            return Err(Error::Format("a zip archive with two records of the same name".into()));
        }
        let mut named = Vec::with_capacity(zip.len());
        for index in 0..zip.len() {
            let record = zip.by_index_raw(index).map_err(broken)?;
            let name = String::from_utf8_lossy(record.name_raw()).into_owned();
            let plain = record.compression() == CompressionMethod::Stored && !record.encrypted();
            let offset = record.data_start().unwrap_or(u64::MAX);
            let bytes = record.size();
            let inside = offset.checked_add(bytes).is_some_and(|end| end <= source.bytes);
            named.push((name, plain, inside, Region { offset, bytes }));
        }
        let root = named.iter().find_map(|(name, ..)| {
            name.strip_suffix("/data.pkl").filter(|root| !root.contains('/'))
        });
        let Some(root) = root.map(|root| format!("{root}/")) else {
            let text = "a zip archive without data.pkl: torch.save wrote none such";
            return Err(Error::Format(text.into()));
        };
        // It has compressed records, too.
        if named.iter().any(|(name, ..)| name.strip_prefix(&root) == Some("constants.pkl")) {
            let text = "a TorchScript program, not a checkpoint: save its state_dict()";
            return Err(Error::Format(text.into()));
        }
        let mut records = HashMap::with_capacity(named.len());
        for (name, plain, inside, region) in named {
            let Some(name) = name.strip_prefix(&root) else { continue };
            if !plain {
                let name = short(name);
                let text =
                    format!("record {name:?} is compressed or encrypted; PyTorch's are neither");
                return Err(Error::Format(text));
            }
            if !inside {
                let text = format!("record {:?} reaches beyond the end of the file", short(name));
                return Err(Error::Format(text));
            }
            records.insert(name.to_string(), region);
        }
        let pickle = records["data.pkl"];
        let big_endian = match records.get("byteorder") {
            None => false,
            Some(order) => byte_order(source, *order)?,
        };
        Ok(Self { records, pickle, big_endian })
    }

    /// The bytes of the storage of that key.
    pub(super) fn storage(&self, key: &str) -> Option<Region> {
        self.records.get(&format!("data/{key}")).copied()
    }
}

fn byte_order(source: &Source, record: Region) -> Result<bool> {
    let mut text = [0; 8];
    let text = &mut text[..record.bytes.min(8) as usize];
    source.read_at(text, record.offset)?;
    match &*text {
        b"little" => Ok(false),
        b"big" => Ok(true),
        other => {
            let found = String::from_utf8_lossy(other);
            Err(Error::Format(format!("byteorder: expected little or big, found {found:?}")))
        }
    }
}
