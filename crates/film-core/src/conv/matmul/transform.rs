//! The transform of one axis: its factors, its tables and the products with them.

use std::f64::consts::TAU;

use candle_core::{D, Device, Tensor};

use super::super::axis::Axis;
use crate::error::Result;

/// The longest axis that one matrix transforms.
const DENSE: usize = 128;
/// The longest factor of an axis that is split.
const FACTOR: usize = 64;

/// Real and imaginary part.
#[derive(Debug, Clone)]
pub(super) struct Complex {
    re: Tensor,
    im: Tensor,
}

/// The transform of one axis, with its tables.
#[derive(Debug)]
pub(super) struct AxisTransform {
    pub(super) axis: Axis,
    pub(super) length: usize,
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

impl Complex {
    pub(super) fn each(&self, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { re: of(&self.re)?, im: of(&self.im)? })
    }

    fn conjugate(&self) -> Result<Self> {
        Ok(Self { re: self.re.clone(), im: self.im.neg()? })
    }

    pub(super) fn times(&self, other: &Self) -> Result<Self> {
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
    pub(super) fn new(axis: Axis, real: bool, like: &Tensor) -> Result<Self> {
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
    pub(super) fn forward_real(&self, x: &Tensor, length: usize) -> Result<Complex> {
        if self.split() {
            let x = Complex { re: x.clone(), im: x.zeros_like()? };
            return split_forward(&x, length, &self.levels);
        }
        let kept = self.kept();
        self.levels[0].waves.each(|waves| rows(x, &corner(waves, length, kept)?))
    }

    /// `[*, length]` → `[*, F]`
    pub(super) fn forward(&self, x: &Complex, length: usize) -> Result<Complex> {
        split_forward(x, length, &self.levels)
    }

    /// `[*, F]` → `[*, output]`
    pub(super) fn inverse(&self, x: &Complex) -> Result<Complex> {
        match &self.window {
            Some(window) => x.matmul(window),
            None => {
                let x = split_inverse(x, &self.inverse_levels)?;
                x.each(|x| Ok((self.crop(x)? / self.length as f64)?))
            }
        }
    }

    /// `[*, kept]` → `[*, output]`
    pub(super) fn inverse_real(&self, x: &Complex) -> Result<Tensor> {
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
