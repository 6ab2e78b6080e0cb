//! The sums taken one by one, many channels at a time.
//!
//! A block of channels, one for each lane of a vector, is summed together. Along the last axis a tile of
//! outputs stays in registers while input and kernel stream past.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::axis::{Axis, offsets};
use super::real::Real;
use crate::ops::threads;

/// The longest tile: its sums, an input and a kernel vector fit into 16 registers.
const TILE: usize = 14;
/// Most terms that are added to one sum one after the other. The sums of such blocks are added apart: a sum of n
/// terms loses up to n/2 units in the last place.
const TERMS: usize = 128;

/// Outputs of an axis that are summed at once: as equal parts of it as can be.
pub(super) fn tile(output: usize) -> usize {
    output.div_ceil(output.div_ceil(TILE))
}

/// The sums over a grid, apart from the numbers.
#[derive(Debug)]
pub(super) struct Direct {
    outer: Vec<Axis>,
    last: Axis,
    /// Outputs of the last axis that are summed at once.
    tile: usize,
    /// Zeros before and after each row of the kernel, as far as a tile reaches beyond its ends.
    before: usize,
    after: usize,
}

impl Direct {
    /// Prepares the sums over `axes`, which must not wrap.
    pub(super) fn new(mut axes: Vec<Axis>) -> Option<Self> {
        let last = axes.pop()?;
        let tile = tile(last.output);
        let mut sums = Self { outer: axes, last, tile, before: 0, after: 0 };
        for first in (0..sums.last.output).step_by(tile) {
            let count = tile.min(sums.last.output - first);
            let range = sums.last.inputs(first, count);
            if !range.is_empty() {
                let (origin, points) = (first + sums.last.shift, sums.last.kernel.len());
                sums.before = sums.before.max((range.end - 1).saturating_sub(origin));
                sums.after = sums.after.max((origin + count).saturating_sub(range.start + points));
            }
        }
        Some(sums)
    }

    /// Points of a row of the kernel, with the zeros around them.
    fn padded_row(&self) -> usize {
        self.before + self.last.kernel.len() + self.after
    }

    /// Where each point of the kernel stands among the padded rows, and how many points those have.
    pub(super) fn padded(&self) -> (Vec<usize>, usize) {
        let rows: usize = self.outer.iter().map(|axis| axis.kernel.len()).product();
        let row: Vec<usize> = (self.before..self.before + self.last.kernel.len()).collect();
        let rows: Vec<usize> = (0..rows).collect();
        let points = rows.len() * self.padded_row();
        (offsets([(&*rows, rows.len()), (&*row, self.padded_row())].into_iter()), points)
    }

    /// Adds the sums to `out`, cut into so many pieces for the threads. All three hold points of `lanes` channels each,
    /// the kernel in padded rows.
    pub(super) fn add<T: Real>(
        &self,
        (input, kernel): (&[T], &[T]),
        out: &mut [T],
        lanes: usize,
        pieces: usize,
    ) {
        let arch = pulp::Arch::new();
        let add = |start, out: &mut [T]| {
            arch.dispatch(Add { sums: self, input, kernel, start, out });
        };
        if pieces <= 1 {
            return add(0, out);
        }
        // Whole rows, or whole tiles of the only one.
        let unit = if self.outer.is_empty() { self.tile } else { self.last.output };
        let piece = unit * (out.len() / lanes).div_ceil(unit).div_ceil(pieces);
        let pieces = out.chunks_mut(piece * lanes).enumerate().collect();
        threads::for_each(usize::MAX, pieces, || (), |(), (number, out)| add(number * piece, out));
    }

    /// For output row `index` of the outer axes: the rows of input and kernel that meet in it.
    fn rows(
        &self,
        mut index: usize,
        rows: &mut Vec<(usize, usize)>,
        next: &mut Vec<(usize, usize)>,
    ) {
        rows.clear();
        rows.push((0, 0));
        let mut below: usize = self.outer.iter().map(|axis| axis.output).product();
        for axis in &self.outer {
            below /= axis.output;
            let place = index / below;
            index %= below;
            next.clear();
            for &(input, kernel) in rows.iter() {
                next.extend(axis.inputs(place, 1).map(|m| {
                    (
                        input * axis.input.len() + m,
                        kernel * axis.kernel.len() + place + axis.shift - m,
                    )
                }));
            }
            std::mem::swap(rows, next);
        }
    }
}

/// Channels that are summed together.
pub(super) fn lanes<T: Real>() -> usize {
    struct Lanes<T>(std::marker::PhantomData<T>);
    impl<T: Real> WithSimd for Lanes<T> {
        type Output = usize;
        fn with_simd<S: Simd>(self, _: S) -> usize {
            T::lanes::<S>()
        }
    }
    pulp::Arch::new().dispatch(Lanes::<T>(std::marker::PhantomData))
}

struct Add<'a, T> {
    sums: &'a Direct,
    input: &'a [T],
    kernel: &'a [T],
    /// The first output: of a row, or of a tile where there is but one row.
    start: usize,
    out: &'a mut [T],
}

impl<T: Real> WithSimd for Add<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sums, input, kernel, start, out } = self;
        let (input, kernel) = (T::vectors::<S>(input), T::vectors::<S>(kernel));
        let (width, padded) = (sums.last.input.len(), sums.padded_row());
        let (output, tile) = (sums.last.output, sums.tile);
        let (mut rows, mut next) = (vec![], vec![]);
        let (row, place) = (start / output, start % output);
        for (index, out) in T::vectors_mut::<S>(out).chunks_mut(output).enumerate() {
            sums.rows(row + index, &mut rows, &mut next);
            for (number, out) in out.chunks_mut(tile).enumerate() {
                let first = place + number * tile;
                let range = sums.last.inputs(first, out.len());
                if range.is_empty() {
                    continue;
                }
                for (rows, range) in blocks(&rows, range) {
                    let start = sums.before + first + sums.last.shift + 1 - range.end;
                    let window = start..start + range.len() - 1 + out.len();
                    let pairs = rows.iter().map(|&(row, kernel_row)| {
                        (
                            &input[row * width..][range.clone()],
                            &kernel[kernel_row * padded..][window.clone()],
                        )
                    });
                    match out.len() {
                        1 => add_tile::<T, S, 1>(simd, pairs, out),
                        2 => add_tile::<T, S, 2>(simd, pairs, out),
                        3 => add_tile::<T, S, 3>(simd, pairs, out),
                        4 => add_tile::<T, S, 4>(simd, pairs, out),
                        5 => add_tile::<T, S, 5>(simd, pairs, out),
                        6 => add_tile::<T, S, 6>(simd, pairs, out),
                        7 => add_tile::<T, S, 7>(simd, pairs, out),
                        8 => add_tile::<T, S, 8>(simd, pairs, out),
                        9 => add_tile::<T, S, 9>(simd, pairs, out),
                        10 => add_tile::<T, S, 10>(simd, pairs, out),
                        11 => add_tile::<T, S, 11>(simd, pairs, out),
                        12 => add_tile::<T, S, 12>(simd, pairs, out),
                        13 => add_tile::<T, S, 13>(simd, pairs, out),
                        _ => add_tile::<T, S, TILE>(simd, pairs, out),
                    }
                }
            }
        }
    }
}

/// Cuts what a tile sums over, the places `range` of all `rows`, into blocks of at most [`TERMS`].
fn blocks<R>(rows: &[R], range: Range<usize>) -> impl Iterator<Item = (&[R], Range<usize>)> {
    let together = (TERMS / range.len()).max(1);
    rows.chunks(together).flat_map(move |rows| {
        let starts = range.clone().step_by(TERMS);
        let end = range.end;
        starts.map(move |start| (rows, start..end.min(start + TERMS)))
    })
}

/// Adds to N neighbouring outputs what the pairs of rows give: input backwards against windows of the kernel.
#[inline(always)]
fn add_tile<'a, T: Real, S: Simd, const N: usize>(
    simd: S,
    pairs: impl Iterator<Item = (&'a [T::Vector<S>], &'a [T::Vector<S>])>,
    out: &mut [T::Vector<S>],
) where
    T::Vector<S>: 'a,
{
    let Some(out) = out.first_chunk_mut::<N>() else { return };
    let mut sums = [T::zeros(simd); N];
    for (input, kernel) in pairs {
        for (&x, window) in input.iter().rev().zip(kernel.windows(N)) {
            for (sum, &k) in sums.iter_mut().zip(window) {
                *sum = T::mul_add(simd, x, k, *sum);
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = T::sum(simd, *out, sum);
    }
}
