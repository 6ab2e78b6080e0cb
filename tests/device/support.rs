//! The device, and what is promised on it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Tensor};
use film_core::checkpoint::Checkpoint;
use tempfile::TempDir;

use crate::reference::{relative_error, tensor};

/// The device that the build is for.
pub(crate) fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let device = if cfg!(feature = "cuda") {
            Device::new_cuda(0)
        } else if cfg!(feature = "metal") {
            Device::new_metal(0)
        } else {
            Ok(Device::Cpu)
        };
        device.unwrap_or_else(|error| panic!("there is no GPU to test on: {error}"))
    })
}

/// What so many roundings to bfloat16 may come to, as a share of the largest number.
///
/// bfloat16 has 8 significant bits, so a rounding moves a number by at most 2⁻⁸ of it, and by 0.4 · 2⁻⁸ in the root mean square.
/// Counted are the weights and inputs that are rounded and the operations whose results are, along a path to the output;
/// products are summed in float32. Roundings have either sign, so that n of them add up to √n: twice 2⁻⁸ · √n is five standard
/// deviations, and n · 2⁻⁸ is what a few cannot exceed.
pub(crate) fn roundings(count: usize) -> f64 {
    let count = count as f64;
    count.min(2.0 * count.sqrt()) / 256.0
}

/// The checkpoint in a folder, and what PyTorch was given and made of it.
pub(crate) fn open(folder: &Path) -> [Arc<Checkpoint>; 2] {
    [folder.to_path_buf(), folder.join("io.safetensors")]
        .map(|path| Arc::new(Checkpoint::open(path).unwrap()))
}

/// A tensor of a checkpoint as `dtype` holds it: on the device, and the same numbers in float64 on the CPU.
pub(crate) fn inputs(io: &Checkpoint, name: &str, dtype: DType) -> [Tensor; 2] {
    both(&tensor(io, name, dtype))
}

/// These numbers on the device, and in float64 on the CPU.
pub(crate) fn both(x: &Tensor) -> [Tensor; 2] {
    [x.to_device(device()).unwrap(), x.to_dtype(DType::F64).unwrap()]
}

/// The checkpoint in a folder, its tensors rounded to `dtype`, in float64. A kernel of high frequency is another one when its
/// weights are rounded: what bfloat16 computes is held to this one.
pub(crate) fn rounded(folder: &Path, dtype: DType) -> (TempDir, Arc<Checkpoint>) {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let rounded = |name: &str| tensor(&checkpoint, name, dtype).to_dtype(DType::F64).unwrap();
    let tensors = checkpoint.tensors().iter().map(|info| (info.name.as_str(), rounded(&info.name)));
    let tensors: HashMap<&str, Tensor> = tensors.collect();
    let copy = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(&tensors, copy.path().join("model.safetensors")).unwrap();
    std::fs::copy(folder.join("config.json"), copy.path().join("config.json")).unwrap();
    let checkpoint = Arc::new(Checkpoint::open(copy.path()).unwrap());
    (copy, checkpoint)
}

/// What was computed is on the device, in `dtype`, and within `bound` of the truth.
#[track_caller]
pub(crate) fn assert_close(got: &Tensor, truth: &Tensor, dtype: DType, bound: f64, what: &str) {
    assert!(got.device().same_device(device()), "{what}: on {:?}", got.device());
    assert_eq!(got.dtype(), dtype, "{what}");
    let error = relative_error(got, truth);
    assert!(error <= bound, "{what} {dtype:?}: {error:e} > {bound:e}");
}
