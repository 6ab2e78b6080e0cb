//! Conditioning at the ends of float32: what PyTorch makes of it, and nothing that one row does to another.

use std::sync::Arc;

use candle_core::{DType, Device, Module, Tensor};
use film_core::KernelFilmGenerator;
use film_core::checkpoint::Checkpoint;
use film_core::siren::{SirenConfig, SirenKernel};

use crate::support::{fixture, numbers, tensor};

/// Rows of the fixture, made by tools/pytorch/make_extremes.py: an ordinary one, zeros, subnormals, times 1e4, 1e30 and
/// 1e38; with NaN, ∞, −∞ and 3e38 in one place; the ordinary one again.
const ROWS: usize = 11;
const NOT_NUMBERS: std::ops::Range<usize> = 6..9;
/// Rows whose phases float32 still tells apart.
const TAME: [usize; 4] = [0, 1, 2, 10];

const LENGTHS: [usize; 1] = [12];

fn kernel(dtype: DType) -> (SirenKernel, KernelFilmGenerator) {
    let checkpoint = Arc::new(Checkpoint::open(fixture("siren_kernel/1d")).unwrap());
    let config = SirenConfig::from_json(&checkpoint.config().unwrap().unwrap()).unwrap();
    let vb = checkpoint.var_builder(dtype, &Device::Cpu);
    let generator = config.film_generator.clone().unwrap();
    let generator = KernelFilmGenerator::new(&generator, vb.pp("film_generator")).unwrap();
    (SirenKernel::new(&config, vb).unwrap(), generator)
}

fn io() -> Checkpoint {
    Checkpoint::open(fixture("extremes/1d.safetensors")).unwrap()
}

/// Row by row, the numbers agree within `bound` of the row's largest, and NaN is where NaN is.
#[track_caller]
fn assert_rows(got: &Tensor, truth: &Tensor, rows: impl IntoIterator<Item = usize>, bound: f64) {
    assert_eq!(got.dims(), truth.dims());
    for row in rows {
        let [got, truth] = [got, truth].map(|all| numbers(&all.get(row).unwrap()));
        let scale = truth.iter().fold(0f64, |max, x| max.max(x.abs()));
        for (got, truth) in got.iter().zip(&truth) {
            assert_eq!(got.is_nan(), truth.is_nan(), "row {row}: {got} for {truth}");
            assert!(
                truth.is_nan() || (got - truth).abs() <= bound * scale,
                "row {row}: {got} {truth}"
            );
        }
    }
}

#[test]
fn generators_give_what_pytorch_gives() {
    let io = io();
    for (dtype, prefix, bound) in [(DType::F32, "", 2e-6), (DType::F64, "f64.", 1e-12)] {
        let (_, generator) = kernel(dtype);
        let films = generator.films(&tensor(&io, "conditioning", dtype)).unwrap();
        assert_eq!(films.len(), 2);
        for (layer, film) in films.iter().enumerate() {
            for (name, got) in [("gamma", &film.gamma), ("beta", &film.beta)] {
                let truth = tensor(&io, &format!("{prefix}{name}.{layer}"), DType::F64);
                assert!(
                    NOT_NUMBERS.clone().all(|row| numbers(&truth.get(row).unwrap())[0].is_nan())
                );
                assert_rows(got, &truth, 0..ROWS, bound);
            }
        }
    }
}

#[test]
fn kernels_give_what_pytorch_gives() {
    let io = io();
    for (dtype, prefix, bound) in [(DType::F32, "", 2e-5), (DType::F64, "f64.", 1e-10)] {
        let conditioning = tensor(&io, "conditioning", dtype);
        let drawn = kernel(dtype).0.forward(&LENGTHS, Some(&conditioning)).unwrap().0;
        let truth = tensor(&io, &format!("{prefix}kernel"), DType::F64);
        assert_rows(&drawn, &truth, TAME.into_iter().chain(NOT_NUMBERS), bound);
        // Of sines of huge numbers no digit is certain, but they are sines: as large as PyTorch's, and numbers.
        for row in (0..ROWS).filter(|row| !TAME.contains(row) && !NOT_NUMBERS.contains(row)) {
            let [got, truth] = [&drawn, &truth].map(|all| {
                numbers(&all.get(row).unwrap()).iter().fold(0f64, |max, x| max.max(x.abs()))
            });
            assert!(got > truth / 3.0 && got < truth * 3.0, "row {row}: {got:e} for {truth:e}");
        }
    }
}

/// A row's numbers are its own, whatever stands beside it.
#[test]
fn no_row_spoils_another() {
    let conditioning = tensor(&io(), "conditioning", DType::F32);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (kernel, generator) = kernel(DType::F32);
            let bits = |tensor: &Tensor| -> Vec<u32> {
                let flat = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                flat.into_iter().map(f32::to_bits).collect()
            };
            let films = generator.forward(&conditioning).unwrap();
            let kernels = kernel.forward(&LENGTHS, Some(&conditioning)).unwrap().0;
            for row in 0..ROWS {
                let alone = conditioning.narrow(0, row, 1).unwrap();
                let film = generator.forward(&alone).unwrap();
                let drawn = kernel.forward(&LENGTHS, Some(&alone)).unwrap().0;
                for (all, alone) in [(&films, film), (&kernels, drawn)] {
                    assert_eq!(bits(&all.get(row).unwrap()), bits(&alone), "row {row}");
                }
            }
        });
    }
}

#[test]
fn half_precision_overflows_to_infinities_or_nan() {
    let io = io();
    for dtype in [DType::F16, DType::BF16] {
        let conditioning = tensor(&io, "conditioning", dtype);
        let (kernel, generator) = kernel(dtype);
        let films = generator.forward(&conditioning).unwrap();
        let drawn = kernel.forward(&LENGTHS, Some(&conditioning)).unwrap().0;
        for got in [films, drawn] {
            for row in NOT_NUMBERS {
                assert!(numbers(&got.get(row).unwrap()).iter().all(|x| x.is_nan()), "{dtype:?}");
            }
            for row in TAME {
                assert!(numbers(&got.get(row).unwrap()).iter().all(|x| x.is_finite()), "{dtype:?}");
            }
        }
    }
}

#[test]
fn no_rows_give_no_kernels() {
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let conditioning = Tensor::zeros((0, 21), dtype, &Device::Cpu).unwrap();
        let drawn = kernel(dtype).0.forward(&LENGTHS, Some(&conditioning)).unwrap().0;
        assert_eq!((drawn.dims(), drawn.dtype()), (&[0, 23, 6][..], dtype));
    }
}
