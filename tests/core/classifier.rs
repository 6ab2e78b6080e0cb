//! The example's network: PyTorch's logits, and gradients for all that trains.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use film_core::checkpoint::Checkpoint;

use crate::support::{fixture, message, numbers, random, relative_error, tensor};

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

/// The classifier of images that are one patch, with other weights beside the short convolution's middle column.
fn lone_patch(beside: f64, middle: f64) -> model::Classifier {
    let fixture = fixture("hybrid_model");
    let whole = Checkpoint::open(&fixture).unwrap();
    let changed = |name: &str, x: Tensor| match name {
        "pos_embed" => x.narrow(1, 0, 1).unwrap(),
        name if name.ends_with("short_conv.weight") => {
            let scales = Tensor::new(&[beside, middle, beside], &Device::Cpu).unwrap();
            x.broadcast_mul(&scales.to_dtype(x.dtype()).unwrap()).unwrap()
        }
        _ => x,
    };
    let tensors: HashMap<String, Tensor> = whole
        .tensors()
        .iter()
        .map(|info| {
            (info.name.clone(), changed(&info.name, whole.load(info, &Device::Cpu).unwrap()))
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    std::fs::copy(fixture.join("config.json"), folder.path().join("config.json")).unwrap();
    let checkpoint = Arc::new(Checkpoint::open(folder.path()).unwrap());
    let config = model::Config::from_checkpoint(&checkpoint).unwrap();
    let vb = checkpoint.var_builder(DType::F32, &Device::Cpu);
    model::Classifier::new(&config, vb).unwrap()
}

#[test]
fn images_of_one_patch_have_only_padding_beside_it() {
    let image = random("image", &[2, 16, 16, 3], DType::F32);
    let logits = |beside, middle| lone_patch(beside, middle).forward(&image).unwrap();
    let truth = logits(1.0, 1.0);
    assert_eq!(truth.dims(), [2, 10]);
    assert!(numbers(&truth).iter().all(|x| x.is_finite()));
    assert_eq!(numbers(&logits(5.0, 1.0)), numbers(&truth));
    assert!(relative_error(&logits(1.0, 2.0), &truth) > 1e-4);
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let classifier = lone_patch(1.0, 1.0);
    for shape in [[0, 16, 16, 3].as_slice(), &[2, 16, 17, 3], &[16, 16, 3]] {
        let text = message(classifier.forward(&random("image", shape, DType::F32)));
        let expected = "image: expected shape [B, 16, 16, 3], one image at least, found ";
        assert_eq!(text, format!("{expected}{shape:?}"));
    }
}
