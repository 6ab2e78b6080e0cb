//! Of SIREN kernels of every type, in all their parameters and the conditioning.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use film_core::siren::{Omega, Scale, SirenConfig, SirenKernel};
use film_core::{KernelFilmConfig, init};

use super::{Vars, assert_gradients, gradient_of, moved, omegas, sizes, var, weighted_squares};
use crate::support::numbers;

/// A kernel of random sizes; its embedding is `2 · half` wide.
fn config(seed: u64, omega: usize, conditioned: bool) -> SirenConfig {
    let [axes, layers, half, out, cond_dim] = sizes(seed, 3);
    let [long, longer, longest] = sizes::<3>(seed + 100, 3).map(|length| length + 1);
    let after = seed.is_multiple_of(2);
    let width = 2 * half;
    // An unmodulated embedding may be of another width than the layers behind it.
    let embedding = if after { width } else { 2 * half + 2 };
    let films = layers - 1 + usize::from(after);
    SirenConfig {
        out_dim: 2 * out,
        data_dim: axes,
        mlp_hidden_dim: width,
        num_layers: layers,
        embedding_dim: embedding,
        omega: omegas(embedding / 2)[omega].clone(),
        hidden_omega_0: 1.0,
        l_cache: [long, longer, longest][..axes].into(),
        use_bias: !seed.is_multiple_of(3),
        film_after_pos_embed: after,
        film_generator: (conditioned && films > 0)
            .then(|| KernelFilmConfig::new(cond_dim, width, films).with_film_hidden_dim(3)),
    }
}

fn fresh(config: &SirenConfig) -> (Vars, SirenKernel) {
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, 3, DType::F64, &Device::Cpu);
    let kernel = SirenKernel::new(config, vb).unwrap();
    (moved(&vars), kernel)
}

#[test]
fn every_type_has_gradients_in_every_parameter_and_the_conditioning() {
    for omega in 0..omegas(1).len() {
        for seed in 0..6 {
            let config = config(seed, omega, seed != 5);
            let (mut all, kernel) = fresh(&config);
            let parameters = config.parameters().unwrap();
            assert_eq!(all.len(), parameters.len());
            let [batch] = sizes(seed + 200, 3);
            let conditioning = config.film_generator.as_ref().map(|film| {
                let conditioning = var("conditioning", &[batch, film.cond_dim]);
                all.push(conditioning.clone());
                conditioning.1.as_tensor().clone()
            });
            let lengths = vec![2; config.data_dim];
            assert_gradients(&all, || {
                weighted_squares(&kernel.forward(&lengths, conditioning.as_ref()).unwrap().0)
            });
        }
    }
}

#[test]
fn learned_frequencies_have_a_gradient_within_their_bounds_and_on_them() {
    let scale = Scale { min: 0.5, max: 1.5, ..Scale::default() };
    let config = SirenConfig {
        omega: Omega::Learnable { omega_0: 0.4, scale },
        embedding_dim: 5,
        mlp_hidden_dim: 4,
        film_generator: None,
        film_after_pos_embed: false,
        ..config(0, 0, false)
    };
    let (vars, kernel) = fresh(&config);
    let (name, var) =
        vars.iter().find(|(name, _)| name.ends_with("omega_0_scale")).unwrap().clone();
    let gradient = |values: [f64; 5]| {
        var.set(&Tensor::new(&values, &Device::Cpu).unwrap()).unwrap();
        let (kernel, _) = kernel.forward(&vec![2; config.data_dim], None).unwrap();
        let gradients = weighted_squares(&kernel).backward().unwrap();
        numbers(gradient_of(&gradients, &name, &var))
    };
    let moves =
        gradient([0.4, 0.5, 1.0, 1.5, 1.6]).iter().map(|x| x.abs() > 1e-6).collect::<Vec<_>>();
    assert_eq!(moves, [false, true, true, true, false]);
    // On a bound it is what it is beside it.
    let (on, beside) = (gradient([1.5; 5]), gradient([1.5 - 1e-9; 5]));
    for (on, beside) in on.iter().zip(&beside) {
        assert!((on - beside).abs() < 1e-6 * (1.0 + beside.abs()), "{on} and {beside}");
    }
}
