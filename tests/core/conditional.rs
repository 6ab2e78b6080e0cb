//! Kernels found in checkpoints with all their parts, and drawn through the whole chain.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use film_core::checkpoint::{Checkpoint, KernelSettings};
use film_core::mask::{
    ExponentialMaskConfig, GaussianMaskConfig, Mask, MaskConfig, Parametrization, gaussian_std,
};
use film_core::{Condition, ConditionalKernel, init};

use crate::support::{fixture, message, numbers, relative_error, small_checkpoint, tensor};

#[test]
fn a_production_layout_is_drawn_from_registers_to_masked_kernel() {
    let checkpoint = Arc::new(Checkpoint::open(fixture("hybrid_model")).unwrap());
    let io = Checkpoint::open(fixture("hybrid_model/io.safetensors")).unwrap();
    let settings = KernelSettings::from_json(&checkpoint.config().unwrap().unwrap()).unwrap();
    let discovery = checkpoint.discover().unwrap();
    assert_eq!(discovery.kernels().len(), 2);
    for block in 0..2 {
        let prefix = format!("blocks.{block}");
        let found = discovery.kernel(Some(&prefix)).unwrap();
        assert!(found.learnable && found.film_after_pos_embed == Some(true));
        let conv = format!("{prefix}.sequence_mixer.inner_mixer.mixer.global_conv");
        // The truth was rounded to float32 in every module on the way.
        for (dtype, bound) in [(DType::F32, 2e-6), (DType::F64, 2e-6)] {
            let load = || {
                ConditionalKernel::load(&checkpoint, found, &settings, dtype, &Device::Cpu).unwrap()
            };
            let registers = tensor(&io, &format!("{prefix}.register_pooling.input"), dtype);
            let (masked, grid) = load().draw(&[7, 4], Condition::Registers(&registers)).unwrap();
            let conditioning =
                tensor(&io, &format!("{conv}.kernel.film_generator.conditioning"), dtype);
            let bare = ConditionalKernel { mask: None, ..load() };
            let (kernel, _) = bare.draw(&[7, 4], Condition::Conditioning(&conditioning)).unwrap();
            for (name, got) in
                [("mask.masked_kernel", masked), ("kernel.kernel", kernel), ("kernel.grid", grid)]
            {
                let error =
                    relative_error(&got, &tensor(&io, &format!("{conv}.{name}"), DType::F64));
                assert!(error <= bound, "block {block} {name} {dtype:?}: {error:e}");
            }
        }
    }
}

#[test]
fn parts_are_tied_together_by_their_places() {
    let layer = |name: &str| format!("network.net.0.conv.kernel.{name}");
    let names = [
        (layer("positional_embedding.linear.weight"), vec![4, 2]),
        (layer("hidden_linears.0.weight"), vec![6, 4]),
        (layer("out_linear.weight"), vec![5, 6]),
        (layer("film_generator.mlp.0.weight"), vec![3, 8]),
        (layer("film_generator.mlp.0.bias"), vec![3]),
        (layer("film_generator.mlp.2.weight"), vec![12, 3]),
        (layer("film_generator.mlp.2.bias"), vec![12]),
        ("network.net.0.conv.mask.weight".into(), vec![2, 5]),
        ("network.net.0.registers.compress.weight".into(), vec![4, 7]),
        ("network.net.1.registers.compress.weight".into(), vec![2, 7]),
    ];
    let tensors: Vec<(&str, &[usize])> =
        names.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    let (_folder, checkpoint) = small_checkpoint(&tensors, None);
    let discovery = checkpoint.discover().unwrap();
    let found = discovery.kernel(Some("net.0")).unwrap();
    assert_eq!(
        (found.num_layers, found.out_dim, found.use_bias, found.learnable),
        (2, 5, false, false)
    );
    // One pair, one hidden layer.
    assert_eq!(found.film_after_pos_embed, Some(false));
    assert_eq!(found.parameters, 8 + 24 + 30);
    assert_eq!(found.encoder.as_ref().unwrap().prefix, "network.net.0.registers");
    assert!(!found.mask.as_ref().unwrap().gaussian);
    let missing = message(found.config(&KernelSettings::default()));
    assert!(missing.contains("does not tell L_cache:"), "{missing}");
    let settings = KernelSettings { l_cache: Some(vec![3]), ..KernelSettings::default() };
    let kernel =
        ConditionalKernel::load(&checkpoint, found, &settings, DType::F32, &Device::Cpu).unwrap();
    let registers = Tensor::zeros((3, 2, 7), DType::F32, &Device::Cpu).unwrap();
    let (drawn, _) = kernel.draw(&[2, 4], Condition::Registers(&registers)).unwrap();
    assert_eq!(drawn.dims(), [3, 3, 7, 5]);
}

#[test]
fn learned_frequencies_need_to_be_told_omega_0() {
    let (_folder, checkpoint) = small_checkpoint(
        &[
            ("positional_embedding.linear.weight", &[4, 1]),
            ("positional_embedding.omega_0_scale", &[4]),
            ("hidden_linears.0.weight", &[4, 4]),
            ("out_linear.weight", &[2, 4]),
        ],
        None,
    );
    let discovery = checkpoint.discover().unwrap();
    let text = message(discovery.kernel(None).unwrap().config(&KernelSettings::default()));
    assert_eq!(
        text,
        "(root): the checkpoint does not tell L_cache, omega_0: give it in config.json or by flag"
    );
}

fn fresh_mask(config: &MaskConfig) -> (Vec<f64>, Mask) {
    let vars = VarMap::new();
    let mask = Mask::new(config, init::var_builder(&vars, 0, DType::F64, &Device::Cpu)).unwrap();
    let stored = numbers(vars.all_vars()[0].as_tensor());
    (stored, mask)
}

#[test]
fn masks_are_their_formulas_whatever_the_parametrization() {
    let grid = film_core::siren::grid(&[3, 2], &[3, 3], DType::F64, &Device::Cpu).unwrap();
    let kernel = Tensor::ones((2, 5, 3, 4), DType::F64, &Device::Cpu).unwrap();
    let points = numbers(&grid);
    for parametrization in
        [Parametrization::Direct, Parametrization::Log, Parametrization::Softplus]
    {
        let config = GaussianMaskConfig { parametrization, ..GaussianMaskConfig::new(4, &[3, 3]) };
        let (_, mask) = fresh_mask(&MaskConfig::Gaussian(config.clone()));
        let masked = numbers(&mask.apply(&grid, &kernel).unwrap());
        // At init σ runs from min_std to the one that falls to 0.1 at the edge, at equal ratios.
        let (first, last) = (config.min_std, gaussian_std(0.1, 1.0));
        for (index, got) in masked.iter().enumerate() {
            let (point, channel) = ((index / 4) % 15, index % 4);
            let std = first * (last / first).powf(channel as f64 / 3.0);
            let distance = points[2 * point].hypot(points[2 * point + 1]) / std;
            let expected = (-0.5 * distance * distance).exp();
            assert!(
                (got - expected).abs() < 1e-12,
                "{parametrization:?} {index}: {got} {expected}"
            );
        }
    }
    let config = ExponentialMaskConfig { data_dim: 2, num_channels: 4 };
    let (stored, mask) = fresh_mask(&MaskConfig::Exponential(config));
    assert!((stored[0] - 2.3 / 2.0).abs() < 1e-12 && (stored[7] - 13.81 / 2.0).abs() < 1e-12);
    for (index, got) in numbers(&mask.apply(&grid, &kernel).unwrap()).iter().enumerate() {
        let (point, channel) = ((index / 4) % 15, index % 4);
        let expected =
            (-stored[channel] * (points[2 * point].abs() + points[2 * point + 1].abs())).exp();
        assert!((got - expected).abs() < 1e-12);
    }
}

#[test]
fn stored_widths_are_clamped() {
    let config =
        GaussianMaskConfig { min_std: 0.5, max_std: 0.7, ..GaussianMaskConfig::new(2, &[4]) };
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, 0, DType::F64, &Device::Cpu);
    let mask = Mask::new(&MaskConfig::Gaussian(config), vb).unwrap();
    let stored = Tensor::new(&[[-3.0, 9.0]], &Device::Cpu).unwrap();
    vars.data().lock().unwrap()["std_param"].set(&stored).unwrap();
    let grid = film_core::siren::grid(&[4], &[4], DType::F64, &Device::Cpu).unwrap();
    let kernel = Tensor::ones((1, 7, 2), DType::F64, &Device::Cpu).unwrap();
    let edge = &numbers(&mask.apply(&grid, &kernel).unwrap())[..2];
    for (got, std) in edge.iter().zip([0.5f64, 0.7]) {
        assert!((got - (-0.5 / (std * std)).exp()).abs() < 1e-12);
    }
    let wrong = Tensor::ones((1, 7, 3), DType::F64, &Device::Cpu).unwrap();
    assert_eq!(
        message(mask.apply(&grid, &wrong)),
        "kernel: expected shape [B, 7, 2], found [1, 7, 3]"
    );
}
