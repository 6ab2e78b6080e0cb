//! How the cost of drawing grows with the batch, the grid and the hidden width. Throughputs are in FLOPs; that of the
//! plain matrix product is what the machine can do.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod support;

use candle_core::Module;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use film_core::KernelFilmGenerator;
use film_core::siren::{Phase, SirenConfig, SirenKernel};

use support::{COND_DIM, film, random, settings, siren, time, twice};

/// A square product, too large for the caches nearest to the cores, yet far from bound by memory.
fn matmul(c: &mut Criterion) {
    let mut group = c.benchmark_group("matmul");
    let size = 1024;
    group.throughput(Throughput::Elements(2 * (size as u64).pow(3)));
    let input = || (random(&[size, size]), random(&[size, size]));
    time(&mut group, size, input, |(left, right)| left.matmul(right).unwrap());
}

fn batch(c: &mut Criterion) {
    let config = film(32);
    let (_, generator) = twice(|vb| KernelFilmGenerator::new(&config, vb).unwrap());
    let mut group = c.benchmark_group("scaling_batch");
    for batch in (0..=8).map(|power| 4_usize.pow(power)) {
        group.throughput(Throughput::Elements(batch as u64 * config.flops().unwrap().total()));
        let conditioning = || random(&[batch, COND_DIM]);
        time(&mut group, batch, conditioning, |it| generator.forward(it).unwrap());
    }
}

/// Kernels of 384 channels, one at a time.
fn kernels(c: &mut Criterion, name: &str, configs: impl Iterator<Item = (usize, SirenConfig)>) {
    let mut group = c.benchmark_group(name);
    for (size, config) in configs {
        let (_, kernel) = twice(|vb| SirenKernel::new(&config, vb).unwrap());
        let flops = config.flops(&config.l_cache, Phase::Inference).unwrap();
        group.throughput(Throughput::Elements(flops.total()));
        let conditioning = || random(&[1, COND_DIM]);
        time(&mut group, size, conditioning, |it| {
            kernel.forward(&config.l_cache, Some(it)).unwrap()
        });
    }
}

fn grid(c: &mut Criterion) {
    let lengths = (3..=8).map(|power| 1 << power);
    let configs = lengths.map(|length| (length, siren(384, 32, &[length, length])));
    kernels(c, "scaling_grid", configs);
}

fn hidden(c: &mut Criterion) {
    let widths = (4..=9).map(|power| 1 << power);
    let configs = widths.map(|width| (width, siren(384, width, &[15, 15])));
    kernels(c, "scaling_hidden", configs);
}

criterion_group!(name = benches; config = settings(); targets = matmul, batch, grid, hidden);
criterion_main!(benches);
