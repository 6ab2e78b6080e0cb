//! Reference numbers: where they are, and how what is computed is compared with them.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use film_core::checkpoint::Checkpoint;
use film_core::init;

/// A file or folder among the fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// The folders of a group of cases, sorted.
pub(crate) fn cases(group: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixture(group)).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

/// A tensor of a checkpoint, in `dtype`.
pub(crate) fn tensor(checkpoint: &Checkpoint, name: &str, dtype: DType) -> Tensor {
    let info = checkpoint.get(name).unwrap_or_else(|| panic!("{name} is not there"));
    checkpoint.load(info, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// A tensor's numbers, row-major, widened to float64, from whatever device.
pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    let here = tensor.to_device(&Device::Cpu).unwrap();
    here.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The largest |got − truth|, as a share of the largest |truth|.
pub(crate) fn relative_error(got: &Tensor, truth: &Tensor) -> f64 {
    assert_eq!(got.dims(), truth.dims());
    let (got, truth) = (numbers(got), numbers(truth));
    let scale = truth.iter().fold(0f64, |max, x| max.max(x.abs()));
    let gap = got.iter().zip(&truth).map(|(a, b)| {
        assert!(a.is_finite(), "{a} among the outputs");
        (a - b).abs()
    });
    gap.fold(0.0, f64::max) / scale
}

/// Numbers in [−1, 1) that are the same on every run.
pub(crate) fn random(name: &str, shape: &[usize], dtype: DType) -> Tensor {
    let mut stream = init::Stream::new(7, name);
    let count = shape.iter().product();
    let drawn: Vec<f64> = (0..count).map(|_| stream.uniform(-1.0, 1.0)).collect();
    Tensor::from_vec(drawn, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// γ₀, β₀, γ₁, β₁, … side by side, as the generator's flat output has them.
pub(crate) fn flat_truth(io: &Checkpoint, prefix: &str, layers: usize) -> Tensor {
    let pairs = (0..layers).flat_map(|layer| ["gamma", "beta"].map(|kind| (kind, layer)));
    let parts: Vec<Tensor> = pairs
        .map(|(kind, layer)| tensor(io, &format!("{prefix}{kind}.{layer}"), DType::F64))
        .collect();
    Tensor::cat(&parts, 1).unwrap()
}
