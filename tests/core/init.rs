//! How a fresh module starts: by seed and name alone, with PyTorch's distributions.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{VarBuilder, VarMap};
use film_core::checkpoint::to_le_bytes;
use film_core::{
    InitType, KernelFilmConfig, KernelFilmGenerator, RegisterCompressConcat,
    RegisterCompressConcatConfig, RegisterPooling, RegisterPoolingConfig, init,
};

use crate::support::{fresh, message, numbers, random};

fn production() -> KernelFilmConfig {
    KernelFilmConfig::new(384, 32, 3).with_init_type(InitType::SmallRandom)
}

fn bytes(generator: &KernelFilmGenerator) -> Vec<(&'static str, Vec<u8>)> {
    generator.tensors().map(|(name, tensor)| (name, to_le_bytes(tensor).unwrap())).to_vec()
}

/// The weight or bias `name` of a generator.
fn values(generator: &KernelFilmGenerator, name: &str) -> Vec<f64> {
    let (_, tensor) = generator.tensors().into_iter().find(|(found, _)| *found == name).unwrap();
    numbers(tensor)
}

fn with_seed(seed: u64) -> KernelFilmGenerator {
    let vb = init::var_builder(&VarMap::new(), seed, DType::F32, &Device::Cpu);
    KernelFilmGenerator::new(&production(), vb).unwrap()
}

#[test]
fn the_seed_alone_decides() {
    assert_eq!(bytes(&with_seed(0)), bytes(&with_seed(0)));
    let (zero, one) = (with_seed(0), with_seed(1));
    for name in ["mlp.0.weight", "mlp.0.bias", "mlp.2.weight"] {
        assert_ne!(values(&zero, name), values(&one, name), "{name}");
    }
    assert_ne!(values(&zero, "mlp.0.weight")[..64], values(&zero, "mlp.0.bias")[..]);
}

#[test]
fn the_order_of_asking_changes_nothing() {
    let config = production();
    let expected = fresh(&config, DType::F32);
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
    // Something else first, then the parameters backwards.
    vb.get((3, 3), "elsewhere").unwrap();
    let mut parameters = config.parameters().unwrap();
    parameters.reverse();
    for parameter in &parameters {
        parameter.build(&vb).unwrap();
    }
    let generator = KernelFilmGenerator::new(&config, vb).unwrap();
    assert_eq!(bytes(&generator), bytes(&expected));
    assert_eq!(vars.all_vars().len(), 5);
}

#[test]
fn a_prefix_gives_numbers_of_its_own() {
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
    let build = |prefix| KernelFilmGenerator::new(&production(), vb.pp(prefix)).unwrap();
    let (first, second) = (build("blocks.0"), build("blocks.1"));
    assert_ne!(values(&first, "mlp.0.weight"), values(&second, "mlp.0.weight"));
    assert_eq!(bytes(&first), bytes(&build("blocks.0")));
    assert!(vars.data().lock().unwrap().contains_key("blocks.1.mlp.2.bias"));
}

#[test]
fn other_dtypes_are_the_same_numbers_rounded_once() {
    let wide = fresh(&production(), DType::F64);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let narrow = fresh(&production(), dtype);
        for ((name, wide), (_, narrow)) in wide.tensors().into_iter().zip(narrow.tensors()) {
            assert_eq!(narrow.dtype(), dtype);
            assert_eq!(numbers(narrow), numbers(&wide.to_dtype(dtype).unwrap()), "{name}");
        }
    }
}

/// Recorded once, and computed apart from this crate by the recipe in `init`: another platform or a
/// later version must draw the very same bits.
#[test]
fn seed_0_draws_these_bits() {
    let generator = with_seed(0);
    let bits = |name| -> Vec<u32> {
        values(&generator, name).iter().take(4).map(|x| (*x as f32).to_bits()).collect()
    };
    assert_eq!(bits("mlp.0.weight"), [0xbd1e_2d3e, 0xbd2f_b461, 0xbcde_9b7f, 0xbd3f_b4ed]);
    assert_eq!(bits("mlp.0.bias"), [0xbd42_65fa, 0x3d30_fec9, 0xbcd1_2a26, 0xbd42_399e]);
    assert_eq!(bits("mlp.2.weight"), [0x38a0_e8fb, 0xb806_2bd7, 0xb7e3_f664, 0xb81b_2338]);
}

#[test]
fn identity_is_exact_for_any_conditioning() {
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        for (width, layers) in [(1, 1), (4, 1), (1, 3), (7, 5)] {
            let generator = fresh(&KernelFilmConfig::new(16, width, layers), dtype);
            let conditioning = (random("c", &[9, 16], dtype) * 100.0).unwrap();
            for film in generator.films(&conditioning).unwrap() {
                assert!(numbers(&film.gamma).iter().all(|gamma| *gamma == 1.0));
                assert!(numbers(&film.beta).iter().all(|beta| *beta == 0.0));
            }
        }
    }
}

#[test]
fn small_random_is_near_identity_and_depends_on_the_conditioning() {
    let generator = fresh(&production(), DType::F32);
    let flat = generator.forward(&random("c", &[2, 384], DType::F32)).unwrap();
    let rows = flat.to_vec2::<f32>().unwrap();
    assert_ne!(rows[0], rows[1]);
    for (index, value) in rows.concat().into_iter().enumerate() {
        let start = if index % 64 < 32 { 1.0 } else { 0.0 };
        assert!((value - start).abs() < 0.01, "{index}: {value}");
    }
}

/// Kolmogorov's statistic √n · sup |F_n − F|; above 1.95 once in a thousand.
fn kolmogorov(values: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let gap = sorted.iter().enumerate().map(|(rank, x)| {
        let expected = cdf(*x);
        (expected - rank as f64 / n).abs().max(((rank + 1) as f64 / n - expected).abs())
    });
    n.sqrt() * gap.fold(0.0, f64::max)
}

/// U(−bound, bound): all inside, and mean and variance within six standard errors.
fn assert_uniform(values: &[f64], bound: f64) {
    let n = values.len() as f64;
    // The float32 nearest to the bound may lie just above it.
    assert!(values.iter().all(|x| x.abs() <= f64::from(bound as f32)));
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| x * x).sum::<f64>() / n;
    let expected = bound * bound / 3.0;
    assert!(mean.abs() < 6.0 * (expected / n).sqrt(), "mean {mean}");
    let error = bound * bound * (4.0 / 45.0 / n).sqrt();
    assert!((variance - expected).abs() < 6.0 * error, "variance {variance}, not {expected}");
}

/// N(0, std²): mean and variance within six standard errors.
fn assert_normal(values: &[f64], std: f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| x * x).sum::<f64>() / n;
    assert!(mean.abs() < 6.0 * std / n.sqrt(), "mean {mean}");
    let error = std * std * (2.0 / n).sqrt();
    assert!((variance - std * std).abs() < 6.0 * error, "variance {variance}, not {}", std * std);
}

fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

#[test]
fn seeded_distributions_are_pytorchs() {
    let generator = with_seed(0);
    let bound = 1.0 / 384f64.sqrt();
    let uniform = |x: f64| (x / bound + 1.0) / 2.0;
    for name in ["mlp.0.weight", "mlp.0.bias"] {
        let values = values(&generator, name);
        assert_uniform(&values, bound);
        let statistic = kolmogorov(&values, uniform);
        assert!(statistic < 1.95, "{name}: {statistic}");
    }
    let values = values(&generator, "mlp.2.weight");
    assert_normal(&values, 1e-4);
    let statistic = kolmogorov(&values, |x| normal_cdf(x / 1e-4));
    assert!(statistic < 1.95, "mlp.2.weight: {statistic}");
    // The statistic sees what it should: the wrong distribution has a large one.
    assert!(kolmogorov(&values, |x| normal_cdf(x / 1.1e-4)) > 1.95);
}

#[test]
fn neighbouring_seeds_are_not_correlated() {
    let draws: Vec<Vec<f64>> =
        (0..4).map(|seed| values(&with_seed(seed), "mlp.0.weight")).collect();
    let n = draws[0].len() as f64;
    let variance = 1.0 / 384.0 / 3.0;
    for (a, b) in [(0, 1), (1, 2), (0, 2), (2, 3)] {
        let product: f64 = draws[a].iter().zip(&draws[b]).map(|(x, y)| x * y).sum();
        let correlation = product / n / variance;
        assert!(correlation.abs() < 5.0 / n.sqrt(), "seeds {a} and {b}: {correlation}");
    }
}

#[test]
fn candles_own_builder_gives_the_same_distributions() {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    let generator = KernelFilmGenerator::new(&production(), vb).unwrap();
    assert_uniform(&values(&generator, "mlp.0.weight"), 1.0 / 384f64.sqrt());
    assert_normal(&values(&generator, "mlp.2.weight"), 1e-4);
    assert_eq!(values(&generator, "mlp.2.bias"), values(&with_seed(0), "mlp.2.bias"));
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    let identity = KernelFilmGenerator::new(&KernelFilmConfig::new(384, 32, 3), vb).unwrap();
    assert!(values(&identity, "mlp.2.weight").iter().all(|x| *x == 0.0));
}

#[test]
fn register_encoders_start_as_pytorchs() {
    let vb = init::var_builder(&VarMap::new(), 0, DType::F64, &Device::Cpu);
    let pooling =
        RegisterPooling::new(&RegisterPoolingConfig { num_registers: 4 }, vb.clone()).unwrap();
    let registers = Tensor::new(&[[1f64], [2.0], [3.0], [6.0]], &Device::Cpu).unwrap();
    assert_eq!(numbers(&pooling.pool(&registers).unwrap()), [3.0]);
    let config =
        RegisterCompressConcatConfig { num_registers: 4, hidden_dim: 300, compressed_dim: 50 };
    RegisterCompressConcat::new(&config, vb.clone()).unwrap();
    let weight = numbers(&vb.get((50, 300), "compress.weight").unwrap());
    assert_uniform(&weight, 1.0 / 300f64.sqrt());
}

#[test]
fn values_that_are_there_already_stay() {
    type Builder = fn(&VarMap) -> VarBuilder<'static>;
    let seeded: Builder = |vars| init::var_builder(vars, 0, DType::F32, &Device::Cpu);
    let candles: Builder = |vars| VarBuilder::from_varmap(vars, DType::F32, &Device::Cpu);
    let config = KernelFilmConfig::new(5, 2, 3).with_film_hidden_dim(4);
    for builder in [seeded, candles] {
        let vars = VarMap::new();
        KernelFilmGenerator::new(&config, builder(&vars)).unwrap();
        for (name, var) in vars.data().lock().unwrap().iter() {
            var.set(&random(name, var.dims(), DType::F32)).unwrap();
        }
        for again in [seeded, candles] {
            let generator = KernelFilmGenerator::new(&config, again(&vars)).unwrap();
            for (name, tensor) in generator.tensors() {
                assert_eq!(numbers(tensor), numbers(&random(name, tensor.dims(), DType::F32)));
                assert!(tensor.is_variable(), "{name}");
            }
        }
    }
}

#[test]
fn another_shape_under_the_same_name_is_refused() {
    let vars = VarMap::new();
    let build = |config: KernelFilmConfig| {
        let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
        KernelFilmGenerator::new(&config, vb)
    };
    build(KernelFilmConfig::new(5, 2, 3)).unwrap();
    assert_eq!(
        message(build(KernelFilmConfig::new(6, 2, 3))),
        "shape mismatch on mlp.0.weight: [64, 6] <> [64, 5]"
    );
}
