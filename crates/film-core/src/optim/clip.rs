//! The norm of all gradients together: to clip by, and to find gradients that are not finite.

use candle_core::{DType, Device, Storage, Tensor, WithDType};
use rayon::prelude::*;

use super::update::{BLOCK, part};
use crate::error::{Error, Result};

/// ‖g‖₂ over the elements of all gradients, float32 or float64: summed in float64 on the CPU, in the gradients' dtype
/// elsewhere, and always in the same order.
///
/// An error names the gradient that is not finite.
pub(super) fn global_norm(gradients: &[(&str, &Tensor)]) -> Result<f64> {
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        gradients.iter().map(|(_, gradient)| *gradient).partition(|g| g.device().is_cpu());
    let mut sum = sum_elsewhere(&elsewhere)?;
    for gradient in here {
        let (storage, at) = gradient.storage_and_layout();
        if let Storage::Cpu(storage) = &*storage {
            sum += match gradient.dtype() {
                DType::F64 => sum_of_squares::<f64>(part(storage, at)?),
                _ => sum_of_squares::<f32>(part(storage, at)?),
            };
        }
    }
    let norm = sum.sqrt();
    if norm.is_finite() { Ok(norm) } else { Err(not_finite(gradients)?) }
}

/// The sum of all squares in candle's operations, brought back at once: one by one they would each wait for the device.
fn sum_elsewhere(gradients: &[&Tensor]) -> Result<f64> {
    let sums = gradients.iter().map(|gradient| gradient.sqr()?.sum_all());
    let sums = sums.collect::<candle_core::Result<Vec<_>>>()?;
    let Some(widest) = sums.iter().map(Tensor::dtype).max_by_key(DType::size_in_bytes) else {
        return Ok(0.0);
    };
    let sums = sums.iter().map(|sum| sum.to_dtype(widest));
    let sums = Tensor::stack(&sums.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
    Ok(sums.sum_all()?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar()?)
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
        let values = gradient.to_device(&Device::Cpu)?.flatten_all()?.to_dtype(DType::F64)?;
        let values = values.to_vec1::<f64>()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_norm() {
        let [a, b, c] =
            [(3, DType::F32), (BLOCK + 5, DType::F64), (1, DType::F32)].map(|(count, dtype)| {
                let values: Vec<f64> = (0..count).map(|index| (index % 7) as f64).collect();
                Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
            });
        let square = |index: usize| ((index % 7) * (index % 7)) as f64;
        let expected: f64 = [3, BLOCK + 5, 1].iter().flat_map(|&count| 0..count).map(square).sum();
        assert_eq!(sum_elsewhere(&[&a, &b, &c]).unwrap(), expected);
        let norm = global_norm(&[("a", &a), ("b", &b), ("c", &c)]).unwrap();
        assert_eq!(norm, expected.sqrt());
        assert_eq!(global_norm(&[]).unwrap(), 0.0);
    }
}
