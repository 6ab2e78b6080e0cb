//! Steps of the optimizer and of the average on the device, and in float64 on the CPU.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;
use film_core::optim::{AdamWConfig, Ema, GroupedAdamW, ParameterGroups, Policy};

use crate::reference::{numbers, random};
use crate::support::{device, roundings};

const SHAPES: [(&str, &[usize]); 3] = [("bias", &[7]), ("scale", &[]), ("weight", &[33, 50])];

/// Variables after some steps, and their averages; variables and gradients start as numbers that `held` holds.
fn trained(held: DType, dtype: DType, on: &Device) -> Vec<(String, Vec<f64>)> {
    let vars = VarMap::new();
    let here = |name: &str, shape: &[usize]| {
        random(name, shape, held).to_dtype(dtype).unwrap().to_device(on).unwrap()
    };
    for (name, shape) in SHAPES {
        let var = Var::from_tensor(&here(name, shape)).unwrap();
        vars.data().lock().unwrap().insert(name.into(), var);
    }
    let groups = ParameterGroups::assign(&vars, 0.1).unwrap().layers("", Policy::by_rank).unwrap();
    let config =
        AdamWConfig { learning_rate: 0.01, max_grad_norm: Some(0.5), ..AdamWConfig::default() };
    let mut optimizer = GroupedAdamW::with_groups(groups.finish().unwrap(), config).unwrap();
    let mut ema = Ema::new(&vars, 0.9).unwrap();
    for step in 0..3 {
        let mut gradients = Tensor::zeros((), DType::F32, on).unwrap().backward().unwrap();
        for (name, shape) in SHAPES {
            let gradient = here(&format!("{name} {step}"), shape);
            gradients.insert(&vars.data().lock().unwrap()[name], gradient);
        }
        optimizer.update(&gradients).unwrap();
        ema.update().unwrap();
    }
    let vars = vars.data().lock().unwrap();
    let vars = SHAPES.map(|(name, _)| (name.to_string(), numbers(&vars[name])));
    let averages = ema.tensors().unwrap();
    let averages = averages.iter().map(|(name, x)| (format!("average of {name}"), numbers(x)));
    vars.into_iter().chain(averages).collect()
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn steps_are_those_of_float64() {
    // Of a number on its way, which three steps of 0.01 may have brought nearer to 0. In float32 a few roundings; in bfloat16
    // one of the variable in each step, for all between them is float32.
    for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, roundings(3))] {
        let truth = trained(dtype, DType::F64, &Device::Cpu);
        for ((name, got), (_, truth)) in trained(dtype, dtype, device()).iter().zip(&truth) {
            for (got, truth) in got.iter().zip(truth) {
                let gap = (got - truth).abs();
                let what = format!("{name} {dtype:?}: {got} and {truth}");
                assert!(gap <= bound * (truth.abs() + 0.03), "{what}");
            }
        }
    }
}
