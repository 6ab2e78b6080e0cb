//! GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415), the exact one: x · Φ(x).
//!
//! candle's own `gelu_erf` has the same values, but its gradient writes 1/√(2π) with six digits.

use std::f64::consts::FRAC_1_SQRT_2;

use candle_core::{DType, Tensor};

use crate::error::Result;

/// x · ½(1 + erf(x/√2)), in float32 at least.
///
/// # Shapes
/// x `[*]` → `[*]`
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    let wide = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let wide = x.to_dtype(wide)?;
    let phi = (((&wide * FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5)?;
    Ok((phi * wide)?.to_dtype(x.dtype())?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn values_are_candles_and_the_gradient_is_exact() {
        let points: Vec<f64> = (-80..=80).map(|step| f64::from(step) / 10.0).collect();
        for dtype in [DType::F32, DType::F64] {
            let x = Tensor::new(points.as_slice(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let numbers = |x: Tensor| x.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(numbers(gelu(&x).unwrap()), numbers(x.gelu_erf().unwrap()));
        }
        let x = Var::new(points.as_slice(), &Device::Cpu).unwrap();
        let gradients = gelu(&x).unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&x).unwrap().to_vec1::<f64>().unwrap();
        for (x, got) in points.into_iter().zip(gradient) {
            let phi = 0.5 * libm::erfc(-x * FRAC_1_SQRT_2);
            let density = libm::exp(-0.5 * x * x) / std::f64::consts::TAU.sqrt();
            let expected = phi + x * density;
            assert!((got - expected).abs() < 1e-14, "at {x}: {got} and {expected}");
        }
    }

    #[test]
    fn half_precision_is_rounded_once() {
        let x = Tensor::new(&[-1.5f32, 0.3, 2.7], &Device::Cpu).unwrap();
        let x = x.to_dtype(DType::BF16).unwrap();
        let expected = gelu(&x.to_dtype(DType::F32).unwrap()).unwrap().to_dtype(DType::BF16);
        let numbers = |x: Tensor| x.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(gelu(&x).unwrap()), numbers(expected.unwrap()));
    }
}
