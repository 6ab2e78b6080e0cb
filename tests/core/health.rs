//! The diagnosis: measures against their definitions, and each finding where it belongs.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use film_core::checkpoint::Checkpoint;
use film_core::health::{Comparison, Finding, Health, Measure, Observer, Thresholds, Weights};
use film_core::{Film, InitType, KernelFilmConfig, KernelFilmGenerator, init};

use crate::support::{cases, message, numbers, random};

fn fresh(config: &KernelFilmConfig) -> (VarMap, KernelFilmGenerator) {
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
    (vars, KernelFilmGenerator::new(config, vb).unwrap())
}

fn config() -> KernelFilmConfig {
    KernelFilmConfig::new(4, 3, 2).with_film_hidden_dim(5)
}

/// Sets element `index` of a variable.
fn set(vars: &VarMap, name: &str, index: usize, value: f32) {
    let var = vars.data().lock().unwrap()[name].clone();
    let mut values: Vec<f32> = var.flatten_all().unwrap().to_vec1().unwrap();
    values[index] = value;
    var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
}

/// What a layer with these γ and β, `[samples, 1]` each, is found to be.
fn of_values(gamma: &[f32], beta: &[f32]) -> Vec<Finding> {
    let column = |values: &[f32]| {
        Tensor::from_vec(values.to_vec(), (values.len(), 1), &Device::Cpu).unwrap()
    };
    let mut observer = Observer::new(&KernelFilmConfig::new(2, 1, 1));
    let conditioning = random("conditioning", &[gamma.len(), 2], DType::F32);
    let film = Film::new(column(gamma), column(beta)).unwrap();
    observer.add(&conditioning, &[film]).unwrap();
    observer.outputs().findings(&Thresholds::default())
}

#[test]
fn a_fresh_generator_is_where_it_started() {
    let conditioning = random("conditioning", &[8, 4], DType::F32);
    for init_type in [InitType::Identity, InitType::SmallRandom] {
        let config = config().with_init_type(init_type).with_init_std(0.05);
        let (_, generator) = fresh(&config.with_film_hidden_dim(2000));
        let health = Health::new(&generator, &conditioning).unwrap();
        for layer in &health.weights.as_ref().unwrap().layers {
            for part in [&layer.gamma, &layer.beta] {
                assert_eq!(part.bias, 0.0);
                // Rows of small_random are √2000 · 0.05 = 2.2 long; what is left is the squares' scatter.
                assert!(part.weight < 0.5, "{init_type:?}: {}", part.weight);
            }
        }
        let findings = health.findings(&Thresholds::default());
        let expected = usize::from(init_type == InitType::Identity) * 2;
        assert_eq!(findings.len(), expected, "{findings:?}");
        assert!(findings.iter().all(|finding| matches!(finding, Finding::Ignored { .. })));
    }
}

#[test]
fn distances_are_exact_for_each_layer_and_part() {
    let (vars, generator) = fresh(&config());
    // Row 1 of the β of layer 1: rows come as γ₀, β₀, γ₁, β₁, three each.
    let row = 3 * 3 + 1;
    set(&vars, "mlp.2.weight", row * 5, 3.0);
    set(&vars, "mlp.2.weight", row * 5 + 4, 4.0);
    set(&vars, "mlp.2.bias", 2, -1.0);
    let health = Health::of_weights(&generator).unwrap();
    assert!(health.outputs.is_none());
    let layers = &health.weights.as_ref().unwrap().layers;
    assert_eq!(layers.len(), 2);
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} and {b}");
    close(layers[1].beta.weight, 5.0 / 3f64.sqrt());
    close(layers[1].beta.norm, 5.0 / 3f64.sqrt());
    close(layers[0].gamma.bias, 2.0 / 3f64.sqrt());
    close(layers[0].gamma.negative, 1.0 / 3.0);
    let rest = [
        layers[0].gamma.weight,
        layers[0].beta.weight,
        layers[1].gamma.weight,
        layers[0].beta.bias,
        layers[1].gamma.bias,
        layers[1].beta.bias,
    ];
    assert_eq!(rest, [0.0; 6]);
    let thresholds = Thresholds { weight_distance: 2.0, ..Thresholds::default() };
    let lines: Vec<String> = health.findings(&thresholds).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "layer 0: 33.3 % of the biases of γ are negative, beyond 25 %",
            "layer 0: mlp.2.bias of γ is 1.155 from its start, beyond 1.000",
            "layer 1: mlp.2.weight of β is 2.887 from its start, beyond 2.000",
        ]
    );
}

#[test]
fn weights_are_measured_where_they_are_stored() {
    for case in cases("generator") {
        let checkpoint = Arc::new(Checkpoint::open(&case).unwrap());
        let found = checkpoint.discover().unwrap();
        let config = found.generator(None).unwrap().config(None).unwrap();
        let vb = checkpoint.var_builder(DType::F64, &Device::Cpu);
        let generator = KernelFilmGenerator::new(&config, vb).unwrap();
        let health = Health::of_weights(&generator).unwrap();
        let read = Weights::read(&checkpoint, "", &config).unwrap();
        assert_eq!(health.weights, Some(read), "{}", case.display());
        let elsewhere = Weights::read(&checkpoint, "x", &config);
        assert_eq!(message(elsewhere), "x.mlp.0.weight: no such tensor");
    }
}

#[test]
fn outputs_are_measured_over_the_batch() {
    let (vars, generator) = fresh(&config());
    for index in 0..12 * 5 {
        set(&vars, "mlp.2.weight", index, (index % 7) as f32 - 3.0);
    }
    let conditioning = random("conditioning", &[2, 3, 4], DType::F32);
    let films = generator.films(&conditioning).unwrap();
    let health = Health::new(&generator, &conditioning).unwrap();
    let outputs = health.outputs.as_ref().unwrap();
    assert_eq!((outputs.conditioning.samples, outputs.conditioning.dead), (6, 0));
    for (film, layer) in films.iter().zip(&outputs.layers) {
        for (values, summary) in [(&film.gamma, &layer.gamma), (&film.beta, &layer.beta)] {
            let values = numbers(values);
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            assert_eq!(summary.min, Some(least));
            let negative = values.iter().filter(|value| **value < 0.0).count();
            assert_eq!(summary.negative, Some(negative as f64 / values.len() as f64));
            let columns = (0..3).map(|column| {
                let column: Vec<f64> = values.iter().skip(column).step_by(3).copied().collect();
                let mean = column.iter().sum::<f64>() / 6.0;
                (column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 6.0).sqrt()
            });
            assert!((summary.spread.unwrap() - columns.sum::<f64>() / 3.0).abs() < 1e-12);
        }
        let beta = numbers(&film.beta);
        let rms = (beta.iter().map(|x| x * x).sum::<f64>() / beta.len() as f64).sqrt();
        let over_pi = layer.beta_over_pi().unwrap();
        assert!((over_pi - rms / std::f64::consts::PI).abs() < 1e-12);
    }
    // Chunk by chunk it is the same.
    let mut observer = Observer::new(generator.config());
    for chunk in [conditioning.get(0).unwrap(), conditioning.get(1).unwrap()] {
        observer.add(&chunk, &generator.films(&chunk).unwrap()).unwrap();
    }
    let chunks = observer.outputs();
    let (whole, parts) = (&outputs.layers[1].gamma, &chunks.layers[1].gamma);
    assert_eq!((whole.min, whole.max), (parts.min, parts.max));
    assert!((whole.spread.unwrap() - parts.spread.unwrap()).abs() < 1e-12);
}

#[test]
fn each_trouble_is_found_and_nothing_else() {
    let sound = of_values(&[0.8, 1.3, 0.9], &[0.1, -0.2, 0.1]);
    assert_eq!(sound, []);
    let line = |gamma: &[f32], beta: &[f32]| {
        let lines: Vec<String> = of_values(gamma, beta).iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    let varied = [0.5, 0.4, 0.6];
    assert_eq!(line(&[0.5, -0.1, 0.2], &varied), "layer 0: 33.3 % of γ are negative, beyond 25 %");
    assert_eq!(line(&[6.5, 6.4, 6.6], &varied), "layer 0: γ is as large as 6.600, beyond 6.283");
    assert_eq!(
        line(&varied, &[3.2, -3.2, 3.2]),
        "layer 0: β is 1.019 π in the mean square, beyond 1 π"
    );
    assert_eq!(
        line(&[1.0, 1.0, 1.0], &[0.5, 0.5, 0.5]),
        "layer 0: γ and β do not depend on the conditioning: spread 0.0e0, below 0.001"
    );
    assert_eq!(line(&[1.0, 1.0, 1.0], &varied), "", "β alone depends on it");
    assert_eq!(
        line(&[0.1, 3.0, 0.1], &varied),
        "layer 0: γ varies over the samples by 1.367, beyond 1"
    );
    assert_eq!(
        line(&[f32::NAN, 1.0, 1.1], &[0.1, f32::INFINITY, 0.2]),
        "layer 0 gamma: NaN or infinite values, 1 of them\nlayer 0 beta: NaN or infinite values, 1 of them"
    );
    // One sample tells nothing of the dependence.
    assert_eq!(line(&[1.0], &[0.0]), "");
}

#[test]
fn the_conditioning_is_looked_at_as_well() {
    let (vars, generator) = fresh(&config());
    let found = |conditioning: [[f32; 4]; 2]| {
        let conditioning = Tensor::new(&conditioning, &Device::Cpu).unwrap();
        let health = Health::new(&generator, &conditioning).unwrap();
        let findings = health.findings(&Thresholds::default());
        findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    // That γ does not vary with what does not vary goes without saying.
    assert_eq!(
        found([[0.0; 4], [0.0; 4]]),
        "conditioning: zero throughout in 2 of 2 samples\n\
         conditioning: the same for all samples: spread 0.0e0, below 0.001"
    );
    let text = found([[0.0; 4], [1.0, -1.0, 0.0, 1.0]]);
    assert!(text.starts_with("conditioning: zero throughout in 1 of 2 samples\nlayer 0: γ and"));
    set(&vars, "mlp.0.weight", 3, f32::NAN);
    let text = found([[1.0; 4], [f32::INFINITY, 0.0, 0.0, 0.0]]);
    assert!(text.contains("conditioning: NaN or infinite values, 1 of them"), "{text}");
    assert!(text.contains("\nmlp.0.weight: NaN or infinite values, 1 of them"), "{text}");
}

#[test]
fn reports_are_text_and_json() {
    let (_, generator) = fresh(&config());
    let conditioning = random("conditioning", &[2, 4], DType::F32);
    let health = Health::new(&generator, &conditioning).unwrap();
    let text = health.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("conditioning: 2 samples, 0 all zero, -0."), "{text}");
    assert_eq!(
        lines[2],
        "layer 1: γ 1.00 to 1.00, spread 0.00, 0.0 % negative; β 0.00 to 0.00, spread 0.00, rms 0.00 π; \
         mlp.2 moved by 0.00 and 0.00, bias by 0.00 and 0.00"
    );
    let json = serde_json::to_value(&health).unwrap();
    assert_eq!(json["outputs"]["conditioning"]["samples"], 2);
    assert_eq!(json["outputs"]["layers"][0]["gamma"]["max"], 1.0);
    assert_eq!(json["weights"]["layers"][1]["beta"]["weight"], 0.0);
    let json = serde_json::to_value(health.findings(&Thresholds::default())).unwrap();
    assert_eq!(json[1]["finding"], "ignored");
    assert_eq!(json[1]["layer"], 1);
    let thresholds: Thresholds = serde_json::from_str(r#"{"gamma": 3.0}"#).unwrap();
    assert_eq!(thresholds, Thresholds { gamma: 3.0, ..Thresholds::default() });
    assert!(serde_json::from_str::<Thresholds>(r#"{"gama": 3.0}"#).is_err());
}

#[test]
fn what_is_not_the_generators_is_refused() {
    let (_, generator) = fresh(&config());
    let (conditioning, other) =
        (random("c", &[2, 4], DType::F32), random("c", &[2, 5], DType::F32));
    let films = generator.films(&conditioning).unwrap();
    let mut observer = Observer::new(generator.config());
    assert_eq!(
        message(observer.add(&conditioning, &films[..1])),
        "pairs of γ and β: expected 2 of them, found 1"
    );
    assert_eq!(
        message(observer.add(&other, &films)),
        "conditioning: expected shape [*, 4], found [2, 5]"
    );
    let narrow = Film::new(random("γ", &[2, 2], DType::F32), random("β", &[2, 2], DType::F32));
    let films = [films[0].clone(), narrow.unwrap()];
    assert_eq!(
        message(observer.add(&conditioning, &films)),
        "gamma: expected shape [*, 3], found [2, 2]"
    );
    assert_eq!(observer.outputs().conditioning.samples, 0);
}

#[test]
fn norms_stand_beside_those_of_the_start() {
    let config = KernelFilmConfig::new(48, 40, 3).with_film_hidden_dim(50);
    let config = config.with_init_type(InitType::SmallRandom).with_init_std(0.02);
    let (vars, generator) = fresh(&config);
    let norms = Health::of_weights(&generator).unwrap().weights.unwrap().norms;
    let names: Vec<&str> = norms.iter().map(|norm| norm.tensor.as_str()).collect();
    assert_eq!(names, ["mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias"]);
    for norm in &norms {
        let values = numbers(vars.data().lock().unwrap()[&norm.tensor].as_tensor());
        let expected = values.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!((norm.norm - expected).abs() < 1e-9);
        let ratio = norm.norm / norm.start;
        assert!((ratio - 1.0).abs() < if values.len() > 50 { 0.05 } else { 0.3 }, "{norm:?}");
    }
}

#[test]
fn histograms_count_all_that_was_seen() {
    let (_, generator) = fresh(&config());
    let mut observer = Observer::new(generator.config());
    for seed in ["a", "b"] {
        let conditioning = random(seed, &[4, 4], DType::F32);
        observer.add(&conditioning, &generator.films(&conditioning).unwrap()).unwrap();
    }
    for [gamma, beta] in observer.histograms() {
        let at = |histogram: &film_core::statistics::Histogram| {
            histogram.bins().map(|bin| (bin.from, bin.count)).collect::<Vec<_>>()
        };
        assert_eq!((at(gamma), at(beta)), (vec![(1.0, 24)], vec![(0.0, 24)]));
    }
}

#[test]
fn what_differs_from_the_others_stands_out() {
    let health = |gammas: &[f32]| {
        let config = KernelFilmConfig::new(2, 1, 1);
        let mut observer = Observer::new(&config);
        let column = |values: &[f32]| {
            Tensor::from_vec(values.to_vec(), (values.len(), 1), &Device::Cpu).unwrap()
        };
        let conditioning = random("conditioning", &[gammas.len(), 2], DType::F32);
        let film = Film::new(column(gammas), column(&vec![0.3; gammas.len()])).unwrap();
        observer.add(&conditioning, &[film]).unwrap();
        Health { outputs: Some(observer.outputs()), weights: None }
    };
    let alike = [[0.9, 1.0, 1.1], [0.8, 0.9, 1.2], [1.0, 1.1, 1.2], [0.7, 0.9, 1.0]];
    let mut healths: Vec<Health> = alike.iter().map(|gammas| health(gammas)).collect();
    let thresholds = Thresholds::default();
    let compare = |healths: &[Health]| Comparison::new(healths, &thresholds);
    assert_eq!(compare(&healths).outliers, []);
    assert_eq!(compare(&[]), Comparison { medians: vec![], outliers: vec![] });
    healths.push(health(&[-0.9, -1.0, -1.1]));
    let comparison = compare(&healths);
    let lines: Vec<String> = comparison.outliers.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["layer 0: share of negative γ 1.000, median 0.000"]);
    assert_eq!(comparison.outliers[0].generator, 4);
    assert_eq!(comparison.median(0, Measure::Gamma), Some(f64::from(1.1f32)));
    assert_eq!(comparison.median(0, Measure::Weight), None);
    assert_eq!(comparison.median(1, Measure::Gamma), None);
    // Among three nobody can be told to be the odd one.
    assert_eq!(compare(&healths[2..]).outliers, []);
    // NaN are no measure.
    healths[0] = health(&[f32::NAN, f32::NAN]);
    assert_eq!(healths[0].measure(0, Measure::Negative), None);
    assert_eq!(compare(&healths).outliers.len(), 1);
}
