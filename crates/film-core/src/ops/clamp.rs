//! Clamping with PyTorch's gradient: 1 inside the bounds and on them, 0 beyond.
//!
//! candle's own `clamp` halves the gradient of a value that is exactly a bound, where fresh masks start.

use candle_core::Tensor;

use crate::error::Result;

/// min(max(x, least), most).
///
/// # Shapes
/// x `[*]` → `[*]`
pub(crate) fn clamp(x: &Tensor, least: f64, most: f64) -> Result<Tensor> {
    let clamped = x.detach().clamp(least, most)?;
    let inside = x.detach().eq(&clamped)?;
    Ok(inside.where_cond(x, &clamped)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn the_gradient_is_kept_on_the_bounds() {
        let x = Var::new(&[0.5f32, 1.0, 1.5, 2.0, 2.5, f32::INFINITY], &Device::Cpu).unwrap();
        let y = clamp(&x, 1.0, 2.0).unwrap();
        assert_eq!(y.to_vec1::<f32>().unwrap(), [1.0, 1.0, 1.5, 2.0, 2.0, 2.0]);
        let gradients = y.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&x).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(gradient, [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }
}
