//! The header of one safetensors file: 8 bytes of length, then that much JSON.
//!
//! The rules are the format's own (<https://huggingface.co/docs/safetensors>, "Format"): tensors fill the
//! rest of the file without overlap or hole, no name stands twice, the header is at most 100 MB.

use safetensors::Dtype;

use super::entries::{self, RawTensor};
use super::pickle;
use super::problems::Problems;
use super::read::{Source, zeroed};
use crate::error::{Error, Result};
use crate::short::short;

/// What the format allows.
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A tensor as the header describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Full name.
    pub name: String,
    /// Stored dtype.
    pub dtype: Dtype,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// Stored bytes.
    pub bytes: u64,
    /// Where they begin in the file.
    pub offset: u64,
    /// Which of the checkpoint's files.
    pub(super) file: usize,
}

impl TensorInfo {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A file's header: what it says, and where that breaks the rules.
#[derive(Debug)]
pub(super) struct Header {
    /// The tensors whose entries can be, sorted by name.
    pub(super) tensors: Vec<TensorInfo>,
    pub(super) metadata: Vec<(String, String)>,
    /// Every rule of the format that is broken.
    pub(super) problems: Vec<String>,
    /// Where the tensors' bytes begin.
    pub(super) data: u64,
}

/// Reads the header of file number `file`. A file that has none is an error; one that breaks rules has
/// [`problems`](Header::problems).
pub(super) fn read(source: &Source, file: usize) -> Result<Header> {
    let json = json(source)?;
    let data = 8 + json.len() as u64;
    let raw = entries::parse(&json);
    drop(json);
    let mut problems = raw.problems;
    // An entry that nobody can read leaves a hole that says nothing new.
    let mut whole = problems.is_empty();
    let mut spans = Vec::with_capacity(raw.tensors.len());
    for same in raw.tensors.chunk_by(|(a, _), (b, _)| a == b) {
        let name = &same[0].0;
        if let [(_, first), (_, second), ..] = same {
            problems.push(|| twice(name, first.data_offsets, second.data_offsets));
        }
        // The same bytes overlap nothing.
        let mut own: Vec<_> = same.iter().filter_map(|(_, entry)| entry.span(data)).collect();
        whole &= own.len() == same.len();
        own.sort_unstable();
        own.dedup();
        spans.extend(own.into_iter().map(|(start, end)| Span { name, start, end }));
    }
    let mut behind = Problems::default();
    layout(&mut behind, spans, whole, data, source.bytes);
    let mut tensors = Vec::with_capacity(raw.tensors.len());
    for (name, entry) in raw.tensors {
        match entry.check(name, data, file) {
            Ok(tensor) => tensors.push(tensor),
            Err(problem) => problems.push(|| problem),
        }
    }
    problems.append(behind);
    Ok(Header { tensors, metadata: raw.metadata, problems: problems.lines(), data })
}

fn twice(name: &str, (start, end): (u64, u64), (other, other_end): (u64, u64)) -> String {
    let place = match (start, end) == (other, other_end) {
        true => format!("both times at {start} to {end}"),
        false => format!("at {start} to {end} and at {other} to {other_end}"),
    };
    format!("tensor {:?} stands twice, {place}", short(name))
}

/// The header's JSON, as it stands in the file.
pub(super) fn json(source: &Source) -> Result<Vec<u8>> {
    let mut length = [0; 8];
    match source.bytes {
        0 => return Err(Error::Format("the file is empty".into())),
        1..8 => return Err(malformed(&format!("{} bytes are too few for a header", source.bytes))),
        _ => source.read_at(&mut length, 0)?,
    }
    let length = u64::from_le_bytes(length);
    if length > source.bytes - 8 || length > MAX_HEADER_BYTES {
        if let Some(what) = disguise(source)? {
            return Err(Error::Format(format!("not a safetensors file but {what}")));
        }
        let limit = MAX_HEADER_BYTES.min(source.bytes - 8);
        return Err(malformed(&format!(
            "the header claims {length} bytes, at most {limit} can be"
        )));
    }
    let mut json = zeroed(length)?;
    source.read_at(&mut json, 8)?;
    Ok(json)
}

/// Whether a file of so many bytes that begins so may be a safetensors file.
pub(super) fn may_begin(start: &[u8], file_bytes: u64) -> bool {
    match start.split_first_chunk::<8>() {
        Some((length, [b'{', ..])) => {
            let length = u64::from_le_bytes(*length);
            length <= MAX_HEADER_BYTES && length <= file_bytes - 8
        }
        _ => false,
    }
}

/// A broken rule as an error.
pub(super) fn malformed(problem: &str) -> Error {
    Error::Format(format!("not a valid safetensors file: {problem}"))
}

/// What a file that is no safetensors file looks like, where that is easy to tell.
fn disguise(source: &Source) -> Result<Option<&'static str>> {
    let mut start = [0; 64];
    let start = &mut start[..source.bytes.min(64) as usize];
    source.read_at(start, 0)?;
    let text = start.trim_ascii_start().to_ascii_lowercase();
    let is = |magic: &[u8]| text.starts_with(magic);
    Ok(if is(b"version https://git-lfs") {
        Some("a git-lfs pointer: fetch the file itself with `git lfs pull`")
    } else if is(b"<!doctype") || is(b"<html") {
        Some("an HTML page: the download went wrong")
    } else if is(b"\x93numpy") {
        Some("a NumPy array (.npy)")
    } else if is(b"pk\x03\x04") && text.windows(4).any(|window| window == b".npy") {
        Some("an archive of NumPy arrays (.npz)")
    } else if is(b"pk\x03\x04")
        || matches!(start, [0x80, 2..=5, ..])
        || start.starts_with(pickle::MAGIC_LINE)
    {
        Some("a PyTorch pickle: `film-tools convert` makes safetensors of it")
    } else if is(b"{") {
        Some("JSON text")
    } else if is(b"gguf") {
        Some("a GGUF file")
    } else {
        None
    })
}

/// Where a tensor's bytes stand in the file.
struct Span<'a> {
    name: &'a str,
    start: u64,
    end: u64,
}

/// Tensors fill the file from the header's end to the file's, each once. Holes are told of only where the `whole`
/// header can be read.
fn layout(problems: &mut Problems, mut spans: Vec<Span>, whole: bool, data: u64, bytes: u64) {
    spans.sort_unstable_by_key(|span| (span.start, span.end, span.name));
    let mut end = data;
    for Span { name, start, end: own } in spans {
        if start < end {
            problems.push(|| format!("tensor {:?} overlaps the tensor before it", short(name)));
        } else if start > end && whole {
            problems.push(|| format!("tensor {:?} leaves a hole before it", short(name)));
        }
        end = end.max(own);
    }
    if bytes < end {
        let (there, all) = (bytes - data, end - data);
        problems
            .push(|| format!("the file is truncated: {there} of {all} bytes of tensors are there"));
    } else if bytes > end && whole {
        problems.push(|| format!("{} bytes stand behind the last tensor", bytes - end));
    }
}

impl RawTensor {
    /// Where its bytes begin and end in the file.
    fn span(&self, data: u64) -> Option<(u64, u64)> {
        let (start, end) = self.data_offsets;
        let span = (data.checked_add(start)?, data.checked_add(end)?);
        (start <= end).then_some(span)
    }

    /// The tensor, or why there can be none such.
    fn check(
        self,
        name: String,
        data: u64,
        file: usize,
    ) -> std::result::Result<TensorInfo, String> {
        let says = |problem: String| format!("tensor {:?}: {problem}", short(&name));
        let span = self.span(data);
        let shape = &self.shape;
        let dtype =
            self.dtype.0.map_err(|dtype| says(format!("unknown dtype {:?}", short(&dtype))))?;
        let bits = shape
            .iter()
            .try_fold(dtype.bitsize() as u64, |bits, &size| bits.checked_mul(size))
            .filter(|bits| bits % 8 == 0)
            .ok_or_else(|| says(format!("shape {shape:?} of {dtype} is no number of bytes")))?;
        let (start, end) = self.data_offsets;
        let bytes = end
            .checked_sub(start)
            .ok_or_else(|| says(format!("its offsets run backwards, from {start} to {end}")))?;
        if bytes != bits / 8 {
            let expected = bits / 8;
            let text = format!("shape {shape:?} of {dtype} takes {expected} bytes, not {bytes}");
            return Err(says(text));
        }
        let (offset, _) = span.ok_or_else(|| says(format!("offset {start} is beyond any file")))?;
        let sizes = self.shape.into_iter().map(usize::try_from);
        let sizes = sizes.collect::<std::result::Result<_, _>>();
        let shape = sizes.map_err(|_| says("its shape does not fit this machine".into()))?;
        Ok(TensorInfo { name, dtype, shape, bytes, offset, file })
    }
}
