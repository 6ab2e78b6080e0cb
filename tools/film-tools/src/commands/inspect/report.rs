//! The report as data, for `--json`.

use std::collections::BTreeMap;

use film_core::checkpoint::{Digest, Encoder, FoundEncoder, FoundKernel, FoundMask, TensorInfo};
use serde::{Serialize, Serializer};

use super::Shown;
use crate::commands::SCHEMA_VERSION;
use crate::output::Leaf;

#[derive(Serialize)]
pub(super) struct Report<'a> {
    schema_version: u32,
    path: String,
    files: Vec<File<'a>>,
    total_tensors: usize,
    total_parameters: u64,
    total_bytes: u64,
    dtypes: BTreeMap<String, u64>,
    tensors: Tensors<'a>,
    generators: Vec<Generator<'a>>,
    kernels: Vec<Kernel<'a>>,
    convolutions: Vec<Convolution<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    path: String,
    bytes: u64,
    metadata: BTreeMap<&'a str, &'a str>,
}

/// A list of tensors, each made when it is printed: there may be a million.
struct Tensors<'a>(&'a Shown<'a>);

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    dtype: String,
    shape: &'a [usize],
    parameters: u64,
    bytes: u64,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl Serialize for Tensors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(shown) = self;
        serializer.collect_seq(shown.tensors.iter().map(|&Leaf { tensor, hash }| Tensor {
            name: &tensor.name,
            dtype: tensor.dtype.to_string(),
            shape: &tensor.shape,
            parameters: tensor.count() as u64,
            bytes: tensor.bytes,
            file: shown.checkpoint.file_of(tensor).path().display().to_string(),
            sha256: hash.map(Digest::to_string),
        }))
    }
}

#[derive(Serialize)]
struct Generator<'a> {
    prefix: &'a str,
    cond_dim: usize,
    film_hidden_dim: usize,
    kernel_hidden_dim: Option<usize>,
    num_film_layers: Option<usize>,
    out_dim: usize,
    parameters: u64,
    registers: Option<Registers<'a>>,
}

#[derive(Serialize)]
struct Kernel<'a> {
    prefix: &'a str,
    data_dim: usize,
    embedding_dim: usize,
    mlp_hidden_dim: usize,
    num_layers: usize,
    out_dim: usize,
    use_bias: bool,
    learnable_omega_0: bool,
    film_after_pos_embed: Option<bool>,
    parameters: u64,
    generator: Option<&'a str>,
    mask: Option<Mask<'a>>,
    registers: Option<Registers<'a>>,
}

#[derive(Serialize)]
struct Convolution<'a> {
    prefix: &'a str,
    data_dim: usize,
    channels: usize,
    kernel: &'a str,
}

#[derive(Serialize)]
struct Mask<'a> {
    prefix: &'a str,
    kind: &'static str,
}

#[derive(Serialize)]
pub(super) struct Registers<'a> {
    pub(super) prefix: &'a str,
    pub(super) kind: &'static str,
    pub(super) num_registers: usize,
}

pub(super) fn report<'a>(shown: &'a Shown<'a>) -> Report<'a> {
    let checkpoint = shown.checkpoint;
    Report {
        schema_version: SCHEMA_VERSION,
        path: checkpoint.path().display().to_string(),
        files: checkpoint
            .files()
            .iter()
            .map(|file| File {
                path: file.path().display().to_string(),
                bytes: file.bytes(),
                metadata: file
                    .metadata()
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str()))
                    .collect(),
            })
            .collect(),
        total_tensors: checkpoint.tensors().len(),
        total_parameters: checkpoint.tensors().iter().map(|tensor| tensor.count() as u64).sum(),
        total_bytes: checkpoint.tensors().iter().map(|tensor| tensor.bytes).sum(),
        dtypes: dtypes(checkpoint.tensors().iter()),
        tensors: Tensors(shown),
        generators: shown
            .generators
            .iter()
            .map(|found| Generator {
                prefix: &found.prefix,
                cond_dim: found.cond_dim,
                film_hidden_dim: found.film_hidden_dim,
                kernel_hidden_dim: found.kernel_hidden_dim,
                num_film_layers: found.num_film_layers,
                out_dim: found.out_dim,
                parameters: found.parameters(),
                registers: shown
                    .discovery
                    .encoder_of(found)
                    .ok()
                    .map(|encoder| registers(found.cond_dim, encoder)),
            })
            .collect(),
        kernels: shown.kernels.iter().map(|found| kernel(found)).collect(),
        convolutions: shown
            .kernels
            .iter()
            .filter_map(|found| shown.discovery.conv_around(found))
            .map(|found| Convolution {
                prefix: &found.prefix,
                data_dim: found.kernel.data_dim,
                channels: found.kernel.out_dim,
                kernel: &found.kernel.prefix,
            })
            .collect(),
    }
}

fn kernel(found: &FoundKernel) -> Kernel<'_> {
    let mask = |mask: &'_ FoundMask| if mask.gaussian { "gaussian" } else { "exponential" };
    let cond_dim = found.generator.as_ref().map_or(0, |generator| generator.cond_dim);
    Kernel {
        prefix: &found.prefix,
        data_dim: found.data_dim,
        embedding_dim: found.embedding_dim,
        mlp_hidden_dim: found.mlp_hidden_dim,
        num_layers: found.num_layers,
        out_dim: found.out_dim,
        use_bias: found.use_bias,
        learnable_omega_0: found.learnable,
        film_after_pos_embed: found.film_after_pos_embed,
        parameters: found.parameters,
        generator: found.generator.as_ref().map(|generator| generator.prefix.as_str()),
        mask: found.mask.as_ref().map(|found| Mask { prefix: &found.prefix, kind: mask(found) }),
        registers: found.encoder.as_ref().map(|encoder| registers(cond_dim, encoder)),
    }
}

pub(super) fn registers<'a>(cond_dim: usize, encoder: &'a FoundEncoder) -> Registers<'a> {
    let (kind, num_registers) = match encoder.kind {
        Encoder::Pooling { num_registers } => ("pooling", num_registers),
        Encoder::CompressConcat { compressed_dim, .. } => {
            ("compress_concat", cond_dim / compressed_dim)
        }
    };
    Registers { prefix: &encoder.prefix, kind, num_registers }
}

/// How many numbers are stored in each dtype.
pub(super) fn dtypes<'a>(tensors: impl Iterator<Item = &'a TensorInfo>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for tensor in tensors {
        *counts.entry(tensor.dtype).or_default() += tensor.count() as u64;
    }
    counts.into_iter().map(|(dtype, count)| (dtype.to_string(), count)).collect()
}
