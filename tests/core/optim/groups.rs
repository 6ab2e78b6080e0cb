//! Each variable once, by decay and scale; what is missing or said twice is named.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;
use film_core::conv::Boundary;
use film_core::mask::{GaussianMaskConfig, MaskConfig};
use film_core::optim::{Assignment, ParameterGroups, Policy};
use film_core::siren::{Blocks, Omega, Scale, SirenConfig};
use film_core::{
    CKConvConfig, CKConvNd, KernelFilmConfig, KernelFilmGenerator, NoWeightDecay, Parameter,
    RegisterPooling, RegisterPoolingConfig, Result, WeightDecay, init,
};

use super::map;
use crate::support::{json_fixture, message};

const DEFAULT: f64 = 0.1;

/// Each group's decay, scale, and names.
fn listed(groups: &ParameterGroups) -> Vec<(f64, f64, Vec<&str>)> {
    let groups = groups.groups().iter();
    groups
        .map(|group| {
            let names = group.variables.iter().map(|(name, _)| name.as_str()).collect();
            (group.weight_decay, group.learning_rate_scale, names)
        })
        .collect()
}

fn generator(config: &KernelFilmConfig, prefix: &str) -> VarMap {
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
    let vb = if prefix.is_empty() { vb } else { vb.pp(prefix) };
    KernelFilmGenerator::new(config, vb).unwrap();
    vars
}

#[test]
fn generators_decay_as_the_original_says() {
    let cases = json_fixture("weight_decay.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for (case, prefix) in cases.iter().zip(["", "a", "a.film_generator", "b"]) {
        let setting = &case["no_weight_decay"];
        let config = KernelFilmConfig::new(8, 4, 2).with_no_weight_decay(match setting.as_bool() {
            Some(flag) => NoWeightDecay::Flag(flag),
            None => NoWeightDecay::Value(setting.as_f64().unwrap()),
        });
        let groups = ParameterGroups::assign(&generator(&config, prefix), DEFAULT)
            .and_then(|assignment| assignment.module(prefix, config.parameters()?)?.finish())
            .unwrap();
        let mut expected = case["weight_decay"].as_object().unwrap().clone();
        for (decay, scale, names) in listed(&groups) {
            assert_eq!(scale, 1.0);
            for name in names {
                let name = name.strip_prefix(prefix).unwrap().trim_start_matches('.');
                let expected = expected.remove(name).unwrap();
                assert_eq!(decay, expected.as_f64().unwrap_or(DEFAULT), "{name}: {case}");
            }
        }
        assert!(expected.is_empty(), "without a group: {expected:?}");
        assert!(groups.warnings().is_empty() && groups.frozen().is_empty());
    }
}

/// A convolution with all there is, a register pooling and a layer of candle_nn.
fn network() -> (VarMap, CKConvConfig) {
    let kernel = SirenConfig {
        out_dim: 4,
        data_dim: 1,
        mlp_hidden_dim: 8,
        num_layers: 2,
        embedding_dim: 8,
        omega: Omega::LearnableBlocks {
            blocks: Blocks { num_blocks: 4, omega_0_max: 10.0, ..Blocks::default() },
            scale: Scale { scale_learning_rate: true, ..Scale::default() },
        },
        hidden_omega_0: 1.0,
        l_cache: vec![5],
        use_bias: true,
        film_after_pos_embed: false,
        film_generator: Some(
            KernelFilmConfig::new(3, 8, 1).with_no_weight_decay(NoWeightDecay::Value(0.005)),
        ),
    };
    let mask = MaskConfig::Gaussian(GaussianMaskConfig::new(4, &kernel.l_cache));
    let config = CKConvConfig::new(kernel, &[Boundary::Zero]).unwrap();
    let config = CKConvConfig { mask: Some(mask), ..config };
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
    CKConvNd::new(&config, vb.pp("conv")).unwrap();
    RegisterPooling::new(&RegisterPoolingConfig { num_registers: 2 }, vb.pp("pooling")).unwrap();
    candle_nn::linear(4, 2, vb.pp("head")).unwrap();
    (vars, config)
}

fn assign(vars: &VarMap, conv: Vec<Parameter>) -> Result<Assignment> {
    ParameterGroups::assign(vars, DEFAULT)?
        .module("pooling", RegisterPoolingConfig { num_registers: 2 }.parameters()?)?
        .module("conv", conv)
}

#[test]
fn a_network_is_partitioned_the_same_way_each_time() {
    for _ in 0..4 {
        let (vars, config) = network();
        let groups = assign(&vars, config.parameters().unwrap())
            .and_then(|assignment| assignment.layers("head", Policy::by_rank)?.finish())
            .unwrap();
        let slow = 1.0 / (std::f64::consts::TAU * 10.0);
        let expected = [
            (
                0.0,
                slow,
                vec![
                    "conv.kernel.positional_embedding.linear.bias",
                    "conv.kernel.positional_embedding.linear.weight",
                ],
            ),
            (
                0.0,
                1.0,
                vec![
                    "conv.kernel.film_generator.mlp.0.bias",
                    "conv.kernel.film_generator.mlp.2.bias",
                    "conv.kernel.hidden_linears.0.bias",
                    "conv.kernel.hidden_linears.0.weight",
                    "conv.kernel.out_linear.bias",
                    "conv.kernel.positional_embedding.omega_0_scale",
                    "conv.mask.std_param",
                    "head.bias",
                    "pooling.logits",
                ],
            ),
            (
                0.005,
                1.0,
                vec![
                    "conv.kernel.film_generator.mlp.0.weight",
                    "conv.kernel.film_generator.mlp.2.weight",
                ],
            ),
            (DEFAULT, 1.0, vec!["conv.kernel.out_linear.weight", "conv.shortcut", "head.weight"]),
        ];
        assert_eq!(listed(&groups), expected);
        let count: usize = listed(&groups).iter().map(|(_, _, names)| names.len()).sum();
        assert_eq!(count, vars.all_vars().len());
        // The vector that decays though nobody said so.
        let warnings: Vec<String> = groups.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 1);
        assert_eq!(groups.warnings()[0].variable, "conv.shortcut");
        assert!(warnings[0].starts_with("conv.shortcut: of shape [4], decays by the default 0.1"));
    }
}

#[test]
fn an_explicit_word_ends_the_warning() {
    let (vars, config) = network();
    for word in [WeightDecay::None, WeightDecay::Value(DEFAULT)] {
        let mut parameters = config.parameters().unwrap();
        for parameter in parameters.iter_mut().filter(|parameter| parameter.name == "shortcut") {
            parameter.weight_decay = word;
        }
        let groups = assign(&vars, parameters)
            .and_then(|assignment| assignment.layers("head", Policy::by_rank)?.finish())
            .unwrap();
        assert!(groups.warnings().is_empty(), "{word:?}");
    }
    // By default nothing decays, so nothing has to be said.
    let vars = map(&[("gain", &[3], DType::F32), ("scalar", &[], DType::F32)]);
    let groups = |decay| {
        let assignment = ParameterGroups::assign(&vars, decay)?;
        assignment.layers("", |_, _| WeightDecay::Default)?.finish()
    };
    assert!(groups(0.0).unwrap().warnings().is_empty());
    assert_eq!(groups(0.1).unwrap().warnings().len(), 2);
}

#[test]
fn layers_take_what_is_at_or_below_a_name_and_left() {
    let vars = map(&[
        ("head.weight", &[2, 2], DType::F32),
        ("head.bias", &[2], DType::F16),
        ("head2.weight", &[2, 2], DType::BF16),
        ("headless", &[2, 2], DType::F64),
        ("token", &[1, 2], DType::F32),
    ]);
    let fast = |name: &str, _: &Var| {
        assert_eq!(name, "token", "asked for that one only");
        Policy { weight_decay: WeightDecay::Value(0.3), learning_rate_scale: 10.0 }
    };
    let groups = ParameterGroups::assign(&vars, DEFAULT)
        .and_then(|assignment| {
            assignment
                .layers("head", Policy::by_rank)?
                .layers("token", fast)?
                .frozen("head2")?
                .layers("", |_, _| WeightDecay::Value(0.0))?
                .finish()
        })
        .unwrap();
    let expected = [
        (0.0, 1.0, vec!["head.bias", "headless"]),
        (DEFAULT, 1.0, vec!["head.weight"]),
        (0.3, 10.0, vec!["token"]),
    ];
    assert_eq!(listed(&groups), expected);
    assert_eq!(groups.frozen().len(), 1);
    assert_eq!(groups.frozen()[0].0, "head2.weight");
}

#[test]
fn variables_of_integers_are_not_trained() {
    let vars = map(&[("weight", &[2, 2], DType::F32)]);
    let table = Var::from_tensor(&Tensor::new(&[1u32, 2], &Device::Cpu).unwrap()).unwrap();
    vars.data().lock().unwrap().insert("table".into(), table);
    let assignment = ParameterGroups::assign(&vars, DEFAULT).unwrap();
    let groups = assignment.layers("", Policy::by_rank).unwrap().finish().unwrap();
    assert_eq!(listed(&groups), [(DEFAULT, 1.0, vec!["weight"])]);
    assert_eq!(groups.frozen()[0].0, "table");
}

#[test]
fn what_does_not_fit_is_named() {
    let config = KernelFilmConfig::new(3, 2, 1);
    let vars = generator(&config, "film");
    let start = || ParameterGroups::assign(&vars, DEFAULT).unwrap();
    let parameters = || config.parameters().unwrap();
    let with = |change: &dyn Fn(&mut Parameter)| {
        let mut parameters = parameters();
        change(&mut parameters[0]);
        message(start().module("film", parameters))
    };

    let text = message(start().module("", parameters()));
    assert_eq!(text, "mlp.0.weight: expected a variable of that name, found none");
    let text = message(start().finish());
    let expected =
        "film.mlp.0.bias: expected a module or layer it is assigned by, found none, nor for 3 more";
    assert_eq!(text, expected);
    let text = message(start().module("film", parameters()).unwrap().module("film", parameters()));
    assert_eq!(text, "film.mlp.0.weight: expected to be assigned once, found a second time");
    let text = message(start().frozen("film.mlp.2").unwrap().module("film", parameters()));
    assert_eq!(text, "film.mlp.2.weight: expected to be assigned once, found a second time");
    let text = message(start().layers("fil", Policy::by_rank));
    let expected = "\"fil\": expected variables of that name or below it that are not assigned yet, found none";
    assert_eq!(text, expected);
    let text = message(start().module("film", parameters()).unwrap().layers("", Policy::by_rank));
    assert!(text.starts_with("\"\": expected"), "{text}");

    let text = with(&|parameter| parameter.shape = vec![64, 4]);
    assert_eq!(text, "film.mlp.0.weight: expected shape [64, 4], found [64, 3]");
    let text = with(&|parameter| parameter.weight_decay = WeightDecay::Value(-0.1));
    let expected =
        "film.mlp.0.weight: weight_decay: expected a finite number of at least 0, found -0.1";
    assert_eq!(text, expected);
    let text = with(&|parameter| parameter.learning_rate_scale = f64::NAN);
    let expected =
        "film.mlp.0.weight: learning_rate_scale: expected a finite number of at least 0, found NaN";
    assert_eq!(text, expected);
    let text = message(ParameterGroups::assign(&vars, f64::INFINITY));
    assert_eq!(text, "weight_decay: expected a finite number of at least 0, found inf");
}

#[test]
fn variables_that_cannot_be_trained_are_refused() {
    let vars = map(&[("a", &[2, 2], DType::F32)]);
    let same = vars.data().lock().unwrap()["a"].clone();
    vars.data().lock().unwrap().insert("b".into(), same);
    let text = message(ParameterGroups::assign(&vars, DEFAULT));
    assert_eq!(text, "b: expected a variable of its own, found the same one as a");

    let vars = map(&[("a", &[2, 2], DType::F8E4M3)]);
    let text = message(ParameterGroups::assign(&vars, DEFAULT));
    assert_eq!(text, "a: expected a variable of f16, bf16, f32 or f64, found f8e4m3");
}
