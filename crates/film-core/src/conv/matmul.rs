//! The convolution in candle's own operations, for any device and with candle's own gradients.
//!
//! Transforms are products with small dense matrices of cosines and sines. A long axis is split into factors
//! (Cooley and Tukey 1965), with a twiddle between each two; its spectrum is left in the order in which the factors
//! leave it. Padding, cropping and rolling are in the matrices of an axis that is not split.

use std::f64::consts::TAU;

use candle_core::{D, Device, Tensor};

use super::axis::Axis;
use crate::error::Result;

/// The longest axis that one matrix transforms.
const DENSE: usize = 128;
/// The longest factor of an axis that is split.
const FACTOR: usize = 64;
/// Complex numbers in the spectra of a chunk of channels.
const CHUNK: usize = 1 << 23;

/// Real and imaginary part.
#[derive(Debug, Clone)]
struct Complex {
    re: Tensor,
    im: Tensor,
}

/// The transform of one axis.
#[derive(Debug)]
struct AxisTransform {
    axis: Axis,
    /// Whose product is the transform's length; one factor where it is not split.
    factors: Vec<usize>,
}

/// The convolution over `axes`.
///
/// # Shapes
/// signal `[B, C, *N]`, kernel `[1 or B, C, *K]` → `[B, C, *N]`
pub(super) fn convolve(signal: &Tensor, kernel: &Tensor, axes: Vec<Axis>) -> Result<Tensor> {
    let transforms: Vec<AxisTransform> = axes.into_iter().map(AxisTransform::new).collect();
    let points: usize = transforms.iter().map(AxisTransform::length).product();
    let (batch, channels) = (signal.dim(0)?, signal.dim(1)?);
    let chunk = (CHUNK / (batch.max(1) * points)).clamp(1, channels.max(1));
    let parts = (0..channels).step_by(chunk).map(|start| {
        let count = chunk.min(channels - start);
        let (signal, kernel) = (signal.narrow(1, start, count)?, kernel.narrow(1, start, count)?);
        let lengths =
            |of: fn(&AxisTransform) -> usize| transforms.iter().map(of).collect::<Vec<_>>();
        let signal = extend(&signal, &transforms)?;
        let signal = forward(&signal, &transforms, &lengths(|axis| axis.axis.input.len()))?;
        let kernel = forward(&kernel, &transforms, &lengths(|axis| axis.axis.kernel.len()))?;
        inverse(&signal.times(&kernel)?, &transforms)
    });
    Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)?)
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

impl Complex {
    fn each(&self, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { re: of(&self.re)?, im: of(&self.im)? })
    }

    fn times(&self, other: &Self) -> Result<Self> {
        let product = |a: &Tensor, b: &Tensor| a.broadcast_mul(b);
        Ok(Self {
            re: (product(&self.re, &other.re)? - product(&self.im, &other.im)?)?,
            im: (product(&self.re, &other.im)? + product(&self.im, &other.re)?)?,
        })
    }

    fn matmul(&self, other: &Self) -> Result<Self> {
        let product = |a: &Tensor, b: &Tensor| rows(a, b);
        Ok(Self {
            re: (product(&self.re, &other.re)? - product(&self.im, &other.im)?)?,
            im: (product(&self.re, &other.im)? + product(&self.im, &other.re)?)?,
        })
    }
}

/// x · matrix over the last axis.
fn rows(x: &Tensor, matrix: &Tensor) -> Result<Tensor> {
    let (leading, last) = x.dims().split_at(x.rank() - 1);
    let flat = x.reshape(((), last[0]))?.matmul(matrix)?;
    Ok(flat.reshape([leading, &[matrix.dim(1)?]].concat())?)
}

/// exp(sign · 2πi · phase / length), where the phase is counted modulo `length` so that it stays exact.
fn waves(
    (rows, columns): (usize, usize),
    phase: impl Fn(usize, usize) -> usize,
    length: usize,
    sign: f64,
    like: &Tensor,
) -> Result<Complex> {
    let angles: Vec<f64> = (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (row, column)))
        .map(|(row, column)| sign * TAU * ((phase(row, column) % length) as f64 / length as f64))
        .collect();
    let part = |of: fn(f64) -> f64| -> Result<Tensor> {
        let values: Vec<f64> = angles.iter().map(|&angle| of(angle)).collect();
        let table = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
        Ok(table.to_dtype(like.dtype())?.to_device(like.device())?)
    };
    Ok(Complex { re: part(f64::cos)?, im: part(f64::sin)? })
}

impl AxisTransform {
    fn new(axis: Axis) -> Self {
        if let Some(period) = axis.period {
            if let Some(factors) = factors_of(period) {
                return Self { axis, factors };
            }
            return Self::new(axis.unrolled());
        }
        let factors = factors_above(axis.least_transform());
        Self { axis, factors }
    }

    fn length(&self) -> usize {
        self.factors.iter().product()
    }

    /// Frequencies that are kept of a real signal: half of them, unless the axis is split.
    fn kept(&self) -> usize {
        if self.factors.len() == 1 { self.length() / 2 + 1 } else { self.length() }
    }

    /// `[*, length]` → `[*, kept]`
    fn forward_real(&self, x: &Tensor, length: usize) -> Result<Complex> {
        if self.factors.len() > 1 {
            let x = Complex { re: x.clone(), im: x.zeros_like()? };
            return split_forward(&x, length, &self.factors);
        }
        let waves = waves((length, self.kept()), |n, k| n * k, self.length(), -1.0, x)?;
        Ok(Complex { re: rows(x, &waves.re)?, im: rows(x, &waves.im)? })
    }

    /// `[*, length]` → `[*, F]`
    fn forward(&self, x: &Complex, length: usize) -> Result<Complex> {
        split_forward(x, length, &self.factors)
    }

    /// `[*, F]` → `[*, output]`
    fn inverse(&self, x: &Complex) -> Result<Complex> {
        let (length, shift) = (self.length(), self.axis.shift);
        if self.factors.len() > 1 {
            let x = split_inverse(x, &self.factors)?;
            return x.each(|x| Ok((self.window(x)? / length as f64)?));
        }
        let phase = |k: usize, n: usize| k * ((n + shift) % length);
        let waves = waves((length, self.axis.output), phase, length, 1.0, &x.re)?;
        x.matmul(&waves)?.each(|x| Ok((x / length as f64)?))
    }

    /// `[*, kept]` → `[*, output]`
    fn inverse_real(&self, x: &Complex) -> Result<Tensor> {
        if self.factors.len() > 1 {
            return Ok(self.inverse(x)?.re);
        }
        let (length, shift) = (self.length(), self.axis.shift);
        let phase = |k: usize, n: usize| k * ((n + shift) % length);
        let waves = waves((self.kept(), self.axis.output), phase, length, 1.0, &x.re)?;
        // Every frequency but the first, and the middle one of an even length, stands for two.
        let weight = |k: usize| if k == 0 || 2 * k == length { 1.0 } else { 2.0 };
        let weights = (0..self.kept()).map(|k| weight(k) / length as f64).collect::<Vec<_>>();
        let weights = Tensor::new(weights, &Device::Cpu)?.to_dtype(x.re.dtype())?;
        let weights = weights.to_device(x.re.device())?.reshape(((), 1))?;
        let waves = waves.each(|waves| Ok(waves.broadcast_mul(&weights)?))?;
        Ok((rows(&x.re, &waves.re)? - rows(&x.im, &waves.im)?)?)
    }

    /// The output's places among all of the transform's.
    fn window(&self, x: &Tensor) -> Result<Tensor> {
        let (length, output) = (self.length(), self.axis.output);
        let shift = self.axis.shift % length;
        let until_end = output.min(length - shift);
        let first = x.narrow(D::Minus1, shift, until_end)?;
        if until_end == output {
            return Ok(first);
        }
        Ok(Tensor::cat(&[first, x.narrow(D::Minus1, 0, output - until_end)?], D::Minus1)?)
    }
}

/// `[*, length]` → `[*, F]`, in the factors' order, with zeros behind `length`.
fn split_forward(x: &Complex, length: usize, factors: &[usize]) -> Result<Complex> {
    let (first, rest) = (factors[0], &factors[1..]);
    let inner: usize = rest.iter().product();
    if rest.is_empty() {
        return x.matmul(&waves((length, first), |n, k| n * k, first, -1.0, &x.re)?);
    }
    let taken = length.div_ceil(inner);
    let leading = x.re.dims()[..x.re.rank() - 1].to_vec();
    let grid = |a: usize, b: usize| [leading.as_slice(), &[a, b]].concat();
    let x = x.each(|x| {
        let x = x.pad_with_zeros(D::Minus1, 0, taken * inner - length)?;
        Ok(x.reshape(grid(taken, inner))?.transpose(D::Minus1, D::Minus2)?.contiguous()?)
    })?;
    let x = x.matmul(&waves((taken, first), |n, k| n * k, first, -1.0, &x.re)?)?;
    let twiddles = waves((inner, first), |n, k| n * k, first * inner, -1.0, &x.re)?;
    let x = x.times(&twiddles)?;
    let x = x.each(|x| Ok(x.transpose(D::Minus1, D::Minus2)?.contiguous()?))?;
    let x = split_forward(&x, inner, rest)?;
    x.each(|x| Ok(x.reshape([leading.as_slice(), &[first * inner]].concat())?))
}

/// `[*, F]`, in the factors' order, → `[*, length]`, not scaled.
fn split_inverse(x: &Complex, factors: &[usize]) -> Result<Complex> {
    let (first, rest) = (factors[0], &factors[1..]);
    let inner: usize = rest.iter().product();
    if rest.is_empty() {
        return x.matmul(&waves((first, first), |k, n| n * k, first, 1.0, &x.re)?);
    }
    let leading = x.re.dims()[..x.re.rank() - 1].to_vec();
    let x = x.each(|x| Ok(x.reshape([leading.as_slice(), &[first, inner]].concat())?))?;
    let x = split_inverse(&x, rest)?;
    let twiddles = waves((first, inner), |k, n| n * k, first * inner, 1.0, &x.re)?;
    let x = x.times(&twiddles)?;
    let x = x.each(|x| Ok(x.transpose(D::Minus1, D::Minus2)?.contiguous()?))?;
    let x = x.matmul(&waves((first, first), |k, n| n * k, first, 1.0, &x.re)?)?;
    x.each(|x| {
        let x = x.transpose(D::Minus1, D::Minus2)?.contiguous()?;
        Ok(x.reshape([leading.as_slice(), &[first * inner]].concat())?)
    })
}

/// Factors whose product is `length`, none of them long; `None` if it has a long prime factor.
fn factors_of(length: usize) -> Option<Vec<usize>> {
    if length <= DENSE {
        return Some(vec![length]);
    }
    let (mut left, mut primes) = (length, vec![]);
    for prime in 2..=FACTOR {
        while left.is_multiple_of(prime) {
            primes.push(prime);
            left /= prime;
        }
    }
    let mut factors = vec![1];
    for prime in primes.into_iter().rev() {
        match factors.last_mut() {
            Some(last) if *last * prime <= FACTOR => *last *= prime,
            _ => factors.push(prime),
        }
    }
    (left == 1).then_some(factors)
}

/// Factors whose product is at least `least`, as equal as can be.
fn factors_above(least: usize) -> Vec<usize> {
    if least <= DENSE {
        return vec![least];
    }
    let count = (1..16).find(|&count| FACTOR.saturating_pow(count) >= least).unwrap_or(16);
    let root = (least as f64).powf(1.0 / f64::from(count)).ceil() as usize;
    let mut factors = vec![root.min(FACTOR); count as usize];
    for index in 0..factors.len() {
        let others = factors.iter().product::<usize>() / factors[index];
        factors[index] = least.div_ceil(others);
    }
    factors
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    #[test]
    fn factors_are_short_and_their_product_fits() {
        for least in [1, 128, 129, 300, 4096, 5000, 1 << 21] {
            let factors = factors_above(least);
            let product: usize = factors.iter().product();
            assert!(product >= least && product < least + least / 2 + 2, "{least}: {factors:?}");
            assert!(
                least <= DENSE || factors.iter().all(|&factor| factor <= FACTOR),
                "{factors:?}"
            );
        }
        for length in [1, 127, 128, 129, 360, 1024, 3 * 61 * 61] {
            assert_eq!(factors_of(length).map(|factors| factors.iter().product()), Some(length));
        }
        assert_eq!(factors_of(2 * 131), None);
    }

    #[test]
    fn dtype_and_device_are_the_operands() {
        let x = Tensor::ones((2, 3), DType::F64, &Device::Cpu).unwrap();
        assert_eq!(waves((2, 2), |a, b| a * b, 4, 1.0, &x).unwrap().re.dtype(), DType::F64);
    }
}
