//! What is known of an extracted part, in the form in which its config.json is read again.

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Encoder, FoundEncoder, FoundGenerator, FoundKernel, Module};
use crate::error::Result;
use crate::json::{Object, given};

/// What a network's config.json may say of a kernel beside what is the network's own.
const KERNEL: [&str; 17] = [
    "omega_0",
    "omega_0_min",
    "omega_0_max",
    "omega_0_spacing",
    "num_blocks",
    "off_block_scale",
    "learnable_omega_0",
    "omega_0_scale_min",
    "omega_0_scale_max",
    "scale_learning_rate",
    "hidden_omega_0",
    "L_cache",
    "film_after_pos_embed",
    "mask",
    "min_std",
    "max_std",
    "parametrization",
];
/// What it may say of a convolution.
const CONV: [&str; 3] = ["fft_padding", "grid_type", "is_causal"];
/// What it may say of a generator.
const FILM: [&str; 3] = ["init_type", "init_std", "no_weight_decay"];

/// config.json of `module`, with the register encoder and its prefix there.
pub(super) fn config(
    checkpoint: &Checkpoint,
    module: Module,
    encoder: Option<(&FoundEncoder, &str)>,
) -> Result<Object> {
    let told = checkpoint.config()?.unwrap_or_default();
    let mut config = match module {
        Module::Generator(found) => generator(found, &told),
        Module::Kernel(found) => {
            // An error here is better than a folder that nothing reads.
            checkpoint.kernel_settings(found)?;
            kernel(found, &told)
        }
        Module::Conv(found) => {
            checkpoint.kernel_settings(&found.kernel)?;
            conv(&found.kernel, &told)
        }
    };
    if let (Some((encoder, prefix)), Some(generator)) = (encoder, module.generator()) {
        let name = if prefix.is_empty() { "register_encoder" } else { prefix };
        config.insert(name.into(), registers(encoder, generator.cond_dim));
    }
    Ok(config)
}

/// The keys of `from` that are among `keys`.
fn pick(from: &Object, keys: &[&str]) -> Object {
    let picked = from.iter().filter(|(key, _)| keys.contains(&key.as_str()));
    picked.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn object<'a>(from: &'a Object, key: &str) -> Option<&'a Object> {
    from.get(key).and_then(Value::as_object)
}

/// Sizes first, then what was told, where it does not say the same again.
fn with(sizes: Value, told: Object) -> Object {
    let mut config = match sizes {
        Value::Object(sizes) => sizes,
        _ => Object::new(),
    };
    for (key, value) in told {
        config.entry(key).or_insert(value);
    }
    config
}

fn generator(found: &FoundGenerator, told: &Object) -> Object {
    let mut sizes = json!({
        "cond_dim": found.cond_dim,
        "kernel_hidden_dim": found.kernel_hidden_dim,
        "num_film_layers": found.num_film_layers,
        "film_hidden_dim": found.film_hidden_dim,
    });
    if let Some(sizes) = sizes.as_object_mut() {
        sizes.retain(|_, size| !size.is_null());
    }
    let kernel = object(told, "kernel");
    let inside = kernel.and_then(|kernel| object(kernel, "film_generator"));
    let sections = [object(told, "film_generator"), inside, kernel, Some(told)];
    let told =
        sections.into_iter().flatten().find(|section| FILM.iter().any(|key| given(section, key)));
    with(sizes, told.map(|told| pick(told, &FILM)).unwrap_or_default())
}

/// The kernel's own object, or what a flat one says of it.
fn section(told: &Object) -> Object {
    object(told, "kernel").cloned().unwrap_or_else(|| pick(told, &KERNEL))
}

fn kernel(found: &FoundKernel, told: &Object) -> Object {
    let mut sizes = json!({
        "out_dim": found.out_dim,
        "data_dim": found.data_dim,
        "mlp_hidden_dim": found.mlp_hidden_dim,
        "num_layers": found.num_layers,
        "embedding_dim": found.embedding_dim,
        "use_bias": found.use_bias,
        "learnable_omega_0": found.learnable,
    });
    if let Some(after) = found.film_after_pos_embed {
        sizes["film_after_pos_embed"] = after.into();
    }
    if let Some(found) = &found.generator {
        sizes["film_generator"] = generator(found, told).into();
    }
    let mut section = section(told);
    // A mask's object stands beside the kernel's.
    if let Some(mask) = object(told, "mask") {
        section.insert("mask".into(), mask.clone().into());
    }
    section.retain(|key, value| !CONV.contains(&key.as_str()) && !value.is_null());
    with(sizes, section)
}

fn conv(found: &FoundKernel, told: &Object) -> Object {
    let mut kernel = kernel(found, told);
    let mut config = Object::new();
    config.insert("data_dim".into(), found.data_dim.into());
    config.insert("hidden_dim".into(), found.out_dim.into());
    let padding = match given(told, "fft_padding") {
        true => pick(told, &CONV),
        false => pick(&section(told), &CONV),
    };
    config.extend(padding);
    // The form of a convolution has its mask beside the kernel, as an object.
    if let Some(found) = &found.mask {
        let sizes = json!({
            "type": if found.gaussian { "gaussian" } else { "exponential" },
            "data_dim": found.data_dim,
            "num_channels": found.num_channels,
        });
        let mut mask = match kernel.remove("mask") {
            Some(Value::Object(mask)) => mask,
            Some(name) => [("name".to_string(), name)].into_iter().collect(),
            None => Object::new(),
        };
        for key in ["min_std", "max_std", "parametrization"] {
            mask.extend(kernel.remove(key).map(|value| (key.to_string(), value)));
        }
        config.insert("mask".into(), with(sizes, mask).into());
    }
    config.insert("kernel".into(), kernel.into());
    config
}

fn registers(encoder: &FoundEncoder, cond_dim: usize) -> Value {
    match encoder.kind {
        Encoder::Pooling { num_registers } => json!({ "num_registers": num_registers }),
        Encoder::CompressConcat { hidden_dim, compressed_dim } => json!({
            "num_registers": cond_dim / compressed_dim,
            "hidden_dim": hidden_dim,
            "compressed_dim": compressed_dim,
        }),
    }
}
