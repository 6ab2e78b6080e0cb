//! The average is its formula, in float32 at least, and a checkpoint of its own.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use film_core::checkpoint::{Checkpoint, save};
use film_core::optim::Ema;
use film_core::{KernelFilmConfig, KernelFilmGenerator, init};

use super::{map, var};
use crate::support::{message, numbers, random};

#[test]
fn averages_are_the_formulas() {
    for decay in [0.0, 0.3, 0.9] {
        let vars = map(&[("a", &[2, 3], DType::F64), ("b", &[40_000], DType::F64)]);
        let mut ema = Ema::new(&vars, decay).unwrap();
        let mut expected: Vec<Vec<f64>> = ["a", "b"].map(|name| numbers(&var(&vars, name))).into();
        for step in 0..4 {
            for (name, expected) in ["a", "b"].into_iter().zip(&mut expected) {
                let var = var(&vars, name);
                let next = random(&format!("{name} {step}"), var.dims(), DType::F64);
                var.set(&next).unwrap();
                for (average, next) in expected.iter_mut().zip(numbers(&next)) {
                    *average = decay * *average + (1.0 - decay) * next;
                }
            }
            ema.update().unwrap();
        }
        for ((name, average), expected) in ema.tensors().unwrap().iter().zip(&expected) {
            for (got, expected) in numbers(average).iter().zip(expected) {
                assert!((got - expected).abs() < 1e-15, "{name}: {got} {expected}");
            }
        }
    }
}

#[test]
fn half_precision_is_averaged_in_float32() {
    let vars = map(&[("w", &[1], DType::BF16)]);
    let w = var(&vars, "w");
    w.set(&w.zeros_like().unwrap()).unwrap();
    let mut ema = Ema::new(&vars, 0.999).unwrap();
    w.set(&w.ones_like().unwrap()).unwrap();
    for _ in 0..1000 {
        ema.update().unwrap();
    }
    let averages = ema.tensors().unwrap();
    assert_eq!(averages["w"].dtype(), DType::BF16);
    // 1 − 0.999¹⁰⁰⁰ = 0.632; in bf16 it would have stopped where steps of 1e-3 are lost, before 0.4.
    assert!((numbers(&averages["w"])[0] - 0.632).abs() < 4e-3, "{averages:?}");
}

#[test]
fn what_does_not_change_is_kept_to_the_bit_and_integers_as_they_are() {
    let vars = map(&[("w", &[500], DType::F32), ("h", &[500], DType::F16)]);
    let steps = Var::from_tensor(&Tensor::new(&[3u32], &Device::Cpu).unwrap()).unwrap();
    vars.data().lock().unwrap().insert("steps".into(), steps.clone());
    let mut ema = Ema::new(&vars, 0.7).unwrap();
    for _ in 0..50 {
        ema.update().unwrap();
    }
    steps.set(&Tensor::new(&[4u32], &Device::Cpu).unwrap()).unwrap();
    for (name, average) in ema.tensors().unwrap() {
        assert_eq!(average.dtype(), var(&vars, &name).dtype());
        assert_eq!(numbers(&average), numbers(&var(&vars, &name)), "{name}");
    }
}

#[test]
fn tensors_are_copies_and_a_checkpoint() {
    let vars = VarMap::new();
    let config = KernelFilmConfig::new(3, 2, 1);
    let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
    KernelFilmGenerator::new(&config, vb).unwrap();
    let mut ema = Ema::new(&vars, 0.5).unwrap();
    let start = ema.tensors().unwrap();
    let bias = var(&vars, "mlp.2.bias");
    assert_eq!(numbers(&bias), [1.0, 1.0, 0.0, 0.0]);
    bias.set(&Tensor::new(&[3f32, 5.0, 7.0, 9.0], &Device::Cpu).unwrap()).unwrap();
    ema.update().unwrap();
    assert_eq!(numbers(&start["mlp.2.bias"]), [1.0, 1.0, 0.0, 0.0], "it has been given away");
    assert_eq!(numbers(&bias), [3.0, 5.0, 7.0, 9.0], "training goes on from its own weights");

    let folder = tempfile::tempdir().unwrap();
    let averages = ema.tensors().unwrap();
    let named = averages.iter().map(|(name, average)| (name.as_str(), average));
    save(folder.path(), &config, named, false).unwrap();
    let checkpoint = Arc::new(Checkpoint::open(folder.path()).unwrap());
    let saved = checkpoint.var_builder(DType::F32, &Device::Cpu);
    let held = VarBuilder::from_tensors(averages.into_iter().collect(), DType::F32, &Device::Cpu);
    for vb in [saved, held] {
        let generator = KernelFilmGenerator::new(&config, vb).unwrap();
        assert_eq!(numbers(generator.tensors()[3].1), [2.0, 3.0, 3.5, 4.5]);
    }
}

#[test]
fn decays_that_cannot_be_are_refused() {
    for (decay, found) in [(1.0, "1"), (-0.1, "-0.1"), (f64::NAN, "NaN")] {
        let text = message(Ema::new(&VarMap::new(), decay));
        assert_eq!(text, format!("decay: expected a number from 0 to below 1, found {found}"));
    }
}
