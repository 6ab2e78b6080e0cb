//! Masks, and the whole chain of a conditional kernel: registers → conditioning → γ, β → kernel → mask.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use film_core::checkpoint::{Checkpoint, KernelSettings};
use film_core::mask::{
    ExponentialMaskConfig, GaussianMaskConfig, Mask, MaskConfig, Parametrization,
};
use film_core::{Condition, ConditionalKernel, init, siren};

use crate::reference::{fixture, random, tensor};
use crate::siren::kernel_roundings;
use crate::support::{assert_close, both, device, inputs, open, rounded, roundings};

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn a_production_layout_is_drawn_from_registers_to_masked_kernel() {
    let folder = fixture("hybrid_model");
    let [checkpoint, io] = open(&folder);
    let settings = KernelSettings::from_json(&checkpoint.config().unwrap().unwrap()).unwrap();
    let (_folder, exact) = rounded(&folder, DType::BF16);
    for block in ["blocks.0", "blocks.1"] {
        let draw = |checkpoint: &Arc<Checkpoint>, dtype, device: &Device, registers: &Tensor| {
            let discovery = checkpoint.discover().unwrap();
            let found = discovery.kernel(Some(block)).unwrap();
            let kernel =
                ConditionalKernel::load(checkpoint, found, &settings, dtype, device).unwrap();
            kernel.draw(&[7, 4], Condition::Registers(registers)).unwrap().0
        };
        let registers = |dtype| inputs(&io, &format!("{block}.register_pooling.input"), dtype);
        let [there, _] = registers(DType::F32);
        let drawn = draw(&checkpoint, DType::F32, device(), &there);
        let conv = format!("{block}.sequence_mixer.inner_mixer.mixer.global_conv");
        let truth = tensor(&io, &format!("{conv}.mask.masked_kernel"), DType::F64);
        assert_close(&drawn, &truth, DType::F32, 2e-6, block);

        let [there, here] = registers(DType::BF16);
        let drawn = draw(&checkpoint, DType::BF16, device(), &there);
        let truth = draw(&exact, DType::F64, &Device::Cpu, &here);
        // The conditioning, a kernel of 3 layers, and the masked one.
        let bound = roundings(kernel_roundings(3) + 2);
        assert_close(&drawn, &truth, DType::BF16, bound, block);
    }
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn masks_of_every_kind_are_their_formulas() {
    let lengths = [6, 5];
    let gaussian = |parametrization| {
        MaskConfig::Gaussian(GaussianMaskConfig {
            parametrization,
            ..GaussianMaskConfig::new(7, &lengths)
        })
    };
    let exponential = ExponentialMaskConfig { data_dim: 2, num_channels: 7 };
    let kinds = [Parametrization::Direct, Parametrization::Log, Parametrization::Softplus]
        .map(gaussian)
        .into_iter()
        .chain([MaskConfig::Exponential(exponential)]);
    for config in kinds {
        // In bfloat16 the masked kernel is rounded, once.
        for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, roundings(1))] {
            let vars = VarMap::new();
            let mask = Mask::new(&config, init::var_builder(&vars, 0, dtype, device())).unwrap();
            let exact = VarMap::new();
            let [_, parameter] = both(&vars.all_vars()[0].to_device(&Device::Cpu).unwrap());
            let name = vars.data().lock().unwrap().keys().next().unwrap().clone();
            let parameter = candle_core::Var::from_tensor(&parameter).unwrap();
            exact.data().lock().unwrap().insert(name, parameter);
            let vb = init::var_builder(&exact, 0, DType::F64, &Device::Cpu);
            let exact = Mask::new(&config, vb).unwrap();

            let [there, here] = both(&random("kernel", &[2, 11, 9, 7], dtype));
            let grid =
                |dtype, device: &Device| siren::grid(&lengths, &lengths, dtype, device).unwrap();
            let masked = mask.apply(&grid(dtype, device()), &there).unwrap();
            let truth = exact.apply(&grid(DType::F64, &Device::Cpu), &here).unwrap();
            assert_close(&masked, &truth, dtype, bound, &format!("{config:?}"));
        }
    }
}
