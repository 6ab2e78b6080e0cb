//! The convolution's ways against each other, over lengths and sides.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use film_core::conv::{Algorithm, Boundary, Convolution};

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

criterion_group!(benches, sizes);
criterion_main!(benches);
