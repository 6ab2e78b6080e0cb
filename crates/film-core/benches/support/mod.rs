//! What the benchmarks share: the device that the build is for, modules at production size, and inputs that exist only while
//! they are needed.
#![allow(dead_code, reason = "no benchmark uses all of it")]

use std::cell::LazyCell;
use std::sync::LazyLock;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use film_core::siren::{Omega, Scale, SirenConfig};
use film_core::{KernelFilmConfig, init};

pub(crate) const COND_DIM: usize = 384;

/// CUDA with the feature `cuda`, else the CPU.
static DEVICE: LazyLock<Device> =
    LazyLock::new(
        || {
            if cfg!(feature = "cuda") { Device::new_cuda(0).unwrap() } else { Device::Cpu }
        },
    );

pub(crate) fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &DEVICE).unwrap()
}

/// The module twice: of variables, for training, and of constants, as a checkpoint has them.
pub(crate) fn twice<M>(build: impl Fn(VarBuilder) -> M) -> (M, M) {
    let vars = VarMap::new();
    let trained = build(init::var_builder(&vars, 0, DType::F32, &DEVICE));
    let constants = vars.data().lock().unwrap();
    let constants = constants.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor()));
    let vb = VarBuilder::from_tensors(constants.collect(), DType::F32, &DEVICE);
    (trained, build(vb))
}

/// The generator of production, for hidden layers of this width.
pub(crate) fn film(hidden: usize) -> KernelFilmConfig {
    KernelFilmConfig::new(COND_DIM, hidden, 3)
}

/// The kernel of production, with these channels, hidden width and grid lengths.
pub(crate) fn siren(out_dim: usize, hidden: usize, l_cache: &[usize]) -> SirenConfig {
    SirenConfig {
        out_dim,
        data_dim: l_cache.len(),
        mlp_hidden_dim: hidden,
        num_layers: 3,
        embedding_dim: hidden,
        omega: Omega::Learnable { omega_0: 12.0, scale: Scale::default() },
        hidden_omega_0: 1.0,
        l_cache: l_cache.into(),
        use_bias: true,
        film_after_pos_embed: true,
        film_generator: Some(film(hidden)),
    }
}

/// Settings that the command line overrides, unlike those of a group.
pub(crate) fn settings() -> Criterion {
    let seconds = Criterion::default().measurement_time(Duration::from_secs(2));
    seconds.sample_size(20).warm_up_time(Duration::from_millis(500))
}

/// Times `work` until the device has done it. Its input is made outside the time, and only if this benchmark is to run:
/// another's must not count in its memory.
pub(crate) fn time<I, O>(
    group: &mut BenchmarkGroup<WallTime>,
    size: usize,
    input: impl Fn() -> I,
    work: impl Fn(&I) -> O,
) {
    let input = LazyCell::new(input);
    group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
        let input = LazyCell::force(&input);
        bencher.iter(|| {
            let output = work(input);
            DEVICE.synchronize().unwrap();
            output
        });
    });
}

/// Prints the most memory that the process has had, where the system tells: with `--test`, that of running the chosen
/// benchmarks once.
pub(crate) fn print_peak() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(peak) = status.lines().find(|line| line.starts_with("VmHWM:")) {
        println!("{peak}");
    }
}
