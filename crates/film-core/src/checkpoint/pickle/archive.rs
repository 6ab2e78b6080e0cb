//! The zip archive that `torch.save` writes: its records, found by name.
//!
//! Records are stored uncompressed, so a tensor's bytes can be read where they are in the file. The archive's directory may be
//! as long as the file: it is read a record at a time, as often as it is asked for something.

use std::io;

use rawzip::{
    CompressionMethod, ErrorKind, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ReaderAt, ZipArchive,
    ZipFileHeaderRecord, ZipLocator,
};

use super::Region;
use super::value::Values;
use crate::checkpoint::read::Source;
use crate::error::{Error, Result};
use crate::short::short;

/// One archive: the pickle in it, and a way to find the storages that this mentions.
pub(super) struct Archive<'a> {
    directory: Directory<'a>,
    /// The folder that all records stand in, with a `/`.
    root: String,
    pub(super) pickle: Region,
    /// Whether numbers have their highest byte first.
    pub(super) big_endian: bool,
}

impl<'a> Archive<'a> {
    pub(super) fn open(source: &'a Source) -> Result<Self> {
        let mut directory = Directory::open(source)?;
        let without = || {
            let text = "a zip archive without data.pkl: torch.save wrote none such";
            Error::Format(text.into())
        };
        let root = directory.find(|name| root(name).map(String::from))?.ok_or_else(without)?;
        // It has compressed records, too.
        let constants = format!("{root}constants.pkl");
        if directory.find(|name| (name == constants).then_some(()))?.is_some() {
            let text = "a TorchScript program, not a checkpoint: save its state_dict()";
            return Err(Error::Format(text.into()));
        }
        let names = ["data.pkl", "byteorder"];
        let place = |name: &str| names.iter().position(|it| *it == name);
        let regions = directory.regions(&root, names.len(), place)?;
        let pickle = regions[0].ok_or_else(without)?;
        let big_endian = match regions[1] {
            None => false,
            Some(order) => byte_order(source, order)?,
        };
        Ok(Self { directory, root, pickle, big_endian })
    }

    /// The bytes of each of the storages, where they are there.
    pub(super) fn storages(&mut self, values: &Values) -> Result<Vec<Option<Region>>> {
        let place = |name: &str| values.storage_of(name.strip_prefix("data/")?);
        self.directory.regions(&self.root, values.storages().len(), place)
    }
}

/// The folder that `data.pkl` stands in, if this is its name.
fn root(name: &str) -> Option<&str> {
    let folder = |root: &&str| root.strip_suffix('/').is_some_and(|name| !name.contains('/'));
    name.strip_suffix("data.pkl").filter(folder)
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

/// An archive's list of its records, and room for one of them.
struct Directory<'a> {
    archive: ZipArchive<Bytes<'a>>,
    block: Vec<u8>,
}

impl<'a> Directory<'a> {
    fn open(source: &'a Source) -> Result<Self> {
        let mut block = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let archive = ZipLocator::new()
            .locate_in_reader(Bytes(source), &mut block, source.bytes)
            .map_err(|(_, error)| broken(error))?;
        Ok(Self { archive, block })
    }

    /// Calls `visit` with each record and its name, until it gives something or the directory ends.
    fn visit<T>(
        &mut self,
        mut visit: impl FnMut(&ZipArchive<Bytes>, ZipFileHeaderRecord, &str) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut records = self.archive.entries(&mut self.block);
        let mut count = 0;
        while let Some(record) = records.next_entry().map_err(broken)? {
            let path = record.file_path();
            if let Some(found) =
                visit(&self.archive, record, &String::from_utf8_lossy(path.as_ref()))?
            {
                return Ok(Some(found));
            }
            count += 1;
        }
        let expected = self.archive.entries_hint();
        if count != expected {
            let text = format!("expected {expected} records, found {count}");
            return Err(cut_off(text));
        }
        Ok(None)
    }

    /// What `look` makes of the first name of which it makes something.
    fn find<T>(&mut self, look: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        self.visit(|_, _, name| Ok(look(name)))
    }

    /// Where the bytes of `count` of the records in folder `root` stand, each at the place that `place` gives its name.
    fn regions(
        &mut self,
        root: &str,
        count: usize,
        place: impl Fn(&str) -> Option<usize>,
    ) -> Result<Vec<Option<Region>>> {
        let mut regions = vec![None; count];
        self.visit(|archive, record, path| {
            let Some(name) = path.strip_prefix(root) else { return Ok(None) };
            let Some(place) = place(name) else { return Ok(None) };
            let fault = |what: &str| Err(Error::Format(format!("record {:?} {what}", short(name))));
            let plain = record.compression_method() == CompressionMethod::STORE;
            if !plain || record.flags().is_encrypted() {
                return fault("is compressed or encrypted; PyTorch's are neither");
            }
            let sizes = [record.uncompressed_size_hint(), record.compressed_size_hint()];
            if sizes[0] != sizes[1] {
                return fault(&format!("is of {} bytes, and stored in {}", sizes[0], sizes[1]));
            }
            let entry = archive.get_entry(record.wayfinder()).map_err(broken)?;
            let (offset, end) = entry.compressed_data_range();
            if end > archive.get_ref().0.bytes {
                return fault("reaches beyond the end of the file");
            }
            if regions[place].replace(Region { offset, bytes: end - offset }).is_some() {
                return fault("stands twice");
            }
            Ok(None::<()>)
        })?;
        Ok(regions)
    }
}

/// A source's bytes, for the reader of zip archives.
struct Bytes<'a>(&'a Source);

impl ReaderAt for Bytes<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let Self(source) = self;
        let bytes = source.bytes.saturating_sub(offset).min(buffer.len() as u64) as usize;
        source.read_at(&mut buffer[..bytes], offset).map_err(io::Error::other)?;
        Ok(bytes)
    }
}

/// A fault of the archive, unless it is the file that could not be read.
fn broken(error: rawzip::Error) -> Error {
    match error.into_kind() {
        ErrorKind::IO(error) => match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => cut_off(error),
        },
        other => cut_off(rawzip::Error::from(other)),
    }
}

fn cut_off(what: impl std::fmt::Display) -> Error {
    Error::Format(format!("a zip archive that is broken or cut off: {what}"))
}
