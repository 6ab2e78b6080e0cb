//! Clipping is PyTorch's; gradients that are not finite are named, and change nothing.

use candle_core::{DType, Device, Tensor, Var};
use film_core::optim::{AdamWConfig, GroupedAdamW, ParameterGroups, Policy, save_state};

use super::{gradients, map, values, var};
use crate::support::{message, numbers, random};

fn optimizer(vars: &candle_nn::VarMap, max_grad_norm: Option<f64>) -> GroupedAdamW {
    let groups = ParameterGroups::assign(vars, 0.1).unwrap();
    let groups = groups.layers("", Policy::by_rank).unwrap().finish().unwrap();
    let config = AdamWConfig { learning_rate: 0.1, max_grad_norm, ..AdamWConfig::default() };
    GroupedAdamW::with_groups(groups, config).unwrap()
}

fn tensor(values: &[f64], dtype: DType) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

#[test]
fn the_norm_is_over_all_gradients_and_the_factor_pytorchs() {
    let vars = map(&[("a", &[2], DType::F64), ("b", &[1], DType::F32), ("c", &[1], DType::BF16)]);
    let (a, b, c) = (var(&vars, "a"), var(&vars, "b"), var(&vars, "c"));
    // 1 + 4 + 16 + 100 = 11².
    let given = gradients(&[
        (&a, tensor(&[1.0, -2.0], DType::F64)),
        (&b, tensor(&[4.0], DType::F32)),
        (&c, tensor(&[10.0], DType::BF16)),
    ]);
    for (max_norm, factor) in [
        (None, 1.0),
        (Some(11.5), 1.0),
        // PyTorch's 1e-6 shows in this one.
        (Some(11.0), 11.0 / 11.000001),
        (Some(1.0), 1.0 / 11.000001),
    ] {
        let report = optimizer(&vars, max_norm).update(&given).unwrap();
        assert_eq!((report.grad_norm, report.clip_factor), (11.0, factor));
    }
}

#[test]
fn clipped_steps_are_those_of_smaller_gradients() {
    let run = |max_norm: Option<f64>, scale: f64| {
        let vars = map(&[("a", &[3, 4], DType::F64), ("b", &[5], DType::F64)]);
        let mut optimizer = optimizer(&vars, max_norm);
        for step in 0..4 {
            // Of different sizes, so that Adam sees the difference.
            let size = f64::from(step + 1);
            let given: Vec<(Var, Tensor)> = ["a", "b"]
                .map(|name| {
                    let var = var(&vars, name);
                    let g = random(&format!("{name} {step}"), var.dims(), DType::F64);
                    (var, (g * size).unwrap())
                })
                .into();
            let norm = given.iter().flat_map(|(_, g)| numbers(g)).map(|x| x * x).sum::<f64>();
            let scale = if scale == 1.0 { 1.0 } else { scale / (norm.sqrt() + 1e-6) };
            let given: Vec<_> = given.iter().map(|(var, g)| (var, (g * scale).unwrap())).collect();
            optimizer.update(&gradients(&given)).unwrap();
        }
        values(&vars)
    };
    let [clipped, scaled, free] = [run(Some(0.5), 1.0), run(None, 0.5), run(None, 1.0)];
    assert_ne!(clipped, free);
    for ((name, clipped), (_, scaled)) in clipped.iter().zip(&scaled) {
        for (clipped, scaled) in clipped.iter().zip(scaled) {
            assert!((clipped - scaled).abs() < 1e-14, "{name}: {clipped} {scaled}");
        }
    }
}

#[test]
fn small_and_large_gradients_do_not_leave_the_range_of_float32() {
    let vars = map(&[("a", &[70_000], DType::F32)]);
    let a = var(&vars, "a");
    for size in [1e-30, 1.0, 1e30] {
        let g = (a.ones_like().unwrap() * size).unwrap();
        let report = optimizer(&vars, None).update(&gradients(&[(&a, g)])).unwrap();
        let expected = 70_000f64.sqrt() * f64::from(size as f32);
        assert!((report.grad_norm / expected - 1.0).abs() < 1e-12, "{}", report.grad_norm);
    }
}

#[test]
fn gradients_that_are_not_finite_are_named_and_change_nothing() {
    let vars = map(&[("a", &[2, 3], DType::F32), ("b", &[3], DType::F64), ("c", &[2], DType::F16)]);
    let [a, b, c] = ["a", "b", "c"].map(|name| var(&vars, name));
    let mut optimizer = optimizer(&vars, Some(1.0));
    let ones = |var: &Var| var.ones_like().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let state = |optimizer: &GroupedAdamW| {
        let path = folder.path().join("state");
        save_state(&path, optimizer, None, true).unwrap();
        std::fs::read(path).unwrap()
    };
    optimizer.update(&gradients(&[(&a, ones(&a)), (&b, ones(&b)), (&c, ones(&c))])).unwrap();
    let before = (values(&vars), state(&optimizer), optimizer.steps());

    let nan = tensor(&[1.0, f64::NAN, f64::INFINITY], DType::F64);
    let infinite = tensor(&[1.0, f64::NEG_INFINITY], DType::F16);
    for (given, expected) in [
        (
            gradients(&[(&a, ones(&a)), (&b, nan.clone()), (&c, ones(&c))]),
            "gradient of b: expected finite numbers, found 1 NaN and 1 infinite of 3",
        ),
        (
            gradients(&[(&a, ones(&a)), (&c, infinite.clone())]),
            "gradient of c: expected finite numbers, found 0 NaN and 1 infinite of 2",
        ),
        (
            gradients(&[(&a, ones(&a)), (&b, nan), (&c, infinite)]),
            "gradient of b: expected finite numbers, found 1 NaN and 1 infinite of 3 \
             (the first of 2 such gradients)",
        ),
        (
            gradients(&[(&a, ones(&a)), (&b, tensor(&[1e200; 3], DType::F64))]),
            "the norm of the gradients overflows: each is finite, the sum of their squares is not",
        ),
        (
            gradients(&[(&a, ones(&a)), (&b, tensor(&[1.0; 2], DType::F64))]),
            "gradient of b: expected shape [3], found [2]",
        ),
    ] {
        assert_eq!(message(optimizer.update(&given)), expected);
        assert_eq!((values(&vars), state(&optimizer), optimizer.steps()), before);
    }
}
