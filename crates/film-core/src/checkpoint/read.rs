//! Reading bytes by position, and turning them into tensors.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytemuck::{Pod, bytes_of_mut, cast_slice_mut};
use candle_core::{Device, Tensor, WithDType};
use float8::F8E4M3;
use half::{bf16, f16};
use log::{debug, log_enabled};
use safetensors::Dtype;

use super::header::TensorInfo;
use crate::error::{Error, Result};

/// Bytes that are read at once: memory that is cleared for them is still in the cache then.
const BLOCK: usize = 64 * 1024;

/// A regular file, held open. When it is let go, the log is told how much was read of it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    file: File,
    read: Read,
}

/// What has been read of a file so far. Counted only where somebody listens to the log.
#[derive(Debug, Default)]
struct Read {
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Drop for Source {
    fn drop(&mut self) {
        let bytes = *self.read.bytes.get_mut();
        if bytes > 0 {
            let (all, took) = (self.bytes, Duration::from_nanos(*self.read.nanoseconds.get_mut()));
            debug!("{}: read {bytes} of {all} bytes in {took:.1?}", self.path.display());
        }
    }
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |error| Error::io("open", path, error);
        // Asked before opening: opening a pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(Error::Format("not a regular file".into()).in_file(path));
        }
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        Ok(Self { path: path.into(), bytes, file, read: Read::default() })
    }

    /// Fills `buffer` from `offset` on.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let begun = log_enabled!(log::Level::Debug).then(Instant::now);
        let result = fill(buffer, offset, |buffer, offset| read_at(&self.file, buffer, offset));
        if let Some(begun) = begun {
            let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.read.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            self.read.nanoseconds.fetch_add(took, Ordering::Relaxed);
        }
        result.map_err(|error| {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                let text = format!(
                    "expected {} bytes at offset {offset}, found the file shortened since it was opened",
                    buffer.len()
                );
                Error::Format(text).in_file(&self.path)
            } else {
                Error::io("read", &self.path, error)
            }
        })
    }

    /// The whole content, of at most `most` bytes.
    pub(crate) fn read_at_most(&self, most: u64) -> Result<Vec<u8>> {
        if self.bytes > most {
            let text = format!("expected at most {most} bytes, found {}", self.bytes);
            return Err(Error::Format(text).in_file(&self.path));
        }
        let mut bytes = zeroed(self.bytes)?;
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// Fills `buffer` from `offset` on by `read_at`, which may give less than it is asked for, or be interrupted.
fn fill(
    mut buffer: &mut [u8],
    mut offset: u64,
    mut read_at: impl FnMut(&mut [u8], u64) -> std::io::Result<usize>,
) -> std::io::Result<()> {
    while !buffer.is_empty() {
        match read_at(buffer, offset) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// A buffer of `bytes` zeros, or an error where there is no memory for it.
pub(super) fn zeroed(bytes: u64) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    let wanted = usize::try_from(bytes).ok();
    if wanted.is_none_or(|wanted| buffer.try_reserve_exact(wanted).is_err()) {
        return Err(Error::Memory { what: "the file".into(), bytes });
    }
    buffer.resize(wanted.unwrap_or_default(), 0);
    Ok(buffer)
}

/// Some of a tensor's elements on the CPU, as a flat tensor in its stored dtype.
pub(super) fn elements(
    source: &Source,
    tensor: &TensorInfo,
    elements: Range<usize>,
) -> Result<Tensor> {
    match tensor.dtype {
        Dtype::U8 => numbers::<u8>(source, tensor, elements),
        Dtype::U32 => numbers::<u32>(source, tensor, elements),
        Dtype::I16 => numbers::<i16>(source, tensor, elements),
        Dtype::I32 => numbers::<i32>(source, tensor, elements),
        Dtype::I64 => numbers::<i64>(source, tensor, elements),
        Dtype::F8_E4M3 => numbers::<F8E4M3>(source, tensor, elements),
        Dtype::F16 => numbers::<f16>(source, tensor, elements),
        Dtype::BF16 => numbers::<bf16>(source, tensor, elements),
        Dtype::F32 => numbers::<f32>(source, tensor, elements),
        Dtype::F64 => numbers::<f64>(source, tensor, elements),
        other => {
            Err(Error::tensor(&tensor.name, "a dtype that candle can load", format!("{other}")))
        }
    }
}

/// The same of a tensor of `T`, read where they are to stand.
fn numbers<T: WithDType + Pod>(
    source: &Source,
    tensor: &TensorInfo,
    elements: Range<usize>,
) -> Result<Tensor> {
    if elements.start > elements.end || elements.end > tensor.count() {
        let expected = format!("at most {} elements", tensor.count());
        return Err(Error::tensor(&tensor.name, expected, format!("{elements:?}")));
    }
    let count = elements.len();
    let mut values: Vec<T> = Vec::new();
    values.try_reserve_exact(count).map_err(|_| Error::Memory {
        what: tensor.name.clone(),
        bytes: (count as u64).saturating_mul(size_of::<T>() as u64),
    })?;
    let mut offset = tensor.offset + (elements.start * size_of::<T>()) as u64;
    while values.len() < count {
        let read = values.len();
        values.resize(count.min(read + BLOCK / size_of::<T>()), T::zeroed());
        let block = cast_slice_mut(&mut values[read..]);
        source.read_at(block, offset)?;
        offset += block.len() as u64;
    }
    // They are stored with the lowest byte first.
    if cfg!(target_endian = "big") {
        values.iter_mut().for_each(|value| bytes_of_mut(value).reverse());
    }
    Ok(Tensor::from_vec(values, count, &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::fill;

    #[test]
    fn short_and_interrupted_reads_lose_nothing() {
        let content: Vec<u8> = (0..100).collect();
        let mut calls = 0;
        let mut buffer = [0; 60];
        let filled = fill(&mut buffer, 30, |buffer, offset| {
            calls += 1;
            if calls % 3 == 0 {
                return Err(ErrorKind::Interrupted.into());
            }
            let (offset, count) = (offset as usize, buffer.len().min(7));
            buffer[..count].copy_from_slice(&content[offset..offset + count]);
            Ok(count)
        });
        filled.unwrap();
        assert_eq!(buffer, content[30..90]);
    }

    #[test]
    fn what_ends_or_fails_is_an_error() {
        for (answer, expected) in [
            (Ok(0), ErrorKind::UnexpectedEof),
            (Err(ErrorKind::PermissionDenied), ErrorKind::PermissionDenied),
        ] {
            let mut left = 2;
            let filled = fill(&mut [0; 60], 0, |_, _| {
                left -= 1;
                if left > 0 { Ok(50) } else { answer.map_err(Into::into) }
            });
            assert_eq!(filled.unwrap_err().kind(), expected);
        }
    }
}
