//! The norm of all gradients together: to clip by, and to find gradients that are not finite.

use candle_core::{DType, Storage, Tensor, WithDType};
use rayon::prelude::*;

use super::update::{BLOCK, part};
use crate::error::{Error, Result};

/// ‖g‖₂ over the elements of all gradients, summed in float64 on the CPU, in the gradients' dtype elsewhere, always
/// in the same order.
///
/// An error names the gradient that is not finite.
pub(super) fn global_norm(gradients: &[(&str, &Tensor)]) -> Result<f64> {
    let mut sum = 0.0;
    let mut elsewhere = vec![];
    for (_, gradient) in gradients {
        match &*gradient.storage_and_layout().0 {
            Storage::Cpu(storage) if gradient.dtype() == DType::F64 => {
                sum += sum_of_squares::<f64>(part(storage, gradient.layout())?);
            }
            Storage::Cpu(storage) => {
                sum += sum_of_squares::<f32>(part(storage, gradient.layout())?);
            }
            _ => elsewhere.push(gradient.sqr()?.sum_all()?),
        }
    }
    // One by one they would each wait for the device.
    if !elsewhere.is_empty() {
        let double = elsewhere.iter().any(|sum| sum.dtype() == DType::F64);
        let dtype = if double { DType::F64 } else { DType::F32 };
        let sums = elsewhere.iter().map(|sum| sum.to_dtype(dtype));
        let sums = Tensor::stack(&sums.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
        sum += sums.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    }
    let norm = sum.sqrt();
    if norm.is_finite() { Ok(norm) } else { Err(not_finite(gradients)?) }
}

/// What PyTorch's `clip_grad_norm_` multiplies the gradients by: min(1, max_norm / (norm + 1e-6)).
pub(super) fn factor(norm: f64, max_norm: Option<f64>) -> f64 {
    max_norm.map_or(1.0, |max_norm| (max_norm / (norm + 1e-6)).min(1.0))
}

/// Eight sums beside each other, block by block: the same on every machine, however many threads it has.
fn sum_of_squares<T: WithDType>(values: &[T]) -> f64 {
    let block = |values: &[T]| {
        let (lanes, rest) = values.as_chunks::<8>();
        let mut sums = [0.0; 8];
        for lane in lanes {
            for (sum, x) in sums.iter_mut().zip(lane) {
                *sum += x.to_f64() * x.to_f64();
            }
        }
        sums.iter().sum::<f64>() + rest.iter().map(|x| x.to_f64() * x.to_f64()).sum::<f64>()
    };
    if values.len() <= BLOCK {
        return block(values);
    }
    let blocks: Vec<f64> = values.par_chunks(BLOCK).map(block).collect();
    blocks.iter().sum()
}

/// The error that says which gradient it was.
fn not_finite(gradients: &[(&str, &Tensor)]) -> Result<Error> {
    let mut found = vec![];
    for (name, gradient) in gradients {
        let values = gradient.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let nan = values.iter().filter(|x| x.is_nan()).count();
        let infinite = values.iter().filter(|x| x.is_infinite()).count();
        if nan + infinite > 0 {
            found.push((name, format!("{nan} NaN and {infinite} infinite of {}", values.len())));
        }
    }
    let others = match found.len().saturating_sub(1) {
        0 => String::new(),
        others => format!(" (the first of {} such gradients)", others + 1),
    };
    Ok(match found.first() {
        Some((name, counts)) => {
            let what = format!("gradient of {name}");
            Error::tensor(what, "finite numbers", format!("{counts}{others}"))
        }
        None => Error::Overflow {
            what: "the norm of the gradients".into(),
            detail: "each is finite, the sum of their squares is not".into(),
        },
    })
}
