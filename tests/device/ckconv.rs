//! The conditional convolution, whose transforms are matrix products on a GPU.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use film_core::checkpoint::{Checkpoint, KernelSettings};
use film_core::conv::{Algorithm, Channels};
use film_core::{CKConvNd, Condition};

use crate::reference::{cases, fixture, tensor};
use crate::siren::kernel_roundings;
use crate::support::{assert_close, device, inputs, open, rounded, roundings};

/// A convolution found in `checkpoint`.
fn load(checkpoint: &Arc<Checkpoint>, prefix: Option<&str>, dtype: DType, on: &Device) -> CKConvNd {
    let settings = KernelSettings::from_json(&checkpoint.config().unwrap().unwrap()).unwrap();
    let discovery = checkpoint.discover().unwrap();
    let found = discovery.conv(prefix).unwrap();
    CKConvNd::load(checkpoint, found, &settings, dtype, on).unwrap()
}

/// Roundings of a convolution with a kernel that is drawn: kernel, signal, shortcut and output.
fn conv_roundings(conv: &CKConvNd) -> usize {
    kernel_roundings(conv.config().kernel.num_layers) + 4
}

/// In float32 what the CPU's same products promise: sums of up to 128 terms, one after the other there as here.
const SINGLE: f64 = 2e-6;

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn convolutions_give_pytorchs_numbers() {
    let folders = cases("ckconv");
    assert_eq!(folders.len(), 9);
    for folder in folders {
        let what = folder.display().to_string();
        let [checkpoint, io] = open(&folder);
        let conditioning =
            |dtype| io.get("conditioning").map(|_| inputs(&io, "conditioning", dtype));
        let forward = |conv: CKConvNd, signal: &Tensor, conditioning: Option<&Tensor>| {
            let condition = conditioning.map_or(Condition::None, Condition::Conditioning);
            conv.forward(signal, condition).unwrap()
        };
        for dtype in [DType::F32, DType::BF16] {
            let [signal, exact_signal] = inputs(&io, "input", dtype);
            let (there, here) = conditioning(dtype).map(<(Tensor, Tensor)>::from).unzip();
            let conv = load(&checkpoint, None, dtype, device()).algorithm(Algorithm::Matmul);
            let (truth, bound) = if dtype == DType::F32 {
                (tensor(&io, "output", DType::F64), SINGLE)
            } else {
                let (_folder, exact) = rounded(&folder, dtype);
                let exact = load(&exact, None, DType::F64, &Device::Cpu);
                (forward(exact, &exact_signal, here.as_ref()), roundings(conv_roundings(&conv)))
            };
            let output = forward(conv.clone(), &signal, there.as_ref());
            assert_close(&output, &truth, dtype, bound, &what);

            let rank = signal.rank();
            let first: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
            let [signal, truth] = [signal, truth].map(|x| x.permute(first.clone()).unwrap());
            let output = forward(conv.channels(Channels::First), &signal, there.as_ref());
            assert_close(&output, &truth, dtype, bound, &format!("{what}, channels first"));
        }
    }
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn a_production_checkpoint_convolves_as_in_pytorch() {
    let folder = fixture("hybrid_model");
    let [checkpoint, io] = open(&folder);
    let (_folder, exact) = rounded(&folder, DType::BF16);
    for block in ["blocks.0", "blocks.1"] {
        let name = format!("{block}.sequence_mixer.inner_mixer.mixer.global_conv");
        let forward = |checkpoint, dtype, on, signal: &Tensor, registers: &Tensor| {
            let conv = load(checkpoint, Some(block), dtype, on).channels(Channels::First);
            let output = conv.forward(signal, Condition::Registers(registers)).unwrap();
            (output, roundings(conv_roundings(&conv) + 1))
        };
        for dtype in [DType::F32, DType::BF16] {
            let [signal, exact_signal] = inputs(&io, &format!("{name}.input"), dtype);
            let [registers, exact_registers] =
                inputs(&io, &format!("{block}.register_pooling.input"), dtype);
            let (output, bound) = forward(&checkpoint, dtype, device(), &signal, &registers);
            let (truth, bound) = if dtype == DType::F32 {
                (tensor(&io, &format!("{name}.output"), DType::F64), SINGLE)
            } else {
                let cpu = &Device::Cpu;
                (forward(&exact, DType::F64, cpu, &exact_signal, &exact_registers).0, bound)
            };
            assert_close(&output, &truth, dtype, bound, block);
        }
    }
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn ways_of_the_cpu_are_refused_elsewhere() {
    let folder = fixture("ckconv/1d_zero");
    let [checkpoint, io] = open(&folder);
    let [signal, conditioning] =
        ["input", "conditioning"].map(|name| inputs(&io, name, DType::F32)[0].clone());
    for way in [Algorithm::Reference, Algorithm::Direct, Algorithm::Fft] {
        let conv = load(&checkpoint, None, DType::F32, device()).algorithm(way);
        match conv.forward(&signal, Condition::Conditioning(&conditioning)) {
            Ok(output) => assert!(output.device().is_cpu()),
            Err(error) => {
                let expected = format!("{way:?}: expected tensors on the CPU, found ");
                assert!(error.to_string().starts_with(&expected), "{error}");
                assert!(!device().is_cpu());
            }
        }
    }
}
