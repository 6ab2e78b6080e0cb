//! Through whole convolutions: no parameter is left without a gradient, whatever dtype, boundary, type and way.

use candle_core::{DType, Device, Var};
use candle_nn::VarMap;
use film_core::conv::{Algorithm, Boundary, Channels};
use film_core::mask::{ExponentialMaskConfig, GaussianMaskConfig, MaskConfig};
use film_core::siren::SirenConfig;
use film_core::{
    CKConvConfig, CKConvNd, Condition, KernelFilmConfig, RegisterCompressConcat,
    RegisterCompressConcatConfig, RegisterEncoder, RegisterPooling, RegisterPoolingConfig, init,
};

use super::{assert_gradients, gradient_of, moved, omegas, var, weighted_squares};
use crate::support::{numbers, random};

/// Each way, and the planner's choice.
const WAYS: [Option<Algorithm>; 5] = [
    None,
    Some(Algorithm::Reference),
    Some(Algorithm::Direct),
    Some(Algorithm::Fft),
    Some(Algorithm::Matmul),
];

/// A masked, modulated convolution of 4 channels.
fn config(boundaries: &[Boundary], omega: usize, gaussian: bool) -> CKConvConfig {
    let axes = boundaries.len();
    let l_cache = vec![4; axes];
    let kernel = SirenConfig {
        out_dim: 4,
        data_dim: axes,
        mlp_hidden_dim: 4,
        num_layers: 3,
        embedding_dim: 4,
        omega: omegas(2)[omega].clone(),
        hidden_omega_0: 1.0,
        l_cache: l_cache.clone(),
        use_bias: true,
        film_after_pos_embed: true,
        film_generator: Some(KernelFilmConfig::new(6, 4, 3).with_film_hidden_dim(5)),
    };
    let mask = if gaussian {
        MaskConfig::Gaussian(GaussianMaskConfig::new(4, &l_cache))
    } else {
        MaskConfig::Exponential(ExponentialMaskConfig { data_dim: axes, num_channels: 4 })
    };
    CKConvConfig { mask: Some(mask), ..CKConvConfig::new(kernel, boundaries).unwrap() }
}

/// Both encoders make conditioning 6 wide of their registers.
fn encoder(pooling: bool, vars: &VarMap, dtype: DType) -> (RegisterEncoder, [usize; 2]) {
    let vb = init::var_builder(vars, 0, dtype, &Device::Cpu).pp("registers");
    if pooling {
        let config = RegisterPoolingConfig { num_registers: 3 };
        (RegisterEncoder::Pooling(RegisterPooling::new(&config, vb).unwrap()), [3, 6])
    } else {
        let config =
            RegisterCompressConcatConfig { num_registers: 3, hidden_dim: 5, compressed_dim: 2 };
        let encoder = RegisterCompressConcat::new(&config, vb).unwrap();
        (RegisterEncoder::CompressConcat(encoder), [3, 5])
    }
}

#[test]
fn every_parameter_and_input_of_a_whole_convolution_receives_a_gradient() {
    use Boundary::{Causal, Circular, Zero};
    let shapes: [(&[Boundary], &[usize]); 5] = [
        (&[Zero], &[5]),
        (&[Circular], &[6]),
        (&[Causal], &[5]),
        (&[Zero, Circular], &[4, 5]),
        (&[Zero, Zero, Zero], &[3, 2, 3]),
    ];
    for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
        for (case, (boundaries, spatial)) in shapes.iter().enumerate() {
            for (index, way) in WAYS.into_iter().enumerate() {
                let (omega, odd) = ((case + index) % 5, (case + index) % 2 == 1);
                let config = config(boundaries, omega, odd);
                let vars = VarMap::new();
                let vb = init::var_builder(&vars, 0, dtype, &Device::Cpu);
                let conv = CKConvNd::new(&config, vb).unwrap();
                let conv = match way {
                    Some(way) => conv.algorithm(way),
                    None => conv,
                };
                let (encoder, row) = encoder(odd, &vars, dtype);
                let order = if odd { Channels::First } else { Channels::Last };
                let conv = conv.channels(order);
                let shape = match order {
                    Channels::First => [&[2, 4], *spatial].concat(),
                    Channels::Last => [&[2], *spatial, &[4]].concat(),
                };
                let as_var = |(name, var): (String, Var)| {
                    let value = var.to_dtype(dtype).unwrap();
                    (name, Var::from_tensor(&value).unwrap())
                };
                let signal = as_var(var("signal", &shape));
                let registers = as_var(var("registers", &[2, row[0], row[1]]));
                let conditioning = encoder.encode(registers.1.as_tensor()).unwrap();
                let all = [moved(&vars), vec![signal.clone(), registers]].concat();
                assert_eq!(all.len(), config.parameters().unwrap().len() + 3);
                let condition = Condition::Conditioning(&conditioning);
                let output = conv.forward(signal.1.as_tensor(), condition).unwrap();
                let loss = weighted_squares(&output.to_dtype(DType::F64).unwrap());
                let gradients = loss.backward().unwrap();
                for (name, var) in &all {
                    let gradient = numbers(gradient_of(&gradients, name, var));
                    let about = format!("{boundaries:?} {way:?} {dtype:?} {name}: {gradient:?}");
                    assert!(gradient.iter().all(|x| x.is_finite()), "{about}");
                    assert!(gradient.iter().any(|x| x.abs() > 1e-6), "{about}");
                }
            }
        }
    }
}

#[test]
fn a_whole_convolution_has_the_gradients_of_its_differences() {
    let boundaries = [Boundary::Zero, Boundary::Circular];
    let mut config = config(&boundaries, 4, true);
    if let Some(MaskConfig::Gaussian(mask)) = &mut config.mask {
        // No σ may be near a bound, where there is no slope to find.
        (mask.min_std, mask.max_std, mask.init_extent) = (0.01, 10.0, 20.0);
    }
    let vars = VarMap::new();
    let conv =
        CKConvNd::new(&config, init::var_builder(&vars, 0, DType::F64, &Device::Cpu)).unwrap();
    let conditioning = var("conditioning", &[2, 6]);
    let condition = conditioning.1.as_tensor().clone();
    let all = [moved(&vars), vec![conditioning]].concat();
    let signal = random("signal", &[2, 3, 4, 4], DType::F64);
    assert_gradients(&all, || {
        weighted_squares(&conv.forward(&signal, Condition::Conditioning(&condition)).unwrap())
    });
}
