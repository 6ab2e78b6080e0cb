//! Steps of the optimizer and of the average, on the device and on the CPU.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;
use film_core::optim::{AdamWConfig, Ema, GroupedAdamW, ParameterGroups, Policy};

use crate::reference::{numbers, random};
use crate::support::{device, roundings};

const SHAPES: [(&str, &[usize]); 3] = [("bias", &[7]), ("scale", &[]), ("weight", &[33, 50])];

/// Variables after some steps, and their averages.
fn trained(dtype: DType, on: &Device) -> Vec<(String, Vec<f64>)> {
    let vars = VarMap::new();
    let here = |name: &str, shape: &[usize]| random(name, shape, dtype).to_device(on).unwrap();
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
fn steps_are_those_of_the_cpu() {
    // float32: each operation is rounded right on either, but a GPU joins a product and a sum to one rounding, and adds up the
    // norm in float32. bfloat16: a number next to the middle of two may be rounded to either.
    for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, 2.0 * roundings(1))] {
        for ((name, got), (_, truth)) in
            trained(dtype, device()).iter().zip(&trained(dtype, &Device::Cpu))
        {
            for (got, truth) in got.iter().zip(truth) {
                let gap = (got - truth).abs();
                assert!(
                    gap <= bound * truth.abs().max(0.01),
                    "{name} {dtype:?}: {got} and {truth}"
                );
            }
        }
    }
}
