//! The example's network: PyTorch's logits, and gradients for all that trains.

use std::sync::Arc;

use candle_core::{DType, Device, Var};
use candle_nn::{VarBuilder, VarMap};
use film_core::checkpoint::Checkpoint;

use crate::support::{fixture, numbers, relative_error, tensor};

#[path = "../../crates/film-core/examples/hyena_classifier/model.rs"]
mod model;

#[test]
fn images_become_pytorchs_logits_and_everything_trains() {
    let folder = fixture("hybrid_model");
    let checkpoint = Arc::new(Checkpoint::open(&folder).unwrap());
    let io = Checkpoint::open(folder.join("io.safetensors")).unwrap();
    let image = tensor(&io, "image", DType::F32);
    let expected = tensor(&io, "logits", DType::F32);
    let config = model::Config::from_checkpoint(&checkpoint).unwrap();

    let vb = checkpoint.var_builder(DType::F32, &Device::Cpu);
    let logits = model::Classifier::new(&config, vb).unwrap().forward(&image).unwrap();
    assert!(relative_error(&logits, &expected) < 1e-5);

    let vars = VarMap::new();
    for info in checkpoint.tensors() {
        let value = checkpoint.load(info, &Device::Cpu).unwrap();
        let var = Var::from_tensor(&value).unwrap();
        vars.data().lock().unwrap().insert(info.name.clone(), var);
    }
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let logits = model::Classifier::new(&config, vb).unwrap().forward(&image).unwrap();
    let gradients = logits.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    for (name, var) in vars.data().lock().unwrap().iter() {
        let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name}: no gradient"));
        let gradient = numbers(gradient);
        assert!(gradient.iter().all(|x| x.is_finite()), "{name}");
        assert!(gradient.iter().any(|x| *x != 0.0), "{name}: all zero");
    }
}
