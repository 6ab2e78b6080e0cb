//! The convolution's ways against each other, over lengths and sides.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use film_core::conv::{Algorithm, Boundary, Convolution};

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
}

/// Signal and kernel of 16 channels with `sides`, zero boundaries and a kernel of 2N − 1 points.
fn grid(c: &mut Criterion, group: &str, sides: &[Vec<usize>], longest_direct: f64) {
    let mut group = c.benchmark_group(group);
    group.sample_size(10).warm_up_time(std::time::Duration::from_millis(300));
    group.measurement_time(std::time::Duration::from_secs(1));
    for sides in sides {
        let points: Vec<usize> = sides.iter().map(|side| 2 * side - 1).collect();
        let signal = random(&[&[1], sides.as_slice(), &[16]].concat());
        let kernel = random(&[&[1], points.as_slice(), &[16]].concat());
        let convolution = Convolution::new(&vec![Boundary::Zero; sides.len()]).unwrap();
        let products: f64 = sides.iter().map(|side| (side * side) as f64).product();
        for (name, algorithm) in
            [("direct", Some(Algorithm::Direct)), ("fft", Some(Algorithm::Fft)), ("planner", None)]
        {
            if name == "direct" && products > longest_direct {
                continue;
            }
            let convolution = match algorithm {
                Some(algorithm) => convolution.clone().algorithm(algorithm),
                None => convolution.clone(),
            };
            group.bench_function(BenchmarkId::new(name, sides[0]), |bencher| {
                bencher.iter(|| convolution.forward(&signal, &kernel).unwrap());
            });
        }
    }
}

fn lengths(c: &mut Criterion) {
    let lengths = [16, 32, 64, 128, 256, 512, 1 << 10, 1 << 12, 1 << 14, 1 << 17, 1 << 20];
    grid(c, "conv_1d", &lengths.map(|length| vec![length]), 3e8);
}

fn sides(c: &mut Criterion) {
    let sides = [8, 12, 16, 24, 32, 40, 48, 56, 64, 96, 128, 256];
    grid(c, "conv_2d", &sides.map(|side| vec![side, side]), 3e8);
}

criterion_group!(benches, lengths, sides);
criterion_main!(benches);
