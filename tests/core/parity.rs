//! The modules against what PyTorch computed.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Module, Tensor};
use film_core::checkpoint::{Checkpoint, Encoder};
use film_core::{
    Film, KernelFilmConfig, KernelFilmGenerator, RegisterCompressConcat,
    RegisterCompressConcatConfig, RegisterPooling, RegisterPoolingConfig,
};

use crate::support::{cases, fixture, flat_truth, numbers, relative_error, tensor};

/// What each dtype promises against the float64 truth.
const BOUNDS: [(DType, f64); 4] =
    [(DType::F64, 1e-12), (DType::F32, 1e-6), (DType::F16, 3e-2), (DType::BF16, 3e-2)];

/// The original's results were rounded to float32 in every module on the way.
const FLOAT32_TRUTH: f64 = 2e-6;

fn open(path: impl AsRef<Path>) -> Arc<Checkpoint> {
    Arc::new(Checkpoint::open(path).unwrap())
}

/// The pairs side by side again.
fn flat_films(films: &[Film]) -> Tensor {
    let parts: Vec<&Tensor> = films.iter().flat_map(|film| [&film.gamma, &film.beta]).collect();
    Tensor::cat(&parts, 1).unwrap()
}

#[test]
fn generators_give_pytorchs_numbers() {
    let folders = cases("generator");
    assert_eq!(folders.len(), 8);
    for folder in folders {
        let checkpoint = open(&folder);
        let io = open(folder.join("io.safetensors"));
        let discovery = checkpoint.discover().unwrap();
        let found = discovery.generator(None).unwrap();
        let config = found.config(None).unwrap();
        let written = KernelFilmConfig::from_json(&checkpoint.config().unwrap().unwrap()).unwrap();
        assert_eq!(config.cond_dim, written.cond_dim);
        assert_eq!(config.kernel_hidden_dim, written.kernel_hidden_dim);
        assert_eq!(config.num_film_layers, written.num_film_layers);
        assert_eq!(config.film_hidden_dim, written.film_hidden_dim);
        let truth = flat_truth(&io, "", config.num_film_layers);
        for (dtype, bound) in BOUNDS {
            let vb = checkpoint.var_builder(dtype, &Device::Cpu).pp(&found.prefix);
            let generator = KernelFilmGenerator::new(&config, vb).unwrap();
            let conditioning = tensor(&io, "conditioning", dtype);
            let flat = generator.forward(&conditioning).unwrap();
            let films = generator.films(&conditioning).unwrap();
            assert_eq!(films.len(), config.num_film_layers);
            assert_eq!(flat.dtype(), dtype);
            assert_eq!(films[0].gamma.dtype(), dtype);
            assert_eq!(numbers(&flat_films(&films)), numbers(&flat));
            let error = relative_error(&flat, &truth);
            assert!(error <= bound, "{}, {dtype:?}: {error:e}", folder.display());
        }
    }
}

#[test]
fn generators_are_no_worse_than_pytorch_in_float32() {
    let mut compared = 0;
    for folder in cases("generator") {
        let io = open(folder.join("io.safetensors"));
        if io.get("f32.gamma.0").is_none() {
            continue;
        }
        let checkpoint = open(&folder);
        let config = checkpoint.discover().unwrap().generator(None).unwrap().config(None).unwrap();
        let vb = checkpoint.var_builder(DType::F32, &Device::Cpu);
        let generator = KernelFilmGenerator::new(&config, vb).unwrap();
        let ours = generator.forward(&tensor(&io, "conditioning", DType::F32)).unwrap();
        let theirs = flat_truth(&io, "f32.", config.num_film_layers);
        let truth = flat_truth(&io, "", config.num_film_layers);
        // Both have an error of a few roundings, so a floor of one rounding keeps luck out.
        let allowed = 2.0 * relative_error(&theirs, &truth).max(f64::from(f32::EPSILON));
        let error = relative_error(&ours, &truth);
        assert!(error <= allowed, "{}: {error:e} > {allowed:e}", folder.display());
        compared += 1;
    }
    assert_eq!(compared, 5);
}

#[test]
fn register_pooling_gives_pytorchs_numbers() {
    let folders = cases("register_pooling");
    assert_eq!(folders.len(), 3);
    for folder in folders {
        let checkpoint = open(&folder);
        let io = open(folder.join("io.safetensors"));
        let config: RegisterPoolingConfig = serde_json::from_value(serde_json::Value::Object(
            checkpoint.config().unwrap().unwrap(),
        ))
        .unwrap();
        let discovery = checkpoint.discover().unwrap();
        let kind = Encoder::Pooling { num_registers: config.num_registers };
        assert_eq!(discovery.encoders()[0].kind, kind);
        let truth = tensor(&io, "conditioning", DType::F64);
        for (dtype, bound) in BOUNDS {
            let vb = checkpoint.var_builder(dtype, &Device::Cpu);
            let pooling = RegisterPooling::new(&config, vb).unwrap();
            let pooled = pooling.forward(&tensor(&io, "registers", dtype)).unwrap();
            assert_eq!(pooled.dtype(), dtype);
            let error = relative_error(&pooled, &truth);
            assert!(error <= bound, "{}, {dtype:?}: {error:e}", folder.display());
        }
    }
}

#[test]
fn register_compress_concat_gives_pytorchs_numbers() {
    let folders = cases("register_compress_concat");
    assert_eq!(folders.len(), 2);
    for folder in folders {
        let checkpoint = open(&folder);
        let io = open(folder.join("io.safetensors"));
        let config: RegisterCompressConcatConfig = serde_json::from_value(
            serde_json::Value::Object(checkpoint.config().unwrap().unwrap()),
        )
        .unwrap();
        let discovery = checkpoint.discover().unwrap();
        let (hidden_dim, compressed_dim) = (config.hidden_dim, config.compressed_dim);
        let kind = Encoder::CompressConcat { hidden_dim, compressed_dim };
        assert_eq!(discovery.encoders()[0].kind, kind);
        let truth = tensor(&io, "conditioning", DType::F64);
        for (dtype, bound) in BOUNDS {
            let vb = checkpoint.var_builder(dtype, &Device::Cpu);
            let encoder = RegisterCompressConcat::new(&config, vb).unwrap();
            let encoded = encoder.forward(&tensor(&io, "registers", dtype)).unwrap();
            assert_eq!(encoded.dtype(), dtype);
            let error = relative_error(&encoded, &truth);
            assert!(error <= bound, "{}, {dtype:?}: {error:e}", folder.display());
        }
    }
}

#[test]
fn a_whole_networks_blocks_give_pytorchs_numbers() {
    let checkpoint = open(fixture("hybrid_model"));
    let io = open(fixture("hybrid_model/io.safetensors"));
    let discovery = checkpoint.discover().unwrap();
    assert_eq!(discovery.generators().len(), 2);
    for found in discovery.generators() {
        let vb = checkpoint.var_builder(DType::F32, &Device::Cpu);
        let encoder = discovery.encoder_of(found).unwrap();
        let Encoder::Pooling { num_registers } = encoder.kind else { panic!("{encoder:?}") };
        let config = RegisterPoolingConfig { num_registers };
        let pooling = RegisterPooling::new(&config, vb.pp(&encoder.prefix)).unwrap();
        let named = |prefix: &str, name: &str| tensor(&io, &format!("{prefix}.{name}"), DType::F32);
        let pooled = pooling.pool(&named(&encoder.prefix, "input")).unwrap();
        let error = relative_error(&pooled, &named(&encoder.prefix, "output"));
        assert!(error <= FLOAT32_TRUTH, "{}: {error:e}", encoder.prefix);
        let error = relative_error(&pooled, &named(&found.prefix, "conditioning"));
        assert!(error <= FLOAT32_TRUTH, "{}: {error:e}", encoder.prefix);

        let config = found.config(None).unwrap();
        assert_eq!((config.kernel_hidden_dim, config.num_film_layers), (32, 3));
        let generator = KernelFilmGenerator::new(&config, vb.pp(&found.prefix)).unwrap();
        let films = generator.films(&pooled).unwrap();
        let truth = flat_truth(&io, &format!("{}.", found.prefix), 3);
        let error = relative_error(&flat_films(&films), &truth);
        assert!(error <= FLOAT32_TRUTH, "{}: {error:e}", found.prefix);
    }
}

#[test]
fn half_precision_pooling_sums_in_float32() {
    let config = RegisterPoolingConfig { num_registers: 64 };
    for dtype in [DType::F16, DType::BF16] {
        let registers = crate::support::random("registers", &[2, 64, 5], dtype);
        let logits = crate::support::random("logits", &[64], dtype);
        let pool = |compute: DType| {
            let tensors = [("logits".to_string(), logits.to_dtype(compute).unwrap())].into();
            let vb = candle_nn::VarBuilder::from_tensors(tensors, compute, &Device::Cpu);
            let pooling = RegisterPooling::new(&config, vb).unwrap();
            pooling.pool(&registers.to_dtype(compute).unwrap()).unwrap()
        };
        let rounded_once = pool(DType::F32).to_dtype(dtype).unwrap();
        assert_eq!(numbers(&pool(dtype)), numbers(&rounded_once));
    }
}
