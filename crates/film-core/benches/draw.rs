//! Drawing modulations and kernels at production size, forwards and with the backward pass.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod support;

use candle_core::Module;
use criterion::{Criterion, criterion_group};
use film_core::KernelFilmGenerator;
use film_core::siren::SirenKernel;

use support::{COND_DIM, film, print_peak, random, settings, siren, time, twice};

fn generator(c: &mut Criterion) {
    let (trained, constant) = twice(|vb| KernelFilmGenerator::new(&film(32), vb).unwrap());
    let mut forward = c.benchmark_group("generator");
    for batch in [1, 64, 4_096, 65_536] {
        let conditioning = || random(&[batch, COND_DIM]);
        time(&mut forward, batch, conditioning, |it| constant.forward(it).unwrap());
    }
    drop(forward);
    let mut backward = c.benchmark_group("generator_backward");
    for batch in [1, 64, 4_096, 65_536] {
        let conditioning = || random(&[batch, COND_DIM]);
        time(&mut backward, batch, conditioning, |it| {
            trained.forward(it).unwrap().sum_all().unwrap().backward().unwrap()
        });
    }
}

fn kernels(c: &mut Criterion, name: &str, channels: usize, length: &[usize], batches: &[usize]) {
    let config = siren(channels, 32, length);
    let (trained, constant) = twice(|vb| SirenKernel::new(&config, vb).unwrap());
    let mut forward = c.benchmark_group(name);
    for &batch in batches {
        let conditioning = || random(&[batch, COND_DIM]);
        time(&mut forward, batch, conditioning, |it| constant.forward(length, Some(it)).unwrap());
    }
    drop(forward);
    let mut backward = c.benchmark_group(format!("{name}_backward"));
    for &batch in batches {
        let conditioning = || random(&[batch, COND_DIM]);
        time(&mut backward, batch, conditioning, |it| {
            let (kernel, _) = trained.forward(length, Some(it)).unwrap();
            kernel.sum_all().unwrap().backward().unwrap()
        });
    }
}

/// 29×29 points, 384 channels.
fn siren_2d(c: &mut Criterion) {
    kernels(c, "siren_2d", 384, &[15, 15], &[1, 16, 64]);
}

/// 8,191 points, 64 channels.
fn siren_1d(c: &mut Criterion) {
    kernels(c, "siren_1d", 64, &[4_096], &[8]);
}

criterion_group!(name = benches; config = settings(); targets = generator, siren_2d, siren_1d);

fn main() {
    benches();
    print_peak();
}
