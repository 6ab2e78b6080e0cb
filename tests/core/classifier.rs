//! The example's network: PyTorch's logits, and a training step for all that trains.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};
use film_core::checkpoint::Checkpoint;

use crate::support::{fixture, message, numbers, random, relative_error, tensor};

#[path = "../../crates/film-core/examples/hyena_classifier/model.rs"]
mod model;
#[path = "../../crates/film-core/examples/hyena_classifier/training.rs"]
mod training;

#[test]
fn images_become_pytorchs_logits() {
    let folder = fixture("hybrid_model");
    let checkpoint = Arc::new(Checkpoint::open(&folder).unwrap());
    let io = Checkpoint::open(folder.join("io.safetensors")).unwrap();
    let image = tensor(&io, "image", DType::F32);
    let expected = tensor(&io, "logits", DType::F32);
    let config = model::Config::from_checkpoint(&checkpoint).unwrap();

    let vb = checkpoint.var_builder(DType::F32, &Device::Cpu);
    let logits = model::Classifier::new(&config, vb).unwrap().forward(&image).unwrap();
    assert!(relative_error(&logits, &expected) < 1e-5);
}

#[test]
fn a_training_step_reaches_every_weight() {
    let folder = fixture("hybrid_model");
    let checkpoint = Arc::new(Checkpoint::open(&folder).unwrap());
    let io = Checkpoint::open(folder.join("io.safetensors")).unwrap();
    let image = tensor(&io, "image", DType::F32);
    let classes = tensor(&io, "logits", DType::F32).argmin(D::Minus1).unwrap();
    let config = model::Config::from_checkpoint(&checkpoint).unwrap();
    let mut training = training::Training::new(&checkpoint, &config).unwrap();

    let groups = training.optimizer.groups();
    assert!(groups.frozen().is_empty());
    // As in the original, and nobody said so: the shortcuts decay.
    let warned: Vec<&str> = groups.warnings().iter().map(|of| of.variable.as_str()).collect();
    assert!(
        warned.len() == 2 && warned.iter().all(|name| name.ends_with(".shortcut")),
        "{warned:?}"
    );
    let groups = groups.groups().iter();
    let mut weights: Vec<_> = groups
        .flat_map(|group| group.variables.iter().map(|of| (group.weight_decay, of.clone())))
        .collect();
    assert_eq!(weights.len(), checkpoint.tensors().len());
    weights.sort_by(|(_, (a, _)), (_, (b, _))| a.cmp(b));
    for (decay, (name, _)) in &weights {
        // Of the kernels the last layer decays and the generators, of the rest what is no vector.
        let vectors = [
            "norm",
            "grn",
            ".ls_",
            "bias",
            "logits",
            "omega",
            "mask",
            "embedding",
            "hidden_linears",
        ];
        let expected = if vectors.iter().any(|part| name.contains(part)) { 0.0 } else { 0.1 };
        assert_eq!(*decay, expected, "{name}");
    }

    let before: Vec<Vec<f64>> = weights.iter().map(|(_, (_, var))| numbers(var)).collect();
    let first = training.step(&image, &classes).unwrap();
    for ((_, (name, var)), before) in weights.iter().zip(&before) {
        assert_ne!(&numbers(var), before, "{name}");
    }
    let second = training.step(&image, &classes).unwrap();
    assert!(second < first, "{first} → {second}");
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
