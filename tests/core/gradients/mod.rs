//! Gradients reach everything that trains, and are right: PyTorch's, and central differences in float64.

mod convolution;
mod film;
mod float32;
mod generator;
mod mask;
mod pytorch;
mod registers;
mod siren;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;
use film_core::init::Stream;
use film_core::siren::{Blocks, Omega, Scale};

use crate::support::{numbers, random};

type Vars = Vec<(String, Var)>;

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

/// The gradient of `var`, of its shape and dtype.
fn gradient_of<'a>(gradients: &'a GradStore, name: &str, var: &Var) -> &'a Tensor {
    let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name}: no gradient"));
    assert_eq!((gradient.dims(), gradient.dtype()), (var.dims(), var.dtype()), "{name}");
    gradient
}

/// A variable of numbers in [−1, 1).
fn var(name: &str, shape: &[usize]) -> (String, Var) {
    (name.into(), Var::from_tensor(&random(name, shape, DType::F64)).unwrap())
}

fn sorted(vars: &VarMap) -> Vars {
    let vars = vars.data().lock().unwrap();
    let mut vars: Vars = vars.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
    vars.sort_by(|(a, _), (b, _)| a.cmp(b));
    vars
}

/// The variables, moved away from where they start: there some gradients are zero.
fn moved(vars: &VarMap) -> Vars {
    let vars = sorted(vars);
    for (name, var) in &vars {
        let by = (random(name, var.dims(), DType::F64) * 0.3).unwrap();
        var.set(&(var.as_tensor() + by.to_dtype(var.dtype()).unwrap()).unwrap()).unwrap();
    }
    vars
}

fn names(vars: &Vars) -> Vec<&str> {
    vars.iter().map(|(name, _)| name.as_str()).collect()
}

/// A sum of squares, each weighted differently so that no two outputs are interchangeable.
fn weighted_squares(out: &Tensor) -> Tensor {
    let weights = random("weights of the loss", out.dims(), DType::F64);
    out.sqr().unwrap().mul(&weights).unwrap().sum_all().unwrap()
}

/// Sizes from 1 to `most`, the same for a seed on every run.
fn sizes<const N: usize>(seed: u64, most: usize) -> [usize; N] {
    let mut stream = Stream::new(seed, "sizes");
    std::array::from_fn(|_| stream.uniform(1.0, most as f64 + 1.0) as usize)
}

/// A kernel of each type, low in frequency and `2 · half` rows wide.
fn omegas(half: usize) -> [Omega; 5] {
    let blocks = Blocks { num_blocks: 2, omega_0_min: 0.2, omega_0_max: 0.5, ..Blocks::default() };
    let scale = Scale { min: 0.1, max: 1.6, ..Scale::default() };
    [
        Omega::Fixed { omega_0: 0.4 },
        Omega::Multi { omegas: (1..=2 * half).map(|row| 0.1 * row as f64).collect() },
        Omega::Blocks(blocks.clone()),
        Omega::Learnable { omega_0: 0.4, scale: scale.clone() },
        Omega::LearnableBlocks { blocks, scale },
    ]
}
