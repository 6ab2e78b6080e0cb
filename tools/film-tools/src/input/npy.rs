//! A NumPy .npy file (NEP 1), read by ranges.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use film_core::short;

/// NumPy's own headers are a few hundred bytes long.
const MAX_HEADER: usize = 1 << 16;

/// An array of numbers.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    path: PathBuf,
    file: File,
    /// Where the numbers begin.
    data: u64,
    dtype: DType,
    big_endian: bool,
    /// A column-major array, put into row-major order.
    turned: Option<Tensor>,
}

/// The header's three entries.
#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Array {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        if !std::fs::metadata(path).with_context(name)?.is_file() {
            bail!("{}: not a regular file", path.display());
        }
        let mut file = File::open(path).with_context(name)?;
        let invalid = || format!("{}: not a valid .npy file", path.display());
        let header = read_header(&mut file).with_context(invalid)?;
        let data = file.stream_position().with_context(name)?;
        let Header { descr, fortran_order, shape } = header;
        let Some((dtype, big_endian)) = number_type(&descr) else {
            let expected = "expected floating-point or integer numbers";
            bail!("{}: {expected}, found dtype {}", path.display(), short(&descr));
        };
        let bytes = shape
            .iter()
            .try_fold(dtype.size_in_bytes() as u64, |bytes, &size| bytes.checked_mul(size as u64));
        let there = file.metadata().with_context(name)?.len().saturating_sub(data);
        if bytes != Some(there) {
            bail!(
                "{}: shape {shape:?} of {descr} does not take the {there} bytes of data there are",
                path.display()
            );
        }
        let turned = None;
        let mut array = Self { shape, path: path.into(), file, data, dtype, big_endian, turned };
        if fortran_order && array.shape.len() > 1 {
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

/// Reads up to where the numbers begin.
fn read_header(file: &mut impl Read) -> Result<Header> {
    let mut start = [0; 8];
    file.read_exact(&mut start).context("it is too short")?;
    if start[..6] != *b"\x93NUMPY" {
        bail!("it does not begin with \\x93NUMPY");
    }
    let length = match start[6] {
        1 => {
            let mut length = [0; 2];
            file.read_exact(&mut length).context("it is too short")?;
            usize::from(u16::from_le_bytes(length))
        }
        2 | 3 => {
            let mut length = [0; 4];
            file.read_exact(&mut length).context("it is too short")?;
            u32::from_le_bytes(length) as usize
        }
        version => bail!("version {version} is unknown"),
    };
    if length > MAX_HEADER {
        bail!("its header claims {length} bytes");
    }
    let mut text = vec![0; length];
    file.read_exact(&mut text).context("it is too short")?;
    let text = String::from_utf8(text).context("its header is no text")?;
    parse(text.trim()).with_context(|| format!("its header is {:?}", short(text.trim())))
}

/// The entries of a Python dictionary as NumPy writes it: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
fn parse(text: &str) -> Option<Header> {
    let entry = |key: &str| {
        let (_, rest) = text.split_once(&format!("'{key}':"))?;
        Some(rest.trim_start())
    };
    let descr = entry("descr")?;
    let descr = match descr.strip_prefix('\'') {
        Some(descr) => format!("'{}'", descr.split_once('\'')?.0),
        // A structured dtype: a list of fields.
        None if descr.starts_with('[') => format!("{}]", descr.split_once(']')?.0),
        None => return None,
    };
    let fortran_order = match entry("fortran_order")? {
        rest if rest.starts_with("True") => true,
        rest if rest.starts_with("False") => false,
        _ => return None,
    };
    let (shape, _) = entry("shape")?.strip_prefix('(')?.split_once(')')?;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape = sizes.map(|size| size.parse().ok()).collect::<Option<_>>()?;
    Some(Header { descr, fortran_order, shape })
}

/// candle's name of a NumPy dtype, and whether its bytes are in big-endian order.
fn number_type(descr: &str) -> Option<(DType, bool)> {
    let descr = descr.strip_prefix('\'')?.strip_suffix('\'')?;
    let order = descr.chars().next().filter(|order| matches!(order, '<' | '>' | '=' | '|'))?;
    let dtype = match &descr[1..] {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u4" => DType::U32,
        _ => return None,
    };
    Some((dtype, order == '>'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_numpy_writes_them() {
        let header = |descr: &str, fortran_order, shape: &[usize]| {
            Some(Header { descr: descr.into(), fortran_order, shape: shape.into() })
        };
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        assert_eq!(parse(text), header("'<f4'", false, &[2, 3]));
        let text = "{'shape': (7,), 'fortran_order': True, 'descr': '>f8'}";
        assert_eq!(parse(text), header("'>f8'", true, &[7]));
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (), }";
        assert_eq!(parse(text), header("'<f4'", false, &[]));
        for broken in [
            "",
            "{}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (-2,)}",
        ] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }
}
