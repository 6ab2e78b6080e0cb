//! Variables away from where they start, losses of what is made of them, and how far gradients are from those of float64.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use film_core::init::{self, Stream};
use film_core::siren::{Blocks, Omega, Scale};

use crate::reference::{numbers, random, relative_error};

pub(crate) type Vars = Vec<(String, Var)>;

/// The gradient of `var`, of its shape and dtype.
pub(crate) fn gradient_of<'a>(gradients: &'a GradStore, name: &str, var: &Var) -> &'a Tensor {
    let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name}: no gradient"));
    assert_eq!((gradient.dims(), gradient.dtype()), (var.dims(), var.dtype()), "{name}");
    gradient
}

pub(crate) fn sorted(vars: &VarMap) -> Vars {
    let vars = vars.data().lock().unwrap();
    let mut vars: Vars = vars.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
    vars.sort_by(|(a, _), (b, _)| a.cmp(b));
    vars
}

/// The variables, moved away from where they start: there some gradients are zero.
pub(crate) fn moved(vars: &VarMap) -> Vars {
    let vars = sorted(vars);
    for (name, var) in &vars {
        let by = (random(name, var.dims(), DType::F64) * 0.3).unwrap();
        let by = by.to_dtype(var.dtype()).unwrap().to_device(var.device()).unwrap();
        var.set(&(var.as_tensor() + by).unwrap()).unwrap();
    }
    vars
}

/// A sum of squares, each weighted differently so that no two outputs are interchangeable.
pub(crate) fn weighted_squares(out: &Tensor) -> Tensor {
    let weights = random("weights of the loss", out.dims(), out.dtype());
    let weights = weights.to_device(out.device()).unwrap();
    out.sqr().unwrap().mul(&weights).unwrap().sum_all().unwrap()
}

/// How far the gradients of a module are, in a dtype on a device, from those that the same numbers have in float64 on the
/// CPU: the largest error of each, as a share of its largest number; the input's comes last.
///
/// `forward` builds the module and applies it to an input of that shape.
pub(crate) fn errors(
    (dtype, device): (DType, &Device),
    input: &[usize],
    forward: impl Fn(VarBuilder, &Tensor) -> Tensor,
) -> Vec<(String, f64)> {
    let input = random("input", input, dtype);
    let narrow = VarMap::new();
    forward(init::var_builder(&narrow, 1, dtype, device), &input.to_device(device).unwrap());
    let double = VarMap::new();
    for (name, var) in moved(&narrow) {
        let wide = var.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        double.data().lock().unwrap().insert(name, Var::from_tensor(&wide).unwrap());
    }
    let gradients = |vars: &VarMap, dtype: DType, device: &Device| {
        let input = input.to_dtype(dtype).unwrap().to_device(device).unwrap();
        let input = Var::from_tensor(&input).unwrap();
        let output = forward(VarBuilder::from_varmap(vars, dtype, device), &input);
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let found = weighted_squares(&output.to_dtype(wide).unwrap()).backward().unwrap();
        let all: Vars = [sorted(vars), vec![("the input".into(), input)]].concat();
        let gradient = |(name, var): &(String, Var)| gradient_of(&found, name, var).clone();
        all.iter().map(|each| (each.0.clone(), gradient(each))).collect::<Vec<_>>()
    };
    let got = gradients(&narrow, dtype, device);
    let truth = gradients(&double, DType::F64, &Device::Cpu);
    let pairs = got.into_iter().zip(truth).map(|((name, got), (_, truth))| {
        assert!(numbers(&truth).iter().any(|x| *x != 0.0), "{name}");
        let error = relative_error(&got, &truth);
        (name, error)
    });
    pairs.collect()
}

/// Sizes from 1 to `most`, the same for a seed on every run.
pub(crate) fn sizes<const N: usize>(seed: u64, most: usize) -> [usize; N] {
    let mut stream = Stream::new(seed, "sizes");
    std::array::from_fn(|_| stream.uniform(1.0, most as f64 + 1.0) as usize)
}

/// A kernel of each type, low in frequency and `2 · half` rows wide.
pub(crate) fn omegas(half: usize) -> [Omega; 5] {
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
