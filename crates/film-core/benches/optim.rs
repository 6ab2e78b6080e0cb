//! A step of the optimizer beside one of candle's AdamW, and of the average, for few large and many small variables.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarMap};
use criterion::{Criterion, criterion_group, criterion_main};
use film_core::optim::{Ema, GroupedAdamW};

/// So many variables of so many elements.
const NETWORKS: [(usize, usize); 2] = [(4, 1 << 20), (200, 1 << 10)];

fn network((count, elements): (usize, usize)) -> (VarMap, GradStore) {
    let vars = VarMap::new();
    let mut gradients = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap().backward().unwrap();
    for index in 0..count {
        let var = Var::randn(0f32, 1.0, elements, &Device::Cpu).unwrap();
        gradients.insert(&var, Tensor::randn(0f32, 1.0, elements, &Device::Cpu).unwrap());
        vars.data().lock().unwrap().insert(index.to_string(), var);
    }
    (vars, gradients)
}

fn adamw<O: Optimizer<Config = ParamsAdamW>>(c: &mut Criterion, name: &str) {
    for sizes in NETWORKS {
        let (vars, gradients) = network(sizes);
        let mut optimizer = O::new(vars.all_vars(), ParamsAdamW::default()).unwrap();
        c.bench_function(&format!("{name}/{sizes:?}"), |bencher| {
            bencher.iter(|| optimizer.step(&gradients).unwrap());
        });
    }
}

fn optimizers(c: &mut Criterion) {
    adamw::<GroupedAdamW>(c, "adamw");
    adamw::<AdamW>(c, "candle_adamw");
}

fn average(c: &mut Criterion) {
    for sizes in NETWORKS {
        let mut ema = Ema::new(&network(sizes).0, 0.999).unwrap();
        c.bench_function(&format!("ema/{sizes:?}"), |bencher| {
            bencher.iter(|| ema.update().unwrap());
        });
    }
}

criterion_group!(benches, optimizers, average);
criterion_main!(benches);
