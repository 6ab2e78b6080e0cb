//! Tensors as NumPy arrays in a zip archive, as `numpy.savez` lays them out.

use std::io::Write;

use anyhow::{Error, Result};
use film_core::checkpoint::Dtype;
use half::bf16;
use rawzip::{ErrorKind, ZipArchiveWriter};

use super::tensors::Stored;

pub(crate) fn write(file: &mut impl Write, stored: &mut Stored) -> Result<()> {
    // No compression and no clock: the same numbers give the same bytes.
    let mut archive = ZipArchiveWriter::new(file);
    for entry in stored.entries.clone() {
        let name = format!("{}.npy", entry.name);
        let (mut record, config) = archive.new_file(&name).start().map_err(unwritten)?;
        let mut writer = config.wrap(&mut record);
        writer.write_all(&header(entry.dtype, &entry.shape))?;
        stored.blocks(&entry.name, |bytes| {
            if entry.dtype == Dtype::BF16 {
                let (values, _) = bytes.as_chunks::<2>();
                let wide: Vec<u8> = values
                    .iter()
                    .flat_map(|&value| bf16::from_le_bytes(value).to_f32().to_le_bytes())
                    .collect();
                writer.write_all(&wide)?;
            } else {
                writer.write_all(bytes)?;
            }
            Ok(())
        })?;
        let (_, end) = writer.finish().map_err(unwritten)?;
        record.finish(end).map_err(unwritten)?;
    }
    archive.finish().map_err(unwritten)?;
    Ok(())
}

/// Why the archive is not written; where it is the file's fault, in the file's own words.
fn unwritten(error: rawzip::Error) -> Error {
    match error.into_kind() {
        ErrorKind::IO(error) => error.into(),
        kind => Error::new(rawzip::Error::from(kind)).context("cannot write the archive"),
    }
}

/// The header of a .npy file (NEP 1), padded so that the data begins at a multiple of 64.
fn header(dtype: Dtype, shape: &[usize]) -> Vec<u8> {
    // NumPy has no bfloat16: it is widened to float32.
    let descr = match dtype {
        Dtype::F16 => "<f2",
        Dtype::F64 => "<f8",
        _ => "<f4",
    };
    let shape: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut text = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}",
        shape.trim_end()
    );
    let unpadded = 10 + text.len() + 1;
    text.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.into_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_numpys() {
        let header = header(Dtype::F32, &[5, 32]);
        assert_eq!(header.len(), 128);
        assert!(
            header[10..]
                .starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (5, 32,), }")
        );
        assert_eq!(header.last(), Some(&b'\n'));
    }
}
