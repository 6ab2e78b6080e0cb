//! Sums over the rows of a tile: the gradients of a weight and of a bias.

use pulp::Simd;

use super::layer::Rows;

/// Vectors of columns that are summed together.
const PANEL: usize = 3;
/// Rows of the sums that are summed together.
const GROUP: usize = 8;

/// Adds Σ_m left\[m\] ⊗ right\[m\] to `sums`; the rows of `right` are whole vectors.
///
/// # Shapes
/// left `[M, outputs]`, right `[M, columns]`, sums `[outputs, columns]`
#[inline(always)]
pub(crate) fn add_outer<S: Simd>(simd: S, left: Rows<'_>, right: Rows<'_>, sums: &mut [f32]) {
    let columns = right.stride;
    let vectors = columns / S::F32_LANES;
    for first in (0..vectors).step_by(PANEL) {
        let start = first * S::F32_LANES;
        for (group, sums) in sums.chunks_mut(GROUP * columns).enumerate() {
            let place = Place { output: group * GROUP, column: start, columns };
            match (PANEL.min(vectors - first), sums.len() / columns) {
                (1, GROUP) => add::<S, 1, GROUP>(simd, left, right, place, sums),
                (2, GROUP) => add::<S, 2, GROUP>(simd, left, right, place, sums),
                (_, GROUP) => add::<S, PANEL, GROUP>(simd, left, right, place, sums),
                (count, _) => {
                    for (output, sums) in sums.chunks_exact_mut(columns).enumerate() {
                        let place = Place { output: place.output + output, ..place };
                        match count {
                            1 => add::<S, 1, 1>(simd, left, right, place, sums),
                            2 => add::<S, 2, 1>(simd, left, right, place, sums),
                            _ => add::<S, PANEL, 1>(simd, left, right, place, sums),
                        }
                    }
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Place {
    output: usize,
    column: usize,
    columns: usize,
}

/// N vectors of M rows of the sums.
#[inline(always)]
fn add<S: Simd, const N: usize, const M: usize>(
    simd: S,
    left: Rows<'_>,
    right: Rows<'_>,
    place: Place,
    sums: &mut [f32],
) {
    let mut added = [[simd.splat_f32s(0.0); N]; M];
    for (left, right) in
        left.values.chunks_exact(left.stride).zip(right.values.chunks_exact(right.stride))
    {
        let left = &left[place.output..][..M];
        let right = &S::as_simd_f32s(&right[place.column..]).0[..N];
        for (added, factor) in added.iter_mut().zip(left) {
            let factor = simd.splat_f32s(*factor);
            for (added, right) in added.iter_mut().zip(right) {
                *added = simd.mul_add_e_f32s(factor, *right, *added);
            }
        }
    }
    for (sums, added) in sums.chunks_exact_mut(place.columns).zip(added) {
        let sums = S::as_mut_simd_f32s(&mut sums[place.column..]).0;
        for (sum, added) in sums.iter_mut().zip(added) {
            *sum = simd.add_f32s(*sum, added);
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
