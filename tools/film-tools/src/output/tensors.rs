//! Tensors into a file, chunk by chunk.
//!
//! The rows of every tensor arrive together, but a file holds one tensor after another: rows are
//! written where a safetensors file has them. That file is the output, or what the other formats
//! are made from.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Tensor;
use film_core::checkpoint::{AtomicFile, Dtype, Layout, to_le_bytes};

use super::{json, npz};

/// Where `--output` goes.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// JSON on stdout.
    Stdout,
    /// A file, in the format of its extension.
    File(PathBuf, Format),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Format {
    Safetensors,
    Npz,
    Json,
}

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::Stdout);
        }
        let path = PathBuf::from(text);
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => Format::Safetensors,
            Some("npz") => Format::Npz,
            Some("json") => Format::Json,
            _ => return Err(
                "expected a name that ends in .safetensors, .npz or .json, or - for JSON on stdout"
                    .into(),
            ),
        };
        Ok(Self::File(path, format))
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::File(path, _) => Some(path),
        }
    }
}

/// A tensor to be written.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
}

/// The output while it is being made.
#[derive(Debug)]
pub(crate) struct TensorWriter {
    entries: Vec<Entry>,
    layout: Layout,
    output: Option<(AtomicFile, Format)>,
    /// What the formats other than safetensors are made from.
    spool: Option<File>,
}

impl TensorWriter {
    pub(crate) fn create(target: &Target, overwrite: bool, entries: Vec<Entry>) -> Result<Self> {
        let layout =
            entries.iter().map(|entry| (entry.name.clone(), entry.dtype, entry.shape.clone()));
        let layout = Layout::new(layout)?;
        let output = match target {
            Target::Stdout => None,
            Target::File(path, format) => Some((AtomicFile::create(path, overwrite)?, *format)),
        };
        let spool = match output {
            Some((_, Format::Safetensors)) => None,
            _ => Some(tempfile::tempfile().context("cannot create a temporary file")?),
        };
        let mut writer = Self { entries, layout, output, spool };
        let header = writer.layout.header().to_vec();
        writer.write_at(&header, 0)?;
        Ok(writer)
    }

    /// Writes the elements of tensor `name` from number `start` on.
    pub(crate) fn write(&mut self, name: &str, start: usize, values: &Tensor) -> Result<()> {
        let (offset, _) = self.layout.place(name).context("a tensor that was not announced")?;
        let start = (start * values.dtype().size_in_bytes()) as u64;
        self.write_at(&to_le_bytes(values)?, offset + start)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        match (&mut self.spool, &mut self.output) {
            (None, Some((file, _))) => file.write_at(bytes, offset)?,
            (Some(spool), _) => {
                let written =
                    spool.seek(SeekFrom::Start(offset)).and_then(|_| spool.write_all(bytes));
                written.context("cannot write to a temporary file")?;
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Makes the output whole and puts it in place.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { entries, layout, output, spool } = self;
        let mut stored = spool.map(|spool| Stored { spool, layout, entries });
        match (output, &mut stored) {
            (None, Some(stored)) => {
                let mut out = std::io::BufWriter::new(std::io::stdout());
                json::write(&mut out, stored)?;
                out.flush()?;
            }
            (Some((mut file, Format::Json)), Some(stored)) => {
                let name = file.destination().display().to_string();
                let mut out = std::io::BufWriter::new(file.file_mut());
                json::write(&mut out, stored)
                    .and_then(|()| Ok(out.flush()?))
                    .with_context(|| name)?;
                drop(out);
                file.commit()?;
            }
            (Some((mut file, _)), Some(stored)) => {
                let name = file.destination().display().to_string();
                npz::write(file.file_mut(), stored).with_context(|| name)?;
                file.commit()?;
            }
            (Some((file, _)), None) => file.commit()?,
            (None, None) => {}
        }
        Ok(())
    }
}

/// All tensors, in the spool file.
#[derive(Debug)]
pub(crate) struct Stored {
    spool: File,
    layout: Layout,
    pub(crate) entries: Vec<Entry>,
}

impl Stored {
    /// Hands tensor `name` to `each`, block by block.
    pub(crate) fn blocks(
        &mut self,
        name: &str,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (offset, mut left) =
            self.layout.place(name).context("a tensor that was not announced")?;
        self.spool.seek(SeekFrom::Start(offset))?;
        let mut block = vec![0; 64 * 1024];
        while left > 0 {
            let part = left.min(block.len() as u64) as usize;
            self.spool.read_exact(&mut block[..part]).context("cannot read a temporary file")?;
            each(&block[..part])?;
            left -= part as u64;
        }
        Ok(())
    }
}
