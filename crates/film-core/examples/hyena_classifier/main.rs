//! Takes images to logits with a HyenaND classifier in a safetensors checkpoint.
//!
//! ```text
//! cargo run --release -p film-core --example hyena_classifier -- tests/fixtures/hybrid_model
//! cargo run --release -p film-core --example hyena_classifier -- CHECKPOINT IMAGES.safetensors [LOGITS.safetensors]
//! ```
//!
//! IMAGES holds a tensor `image` `[B, S, S, 3]`; without it, io.safetensors in the checkpoint's folder. If it holds
//! `logits` as well, they are compared. At last it makes a training step, in memory alone.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example prints")]

mod model;
mod training;

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};
use film_core::checkpoint::Checkpoint;
use film_core::{Error, Result};

fn main() {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (checkpoint, rest) = match arguments.as_slice() {
        [checkpoint, rest @ ..] if rest.len() <= 2 => (checkpoint, rest),
        _ => {
            eprintln!(
                "usage: hyena_classifier CHECKPOINT [IMAGES.safetensors [LOGITS.safetensors]]"
            );
            std::process::exit(2);
        }
    };
    let images = rest.first().cloned().unwrap_or_else(|| checkpoint.join("io.safetensors"));
    if let Err(error) = run(checkpoint, &images, rest.get(1)) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(checkpoint: &PathBuf, images: &PathBuf, output: Option<&PathBuf>) -> Result<()> {
    let device = Device::Cpu;
    let checkpoint = Arc::new(Checkpoint::open(checkpoint)?);
    let config = model::Config::from_checkpoint(&checkpoint)
        .map_err(|error| error.in_file(checkpoint.path()))?;
    let classifier = model::Classifier::new(&config, checkpoint.var_builder(DType::F32, &device))?;

    let images = Checkpoint::open(images)?;
    let load = |name: &str| -> Result<Option<Tensor>> {
        let info = images.get(name);
        info.map(|info| Ok(images.load(info, &device)?.to_dtype(DType::F32)?)).transpose()
    };
    let missing = || Error::MissingTensor { tensor: "image".into() }.in_file(images.path());
    let image = load("image")?.ok_or_else(missing)?;
    let logits = classifier.forward(&image)?;
    for (index, logits) in logits.to_vec2::<f32>()?.iter().enumerate() {
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let class = best.map_or(0, |(class, _)| class);
        println!("image {index}: class {class} of {}, logits {logits:.4?}", logits.len());
    }
    if let Some(expected) = load("logits")? {
        if expected.dims() != logits.dims() {
            let [expected, found] = [&logits, &expected].map(|x| format!("{:?}", x.dims()));
            return Err(Error::tensor("logits", expected, found).in_file(images.path()));
        }
        let largest = |x: &Tensor| x.abs()?.flatten_all()?.max(D::Minus1)?.to_scalar::<f32>();
        let error = largest(&(&logits - &expected)?)? / largest(&expected)?;
        println!("relative to the largest logit, the file's logits differ by at most {error:.1e}");
    }
    if let Some(output) = output {
        logits.save_safetensors("logits", output)?;
    }
    // Towards what it takes the images for: a step should make it surer of it.
    let classes = logits.argmax(D::Minus1)?;
    let mut training = training::Training::new(&checkpoint, &config)?;
    for warning in training.optimizer.groups().warnings() {
        eprintln!("warning: {warning}");
    }
    let (before, after) = (training.step(&image, &classes)?, training.step(&image, &classes)?);
    println!("a training step towards these classes: cross-entropy {before:.4} → {after:.4}");
    Ok(())
}
