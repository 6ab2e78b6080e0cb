//! `x · weightᵀ + bias` for a tile of rows, out of packed weights.
//!
//! The outputs are vectors of neighbouring columns. A panel of a few of them is computed for a few rows at a time, so that
//! their sums stay in registers while the panel's weights stream from the cache. A few rows go through as many panels as
//! the second cache holds before the next rows do, and each output is written once, where it is to stand.

use arrayvec::ArrayVec;
use bytemuck::cast_slice;
use pulp::{Simd, WithSimd};

use super::TILE;
use super::layer::{Layer, Vectors};
use super::rows::{Row, Rows};
use crate::ops::{LINE, fetch};

/// Terms that are added one after the other. Longer sums are made of blocks, to keep float32's digits.
const BLOCK: usize = 32;

/// Rows that are computed together.
const ROWS: usize = 6;

/// Numbers of weights that rows go through before the next rows do.
const WEIGHTS: usize = 1 << 14;

impl Layer {
    /// Computes the outputs of each row of `x`, of which there are at most [`TILE`], into one of `out`: as many columns as
    /// it has, which are [`columns`](Self::columns) or the number of outputs.
    #[inline(always)]
    pub(crate) fn apply<S: Simd, R: Row>(
        &self,
        simd: S,
        x: Rows<'_>,
        out: impl Iterator<Item = R>,
    ) {
        let lines = x.values.chunks(x.stride).zip(out).map(|(x, out)| Line { x, out });
        let mut lines: ArrayVec<_, TILE> = lines.collect();
        simd.vectorize(Apply { layer: self, lines: &mut lines, next: x.next });
        lines.into_iter().map(|line| line.out).reduce(Row::join);
    }
}

/// A row and its outputs.
struct Line<'a, R> {
    x: &'a [f32],
    out: R,
}

/// What applies a layer to rows: a function of its own, compiled once for a kind of rows and of vectors.
struct Apply<'a, 'x, R> {
    layer: &'a Layer,
    lines: &'a mut [Line<'x, R>],
    next: &'a [f32],
}

impl<R: Row> WithSimd for Apply<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer, lines, next } = self;
        let (inputs, together) = (layer.inputs, layer.vectors.together);
        let weights = S::as_simd_f32s(layer.weights.as_ref()).0;
        let bias = S::as_simd_f32s(layer.bias.as_ref()).0;
        let blocks = bias.len().div_ceil(together) * inputs.div_ceil(BLOCK);
        let ahead = &mut Ahead::new(next, lines.len().div_ceil(ROWS) * blocks);
        let vectors = (WEIGHTS / (inputs * together * S::F32_LANES)).max(1) * together;
        for (weights, bias) in weights.chunks(vectors * inputs).zip(bias.chunks(vectors)) {
            let panels = Panels { inputs, together, weights, bias };
            let (many, rest) = lines.as_chunks_mut();
            let (two, one) = rest.as_chunks_mut();
            for lines in many {
                panels.apply::<S, R, ROWS>(simd, lines, ahead);
            }
            for lines in two {
                panels.apply::<S, R, 2>(simd, lines, ahead);
            }
            for line in one.as_chunks_mut().0 {
                panels.apply::<S, R, 1>(simd, line, ahead);
            }
        }
    }
}

/// What is read next, brought into the cache step by step.
struct Ahead<'a> {
    rest: &'a [f32],
    step: usize,
}

impl<'a> Ahead<'a> {
    fn new(rest: &'a [f32], steps: usize) -> Self {
        Self { rest, step: rest.len().div_ceil(steps.max(1) * LINE) * LINE }
    }

    #[inline(always)]
    fn step(&mut self) {
        let (next, rest) = self.rest.split_at(self.step.min(self.rest.len()));
        next.chunks(LINE).for_each(fetch);
        self.rest = rest;
    }
}

/// Some neighbouring panels of a layer.
struct Panels<'a, V> {
    inputs: usize,
    /// Vectors of a panel; the last one may have fewer.
    together: usize,
    weights: &'a [V],
    bias: &'a [V],
}

impl<V: Copy> Panels<'_, V> {
    /// The next outputs of M rows.
    #[inline(always)]
    fn apply<S: Simd<f32s = V>, R: Row, const M: usize>(
        &self,
        simd: S,
        lines: &mut [Line<'_, R>; M],
        ahead: &mut Ahead<'_>,
    ) {
        let Self { inputs, together, weights, bias } = *self;
        for part in weights.chunks(together * inputs).zip(bias.chunks(together)) {
            // Wider panels are compiled only where there are such.
            match part.1.len() {
                1 => panel::<S, R, 1, M>(simd, part, lines, ahead),
                3 if Vectors::wide::<S>() => panel::<S, R, 3, M>(simd, part, lines, ahead),
                4 if Vectors::wide::<S>() => panel::<S, R, 4, M>(simd, part, lines, ahead),
                _ => panel::<S, R, 2, M>(simd, part, lines, ahead),
            }
        }
    }
}

/// The next N vectors of outputs of M rows.
#[inline(always)]
fn panel<S: Simd, R: Row, const N: usize, const M: usize>(
    simd: S,
    (weights, bias): (&[S::f32s], &[S::f32s]),
    lines: &mut [Line<'_, R>; M],
    ahead: &mut Ahead<'_>,
) {
    let (weights, _) = weights.as_chunks::<N>();
    let (first, others) = weights.split_at(BLOCK.min(weights.len()));
    let mut x = [[].as_slice(); M];
    for (x, line) in x.iter_mut().zip(&*lines) {
        *x = line.x;
    }
    ahead.step();
    let mut totals = sums::<S, N, M>(simd, x, first);
    for weights in others.chunks(BLOCK) {
        for x in &mut x {
            *x = &x[BLOCK..];
        }
        ahead.step();
        let sums = sums::<S, N, M>(simd, x, weights);
        for (totals, sums) in totals.iter_mut().zip(&sums) {
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total = simd.add_f32s(*total, *sum);
            }
        }
    }
    for (totals, line) in totals.iter_mut().zip(lines) {
        for (total, bias) in totals.iter_mut().zip(bias) {
            *total = simd.add_f32s(*total, *bias);
        }
        if line.out.left() < N * S::F32_LANES {
            write_last::<S, R, N>(&mut line.out, *totals);
        } else {
            line.out.write(cast_slice(totals));
        }
    }
}

/// Writes as many of the totals as are left: apart, for the compiler to know how many numbers all other panels write.
#[cold]
#[inline(never)]
fn write_last<S: Simd, R: Row, const N: usize>(out: &mut R, totals: [S::f32s; N]) {
    out.write(&cast_slice(&totals)[..out.left()]);
}

/// N vectors of outputs of M rows: Σ x · weights.
#[inline(always)]
fn sums<S: Simd, const N: usize, const M: usize>(
    simd: S,
    mut x: [&[f32]; M],
    weights: &[[S::f32s; N]],
) -> [[S::f32s; N]; M] {
    for x in &mut x {
        *x = &x[..weights.len()];
    }
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    for (k, weights) in weights.iter().enumerate() {
        for (x, sums) in x.iter().zip(&mut sums) {
            let factor = simd.splat_f32s(x[k]);
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = simd.mul_add_e_f32s(factor, *weight, *sum);
            }
        }
    }
    sums
}
