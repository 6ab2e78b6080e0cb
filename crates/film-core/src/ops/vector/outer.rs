//! Sums over the rows of a tile: the gradients of a weight and of a bias.

use pulp::Simd;

use super::layer::Rows;

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
    let columns = right.stride;
    let vectors = columns / S::F32_LANES;
    for first in (0..vectors).step_by(N) {
        let place = Place { output: 0, column: first * S::F32_LANES, columns };
        match N.min(vectors - first) {
            1 => panel::<S, 1, M>(simd, left, right, place, sums),
            2 => panel::<S, 2, M>(simd, left, right, place, sums),
            _ => panel::<S, N, M>(simd, left, right, place, sums),
        }
    }
}

/// N vectors of all rows of the sums: M rows at a time, then two, then one.
#[inline(always)]
fn panel<S: Simd, const N: usize, const M: usize>(
    simd: S,
    left: Rows<'_>,
    right: Rows<'_>,
    place: Place,
    sums: &mut [f32],
) {
    let (place, sums) = in_groups::<S, N, M>(simd, left, right, place, sums);
    let (place, sums) = in_groups::<S, N, 2>(simd, left, right, place, sums);
    in_groups::<S, N, 1>(simd, left, right, place, sums);
}

/// M rows of the sums at a time; gives those that are left.
#[inline(always)]
fn in_groups<'a, S: Simd, const N: usize, const M: usize>(
    simd: S,
    left: Rows<'_>,
    right: Rows<'_>,
    mut place: Place,
    sums: &'a mut [f32],
) -> (Place, &'a mut [f32]) {
    let whole = sums.len() / place.columns / M * M;
    let (many, few) = sums.split_at_mut(whole * place.columns);
    for sums in many.chunks_exact_mut(M * place.columns) {
        add::<S, N, M>(simd, left, right, place, sums);
        place.output += M;
    }
    (place, few)
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
