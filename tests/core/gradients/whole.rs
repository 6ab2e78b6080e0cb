//! Whole convolutions, of every kernel type and with either mask, at sizes that fill no tile.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use film_core::conv::Boundary;
use film_core::mask::{ExponentialMaskConfig, GaussianMaskConfig, MaskConfig};
use film_core::siren::SirenConfig;
use film_core::{CKConvConfig, CKConvNd, Condition, KernelFilmConfig};

use super::variables::{errors, omegas, sizes};
use crate::reference::random;

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

/// Holds the gradients in `dtype` on `device` of convolutions of that many sizes to those of float64: each is within `bound`,
/// a share of its largest number.
pub(crate) fn assert_those_of_float64(dtype: DType, device: &Device, seeds: u64, bound: f64) {
    for omega in 0..omegas(1).len() {
        for seed in 0..seeds {
            let config = config(seed, omega);
            let cond_dim = config.kernel.film_generator.as_ref().unwrap().cond_dim;
            let signal = random("signal", &[3, 9, 6, config.kernel.out_dim], dtype);
            let convolve = |vb: VarBuilder, conditioning: &Tensor| {
                let signal = signal.to_dtype(vb.dtype()).unwrap().to_device(vb.device()).unwrap();
                let conv = CKConvNd::new(&config, vb).unwrap();
                conv.forward(&signal, Condition::Conditioning(conditioning)).unwrap()
            };
            for (name, error) in errors((dtype, device), &[3, cond_dim], convolve) {
                assert!(error < bound, "{omega} {seed} {name}: {error:e}");
            }
        }
    }
}
