//! The convolution's ways against each other, over lengths and sides, and at production size.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use film_core::conv::{Algorithm, Boundary, Convolution};
use film_core::mask::{GaussianMaskConfig, MaskConfig};
use film_core::siren::{Omega, Scale, SirenConfig};
use film_core::{CKConvConfig, CKConvNd, Condition, KernelFilmConfig, init};

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
}

/// Most products of a channel for which the direct sum is timed.
const LONGEST_DIRECT: f64 = 3e8;

/// Signals of 16 channels with `axes` equal sides, and the longest kernels that such axes take.
fn grid(c: &mut Criterion, group: &str, (boundary, axes): (Boundary, usize), sides: &[usize]) {
    let mut group = c.benchmark_group(group);
    group.sample_size(10).warm_up_time(std::time::Duration::from_millis(300));
    group.measurement_time(std::time::Duration::from_millis(600));
    for &side in sides {
        let points = match boundary {
            Boundary::Zero => 2 * side - 1,
            Boundary::Circular => side - usize::from(side.is_multiple_of(2)),
            Boundary::Causal => side,
        };
        let signal = random(&[&[1], vec![side; axes].as_slice(), &[16]].concat());
        let kernel = random(&[&[1], vec![points; axes].as_slice(), &[16]].concat());
        let convolution = Convolution::new(&vec![boundary; axes]).unwrap();
        let products = (side * side) as f64;
        for (name, algorithm) in
            [("direct", Some(Algorithm::Direct)), ("fft", Some(Algorithm::Fft)), ("planner", None)]
        {
            if name == "direct" && products.powi(axes as i32) > LONGEST_DIRECT {
                continue;
            }
            let convolution = match algorithm {
                Some(algorithm) => convolution.clone().algorithm(algorithm),
                None => convolution.clone(),
            };
            group.bench_function(BenchmarkId::new(name, side), |bencher| {
                bencher.iter(|| convolution.forward(&signal, &kernel).unwrap());
            });
        }
    }
}

/// Rings are also tried at lengths that are primes.
fn sizes(c: &mut Criterion) {
    use Boundary::{Causal, Circular, Zero};
    let lengths = [16, 32, 64, 128, 256, 512, 1 << 10, 1 << 12, 1 << 14, 1 << 17, 1 << 20];
    grid(c, "conv_1d", (Zero, 1), &lengths);
    grid(c, "conv_1d_causal", (Causal, 1), &[64, 256, 512, 1 << 10, 1 << 12]);
    let lengths = [31, 64, 127, 128, 251, 256, 509, 512, 1021, 4093, 4096, 131_071];
    grid(c, "conv_1d_circular", (Circular, 1), &lengths);
    grid(c, "conv_2d", (Zero, 2), &[8, 12, 16, 24, 32, 40, 48, 56, 64, 96, 128, 256]);
    let sides = [8, 13, 16, 17, 23, 24, 31, 32, 47, 64, 97, 128, 251];
    grid(c, "conv_2d_circular", (Circular, 2), &sides);
    grid(c, "conv_3d", (Zero, 3), &[4, 6, 8, 10, 12, 16, 24]);
    grid(c, "conv_3d_circular", (Circular, 3), &[4, 5, 7, 8, 11, 12, 13, 16, 23]);
}

/// 15×14 tokens, 384 channels, a kernel for each sample.
fn production(c: &mut Criterion) {
    let mut group = c.benchmark_group("conv_production");
    group.sample_size(50).measurement_time(std::time::Duration::from_secs(3));
    for batch in [1, 16] {
        let signal = random(&[batch, 15, 14, 384]);
        let kernel = random(&[batch, 29, 27, 384]);
        let convolution = Convolution::new(&[Boundary::Zero; 2]).unwrap();
        assert_eq!(signal.dtype(), DType::F32);
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| convolution.forward(&signal, &kernel).unwrap());
        });
    }
}

/// The whole conditional convolution at production size: conditioning → γ, β → kernel → mask → convolution.
fn conditional(c: &mut Criterion) {
    let mut group = c.benchmark_group("ckconv");
    group.sample_size(50).measurement_time(std::time::Duration::from_secs(3));
    let siren = SirenConfig {
        out_dim: 384,
        data_dim: 2,
        mlp_hidden_dim: 32,
        num_layers: 3,
        embedding_dim: 32,
        omega: Omega::Learnable { omega_0: 12.0, scale: Scale::default() },
        hidden_omega_0: 1.0,
        l_cache: vec![15, 15],
        use_bias: true,
        film_after_pos_embed: true,
        film_generator: Some(KernelFilmConfig::new(384, 32, 3)),
    };
    let mut config = CKConvConfig::new(siren, &[Boundary::Zero; 2]).unwrap();
    config.mask = Some(MaskConfig::Gaussian(GaussianMaskConfig::new(384, &[15, 15])));
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
    CKConvNd::new(&config, vb).unwrap();
    // Constants, as a checkpoint has them: nothing is kept for a backward pass.
    let constants = vars.data().lock().unwrap();
    let constants = constants.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor()));
    let vb = VarBuilder::from_tensors(constants.collect(), DType::F32, &Device::Cpu);
    let module = CKConvNd::new(&config, vb).unwrap();
    for batch in [1, 16] {
        let signal = random(&[batch, 15, 14, 384]);
        let conditioning = random(&[batch, 384]);
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher
                .iter(|| module.forward(&signal, Condition::Conditioning(&conditioning)).unwrap());
        });
    }
}

criterion_group!(benches, sizes, production, conditional);
criterion_main!(benches);
