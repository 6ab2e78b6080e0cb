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
/// Complex numbers in the spectra of a chunk of samples and channels.
const CHUNK: usize = 1 << 23;

/// Real and imaginary part.
#[derive(Debug, Clone)]
struct Complex {
    re: Tensor,
    im: Tensor,
}

/// The transform of one axis, with its tables.
#[derive(Debug)]
struct AxisTransform {
    axis: Axis,
    length: usize,
    /// One for each factor of the length.
    levels: Vec<Level>,
    /// The same for the way back.
    inverse_levels: Vec<Level>,
    /// `[F, output]`: the way back of an axis that is not split, cropped, rolled and scaled.
    window: Option<Complex>,
}

/// The transform of one factor, behind which the factors of `inner` follow.
#[derive(Debug)]
struct Level {
    factor: usize,
    inner: usize,
    /// `[factor, factor]`
    waves: Complex,
    /// `[inner, factor]`, where something follows.
    twiddles: Option<Complex>,
}

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

impl Complex {
    fn each(&self, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { re: of(&self.re)?, im: of(&self.im)? })
    }

    fn conjugate(&self) -> Result<Self> {
        Ok(Self { re: self.re.clone(), im: self.im.neg()? })
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
    fn new(axis: Axis, real: bool, like: &Tensor) -> Result<Self> {
        let (axis, factors) = match axis.period.map(factors_of) {
            Some(Some(factors)) => (axis, factors),
            _ => {
                let axis = axis.unrolled();
                let factors = factors_above(axis.least_transform());
                (axis, factors)
            }
        };
        let length = factors.iter().product();
        let mut inner = length;
        let levels = factors.into_iter().map(|factor| {
            inner /= factor;
            Level::new(factor, inner, like)
        });
        let levels = levels.collect::<Result<Vec<_>>>()?;
        let inverse_levels = levels.iter().map(Level::conjugate).collect::<Result<_>>()?;
        let split = levels.len() > 1;
        let mut this = Self { axis, length, levels, inverse_levels, window: None };
        if !split {
            this.window = Some(this.window_of(if real { this.kept() } else { length }, like)?);
        }
        Ok(this)
    }

    fn split(&self) -> bool {
        self.levels.len() > 1
    }

    /// Frequencies that are kept of a real signal: half of them, unless the axis is split.
    fn kept(&self) -> usize {
        if self.split() { self.length } else { self.length / 2 + 1 }
    }

    /// `[frequencies, output]`: from so many frequencies to the output's places, divided by the length. Where there are
    /// only half of them, every one but the first, and the middle one of an even length, stands for two.
    fn window_of(&self, frequencies: usize, like: &Tensor) -> Result<Complex> {
        let (length, shift) = (self.length, self.axis.shift);
        let phase = |k: usize, n: usize| k * ((n + shift) % length);
        let waves = waves((frequencies, self.axis.output), phase, length, 1.0, like)?;
        let alone = |k: usize| frequencies == length || k == 0 || 2 * k == length;
        let weight = |k: usize| if alone(k) { 1.0 } else { 2.0 } / length as f64;
        let weights = (0..frequencies).map(weight).collect::<Vec<f64>>();
        let weights = Tensor::new(weights, &Device::Cpu)?.to_dtype(like.dtype())?;
        let weights = weights.to_device(like.device())?.reshape(((), 1))?;
        waves.each(|waves| Ok(waves.broadcast_mul(&weights)?))
    }

    /// `[*, length]` → `[*, kept]`
    fn forward_real(&self, x: &Tensor, length: usize) -> Result<Complex> {
        if self.split() {
            let x = Complex { re: x.clone(), im: x.zeros_like()? };
            return split_forward(&x, length, &self.levels);
        }
        let kept = self.kept();
        self.levels[0].waves.each(|waves| rows(x, &corner(waves, length, kept)?))
    }

    /// `[*, length]` → `[*, F]`
    fn forward(&self, x: &Complex, length: usize) -> Result<Complex> {
        split_forward(x, length, &self.levels)
    }

    /// `[*, F]` → `[*, output]`
    fn inverse(&self, x: &Complex) -> Result<Complex> {
        match &self.window {
            Some(window) => x.matmul(window),
            None => {
                let x = split_inverse(x, &self.inverse_levels)?;
                x.each(|x| Ok((self.crop(x)? / self.length as f64)?))
            }
        }
    }

    /// `[*, kept]` → `[*, output]`
    fn inverse_real(&self, x: &Complex) -> Result<Tensor> {
        match &self.window {
            Some(window) => Ok((rows(&x.re, &window.re)? - rows(&x.im, &window.im)?)?),
            None => Ok(self.inverse(x)?.re),
        }
    }

    /// The output's places among all of the transform's.
    fn crop(&self, x: &Tensor) -> Result<Tensor> {
        let (length, output) = (self.length, self.axis.output);
        let shift = self.axis.shift % length;
        let until_end = output.min(length - shift);
        let first = x.narrow(D::Minus1, shift, until_end)?;
        if until_end == output {
            return Ok(first);
        }
        Ok(Tensor::cat(&[first, x.narrow(D::Minus1, 0, output - until_end)?], D::Minus1)?)
    }
}

impl Level {
    fn new(factor: usize, inner: usize, like: &Tensor) -> Result<Self> {
        let table = |rows, length| waves((rows, factor), |n, k| n * k, length, -1.0, like);
        let twiddles = if inner > 1 { Some(table(inner, inner * factor)?) } else { None };
        Ok(Self { factor, inner, waves: table(factor, factor)?, twiddles })
    }

    fn conjugate(&self) -> Result<Self> {
        let twiddles = self.twiddles.as_ref().map(Complex::conjugate).transpose()?;
        Ok(Self { waves: self.waves.conjugate()?, twiddles, ..*self })
    }
}

/// The first rows and columns of a table.
fn corner(table: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
    Ok(table.narrow(0, 0, rows)?.narrow(1, 0, columns)?.contiguous()?)
}

/// `[*, a, b]` → `[*, b, a]`
fn turned(x: &Tensor) -> Result<Tensor> {
    Ok(x.transpose(D::Minus1, D::Minus2)?.contiguous()?)
}

/// `[*, length]` → `[*, F]`, in the factors' order, with zeros behind `length`.
fn split_forward(x: &Complex, length: usize, levels: &[Level]) -> Result<Complex> {
    let Level { factor, inner, waves, twiddles } = &levels[0];
    let taken = length.div_ceil(*inner);
    let waves = waves.each(|waves| corner(waves, taken, *factor))?;
    let Some(twiddles) = twiddles else { return x.matmul(&waves) };
    let leading = x.re.dims()[..x.re.rank() - 1].to_vec();
    let grid = |last: &[usize]| [leading.as_slice(), last].concat();
    let x = x.each(|x| {
        let x = x.pad_with_zeros(D::Minus1, 0, taken * inner - length)?;
        turned(&x.reshape(grid(&[taken, *inner]))?)
    })?;
    let x = x.matmul(&waves)?.times(twiddles)?.each(turned)?;
    let x = split_forward(&x, *inner, &levels[1..])?;
    x.each(|x| Ok(x.reshape(grid(&[factor * inner]))?))
}

/// `[*, F]`, in the factors' order, → `[*, length]`, not scaled.
fn split_inverse(x: &Complex, levels: &[Level]) -> Result<Complex> {
    let Level { factor, inner, waves, twiddles } = &levels[0];
    let Some(twiddles) = twiddles else { return x.matmul(waves) };
    let leading = x.re.dims()[..x.re.rank() - 1].to_vec();
    let grid = |last: &[usize]| [leading.as_slice(), last].concat();
    let x = x.each(|x| Ok(x.reshape(grid(&[*factor, *inner]))?))?;
    let x = split_inverse(&x, &levels[1..])?.each(turned)?;
    let x = x.times(twiddles)?.matmul(waves)?;
    x.each(|x| Ok(turned(x)?.reshape(grid(&[factor * inner]))?))
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

    use super::super::axis::{Boundary, Kind};
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

    #[test]
    fn chunks_are_bounded_and_give_the_same() {
        for (batch, channels, points) in
            [(1, 64, 1 << 21), (4096, 3, 1 << 14), (7, 5, 100), (2, 2, 1 << 30), (0, 0, 9)]
        {
            let (samples, count) = chunk(batch, channels, points);
            assert!(samples >= 1 && count >= 1);
            assert!(samples * count * points <= CHUNK || (samples, count) == (1, 1));
        }
        let random = |shape: &[usize]| Tensor::rand(-1f64, 1.0, shape, &Device::Cpu).unwrap();
        let axes = [(Boundary::Zero, 9, 17), (Boundary::Circular, 134, 7)];
        let axes = axes
            .map(|(boundary, length, points)| Axis::new(Kind::Output, boundary, length, points));
        let signal = random(&[5, 3, 9, 134]);
        let transforms = transforms(axes.into(), &signal).unwrap();
        for kernel in [random(&[1, 3, 17, 7]), random(&[5, 3, 17, 7])] {
            let all = in_chunks(&signal, &kernel, &transforms, (5, 3)).unwrap();
            for chunk in [(1, 1), (2, 2), (4, 3), (5, 1)] {
                let parts = in_chunks(&signal, &kernel, &transforms, chunk).unwrap();
                let gap = (parts - &all).unwrap().abs().unwrap().max_all().unwrap();
                assert!(gap.to_scalar::<f64>().unwrap() < 1e-12, "{chunk:?}");
            }
        }
    }
}
