//! Tensors as one JSON object of nested arrays. What JSON has no number for (NaN, ±Inf) is null.

use std::io::Write;

use anyhow::{Result, bail};
use film_core::checkpoint::Dtype;
use half::{bf16, f16};

use super::tensors::Stored;
use crate::commands::SCHEMA_VERSION;

pub(crate) fn write(out: &mut impl Write, stored: &mut Stored) -> Result<()> {
    stored.entries.iter().try_for_each(|entry| check_empty(&entry.shape))?;
    write!(out, "{{\n  \"schema_version\": {SCHEMA_VERSION}")?;
    for entry in stored.entries.clone() {
        write!(out, ",\n  {}: ", serde_json::to_string(&entry.name)?)?;
        if entry.shape.iter().product::<usize>() == 0 {
            empty(out, &entry.shape)?;
            continue;
        }
        let mut index = 0;
        stored.blocks(&entry.name, |bytes| match entry.dtype {
            Dtype::F16 => numbers(out, &entry.shape, &mut index, bytes, |bytes| {
                f16::from_le_bytes(bytes).to_f32()
            }),
            Dtype::BF16 => numbers(out, &entry.shape, &mut index, bytes, |bytes| {
                bf16::from_le_bytes(bytes).to_f32()
            }),
            Dtype::F64 => numbers(out, &entry.shape, &mut index, bytes, f64::from_le_bytes),
            _ => numbers(out, &entry.shape, &mut index, bytes, f32::from_le_bytes),
        })?;
    }
    writeln!(out, "\n}}")?;
    Ok(())
}

/// Prints numbers with the brackets that open and close around each.
fn numbers<const N: usize, T: serde::Serialize>(
    out: &mut impl Write,
    shape: &[usize],
    index: &mut usize,
    bytes: &[u8],
    from_le_bytes: impl Fn([u8; N]) -> T,
) -> Result<()> {
    let (values, _) = bytes.as_chunks::<N>();
    for &value in values {
        if *index > 0 {
            out.write_all(b",")?;
        }
        out.write_all("[".repeat(edges(shape, *index)).as_bytes())?;
        serde_json::to_writer(&mut *out, &from_le_bytes(value)).map_err(std::io::Error::from)?;
        *index += 1;
        out.write_all("]".repeat(edges(shape, *index)).as_bytes())?;
    }
    Ok(())
}

/// How many axes begin at element `index`, or end in front of it.
fn edges(shape: &[usize], index: usize) -> usize {
    let mut span = 1;
    let begins = |size: &&usize| {
        span *= **size;
        index.is_multiple_of(span)
    };
    shape.iter().rev().take_while(begins).count()
}

/// An empty tensor may have any number of empty rows, and each would be written.
fn check_empty(shape: &[usize]) -> Result<()> {
    const MOST: usize = 1 << 20;
    let Some(empty) = shape.iter().position(|&size| size == 0) else { return Ok(()) };
    let arrays = shape[..empty].iter().try_fold(1usize, |all, &size| all.checked_mul(size));
    if arrays.is_none_or(|arrays| arrays > MOST) {
        bail!("shape {shape:?} holds no number: as JSON it would be nothing but brackets");
    }
    Ok(())
}

/// Nested empty arrays.
fn empty(out: &mut impl Write, shape: &[usize]) -> Result<()> {
    let Some((&size, inner)) = shape.split_first() else { return Ok(()) };
    out.write_all(b"[")?;
    for index in 0..size {
        if index > 0 {
            out.write_all(b",")?;
        }
        empty(out, inner)?;
    }
    out.write_all(b"]")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::edges;

    #[test]
    fn brackets_open_where_axes_begin() {
        let opened: Vec<usize> = (0..=6).map(|index| edges(&[3, 2], index)).collect();
        assert_eq!(opened, [2, 0, 1, 0, 1, 0, 2]);
    }
}
