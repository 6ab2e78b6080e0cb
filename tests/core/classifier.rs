//! The example's network: PyTorch's logits, and a training step for all that trains.

use std::sync::Arc;

use candle_core::{D, DType, Device};
use film_core::checkpoint::Checkpoint;

use crate::support::{fixture, numbers, relative_error, tensor};

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
