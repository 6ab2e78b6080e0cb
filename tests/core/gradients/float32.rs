//! In float32, where operations may be fused, what they are in float64: of whole convolutions, at sizes that fill no tile.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use film_core::conv::Boundary;
use film_core::mask::{ExponentialMaskConfig, GaussianMaskConfig, MaskConfig};
use film_core::siren::SirenConfig;
use film_core::{CKConvConfig, CKConvNd, Condition, KernelFilmConfig, init};

use super::{Vars, gradient_of, moved, omegas, sizes, sorted, var, weighted_squares};
use crate::support::{numbers, random, relative_error};

fn config(seed: u64, omega: usize) -> CKConvConfig {
    let [half, channels, cond_dim, hidden] = sizes(seed, 20);
    let (width, channels) = (2 * half, 2 * channels);
    let after = seed.is_multiple_of(2);
    let l_cache = vec![9, 6];
    let kernel = SirenConfig {
        out_dim: channels,
        data_dim: 2,
        mlp_hidden_dim: width,
        num_layers: 3,
        embedding_dim: width,
        omega: omegas(half)[omega].clone(),
        hidden_omega_0: 1.0,
        l_cache: l_cache.clone(),
        use_bias: !seed.is_multiple_of(3),
        film_after_pos_embed: after,
        film_generator: Some(
            KernelFilmConfig::new(cond_dim, width, 2 + usize::from(after))
                .with_film_hidden_dim(hidden),
        ),
    };
    let mask = if after {
        MaskConfig::Gaussian(GaussianMaskConfig::new(channels, &l_cache))
    } else {
        MaskConfig::Exponential(ExponentialMaskConfig { data_dim: 2, num_channels: channels })
    };
    let boundaries = [Boundary::Zero, Boundary::Zero];
    CKConvConfig { mask: Some(mask), ..CKConvConfig::new(kernel, &boundaries).unwrap() }
}

/// The gradients of a convolution of these variables, by name, the conditioning's last.
fn gradients(config: &CKConvConfig, vars: &VarMap, dtype: DType) -> Vec<(String, Tensor)> {
    let vb = VarBuilder::from_varmap(vars, dtype, &Device::Cpu);
    let conv = CKConvNd::new(config, vb).unwrap();
    let channels = config.kernel.out_dim;
    let signal = random("signal", &[3, 9, 6, channels], dtype);
    let cond_dim = config.kernel.film_generator.as_ref().unwrap().cond_dim;
    let (name, conditioning) = var("conditioning", &[3, cond_dim]);
    let conditioning = Var::from_tensor(&conditioning.to_dtype(dtype).unwrap()).unwrap();
    let condition = Condition::Conditioning(conditioning.as_tensor());
    let output = conv.forward(&signal, condition).unwrap().to_dtype(DType::F64).unwrap();
    let found = weighted_squares(&output).backward().unwrap();
    let all: Vars = [sorted(vars), vec![(name, conditioning)]].concat();
    all.iter().map(|(name, var)| (name.clone(), gradient_of(&found, name, var).clone())).collect()
}

#[test]
fn float32_has_the_gradients_of_float64() {
    for omega in 0..omegas(1).len() {
        for seed in 0..4 {
            let config = config(seed, omega);
            let single = VarMap::new();
            CKConvNd::new(&config, init::var_builder(&single, 1, DType::F32, &Device::Cpu))
                .unwrap();
            let double = VarMap::new();
            for (name, var) in moved(&single) {
                let wide = Var::from_tensor(&var.to_dtype(DType::F64).unwrap()).unwrap();
                double.data().lock().unwrap().insert(name, wide);
            }
            let got = gradients(&config, &single, DType::F32);
            let truth = gradients(&config, &double, DType::F64);
            for ((name, got), (_, truth)) in got.iter().zip(&truth) {
                assert!(numbers(truth).iter().any(|x| *x != 0.0), "{name}");
                let error = relative_error(got, truth);
                assert!(error < 2e-5, "{omega} {seed} {name}: {error:e}");
            }
        }
    }
}
