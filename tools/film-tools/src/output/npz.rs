//! Tensors as NumPy arrays in a zip archive, as `numpy.savez` lays them out.

use std::io::{self, Seek, SeekFrom, Write};

use anyhow::{Context, Result};
use film_core::checkpoint::Dtype;
use half::bf16;
use zip::write::SimpleFileOptions;

use super::tensors::Stored;

pub(crate) fn write(file: &mut (impl Write + Seek), stored: &mut Stored) -> Result<()> {
    let mut archive = zip::ZipWriter::new(Latch { file, failed: false });
    // No compression and no clock: the same numbers give the same bytes.
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for entry in stored.entries.clone() {
        let bytes = entry.shape.iter().product::<usize>() as u64 * 8;
        let options = options.large_file(bytes >= u64::from(u32::MAX));
        archive
            .start_file(format!("{}.npy", entry.name), options)
            .context("cannot write the archive")?;
        archive.write_all(&header(entry.dtype, &entry.shape))?;
        stored.blocks(&entry.name, |bytes| {
            if entry.dtype == Dtype::BF16 {
                let (values, _) = bytes.as_chunks::<2>();
                let wide: Vec<u8> = values
                    .iter()
                    .flat_map(|&value| bf16::from_le_bytes(value).to_f32().to_le_bytes())
                    .collect();
                archive.write_all(&wide)?;
            } else {
                archive.write_all(bytes)?;
            }
            Ok(())
        })?;
    }
    archive.finish().context("cannot write the archive")?;
    Ok(())
}

/// A file that fails once. An archive that is let go after an error tries to end itself all the same, and prints what
/// comes of it: that is to be nothing.
struct Latch<'a, W> {
    file: &'a mut W,
    failed: bool,
}

impl<W: Write> Write for Latch<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Ok(bytes.len());
        }
        let written = self.file.write(bytes);
        self.failed =
            written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<W: Seek> Seek for Latch<'_, W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
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
