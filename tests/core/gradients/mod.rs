//! Gradients reach everything that trains, and are right: PyTorch's, and central differences in float64.

mod convolution;
mod film;
mod float32;
mod generator;
mod mask;
mod pytorch;
mod registers;
mod siren;
mod variables;
mod whole;

use candle_core::{DType, Device, Tensor, Var};

use crate::reference::{numbers, random};
use variables::{Vars, gradient_of, moved, omegas, sizes, sorted, weighted_squares};

/// Compares the gradient of `loss` in every element of `vars` with differences of fourth order. None may be missing,
/// none nearly zero throughout.
fn assert_gradients(vars: &[(String, Var)], loss: impl Fn() -> Tensor) {
    // Beyond this step the difference's own error grows with its fourth power, below it rounding does.
    const STEP: f64 = 3e-4;
    let gradients = loss().backward().unwrap();
    for (name, var) in vars {
        let gradient = numbers(gradient_of(&gradients, name, var));
        let values = numbers(var);
        let set = |values: Vec<f64>| {
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
        };
        for (index, got) in gradient.iter().enumerate() {
            let at = |step: f64| {
                let mut moved = values.clone();
                moved[index] += step;
                set(moved);
                loss().to_scalar::<f64>().unwrap()
            };
            let slope = |step: f64| (at(step) - at(-step)) / (2.0 * step);
            let expected = (4.0 * slope(STEP) - slope(2.0 * STEP)) / 3.0;
            let allowed = 1e-8 * (1.0 + expected.abs());
            assert!((got - expected).abs() < allowed, "{name}[{index}]: {got} and {expected}");
        }
        set(values);
        assert!(gradient.iter().any(|x| x.abs() > 1e-4), "{name}: nearly zero {gradient:?}");
    }
}

/// A variable of numbers in [−1, 1).
fn var(name: &str, shape: &[usize]) -> (String, Var) {
    (name.into(), Var::from_tensor(&random(name, shape, DType::F64)).unwrap())
}

fn names(vars: &Vars) -> Vec<&str> {
    vars.iter().map(|(name, _)| name.as_str()).collect()
}
