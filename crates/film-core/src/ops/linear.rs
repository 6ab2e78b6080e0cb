//! `x · weightᵀ + bias` over the last axis, for any leading axes and any memory layout.
//!
//! candle_nn's `Linear` feeds a transposed 3-D input to a batched product that reads it wrongly
//! on CPU. Here the leading axes are first folded into one contiguous matrix.
//!
//! candle's own CPU product adds up a row's terms one after the other, so its rounding error grows with
//! their number. In float32 the sum is therefore taken in blocks, and the blocks in pairs.

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};

/// Terms added one after the other in float32.
const BLOCK: usize = 64;

/// `x · weightᵀ + bias`.
///
/// # Shapes
/// x `[*, in]`, weight `[out, in]`, bias `[out]` → `[*, out]`
///
/// # Errors
/// If the last axis of `x`, called `name` in the message, is not `in` long.
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    name: &str,
) -> Result<Tensor> {
    check_input(x, weight, name)?;
    let (out_features, in_features) = weight.dims2()?;
    let leading = &x.dims()[..x.rank() - 1];
    let rows: usize = leading.iter().product();
    let shape = [leading, &[out_features]].concat();
    if rows == 0 {
        return Ok(Tensor::zeros(shape, x.dtype(), x.device())?);
    }
    let flat = x.contiguous()?.reshape((rows, in_features))?;
    let mut y = product(&flat, weight)?;
    if let Some(bias) = bias {
        y = y.broadcast_add(bias)?;
    }
    Ok(y.reshape(shape)?)
}

/// An error unless `x`, called `name` in the message, is a layer's input.
///
/// # Shapes
/// x `[*, in]`, weight `[out, in]`
pub(crate) fn check_input(x: &Tensor, weight: &Tensor, name: &str) -> Result<()> {
    let (_, in_features) = weight.dims2()?;
    let Some(&last) = x.dims().last() else {
        return Err(Error::tensor(name, format!("shape [*, {in_features}]"), "a scalar"));
    };
    if last != in_features {
        let found = format!("{:?}", x.dims());
        return Err(Error::tensor(name, format!("shape [*, {in_features}]"), found));
    }
    if x.dtype() != weight.dtype() {
        let (expected, found) = (weight.dtype().as_str(), x.dtype().as_str());
        return Err(Error::tensor(name, format!("dtype {expected}, the module's"), found));
    }
    Ok(())
}

/// `x · weightᵀ`, summed so that float32 keeps its digits.
///
/// # Shapes
/// x `[N, in]`, weight `[out, in]` → `[N, out]`
fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let terms = x.dim(1)?;
    // BLAS libraries and GPUs sum in blocks of their own.
    let one_by_one = x.device().is_cpu() && !cfg!(any(feature = "mkl", feature = "accelerate"));
    if terms <= BLOCK || x.dtype() != DType::F32 || !one_by_one {
        return Ok(x.matmul(&weight.t()?)?);
    }
    let half = (terms / 2).next_multiple_of(BLOCK);
    let part =
        |start, count| product(&x.narrow(1, start, count)?, &weight.narrow(1, start, count)?);
    Ok((part(0, half)? + part(half, terms - half)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;
    use candle_core::{Device, Module};

    /// `[2, 3, 4]` as a transposed view of `[3, 2, 4]`, and of `[2, 4, 3]`.
    fn transposed() -> Vec<Tensor> {
        let base = Tensor::arange(0f64, 24.0, &Device::Cpu).unwrap();
        vec![
            base.reshape((3, 2, 4)).unwrap().transpose(0, 1).unwrap(),
            base.reshape((2, 4, 3)).unwrap().transpose(1, 2).unwrap(),
            base.reshape((4, 3, 2)).unwrap().permute((2, 1, 0)).unwrap(),
        ]
    }

    #[test]
    fn transposed_inputs_give_what_their_copies_give() {
        let weight = Tensor::arange(0f64, 20.0, &Device::Cpu).unwrap().reshape((5, 4)).unwrap();
        for x in transposed() {
            let y = linear(&x, &weight, None, "x").unwrap();
            let values = x.to_vec3::<f64>().unwrap();
            let weights = weight.to_vec2::<f64>().unwrap();
            for (block, got) in values.iter().zip(y.to_vec3::<f64>().unwrap()) {
                for (row, got) in block.iter().zip(got) {
                    let dot = |w: &Vec<f64>| row.iter().zip(w).map(|(a, b)| a * b).sum::<f64>();
                    assert_eq!(got, weights.iter().map(dot).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn no_rows_give_no_rows() {
        let x = Tensor::zeros((0, 3, 4), DType::F32, &Device::Cpu).unwrap();
        let weight = Tensor::zeros((5, 4), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(linear(&x, &weight, None, "x").unwrap().dims(), [0, 3, 5]);
    }

    #[test]
    fn long_float32_sums_keep_their_digits() {
        // Added one after the other, a million times 0.1 misses by a percent.
        let x = Tensor::full(0.1f32, (1, 1 << 20), &Device::Cpu).unwrap();
        let weight = Tensor::ones((1, 1 << 20), DType::F32, &Device::Cpu).unwrap();
        let sum = linear(&x, &weight, None, "x").unwrap().to_vec2::<f32>().unwrap()[0][0];
        let exact = f64::from(0.1f32) * f64::from(1 << 20);
        let error = (f64::from(sum) / exact - 1.0).abs();
        assert!(error < 1e-6, "relative error {error:e}");
    }

    #[test]
    fn agrees_with_candles_linear_on_contiguous_input() {
        let x = random("x", &[2, 3, 4], 1.7, DType::F32);
        let weight = random("weight", &[5, 4], 1.7, DType::F32);
        let bias = random("bias", &[5], 1.7, DType::F32);
        let theirs =
            candle_nn::Linear::new(weight.clone(), Some(bias.clone())).forward(&x).unwrap();
        let ours = linear(&x, &weight, Some(&bias), "x").unwrap();
        let gap = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
        assert!(gap.to_scalar::<f32>().unwrap() < 1e-6);
    }
}
