//! Random tensors for the unit tests, the same in every run.

use candle_core::{DType, Device, Tensor, Var};

use crate::init::Stream;

/// Uniform between −size and size, drawn from a stream of the name's own.
///
/// # Shapes
/// → `[*shape]`
pub(crate) fn random(name: &str, shape: &[usize], size: f64, dtype: DType) -> Tensor {
    let mut stream = Stream::new(7, name);
    let drawn: Vec<f64> =
        (0..shape.iter().product()).map(|_| stream.uniform(-size, size)).collect();
    Tensor::from_vec(drawn, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// [`random`] in float32, as a variable.
///
/// # Shapes
/// → `[*shape]`
pub(crate) fn random_var(name: &str, shape: &[usize], size: f64) -> Var {
    Var::from_tensor(&random(name, shape, size, DType::F32)).unwrap()
}
