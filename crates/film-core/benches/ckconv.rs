//! The conditional convolution at production size, 15×14 tokens of 384 channels, whole and without the drawing of its
//! kernels, forwards and with the backward pass.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod support;

use candle_core::Var;
use criterion::{Criterion, criterion_group};
use film_core::conv::{Boundary, Convolution};
use film_core::mask::{GaussianMaskConfig, MaskConfig};
use film_core::{CKConvConfig, CKConvNd, Condition};

use support::{COND_DIM, print_peak, random, settings, siren, time, twice};

const BATCHES: [usize; 2] = [1, 16];

fn variable(shape: &[usize]) -> Var {
    Var::from_tensor(&random(shape)).unwrap()
}

/// The convolution alone, a kernel for each sample.
fn production(c: &mut Criterion) {
    let convolution = Convolution::new(&[Boundary::Zero; 2]).unwrap();
    let shapes = |batch| ([batch, 15, 14, 384], [batch, 29, 27, 384]);
    let mut forward = c.benchmark_group("conv_production");
    for batch in BATCHES {
        let (signal, kernel) = shapes(batch);
        let input = || (random(&signal), random(&kernel));
        time(&mut forward, batch, input, |(signal, kernel)| {
            convolution.forward(signal, kernel).unwrap()
        });
    }
    drop(forward);
    let mut backward = c.benchmark_group("conv_production_backward");
    for batch in BATCHES {
        let (signal, kernel) = shapes(batch);
        let input = || (variable(&signal), variable(&kernel));
        time(&mut backward, batch, input, |(signal, kernel)| {
            let output = convolution.forward(signal, kernel).unwrap();
            output.sum_all().unwrap().backward().unwrap()
        });
    }
}

/// All of it: conditioning → γ, β → kernel → mask → convolution. Trained, it is also differentiated by the signal.
fn conditional(c: &mut Criterion) {
    let siren = siren(384, 32, &[15, 15]);
    let mut config = CKConvConfig::new(siren, &[Boundary::Zero; 2]).unwrap();
    config.mask = Some(MaskConfig::Gaussian(GaussianMaskConfig::new(384, &[15, 15])));
    let (trained, constant) = twice(|vb| CKConvNd::new(&config, vb).unwrap());
    let mut forward = c.benchmark_group("ckconv");
    for batch in BATCHES {
        let input = || (random(&[batch, 15, 14, 384]), random(&[batch, COND_DIM]));
        time(&mut forward, batch, input, |(signal, conditioning)| {
            constant.forward(signal, Condition::Conditioning(conditioning)).unwrap()
        });
    }
    drop(forward);
    let mut backward = c.benchmark_group("ckconv_backward");
    for batch in BATCHES {
        let input = || (variable(&[batch, 15, 14, 384]), random(&[batch, COND_DIM]));
        time(&mut backward, batch, input, |(signal, conditioning)| {
            let output = trained.forward(signal, Condition::Conditioning(conditioning)).unwrap();
            output.sum_all().unwrap().backward().unwrap()
        });
    }
}

criterion_group!(name = benches; config = settings(); targets = production, conditional);

fn main() {
    benches();
    print_peak();
}
