//! Which weight decay each parameter gets.

use film_core::{
    KernelFilmConfig, NoWeightDecay, RegisterCompressConcatConfig, RegisterPoolingConfig,
    WeightDecay,
};
use serde_json::Value;

use crate::support::json_fixture;

/// The decay that the optimizer ends up with, as the fixture writes it.
fn as_json(decay: WeightDecay) -> Value {
    match decay {
        WeightDecay::Default => "default".into(),
        WeightDecay::None => 0.0.into(),
        WeightDecay::Value(value) => value.into(),
    }
}

#[test]
fn decays_are_the_originals() {
    let cases = json_fixture("weight_decay.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let json = serde_json::json!({
            "cond_dim": 8,
            "kernel_hidden_dim": 4,
            "num_film_layers": 2,
            "no_weight_decay": case["no_weight_decay"],
        });
        let config: KernelFilmConfig = serde_json::from_value(json).unwrap();
        let expected = case["weight_decay"].as_object().unwrap();
        let parameters = config.parameters().unwrap();
        assert_eq!(parameters.len(), expected.len());
        for parameter in parameters {
            let decay = as_json(parameter.weight_decay);
            assert_eq!(decay, expected[&parameter.name], "{}: {case}", parameter.name);
            assert_eq!(parameter.learning_rate_scale, 1.0);
        }
    }
}

#[test]
fn zero_is_a_number_and_true_is_none() {
    let weight = |setting| {
        let config = KernelFilmConfig::new(8, 4, 2).with_no_weight_decay(setting);
        config.parameters().unwrap()[0].weight_decay
    };
    assert_eq!(weight(NoWeightDecay::Value(0.0)), WeightDecay::Value(0.0));
    assert_eq!(weight(NoWeightDecay::Value(0.005)), WeightDecay::Value(0.005));
    assert_eq!(weight(NoWeightDecay::Flag(true)), WeightDecay::None);
    assert_eq!(weight(NoWeightDecay::Flag(false)), WeightDecay::Default);
    assert_eq!(weight(NoWeightDecay::default()), WeightDecay::Default);
}

#[test]
fn a_pooling_never_decays_and_a_compression_does() {
    let [logits] = RegisterPoolingConfig { num_registers: 3 }.parameters().unwrap();
    assert_eq!((logits.name.as_str(), logits.weight_decay), ("logits", WeightDecay::None));
    let config =
        RegisterCompressConcatConfig { num_registers: 3, hidden_dim: 4, compressed_dim: 2 };
    let [weight] = config.parameters().unwrap();
    assert_eq!(
        (weight.name.as_str(), weight.weight_decay),
        ("compress.weight", WeightDecay::Default)
    );
}
