//! Sums over the rows of a tile: the gradients of a weight and of a bias.

use pulp::Simd;

use super::rows::Rows;

/// Adds Σ_m left\[m\] ⊗ right\[m\] to `sums`; the rows of `right` are whole vectors.
///
/// # Shapes
/// left `[M, outputs]`, right `[M, columns]`, sums `[outputs, columns]`
#[inline(always)]
pub(crate) fn add_outer<S: Simd>(simd: S, left: Rows<'_>, right: Rows<'_>, sums: &mut [f32]) {
    // N vectors of M rows of the sums, N of the right and a factor fit into the registers.
    if S::REGISTER_COUNT >= 32 {
        in_panels::<S, 3, 8>(simd, left, right, sums);
    } else {
        in_panels::<S, 2, 6>(simd, left, right, sums);
    }
}

/// N vectors of columns at a time.
#[inline(always)]
fn in_panels<S: Simd, const N: usize, const M: usize>(
    simd: S,
    left: Rows<'_>,
    right: Rows<'_>,
    sums: &mut [f32],
) {
    let vectors = right.stride / S::F32_LANES;
    for first in (0..vectors).step_by(N) {
        let panel = Panel { left, right, column: first * S::F32_LANES };
        match N.min(vectors - first) {
            1 => panel.add::<S, 1, M>(simd, sums),
            2 => panel.add::<S, 2, M>(simd, sums),
            _ => panel.add::<S, N, M>(simd, sums),
        }
    }
}

/// What gives some neighbouring columns of the sums.
struct Panel<'a> {
    left: Rows<'a>,
    right: Rows<'a>,
    column: usize,
}

impl Panel<'_> {
    /// N vectors of all rows of the sums: M rows at a time, then two, then one.
    #[inline(always)]
    fn add<S: Simd, const N: usize, const M: usize>(&self, simd: S, sums: &mut [f32]) {
        let (done, sums) = self.in_groups::<S, N, M>(simd, 0, sums);
        let (done, sums) = self.in_groups::<S, N, 2>(simd, done, sums);
        self.in_groups::<S, N, 1>(simd, done, sums);
    }

    /// M rows of the sums at a time, of which `done` stand before these; gives those that are left.
    #[inline(always)]
    fn in_groups<'a, S: Simd, const N: usize, const M: usize>(
        &self,
        simd: S,
        mut done: usize,
        sums: &'a mut [f32],
    ) -> (usize, &'a mut [f32]) {
        let columns = self.right.stride;
        let whole = sums.len() / columns / M * M;
        let (many, few) = sums.split_at_mut(whole * columns);
        for sums in many.chunks_exact_mut(M * columns) {
            self.group::<S, N, M>(simd, done, sums);
            done += M;
        }
        (done, few)
    }

    #[inline(always)]
    fn group<S: Simd, const N: usize, const M: usize>(
        &self,
        simd: S,
        done: usize,
        sums: &mut [f32],
    ) {
        let Self { left, right, column } = self;
        let mut added = [[simd.splat_f32s(0.0); N]; M];
        let rows = left.values.chunks_exact(left.stride);
        for (left, right) in rows.zip(right.values.chunks_exact(right.stride)) {
            let left = &left[done..][..M];
            let right = &S::as_simd_f32s(&right[*column..]).0[..N];
            for (added, factor) in added.iter_mut().zip(left) {
                let factor = simd.splat_f32s(*factor);
                for (added, right) in added.iter_mut().zip(right) {
                    *added = simd.mul_add_e_f32s(factor, *right, *added);
                }
            }
        }
        for (sums, added) in sums.chunks_exact_mut(right.stride).zip(added) {
            let sums = S::as_mut_simd_f32s(&mut sums[*column..]).0;
            for (sum, added) in sums.iter_mut().zip(added) {
                *sum = simd.add_f32s(*sum, added);
            }
        }
    }
}

/// Adds Σ_m rows\[m\] to `sums`: the gradient of a bias.
///
/// # Shapes
/// rows `[M, outputs]`, sums `[outputs]`
#[inline(always)]
pub(crate) fn add_rows(rows: Rows<'_>, sums: &mut [f32]) {
    for row in rows.values.chunks_exact(rows.stride) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}
