//! A kernel times a window that is a product of windows along its axes: in candle's operations, and fused on the CPU.

use candle_core::{CpuStorage, CustomOp2, Device, InplaceOp2, Layout, Shape, Tensor};
use pulp::{Arch, Simd, WithSimd};

use super::{fused, slice, threads, tracked, with_slices};
use crate::error::Result;

/// kernel\[b, i, j, …, c\] · windows₀\[i, c\] · windows₁\[j, c\] · …
///
/// # Shapes
/// kernel `[B, *G, C]`, windows, one for each axis, `[Gᵢ, C]` → `[B, *G, C]`
pub(crate) fn apply_windows(kernel: &Tensor, windows: &[Tensor]) -> Result<Tensor> {
    if !fused(kernel) {
        return plain(kernel, windows);
    }
    let (kernel, joint) = (kernel.contiguous()?, Tensor::cat(windows, 0)?);
    let operation = Windows { sides: kernel.dims()[1..=windows.len()].to_vec() };
    if kernel.track_op() || joint.track_op() {
        return Ok(kernel.apply_op2(&joint, operation)?);
    }
    let shape = kernel.shape().clone();
    with_slices(&[kernel, joint], |slices| {
        let mut masked = slices[0].to_vec();
        operation.forward(&mut masked, slices[1]);
        Ok(Tensor::from_vec(masked, shape, &Device::Cpu)?)
    })
}

/// The same in the kernel's own memory, which must be nobody else's. Tells whether it was done: a kernel or windows that are
/// tracked, or not for the fused operation, are left as they are.
///
/// # Shapes
/// As [`apply_windows`].
pub(crate) fn apply_windows_in_place(kernel: &Tensor, windows: &[Tensor]) -> Result<bool> {
    if !fused(kernel) || kernel.track_op() || tracked(windows) || !kernel.is_contiguous() {
        return Ok(false);
    }
    let operation = Windows { sides: kernel.dims()[1..=windows.len()].to_vec() };
    kernel.inplace_op2(&Tensor::cat(windows, 0)?, &operation)?;
    Ok(true)
}

fn plain(kernel: &Tensor, windows: &[Tensor]) -> Result<Tensor> {
    let mut window: Option<Tensor> = None;
    for (axis, factor) in windows.iter().enumerate() {
        let mut shape = vec![1; kernel.rank()];
        (shape[axis + 1], shape[kernel.rank() - 1]) = factor.dims2()?;
        let factor = factor.reshape(shape)?;
        window = Some(match window {
            Some(window) => window.broadcast_mul(&factor)?,
            None => factor,
        });
    }
    Ok(match window {
        Some(window) => kernel.broadcast_mul(&window)?,
        None => kernel.clone(),
    })
}

/// The fused operation, of the kernel and the windows of all axes, one after the other.
struct Windows {
    /// Points of each axis.
    sides: Vec<usize>,
}

/// Points that are a task of their own, or summed one after the other: fixed, so that threads change no bit.
const CHUNK: usize = 256;

impl Windows {
    fn points(&self) -> usize {
        self.sides.iter().product()
    }

    /// The rows of the windows that meet in a point.
    fn rows(&self, mut point: usize) -> impl Iterator<Item = usize> {
        let mut below = self.points();
        let mut first = 0;
        self.sides.iter().map(move |side| {
            below /= side;
            let row = first + point / below;
            (point, first) = (point % below, first + side);
            row
        })
    }

    fn channels(&self, windows: &[f32]) -> usize {
        windows.len() / self.sides.iter().sum::<usize>().max(1)
    }

    /// Multiplies the kernel.
    ///
    /// # Shapes
    /// kernel `[B, *G, C]`, windows `[ΣGᵢ, C]`
    fn forward(&self, kernel: &mut [f32], windows: &[f32]) {
        let (points, channels) = (self.points(), self.channels(windows));
        if kernel.is_empty() {
            return;
        }
        let (arch, cost) = (Arch::new(), threads::PASS * kernel.len());
        let tasks = kernel.chunks_mut(CHUNK * channels).enumerate().collect();
        threads::for_each(
            cost,
            tasks,
            || (),
            |(), (number, kernel)| {
                let first = number * CHUNK % points;
                arch.dispatch(Apply { operation: self, windows, channels, first, kernel });
            },
        );
    }

    /// The gradient in the kernel.
    fn in_kernel(&self, windows: &[f32], gradient: &[f32]) -> Vec<f32> {
        let mut in_kernel = gradient.to_vec();
        self.forward(&mut in_kernel, windows);
        in_kernel
    }

    /// The gradient in the windows.
    fn in_windows(&self, kernel: &[f32], windows: &[f32], gradient: &[f32]) -> Vec<f32> {
        let (points, channels) = (self.points(), self.channels(windows));
        let mut in_windows = vec![0.0; windows.len()];
        if kernel.is_empty() {
            return in_windows;
        }
        let sample = points * channels;
        let samples = kernel.chunks_exact(sample).zip(gradient.chunks_exact(sample)).collect();
        let sums = threads::map(threads::PASS * kernel.len(), samples, |(kernel, gradient)| {
            let mut sums = vec![0.0; windows.len()];
            let mut product = vec![0.0; channels];
            let rows = kernel.chunks_exact(channels).zip(gradient.chunks_exact(channels));
            for (point, (kernel, gradient)) in rows.enumerate() {
                for own in self.rows(point) {
                    product.copy_from_slice(gradient);
                    multiply(&mut product, kernel);
                    for row in self.rows(point).filter(|row| *row != own) {
                        multiply(&mut product, &windows[row * channels..][..channels]);
                    }
                    let sums = &mut sums[own * channels..][..channels];
                    sums.iter_mut().zip(&product).for_each(|(sum, product)| *sum += product);
                }
            }
            sums
        });
        for sums in sums {
            in_windows.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        in_windows
    }
}

/// Some points of a kernel, which are multiplied.
struct Apply<'a> {
    operation: &'a Windows,
    windows: &'a [f32],
    channels: usize,
    /// The first point's number.
    first: usize,
    kernel: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { operation, windows, channels, first, kernel } = self;
        let points = operation.points();
        for (index, kernel) in kernel.chunks_exact_mut(channels).enumerate() {
            for row in operation.rows((first + index) % points) {
                multiply(kernel, &windows[row * channels..][..channels]);
            }
        }
    }
}

/// Multiplies numbers. Where one is at most 1, as windows are, products that may be no normal numbers, all of them below
/// 2⁻¹²⁵, are 0: far from a window's centre there are many, and on many processors each would take as long as a hundred
/// others, here and in the convolution.
#[inline(always)]
fn multiply(values: &mut [f32], factors: &[f32]) {
    // The exponents' bits; of a product they are their sum less 127, or 1 more.
    let exponent = |value: f32| value.to_bits() >> 23 & 0xff;
    for (value, &factor) in values.iter_mut().zip(factors) {
        let small = exponent(*value) + exponent(factor) < 128;
        *value *= if small { 0.0 } else { factor };
    }
}

impl CustomOp2 for Windows {
    fn name(&self) -> &'static str {
        "windows"
    }

    fn cpu_fwd(
        &self,
        kernel: &CpuStorage,
        layout: &Layout,
        windows: &CpuStorage,
        windows_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let mut masked = slice(kernel, layout)?.to_vec();
        self.forward(&mut masked, slice(windows, windows_layout)?);
        Ok((CpuStorage::F32(masked), layout.shape().clone()))
    }

    fn bwd(
        &self,
        kernel: &Tensor,
        windows: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let tensors = [kernel.clone(), windows.clone(), gradient.contiguous()?];
        with_slices(&tensors, |slices| {
            let of = |like: &Tensor, gradient: &dyn Fn() -> Vec<f32>| {
                let gradient = like.track_op().then(gradient);
                gradient
                    .map(|values| Tensor::from_vec(values, like.shape(), &Device::Cpu))
                    .transpose()
            };
            let in_kernel = of(kernel, &|| self.in_kernel(slices[1], slices[2]))?;
            let in_windows = of(windows, &|| self.in_windows(slices[0], slices[1], slices[2]))?;
            Ok((in_kernel, in_windows))
        })
        .map_err(Into::into)
    }
}

impl InplaceOp2 for Windows {
    fn name(&self) -> &'static str {
        "windows"
    }

    fn cpu_fwd(
        &self,
        kernel: &mut CpuStorage,
        layout: &Layout,
        windows: &CpuStorage,
        windows_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (Some((start, end)), CpuStorage::F32(kernel)) = (layout.contiguous_offsets(), kernel)
        else {
            candle_core::bail!("a kernel that is not contiguous float32")
        };
        self.forward(&mut kernel[start..end], slice(windows, windows_layout)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;
    use crate::testing::random_var;

    fn random(name: &str, shape: &[usize]) -> Var {
        random_var(name, shape, 1.7)
    }

    #[test]
    fn fused_and_plain_agree_in_values_and_gradients() {
        for (batch, sides, channels) in
            [(1, vec![5], 1), (2, vec![4, 7], 3), (3, vec![2, 1, 3], 17), (40, vec![29, 27], 20)]
        {
            let kernel = random("kernel", &[&[batch], sides.as_slice(), &[channels]].concat());
            let windows: Vec<Var> =
                sides.iter().map(|side| random("window", &[*side, channels])).collect();
            let factors: Vec<Tensor> = windows.iter().map(|w| w.as_tensor().clone()).collect();
            let weights = random("weights", kernel.dims());
            let results = [plain, apply_windows].map(|way| {
                let masked = way(&kernel, &factors).unwrap();
                let loss = (&masked * weights.as_tensor()).unwrap().sum_all().unwrap();
                let gradients = loss.backward().unwrap();
                let all = std::iter::once(&kernel).chain(&windows);
                let all = all.map(|var| gradients.get(var).unwrap().clone());
                std::iter::once(masked).chain(all).collect::<Vec<_>>()
            });
            for (plain, fused) in results[0].iter().zip(&results[1]) {
                let gap = (plain - fused).unwrap().abs().unwrap().max_all().unwrap();
                let size = plain.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(gap.to_scalar::<f32>().unwrap() <= 2e-6 * size, "{sides:?}");
            }
        }
    }

    #[test]
    fn products_are_normal_numbers_or_zero() {
        let powers = [0, -1, -62, -63, -64, -100, -126, -127, -149];
        let numbers: Vec<f32> = powers.iter().map(|&power| 2f64.powi(power) as f32).collect();
        let numbers = [&numbers[..], &[0.0, -0.75, 1.999_999_9, f32::NAN]].concat();
        for &factor in &numbers {
            let mut products = numbers.clone();
            multiply(&mut products, &vec![factor; numbers.len()]);
            for (product, number) in products.into_iter().zip(&numbers) {
                let exact = number * factor;
                let same = product == exact || product.is_nan() && exact.is_nan();
                let small = product == 0.0 && exact.abs() < 2f32.powi(-125);
                assert!(same && !product.is_subnormal() || small, "{number:e} · {factor:e}");
            }
        }
    }

    #[test]
    fn in_place_is_the_same_unless_tracked() {
        let kernel = random("kernel", &[2, 5, 4, 3]);
        let windows = [random("rows", &[5, 3]), random("columns", &[4, 3])];
        let windows = windows.map(|window| window.as_detached_tensor());
        let expected = apply_windows(&kernel, &windows).unwrap();
        assert!(!apply_windows_in_place(&kernel, &windows).unwrap());
        let own = kernel.as_tensor().copy().unwrap().detach();
        assert!(apply_windows_in_place(&own, &windows).unwrap());
        let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(&own), numbers(&expected));
    }

    #[test]
    fn no_samples_and_other_dtypes() {
        let windows = [random("window", &[3, 2]).as_tensor().clone()];
        let none = Tensor::zeros((0, 3, 2), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(apply_windows(&none, &windows).unwrap().dims(), [0, 3, 2]);
        let windows = [windows[0].to_dtype(DType::F64).unwrap()];
        let kernel = Tensor::ones((1, 3, 2), DType::F64, &Device::Cpu).unwrap();
        let masked = apply_windows(&kernel, &windows).unwrap();
        assert_eq!(masked.dtype(), DType::F64);
    }
}
