//! Training: groups, steps, schedules, averages, and runs that resume.

mod adamw;
mod clip;
mod ema;
mod groups;
mod parity;
mod schedule;
mod state;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;

use crate::support::{numbers, random};

/// A map of random variables.
fn map(variables: &[(&str, &[usize], DType)]) -> VarMap {
    let vars = VarMap::new();
    for (name, shape, dtype) in variables {
        let var = Var::from_tensor(&random(name, shape, *dtype)).unwrap();
        vars.data().lock().unwrap().insert((*name).to_string(), var);
    }
    vars
}

fn var(vars: &VarMap, name: &str) -> Var {
    vars.data().lock().unwrap()[name].clone()
}

/// The variables' values, by name.
fn values(vars: &VarMap) -> Vec<(String, Vec<f64>)> {
    let vars = vars.data().lock().unwrap();
    let mut values: Vec<_> = vars.iter().map(|(name, var)| (name.clone(), numbers(var))).collect();
    values.sort_by(|(a, _), (b, _)| a.cmp(b));
    values
}

/// These gradients, as a backward pass gives them.
fn gradients(given: &[(&Var, Tensor)]) -> GradStore {
    let mut store = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap().backward().unwrap();
    for (var, gradient) in given {
        store.insert(var, gradient.clone());
    }
    store
}
