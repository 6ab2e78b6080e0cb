//! The window along one axis, which falls from its centre: in candle's operations, and fused on the CPU.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};
use pulp::{Arch, Simd, WithSimd};

use super::vector::exp;
use super::{fused, slice, with_slices};
use crate::error::Result;

/// How it falls with the position p and the width w.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Falloff {
    /// exp(−½ (p/w)²)
    Gaussian,
    /// exp(−|p| · w)
    Exponential,
}

impl Falloff {
    /// The window.
    ///
    /// # Shapes
    /// positions `[G]`, widths `[C]` → `[G, C]`
    pub(crate) fn window(self, positions: &Tensor, widths: &Tensor) -> Result<Tensor> {
        if !fused(widths) {
            return self.plain(positions, widths);
        }
        let positions = positions.to_vec1()?;
        Ok(widths.contiguous()?.apply_op1(Window { falloff: self, positions })?)
    }

    fn plain(self, positions: &Tensor, widths: &Tensor) -> Result<Tensor> {
        let positions = positions.unsqueeze(1)?;
        let exponent = match self {
            Self::Gaussian => (positions.broadcast_div(widths)?.sqr()? * -0.5)?,
            Self::Exponential => positions.abs()?.broadcast_mul(widths)?.neg()?,
        };
        Ok(exponent.exp()?)
    }
}

struct Window {
    falloff: Falloff,
    positions: Vec<f32>,
}

impl CustomOp1 for Window {
    fn name(&self) -> &'static str {
        "window"
    }

    fn cpu_fwd(
        &self,
        widths: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let widths = slice(widths, layout)?;
        let mut window = vec![0.0; self.positions.len() * widths.len()];
        Arch::new().dispatch(Fill { window: self, widths, out: &mut window });
        Ok((CpuStorage::F32(window), (self.positions.len(), widths.len()).into()))
    }

    fn bwd(
        &self,
        widths: &Tensor,
        window: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let tensors = [widths.clone(), window.clone(), gradient.contiguous()?];
        let in_widths = with_slices(&tensors, |slices| {
            let (widths, count) = (slices[0], slices[0].len().max(1));
            let mut sums = vec![0.0; widths.len()];
            let rows = slices[1].chunks_exact(count).zip(slices[2].chunks_exact(count));
            for (&position, (window, gradient)) in self.positions.iter().zip(rows) {
                let terms = widths.iter().zip(window).zip(gradient);
                for (sum, ((width, window), gradient)) in sums.iter_mut().zip(terms) {
                    let slope = match self.falloff {
                        Falloff::Gaussian => (position / width).powi(2) / width,
                        Falloff::Exponential => -position.abs(),
                    };
                    *sum += gradient * window * slope;
                }
            }
            Ok(sums)
        })?;
        Ok(Some(Tensor::from_vec(in_widths, widths.shape(), &Device::Cpu)?))
    }
}

struct Fill<'a> {
    window: &'a Window,
    widths: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { window: Window { falloff, positions }, widths, out } = self;
        let (vectors, rest) = S::as_simd_f32s(widths);
        for (&position, out) in positions.iter().zip(out.chunks_exact_mut(widths.len().max(1))) {
            let (whole, last) = S::as_mut_simd_f32s(out);
            for (out, &width) in whole.iter_mut().zip(vectors) {
                *out = one(simd, *falloff, position, width);
            }
            if !rest.is_empty() {
                let value = one(simd, *falloff, position, simd.partial_load_f32s(rest));
                simd.partial_store_f32s(last, value);
            }
        }
    }
}

#[inline(always)]
fn one<S: Simd>(simd: S, falloff: Falloff, position: f32, width: S::f32s) -> S::f32s {
    let exponent = match falloff {
        Falloff::Gaussian => {
            let share = simd.div_f32s(simd.splat_f32s(position), width);
            simd.mul_f32s(simd.mul_f32s(share, share), simd.splat_f32s(-0.5))
        }
        Falloff::Exponential => simd.mul_f32s(width, simd.splat_f32s(-position.abs())),
    };
    exp(simd, exponent)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;

    #[test]
    fn fused_and_plain_agree_in_values_and_gradients() {
        for (falloff, count) in
            [(Falloff::Gaussian, 37), (Falloff::Exponential, 37), (Falloff::Gaussian, 1)]
        {
            let positions = Tensor::arange_step(-1.2f32, 1.25, 0.06, &Device::Cpu).unwrap();
            let widths: Vec<f32> = (0..count).map(|c| 0.02 + 0.07 * c as f32).collect();
            let widths = Var::from_vec(widths, count, &Device::Cpu).unwrap();
            let results = [Falloff::plain, Falloff::window].map(|way| {
                let window = way(falloff, &positions, &widths).unwrap();
                let gradients = window.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                [gradients.get(&widths).unwrap().clone(), window]
            });
            for (plain, fused) in results[0].iter().zip(&results[1]) {
                let largest = |x: &Tensor| x.abs()?.max_all()?.to_scalar::<f32>();
                let gap = largest(&(plain - fused).unwrap()).unwrap();
                assert!(gap <= 1e-6 * largest(plain).unwrap(), "{falloff:?} {count}: {gap:e}");
            }
        }
    }

    #[test]
    fn windows_have_their_limits() {
        let positions = Tensor::new(&[0f32, 1.0], &Device::Cpu).unwrap();
        let widths = Tensor::new(&[1e-30f32, 1.0, f32::NAN], &Device::Cpu).unwrap();
        let window = Falloff::Gaussian.window(&positions, &widths).unwrap();
        let window = window.to_vec2::<f32>().unwrap();
        assert_eq!((window[0][0], window[1][0], window[0][1]), (1.0, 0.0, 1.0));
        assert!(window[0][2].is_nan() && window[1][2].is_nan());
        let wide = [positions, widths].map(|x| x.to_dtype(DType::F64).unwrap());
        let wide = Falloff::Gaussian.window(&wide[0], &wide[1]).unwrap();
        assert_eq!(wide.dtype(), DType::F64);
    }
}
