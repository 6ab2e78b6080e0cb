//! Grid lengths → coordinates.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};

/// The coordinates at which a kernel is drawn.
///
/// An axis of length L has 2L − 1 points, k/(L_cache − 1) for k = −(L−1) … L−1: built for L_cache points
/// it spans [−1, 1]; a shorter one takes the centre, a longer one reaches beyond, at the same step. In
/// float64 for a float64 model, else in float32.
///
/// # Shapes
/// `lengths` and `l_cache`, one number an axis → `[1, *2L−1, D]`
///
/// # Errors
/// If the two differ in number, a length is 0, an L_cache is below 2, or the points overflow.
pub fn grid(lengths: &[usize], l_cache: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    if lengths.is_empty() || lengths.len() != l_cache.len() {
        let expected = format!("{} lengths, one for each axis", l_cache.len());
        return Err(Error::config("grid", expected, format!("{lengths:?}")));
    }
    if let Some(short) = l_cache.iter().find(|&&length| length < 2) {
        return Err(Error::config("L_cache", "an integer of at least 2", short));
    }
    let count = points(lengths)?;
    let axes = lengths.iter().zip(l_cache).map(|(&length, &cached)| {
        let last = length as i64 - 1;
        (-last..=last).map(|k| k as f64 / (cached - 1) as f64).collect()
    });
    let axes: Vec<Vec<f64>> = axes.collect();
    let shape: Vec<usize> =
        [1].into_iter().chain(axes.iter().map(Vec::len)).chain([axes.len()]).collect();
    Ok(if dtype == DType::F64 {
        Tensor::from_vec(coordinates(&axes, count, |value| value), shape, device)?
    } else {
        Tensor::from_vec(coordinates(&axes, count, |value| value as f32), shape, device)?
    })
}

/// The coordinates of each of `count` points, the last axis running fastest.
fn coordinates<T>(axes: &[Vec<f64>], count: usize, number: impl Fn(f64) -> T) -> Vec<T> {
    let mut coordinates = Vec::with_capacity(count * axes.len());
    let mut place = vec![0; axes.len()];
    for _ in 0..count {
        coordinates.extend(axes.iter().zip(&place).map(|(axis, place)| number(axis[*place])));
        for (place, axis) in place.iter_mut().zip(axes).rev() {
            *place = (*place + 1) % axis.len();
            if *place > 0 {
                break;
            }
        }
    }
    coordinates
}

/// The number of grid points, ∏ (2L − 1).
pub(super) fn points(lengths: &[usize]) -> Result<usize> {
    let product = lengths.iter().try_fold(1usize, |points, &length| {
        points.checked_mul(length.checked_mul(2)?.checked_sub(1)?)
    });
    // All coordinates, in float64, must be addressable.
    let bytes = product.and_then(|points| points.checked_mul(8 * lengths.len()));
    let product = product.filter(|_| bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok()));
    if lengths.contains(&0) {
        return Err(Error::config("grid", "lengths of at least 1", format!("{lengths:?}")));
    }
    product
        .ok_or_else(|| Error::Overflow { what: "the grid".into(), detail: format!("{lengths:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(length: usize, l_cache: usize) -> Vec<f64> {
        let grid = grid(&[length], &[l_cache], DType::F64, &Device::Cpu).unwrap();
        grid.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_step_is_that_of_the_cached_length() {
        assert_eq!(axis(3, 3), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert_eq!(axis(2, 3), [-0.5, 0.0, 0.5]);
        assert_eq!(axis(4, 3), [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]);
        assert_eq!(axis(1, 3), [0.0]);
    }

    #[test]
    fn axes_have_lengths_of_their_own() {
        let grid = grid(&[2, 1, 3], &[2, 5, 4], DType::BF16, &Device::Cpu).unwrap();
        assert_eq!((grid.dims(), grid.dtype()), ([1, 3, 1, 5, 3].as_slice(), DType::F32));
        let first = grid.get(0).unwrap().get(0).unwrap().get(0).unwrap().get(4).unwrap();
        assert_eq!(first.to_vec1::<f32>().unwrap(), [-1.0, 0.0, 2.0 / 3.0]);
    }

    #[test]
    fn what_is_no_grid_is_refused() {
        let text = |lengths: &[usize], l_cache: &[usize]| {
            grid(lengths, l_cache, DType::F32, &Device::Cpu).unwrap_err().to_string()
        };
        assert_eq!(text(&[3], &[3, 3]), "grid: expected 2 lengths, one for each axis, found [3]");
        assert_eq!(text(&[3, 0], &[3, 3]), "grid: expected lengths of at least 1, found [3, 0]");
        assert_eq!(text(&[3], &[1]), "L_cache: expected an integer of at least 2, found 1");
        assert_eq!(
            text(&[1 << 40, 1 << 40], &[2, 2]),
            "the grid overflows: [1099511627776, 1099511627776]"
        );
        assert_eq!(text(&[1 << 61], &[2]), "the grid overflows: [2305843009213693952]");
    }
}
