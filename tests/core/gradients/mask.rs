//! Of masks of every kind and parametrization, in their parameter and the kernel.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use film_core::mask::{
    ExponentialMaskConfig, GaussianMaskConfig, Mask, MaskConfig, Parametrization,
};
use film_core::{init, siren};

use super::{assert_gradients, gradient_of, moved, sizes, sorted, var, weighted_squares};
use crate::support::{numbers, random};

const PARAMETRIZATIONS: [Parametrization; 3] =
    [Parametrization::Direct, Parametrization::Log, Parametrization::Softplus];

fn kinds(channels: usize, l_cache: &[usize]) -> Vec<MaskConfig> {
    let gaussian = |parametrization| {
        // Wide enough that none of the moved σ is near a bound.
        let bounds = (1e-3, 1e3);
        MaskConfig::Gaussian(GaussianMaskConfig {
            min_std: bounds.0,
            max_std: bounds.1,
            init_extent: 300.0,
            parametrization,
            ..GaussianMaskConfig::new(channels, l_cache)
        })
    };
    let exponential = ExponentialMaskConfig { data_dim: l_cache.len(), num_channels: channels };
    let mut kinds: Vec<_> = PARAMETRIZATIONS.map(gaussian).into();
    kinds.push(MaskConfig::Exponential(exponential));
    kinds
}

fn fresh(config: &MaskConfig) -> (VarMap, Mask) {
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, 0, DType::F64, &Device::Cpu);
    let mask = Mask::new(config, vb).unwrap();
    (vars, mask)
}

#[test]
fn every_kind_has_gradients_in_its_parameter_and_the_kernel() {
    for seed in 0..6 {
        let [axes, batch, channels] = sizes(seed, 3);
        let lengths: Vec<usize> = sizes::<3>(seed + 100, 3)[..axes].iter().map(|l| l + 1).collect();
        let grid = siren::grid(&lengths, &lengths, DType::F64, &Device::Cpu).unwrap();
        let points: Vec<usize> = lengths.iter().map(|length| 2 * length - 1).collect();
        let kernel = var("kernel", &[&[batch], points.as_slice(), &[channels]].concat());
        let drawn = kernel.1.as_tensor().clone();
        for config in kinds(channels, &lengths) {
            let (vars, mask) = fresh(&config);
            let all = [moved(&vars), vec![kernel.clone()]].concat();
            assert_eq!(all.len(), 2);
            assert_gradients(&all, || weighted_squares(&mask.apply(&grid, &drawn).unwrap()));
        }
    }
}

/// The gradient of a mask's parameter, which is set to these values, one a channel.
fn gradient(config: &MaskConfig, values: &[f64]) -> Vec<f64> {
    let (vars, mask) = fresh(config);
    let (name, var) = sorted(&vars).remove(0);
    var.set(&Tensor::from_vec(values.to_vec(), var.shape(), &Device::Cpu).unwrap()).unwrap();
    let grid = siren::grid(&[3], &[3], DType::F64, &Device::Cpu).unwrap();
    let kernel = random("kernel", &[2, 5, values.len()], DType::F64);
    let out = weighted_squares(&mask.apply(&grid, &kernel).unwrap());
    numbers(gradient_of(&out.backward().unwrap(), &name, &var))
}

#[test]
fn a_width_has_a_gradient_within_its_bounds_and_on_them() {
    for parametrization in PARAMETRIZATIONS {
        // 1 is stored as 0 and as log(e − 1), so that both ways to it and back are exact for the first.
        let config = MaskConfig::Gaussian(GaussianMaskConfig {
            min_std: 0.5,
            max_std: 1.0,
            parametrization,
            ..GaussianMaskConfig::new(5, &[3])
        });
        let stored = |std: f64| match parametrization {
            Parametrization::Direct => std,
            Parametrization::Log => std.ln(),
            Parametrization::Softplus => std.exp_m1().ln(),
        };
        let on = if parametrization == Parametrization::Softplus { 0.999_999_9 } else { 1.0 };
        let moves: Vec<bool> = gradient(&config, &[0.4, 0.501, 0.7, on, 1.01].map(stored))
            .iter()
            .map(|x| x.abs() > 1e-6)
            .collect();
        assert_eq!(moves, [false, true, true, true, false], "{parametrization:?}");
    }
}

#[test]
fn a_fresh_mask_whose_widths_are_the_bounds_can_move() {
    // The original's start: the narrowest window is as narrow as may be.
    let config = GaussianMaskConfig::new(4, &[3]);
    let bounds = GaussianMaskConfig { max_std: config.min_std, ..config };
    let values = [bounds.min_std; 4];
    let gradient = gradient(&MaskConfig::Gaussian(bounds), &values);
    assert!(gradient.iter().all(|x| x.abs() > 1e-6), "{gradient:?}");
}

#[test]
fn a_decay_of_zero_has_no_gradient_and_either_sign_has_one() {
    // As in PyTorch, where the slope of |w| at 0 is 0.
    let config = MaskConfig::Exponential(ExponentialMaskConfig { data_dim: 1, num_channels: 3 });
    let [negative, zero, positive] = gradient(&config, &[-0.5, 0.0, 0.5]).try_into().unwrap();
    assert_eq!(zero, 0.0);
    assert!(negative.abs() > 1e-6 && positive.abs() > 1e-6);
}
