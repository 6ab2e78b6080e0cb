//! The convolution in candle's own operations, for any device and with candle's own gradients.
//!
//! Transforms are products with small dense matrices of cosines and sines. A long axis is split into factors
//! (Cooley and Tukey 1965), with a twiddle between each two; its spectrum is left in the order in which the factors
//! leave it. Padding, cropping and rolling are in the matrices of an axis that is not split.

mod transform;

use candle_core::Tensor;

use super::axis::Axis;
use crate::error::Result;
use transform::{AxisTransform, Complex};

/// Complex numbers in the spectra of a chunk of samples and channels.
const CHUNK: usize = 1 << 23;

/// The convolution over `axes`.
///
/// # Shapes
/// signal `[B, C, *N]`, kernel `[1 or B, C, *K]` → `[B, C, *N]`
pub(super) fn convolve(signal: &Tensor, kernel: &Tensor, axes: Vec<Axis>) -> Result<Tensor> {
    let transforms = transforms(axes, signal)?;
    let points = transforms.iter().map(|transform| transform.length).product();
    in_chunks(signal, kernel, &transforms, chunk(signal.dim(0)?, signal.dim(1)?, points))
}

/// The transforms of `axes`, for tensors like that one. The last one is of real numbers.
fn transforms(axes: Vec<Axis>, like: &Tensor) -> Result<Vec<AxisTransform>> {
    let last = axes.len() - 1;
    let axes = axes.into_iter().enumerate();
    axes.map(|(index, axis)| AxisTransform::new(axis, index == last, like)).collect()
}

/// How many samples and channels are computed at once: at least one each.
fn chunk(batch: usize, channels: usize, points: usize) -> (usize, usize) {
    let planes = (CHUNK / points).max(1);
    let channels = planes.clamp(1, channels.max(1));
    ((planes / channels).clamp(1, batch.max(1)), channels)
}

/// The convolution, so many samples and channels at once.
fn in_chunks(
    signal: &Tensor,
    kernel: &Tensor,
    transforms: &[AxisTransform],
    (samples, channels): (usize, usize),
) -> Result<Tensor> {
    let lengths = |of: fn(&Axis) -> usize| -> Vec<usize> {
        transforms.iter().map(|transform| of(&transform.axis)).collect()
    };
    let (inputs, points) = (lengths(|axis| axis.input.len()), lengths(|axis| axis.kernel.len()));
    let spectra = |kernel: &Tensor| forward(kernel, transforms, &points);
    let mut planes = vec![];
    for (first, count) in parts(signal.dim(1)?, channels) {
        let (signal, kernel) = (signal.narrow(1, first, count)?, kernel.narrow(1, first, count)?);
        let shared = if kernel.dim(0)? == 1 { Some(spectra(&kernel)?) } else { None };
        let mut rows = vec![];
        for (first, count) in parts(signal.dim(0)?, samples) {
            let signal = extend(&signal.narrow(0, first, count)?, transforms)?;
            let signal = forward(&signal, transforms, &inputs)?;
            let product = match &shared {
                Some(kernel) => signal.times(kernel)?,
                None => signal.times(&spectra(&kernel.narrow(0, first, count)?)?)?,
            };
            rows.push(inverse(&product, transforms)?);
        }
        planes.push(Tensor::cat(&rows, 0)?);
    }
    Ok(Tensor::cat(&planes, 1)?)
}

/// Parts of `length`, each by its first place and its size.
fn parts(length: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..length).step_by(size).map(move |first| (first, size.min(length - first)))
}

/// Continues the signal where an axis was unrolled.
fn extend(signal: &Tensor, transforms: &[AxisTransform]) -> Result<Tensor> {
    let mut signal = signal.clone();
    for (index, transform) in transforms.iter().enumerate() {
        let picks = &transform.axis.input;
        if picks.len() != signal.dim(index + 2)? {
            let picks: Vec<u32> = picks.iter().map(|&pick| pick as u32).collect();
            let picks = Tensor::new(picks, signal.device())?;
            signal = signal.contiguous()?.index_select(&picks, index + 2)?;
        }
    }
    Ok(signal)
}

/// `[B, C, *N]` → `[B, C, *F reversed]`: each axis, from the last on, is transformed and moved to the front.
fn forward(x: &Tensor, transforms: &[AxisTransform], lengths: &[usize]) -> Result<Complex> {
    let (last, outer) = (transforms.len() - 1, &transforms[..transforms.len() - 1]);
    let x = x.contiguous()?;
    let mut x = transforms[last].forward_real(&x, lengths[last])?.each(to_front)?;
    for (transform, &length) in outer.iter().zip(lengths).rev() {
        x = transform.forward(&x, length)?.each(to_front)?;
    }
    Ok(x)
}

/// `[B, C, *F reversed]` → `[B, C, *N]`: the inverse in the opposite order.
fn inverse(x: &Complex, transforms: &[AxisTransform]) -> Result<Tensor> {
    let mut x = x.clone();
    for transform in &transforms[..transforms.len() - 1] {
        x = transform.inverse(&x.each(to_back)?)?;
    }
    let x = x.each(to_back)?;
    transforms[transforms.len() - 1].inverse_real(&x)
}

/// Moves the last axis behind batch and channels.
fn to_front(x: &Tensor) -> Result<Tensor> {
    let rank = x.rank();
    let order: Vec<usize> = [0, 1, rank - 1].into_iter().chain(2..rank - 1).collect();
    Ok(x.permute(order)?.contiguous()?)
}

/// Moves the axis behind batch and channels to the end.
fn to_back(x: &Tensor) -> Result<Tensor> {
    let order: Vec<usize> = [0, 1].into_iter().chain(3..x.rank()).chain([2]).collect();
    Ok(x.permute(order)?.contiguous()?)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::axis::{Boundary, Kind};
    use super::*;
    use crate::testing::random;

    #[test]
    fn chunks_are_bounded_and_give_the_same() {
        for (batch, channels, points) in
            [(1, 64, 1 << 21), (4096, 3, 1 << 14), (7, 5, 100), (2, 2, 1 << 30), (0, 0, 9)]
        {
            let (samples, count) = chunk(batch, channels, points);
            assert!(samples >= 1 && count >= 1);
            assert!(samples * count * points <= CHUNK || (samples, count) == (1, 1));
        }
        let axes = [(Boundary::Zero, 9, 17), (Boundary::Circular, 134, 7)];
        let axes = axes
            .map(|(boundary, length, points)| Axis::new(Kind::Output, boundary, length, points));
        let signal = random("signal", &[5, 3, 9, 134], 1.0, DType::F64);
        let transforms = transforms(axes.into(), &signal).unwrap();
        for kernel_batch in [1, 5] {
            let kernel = random("kernel", &[kernel_batch, 3, 17, 7], 1.0, DType::F64);
            let all = in_chunks(&signal, &kernel, &transforms, (5, 3)).unwrap();
            for chunk in [(1, 1), (2, 2), (4, 3), (5, 1)] {
                let parts = in_chunks(&signal, &kernel, &transforms, chunk).unwrap();
                let gap = (parts - &all).unwrap().abs().unwrap().max_all().unwrap();
                assert!(gap.to_scalar::<f64>().unwrap() < 1e-12, "{chunk:?}");
            }
        }
    }
}
