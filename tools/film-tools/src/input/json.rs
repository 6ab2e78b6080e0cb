//! Nested JSON arrays of numbers, streamed into a temporary file: they need not fit into memory.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::{Device, Tensor};
use film_core::short;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// The numbers of a JSON document, in row-major order, as float64 on disk.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(crate) shape: Vec<usize>,
    file: File,
}

pub(crate) fn open(path: &Path) -> Result<Spool> {
    if !std::fs::metadata(path)?.is_file() {
        bail!("not a regular file");
    }
    spool(File::open(path)?)
}

pub(crate) fn spool(reader: impl Read) -> Result<Spool> {
    let file = tempfile::tempfile().context("cannot create a temporary file")?;
    let mut document = Document { shape: Vec::new(), rank: None, out: BufWriter::new(file) };
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(reader));
    let level = Level { depth: 0, document: &mut document };
    level.deserialize(&mut json).and_then(|()| json.end()).map_err(explain)?;
    let Document { shape, out, .. } = document;
    let file = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .context("cannot write a temporary file")?;
    Ok(Spool { shape: shape.into_iter().map(Option::unwrap_or_default).collect(), file })
}

/// Says what is wanted where JSON's own words do not.
fn explain(error: serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    if text.starts_with("expected value") {
        anyhow!("expected JSON, an array of arrays of numbers: {text}; JSON has no NaN: use .npy")
    } else if text.starts_with("invalid type: null") {
        anyhow!("{text}; JSON has no NaN: use .npy")
    } else if text.starts_with("EOF") || text.starts_with("expected ident") {
        anyhow!("expected JSON, an array of arrays of numbers: {text}")
    } else {
        error.into()
    }
}

impl Spool {
    /// Some elements as a flat tensor.
    pub(crate) fn elements(&self, elements: Range<usize>) -> Result<Tensor> {
        let mut bytes = vec![0; elements.len() * 8];
        let mut file = &self.file;
        let read = file
            .seek(SeekFrom::Start(elements.start as u64 * 8))
            .and_then(|_| file.read_exact(&mut bytes));
        read.context("cannot read a temporary file")?;
        let (values, _) = bytes.as_chunks::<8>();
        let values: Vec<f64> = values.iter().map(|&value| f64::from_le_bytes(value)).collect();
        Ok(Tensor::from_vec(values, elements.len(), &Device::Cpu)?)
    }
}

/// What is known of the document while it is read.
struct Document {
    /// Lengths of the axes, each known once an array on it has ended.
    shape: Vec<Option<usize>>,
    /// At which depth the numbers stand.
    rank: Option<usize>,
    out: BufWriter<File>,
}

/// A value at some depth: an array or, at the last one, a number.
struct Level<'a> {
    depth: usize,
    document: &'a mut Document,
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an array of arrays of numbers")
    }

    fn visit_f64<E: Error>(self, value: f64) -> std::result::Result<(), E> {
        let rank = *self.document.rank.get_or_insert(self.depth);
        if self.depth != rank || rank == 0 {
            return Err(E::custom("expected an array here, found a number"));
        }
        self.document.out.write_all(&value.to_le_bytes()).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, value: u64) -> std::result::Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> std::result::Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> std::result::Result<(), E> {
        let expected = "expected an array of arrays of numbers";
        Err(E::custom(format!("invalid type: string {:?}, {expected}", short(text))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> std::result::Result<(), A::Error> {
        let Self { depth, document } = self;
        if document.rank.is_some_and(|rank| depth >= rank) {
            return Err(A::Error::custom("expected a number here, found an array"));
        }
        if document.shape.len() <= depth {
            document.shape.push(None);
        }
        let mut count = 0;
        while array.next_element_seed(Level { depth: depth + 1, document })?.is_some() {
            count += 1;
        }
        let expected = *document.shape[depth].get_or_insert(count);
        if count != expected {
            let text =
                format!("expected an array of {expected} like the ones before it, found {count}");
            return Err(A::Error::custom(text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_become_tensors() {
        let spool = spool("[[1, 2.5, -3], [4, 5e-1, 6]]".as_bytes()).unwrap();
        assert_eq!(spool.shape, [2, 3]);
        assert_eq!(spool.elements(1..5).unwrap().to_vec1::<f64>().unwrap(), [2.5, -3.0, 4.0, 0.5]);
    }

    #[test]
    fn what_is_no_tensor_is_refused() {
        for (text, problem) in [
            ("[[1, 2], [3]]", "expected an array of 2 like the ones before it, found 1"),
            ("[1, [2]]", "expected a number here, found an array"),
            ("[[1], 2]", "expected an array here, found a number"),
            ("3", "expected an array here, found a number"),
            ("[\"a\"]", "invalid type: string \"a\", expected an array of arrays of numbers"),
            ("[1, null]", "invalid type: null, expected an array of arrays of numbers"),
            ("[1] 2", "trailing characters"),
            ("[NaN]", "expected JSON, an array of arrays of numbers: expected value at line"),
            ("", "expected JSON, an array of arrays of numbers: EOF while parsing a value"),
        ] {
            let error = spool(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(problem), "{text}: {error}");
        }
    }
}
