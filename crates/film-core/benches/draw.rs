//! Drawing modulations and kernels at production size, forwards and with the backward pass.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::time::Duration;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{VarBuilder, VarMap};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use film_core::siren::{Omega, Scale, SirenConfig, SirenKernel};
use film_core::{KernelFilmConfig, KernelFilmGenerator, init};

const COND_DIM: usize = 384;

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
}

/// The module twice: of variables, for training, and of constants, as a checkpoint has them.
fn twice<M>(build: impl Fn(VarBuilder) -> M) -> (M, M) {
    let vars = VarMap::new();
    let trained = build(init::var_builder(&vars, 0, DType::F32, &Device::Cpu));
    let constants = vars.data().lock().unwrap();
    let constants = constants.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor()));
    let vb = VarBuilder::from_tensors(constants.collect(), DType::F32, &Device::Cpu);
    (trained, build(vb))
}

fn film() -> KernelFilmConfig {
    KernelFilmConfig::new(COND_DIM, 32, 3)
}

fn siren(out_dim: usize, l_cache: &[usize]) -> SirenConfig {
    SirenConfig {
        out_dim,
        data_dim: l_cache.len(),
        mlp_hidden_dim: 32,
        num_layers: 3,
        embedding_dim: 32,
        omega: Omega::Learnable { omega_0: 12.0, scale: Scale::default() },
        hidden_omega_0: 1.0,
        l_cache: l_cache.into(),
        use_bias: true,
        film_after_pos_embed: true,
        film_generator: Some(film()),
    }
}

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    group
}

fn generator(c: &mut Criterion) {
    let (trained, constant) = twice(|vb| KernelFilmGenerator::new(&film(), vb).unwrap());
    let mut forward = group(c, "generator");
    for batch in [1, 64, 4_096, 65_536] {
        let conditioning = random(&[batch, COND_DIM]);
        forward.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| constant.forward(&conditioning).unwrap());
        });
    }
    drop(forward);
    let mut backward = group(c, "generator_backward");
    for batch in [1, 64, 4_096] {
        let conditioning = random(&[batch, COND_DIM]);
        backward.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| {
                let flat = trained.forward(&conditioning).unwrap();
                flat.sum_all().unwrap().backward().unwrap()
            });
        });
    }
}

fn kernels(
    c: &mut Criterion,
    name: &str,
    config: &SirenConfig,
    length: &[usize],
    batches: &[usize],
) {
    let (trained, constant) = twice(|vb| SirenKernel::new(config, vb).unwrap());
    let mut forward = group(c, name);
    for &batch in batches {
        let conditioning = random(&[batch, COND_DIM]);
        forward.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| constant.forward(length, Some(&conditioning)).unwrap());
        });
    }
    drop(forward);
    let mut backward = group(c, &format!("{name}_backward"));
    for &batch in batches {
        let conditioning = random(&[batch, COND_DIM]);
        backward.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| {
                let (kernel, _) = trained.forward(length, Some(&conditioning)).unwrap();
                kernel.sum_all().unwrap().backward().unwrap()
            });
        });
    }
}

/// 29×29 points, 384 channels.
fn siren_2d(c: &mut Criterion) {
    kernels(c, "siren_2d", &siren(384, &[15, 15]), &[15, 15], &[1, 16, 64]);
}

/// 8,191 points, 64 channels.
fn siren_1d(c: &mut Criterion) {
    kernels(c, "siren_1d", &siren(64, &[4_096]), &[4_096], &[8]);
}

criterion_group!(benches, generator, siren_2d, siren_1d);
criterion_main!(benches);
