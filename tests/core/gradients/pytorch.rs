//! Against what PyTorch's autograd gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use film_core::checkpoint::Checkpoint;
use film_core::siren::{SirenConfig, SirenKernel};
use film_core::{KernelFilmConfig, KernelFilmGenerator};

use super::{gradient_of, sorted};
use crate::support::{cases, fixture, json_fixture, numbers, relative_error, tensor};

/// Variables with these values, and a builder on them.
fn trainable(values: BTreeMap<String, Tensor>, dtype: DType) -> (VarMap, VarBuilder<'static>) {
    let vars = VarMap::new();
    for (name, value) in values {
        let var = Var::from_tensor(&value.to_dtype(dtype).unwrap()).unwrap();
        vars.data().lock().unwrap().insert(name, var);
    }
    let vb = VarBuilder::from_varmap(&vars, dtype, &Device::Cpu);
    (vars, vb)
}

/// Holds every gradient to the tensor `grad.<name>`.
fn assert_pytorchs(loss: &Tensor, vars: &[(String, Var)], io: &Checkpoint, bound: f64) {
    let gradients = loss.backward().unwrap();
    assert_eq!(io.starting_with("grad.").count(), vars.len());
    for (name, var) in vars {
        let expected = tensor(io, &format!("grad.{name}"), DType::F64);
        let error = relative_error(gradient_of(&gradients, name, var), &expected);
        assert!(error <= bound, "{name}: {error:e}");
    }
}

#[test]
fn a_modulated_siren_has_pytorchs_gradients() {
    let folder = fixture("training/siren_gradients");
    let checkpoint = Arc::new(Checkpoint::open(&folder).unwrap());
    let io = Checkpoint::open(folder.join("io.safetensors")).unwrap();
    let json = checkpoint.config().unwrap().unwrap();
    let lengths: Vec<usize> = serde_json::from_value(json["seq_lens"].clone()).unwrap();
    let config = SirenConfig::from_json(&json).unwrap();
    // PyTorch computed in float32, and itself differs from float64 by up to 1e-6.
    for dtype in [DType::F32, DType::F64] {
        let load = |name: &str| tensor(&checkpoint, name, dtype);
        let names = checkpoint.tensors().iter().map(|info| info.name.clone());
        let (vars, vb) = trainable(names.map(|name| (name.clone(), load(&name))).collect(), dtype);
        let conditioning = Var::from_tensor(&tensor(&io, "conditioning", dtype)).unwrap();
        let kernel = SirenKernel::new(&config, vb).unwrap();
        let (output, _) = kernel.forward(&lengths, Some(conditioning.as_tensor())).unwrap();
        let error = relative_error(&output, &tensor(&io, "output", DType::F64));
        assert!(error <= 4e-6, "output: {error:e}");
        let loss = (output * tensor(&io, "cotangent", dtype)).unwrap().sum_all().unwrap();
        let all = [sorted(&vars), vec![("conditioning".into(), conditioning)]].concat();
        assert_pytorchs(&loss, &all, &io, 4e-6);
    }
}

#[test]
fn a_generator_has_pytorchs_gradients() {
    let mut seen = 0;
    for folder in cases("training") {
        let name = folder.file_name().unwrap().to_str().unwrap().to_string();
        if !name.starts_with("adamw_") {
            continue;
        }
        seen += 1;
        let io = Checkpoint::open(folder.join("io.safetensors")).unwrap();
        let config: KernelFilmConfig =
            serde_json::from_value(json_fixture(&format!("training/{name}/config.json"))).unwrap();
        for (dtype, bound) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
            let start = io.starting_with("initial.").map(|info| {
                (info.name["initial.".len()..].to_string(), tensor(&io, &info.name, dtype))
            });
            let (vars, vb) = trainable(start.collect(), dtype);
            let generator = KernelFilmGenerator::new(&config, vb).unwrap();
            let output = generator.forward(&tensor(&io, "conditioning", dtype)).unwrap();
            let loss = (output - tensor(&io, "target", dtype)).unwrap().sqr().unwrap();
            let loss = loss.mean_all().unwrap();
            let first = numbers(&tensor(&io, "losses", DType::F64))[0];
            assert!((numbers(&loss)[0] / first - 1.0).abs() <= bound, "{name} {dtype:?}");
            assert_pytorchs(&loss, &sorted(&vars), &io, bound);
        }
    }
    assert_eq!(seen, 3);
}
