//! Two checkpoints against each other, tensor by tensor.
//!
//! ```text
//! names ─▶ pairs ─▶ equal bytes? ─ decode ─▶ tally ─▶ Difference
//!    └─▶ in one only ─ hash ─▶ renamed, added, removed
//! ```

mod decode;
mod tally;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use safetensors::Dtype;
use serde::Serialize;

use super::parallel::{self, BLOCK};
use super::{Checkpoint, Digest, TensorInfo, blocks, strip_prefix};
use crate::error::{Error, Result};
use crate::short::short;
use decode::Kind;
use tally::Tally;

/// One of two checkpoints, and what is taken off in front of its names.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The checkpoint.
    pub checkpoint: &'a Checkpoint,
    /// A dotted prefix that tensors lose which stand below it; the others keep their names.
    pub strip_prefix: Option<&'a str>,
}

/// How far floating-point values may be from each other: |a − b| ≤ atol + rtol · max(|a|, |b|). By default not at all.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Tolerance {
    /// The share of the greater value.
    pub rtol: f64,
    /// The amount.
    pub atol: f64,
}

/// How two checkpoints differ. Names are those without the prefixes.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// The tensors of the same name, sorted by it.
    pub pairs: Vec<Pair<'a>>,
    /// The tensors that have another name in B and the same dtype, shape and bytes, sorted by their names in A.
    pub renamed: Vec<Renamed<'a>>,
    /// The tensors that only A has, sorted by name.
    pub removed: Vec<(&'a str, &'a TensorInfo)>,
    /// The tensors that only B has, sorted by name.
    pub added: Vec<(&'a str, &'a TensorInfo)>,
}

/// A tensor that both checkpoints have.
#[derive(Debug)]
pub struct Pair<'a> {
    /// Its name.
    pub name: &'a str,
    /// What A has.
    pub a: &'a TensorInfo,
    /// What B has.
    pub b: &'a TensorInfo,
    /// How the values differ; `None` where they cannot be compared: another number of elements, or dtypes of which one
    /// is not known here as numbers.
    pub difference: Option<Difference>,
    /// Whether there is a tolerance, so that another dtype alone is no difference.
    pub tolerant: bool,
}

/// A tensor that has another name in B.
#[derive(Debug)]
pub struct Renamed<'a> {
    /// Its name in A.
    pub from: &'a str,
    /// Its name in B.
    pub to: &'a str,
    /// The tensor in B.
    pub tensor: &'a TensorInfo,
}

/// How the values of two tensors differ, element by element in row-major order.
///
/// NaN equals NaN, an infinity the same infinity, and 0 equals −0. A tolerance is for floating-point values: integers
/// and booleans are compared exactly. Complex numbers count as their parts; bytes of a dtype that is not known here as
/// numbers, each as one element.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Difference {
    /// Whether the stored bytes are the same.
    pub same_bytes: bool,
    /// Number of elements.
    pub elements: u64,
    /// How many differ by more than the tolerance.
    pub over: u64,
    /// How many of these are NaN or infinite on one side, or infinite on both with other signs.
    pub non_finite: u64,
    /// The greatest |a − b| of finite values; infinite (`null` in JSON) where float64 does not hold it.
    pub max_abs: f64,
    /// The greatest |a − b| / max(|a|, |b|) of finite values; infinite (`null` in JSON) where float64 does not hold
    /// |a − b|.
    pub max_rel: f64,
    /// Σ a·b / √(Σ a² · Σ b²) over the elements that are finite on both sides; `None` where a sum is zero in float64 or
    /// beyond what it holds, or all bytes are the same.
    pub cosine: Option<f64>,
}

impl Pair<'_> {
    /// Whether the shapes differ.
    pub fn reshaped(&self) -> bool {
        self.a.shape != self.b.shape
    }

    /// Whether the dtypes differ.
    pub fn recast(&self) -> bool {
        self.a.dtype != self.b.dtype
    }

    /// Whether shape and, within the tolerance, values are the same; without a tolerance the dtype, too.
    pub fn is_same(&self) -> bool {
        let within = self.difference.as_ref().is_some_and(|difference| difference.over == 0);
        within && !self.reshaped() && (self.tolerant || !self.recast())
    }
}

impl Comparison<'_> {
    /// Whether both have the same tensors, by name, shape and, within the tolerance, values; without a tolerance by dtype, too.
    pub fn is_same(&self) -> bool {
        self.pairs.iter().all(Pair::is_same)
            && self.renamed.is_empty()
            && self.removed.is_empty()
            && self.added.is_empty()
    }
}

/// Compares two checkpoints by what their tensors hold. How they are sharded, their metadata and their config.json do not
/// matter. Memory does not grow with the tensors.
///
/// # Errors
/// If nothing stands below a prefix, two names are the same without it, or a file changed under us.
pub fn compare<'a>(a: Side<'a>, b: Side<'a>, tolerance: Tolerance) -> Result<Comparison<'a>> {
    let (mut removed, mut added) = (a.names()?, b.names()?);
    let tolerant = tolerance.rtol > 0.0 || tolerance.atol > 0.0;
    let in_b = |&(name, a): &Named<'a>| {
        let found = added.binary_search_by(|(other, _)| (*other).cmp(name)).ok()?;
        Some((name, [a, added[found].1]))
    };
    let both: Vec<_> = removed.iter().filter_map(in_b).collect();
    let is_alone =
        |(name, _): &Named| both.binary_search_by(|(other, _)| (*other).cmp(name)).is_err();
    removed.retain(is_alone);
    added.retain(is_alone);
    let sides = [a.checkpoint, b.checkpoint];
    let differences = parallel::map(
        &both,
        || [vec![0; BLOCK], vec![0; BLOCK]],
        |buffers, &(_, tensors)| difference(sides, tensors, tolerance, buffers),
    );
    let pairs = both.iter().zip(differences).map(|(&(name, [a, b]), difference)| {
        Ok(Pair { name, a, b, difference: difference?, tolerant })
    });
    let pairs = pairs.collect::<Result<_>>()?;
    let renamed = renamed(sides, &mut removed, &mut added)?;
    Ok(Comparison { pairs, renamed, removed, added })
}

/// A tensor by its name without a prefix.
type Named<'a> = (&'a str, &'a TensorInfo);

impl<'a> Side<'a> {
    /// Its tensors, sorted by their names without the prefix.
    fn names(&self) -> Result<Vec<Named<'a>>> {
        let mut stripped = false;
        let bare = |tensor: &'a TensorInfo| {
            let bare = self.strip_prefix.and_then(|prefix| strip_prefix(&tensor.name, prefix));
            stripped |= bare.is_some();
            (bare.unwrap_or(&tensor.name), tensor)
        };
        let mut names: Vec<Named> = self.checkpoint.tensors().iter().map(bare).collect();
        names.sort_by_key(|(name, _)| *name);
        if let Some(pair) = names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let names = [&pair[0].1.name, &pair[1].1.name, pair[0].0];
            let [a, b, both] = names.map(|name| short(name));
            let text = format!("{a} and {b} would both be {both}");
            return Err(Error::Selection(text).in_file(self.checkpoint.path()));
        }
        match self.strip_prefix {
            Some(prefix) if !stripped => {
                let text = format!("no tensor stands below the prefix {prefix}");
                Err(Error::Selection(text).in_file(self.checkpoint.path()))
            }
            _ => Ok(names),
        }
    }
}

/// How two tensors differ: first by their bytes, and by their values where those are not the same.
fn difference(
    sides: [&Checkpoint; 2],
    tensors: [&TensorInfo; 2],
    tolerance: Tolerance,
    buffers: &mut [Vec<u8>; 2],
) -> Result<Option<Difference>> {
    let [a, b] = tensors;
    let kinds = [Kind::of(a.dtype), Kind::of(b.dtype)];
    // Complex numbers have two parts each, others one.
    let alone = kinds.contains(&Kind::Opaque) || [a.dtype, b.dtype].contains(&Dtype::C64);
    if a.count() != b.count() || (alone && a.dtype != b.dtype) {
        return Ok(None);
    }
    let elements = elements(a);
    if a.dtype == b.dtype && same_bytes(sides, tensors, buffers)? {
        return Ok(Some(Difference { same_bytes: true, elements, ..Difference::default() }));
    }
    let mut tally = Tally::new(tolerance);
    // As many elements at once as fill the buffer of the wider dtype.
    let sizes = tensors.map(|tensor| (tensor.dtype.bitsize() / 8).max(1));
    let each = BLOCK / sizes[0].max(sizes[1]);
    let elements_stored = a.bytes / sizes[0] as u64;
    for (first, count) in blocks(elements_stored, each) {
        for side in 0..2 {
            let size = sizes[side];
            let block = &mut buffers[side][..count * size];
            sides[side].read_bytes(tensors[side], first * size as u64, block)?;
        }
        let [x, y] = [&buffers[0][..count * sizes[0]], &buffers[1][..count * sizes[1]]];
        tally.add([a.dtype, b.dtype], kinds, [x, y]);
    }
    Ok(Some(tally.finish(elements)))
}

/// What counts as one element.
fn elements(tensor: &TensorInfo) -> u64 {
    match (tensor.dtype, Kind::of(tensor.dtype)) {
        (_, Kind::Opaque) => tensor.bytes,
        (Dtype::C64, _) => 2 * tensor.count() as u64,
        _ => tensor.count() as u64,
    }
}

fn same_bytes(
    sides: [&Checkpoint; 2],
    tensors: [&TensorInfo; 2],
    buffers: &mut [Vec<u8>; 2],
) -> Result<bool> {
    if tensors[0].bytes != tensors[1].bytes {
        return Ok(false);
    }
    let [x, y] = buffers;
    for (offset, length) in blocks(tensors[0].bytes, BLOCK) {
        let (x, y) = (&mut x[..length], &mut y[..length]);
        sides[0].read_bytes(tensors[0], offset, x)?;
        sides[1].read_bytes(tensors[1], offset, y)?;
        if x != y {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Of how many tensors that could be meant the names are compared.
const MOST_ALIKE: usize = 64;

/// Takes out of both those tensors that are the same but for their names. Of several that could be meant, the one whose
/// name ends most alike; of more than [`MOST_ALIKE`], the first by name.
fn renamed<'a>(
    sides: [&'a Checkpoint; 2],
    removed: &mut Vec<Named<'a>>,
    added: &mut Vec<Named<'a>>,
) -> Result<Vec<Renamed<'a>>> {
    // Only what has a counterpart of its dtype and shape is read.
    let form = |tensor: &'a TensorInfo| (tensor.dtype, tensor.shape.as_slice());
    let candidates = |of: &[Named<'a>], others: &[Named<'a>]| -> Vec<Named<'a>> {
        let forms: BTreeSet<_> = others.iter().map(|(_, tensor)| form(tensor)).collect();
        of.iter().filter(|(_, tensor)| forms.contains(&form(tensor))).copied().collect()
    };
    let hashes = |checkpoint: &Checkpoint, names: &[Named<'a>]| {
        let tensors: Vec<&TensorInfo> = names.iter().map(|(_, tensor)| *tensor).collect();
        checkpoint.sha256(&tensors)
    };
    let (before, after) = (candidates(removed, added), candidates(added, removed));
    let (before_hashes, after_hashes) = (hashes(sides[0], &before)?, hashes(sides[1], &after)?);
    type Key<'a> = (Dtype, &'a [usize], Digest);
    let mut by_content: BTreeMap<Key<'a>, VecDeque<Named<'a>>> = BTreeMap::new();
    for ((name, tensor), hash) in after.into_iter().zip(after_hashes) {
        let (dtype, shape) = form(tensor);
        by_content.entry((dtype, shape, hash)).or_default().push_back((name, tensor));
    }
    let mut renamed = Vec::new();
    for ((from, tensor), hash) in before.into_iter().zip(before_hashes) {
        let (dtype, shape) = form(tensor);
        let Some(same) = by_content.get_mut(&(dtype, shape, hash)) else { continue };
        let alike = |(_, (to, _)): &(usize, &Named)| common_end(from, to);
        // The first of the best.
        let best = match same.len() {
            ..=MOST_ALIKE => same.iter().enumerate().rev().max_by_key(alike).map(|(best, _)| best),
            _ => Some(0),
        };
        let Some((to, tensor)) = best.and_then(|best| same.remove(best)) else { continue };
        renamed.push(Renamed { from, to, tensor });
    }
    let (from, to): (HashSet<&str>, HashSet<&str>) =
        renamed.iter().map(|renamed| (renamed.from, renamed.to)).unzip();
    removed.retain(|(name, _)| !from.contains(name));
    added.retain(|(name, _)| !to.contains(name));
    Ok(renamed)
}

/// How many segments two names have in common at their ends.
fn common_end(a: &str, b: &str) -> usize {
    a.rsplit('.').zip(b.rsplit('.')).take_while(|(a, b)| a == b).count()
}
