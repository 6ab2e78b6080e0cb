//! A NumPy .npy file, read by ranges.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use npyz::{DType as NpyType, Endianness, Order, TypeChar};

/// An array of numbers.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    path: PathBuf,
    file: File,
    data: u64,
    dtype: DType,
    big_endian: bool,
    /// A column-major array, put into row-major order.
    turned: Option<Tensor>,
}

impl Array {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        if !std::fs::metadata(path).with_context(name)?.is_file() {
            bail!("{}: not a regular file", path.display());
        }
        let mut file = File::open(path).with_context(name)?;
        let header = npyz::NpyHeader::from_reader(&mut file).map_err(|error| {
            anyhow::anyhow!("{}: not a valid .npy file: {error}", path.display())
        })?;
        let data = file.stream_position().with_context(name)?;
        let found = header.dtype();
        let Some((dtype, big_endian)) = number_type(&found) else {
            bail!(
                "{}: expected floating-point or integer numbers, found dtype {}",
                path.display(),
                found.descr()
            );
        };
        let count = header
            .shape()
            .iter()
            .try_fold(dtype.size_in_bytes() as u64, |bytes, size| bytes.checked_mul(*size));
        let there = file.metadata().with_context(name)?.len().saturating_sub(data);
        if count != Some(there) {
            let shape = header.shape();
            bail!(
                "{}: shape {shape:?} of {} does not take the {there} bytes of data there are",
                path.display(),
                found.descr()
            );
        }
        let shape = header.shape().iter().map(|&size| size as usize).collect();
        let turned = None;
        let mut array = Self { shape, path: path.into(), file, data, dtype, big_endian, turned };
        if header.order() == Order::Fortran && array.shape.len() > 1 {
            array.turned = Some(array.turn()?);
        }
        Ok(array)
    }

    /// All elements of a column-major array, in row-major order.
    fn turn(&self) -> Result<Tensor> {
        let reversed: Vec<usize> = self.shape.iter().rev().copied().collect();
        let axes: Vec<usize> = (0..self.shape.len()).rev().collect();
        let all = self.elements(0..self.shape.iter().product())?;
        Ok(all.reshape(reversed)?.permute(axes)?.flatten_all()?)
    }

    /// Some elements as a flat tensor.
    pub(crate) fn elements(&self, elements: Range<usize>) -> Result<Tensor> {
        if let Some(turned) = &self.turned {
            return Ok(turned.narrow(0, elements.start, elements.len())?);
        }
        let size = self.dtype.size_in_bytes();
        let mut bytes = vec![0; elements.len() * size];
        let mut file = &self.file;
        let offset = self.data + (elements.start * size) as u64;
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes));
        read.with_context(|| format!("{}: cannot read", self.path.display()))?;
        if self.big_endian {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        Ok(Tensor::from_raw_buffer(&bytes, self.dtype, &[elements.len()], &Device::Cpu)?)
    }
}

/// candle's name of a NumPy dtype, and whether its bytes are in big-endian order.
fn number_type(dtype: &NpyType) -> Option<(DType, bool)> {
    let NpyType::Plain(text) = dtype else { return None };
    let number = match (text.type_char(), text.size_field()) {
        (TypeChar::Float, 2) => DType::F16,
        (TypeChar::Float, 4) => DType::F32,
        (TypeChar::Float, 8) => DType::F64,
        (TypeChar::Int, 2) => DType::I16,
        (TypeChar::Int, 4) => DType::I32,
        (TypeChar::Int, 8) => DType::I64,
        (TypeChar::Uint, 1) => DType::U8,
        (TypeChar::Uint, 4) => DType::U32,
        _ => return None,
    };
    Some((number, text.endianness() == Endianness::Big))
}
