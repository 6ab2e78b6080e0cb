//! `diagnose` measures what PyTorch gave and finds what is wrong.

use std::f64::consts::PI;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::{film_tools, fixture, numbers, random, refused, report, safetensors, save};

const FILM: &str = "sequence_mixer.inner_mixer.mixer.global_conv.kernel.film_generator";

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[track_caller]
fn close(value: &Value, expected: f64, what: &str) {
    let found = number(value);
    assert!(
        (found - expected).abs() <= 2e-6 * expected.abs().max(1.0),
        "{what}: {found} {expected}"
    );
}

/// The texts of the findings of each generator.
fn findings(report: &Value) -> Vec<Vec<&str>> {
    texts(report, "findings")
}

fn texts<'a>(report: &'a Value, key: &str) -> Vec<Vec<&'a str>> {
    let of = |part: &'a Value| {
        let said = part[key].as_array().unwrap();
        said.iter().map(|said| said["text"].as_str().unwrap()).collect()
    };
    report["generators"].as_array().unwrap().iter().map(of).collect()
}

/// The tensors of a generator that gives γ = `gamma` and β = `beta` whatever it is given, but for what `weight` adds.
pub(crate) fn generator(prefix: &str, gamma: f32, beta: f32, weight: f32) -> Vec<(String, Tensor)> {
    let (cond_dim, hidden, width) = (3, 4, 2);
    let filled = |value: f32, shape: &[usize]| Tensor::full(value, shape, &Device::Cpu).unwrap();
    let bias = [gamma, gamma, beta, beta];
    let dot = if prefix.is_empty() { "" } else { "." };
    let name = |tensor: &str| format!("{prefix}{dot}mlp.{tensor}");
    vec![
        (name("0.weight"), random(&[hidden, cond_dim])),
        (name("0.bias"), filled(0.1, &[hidden])),
        (name("2.weight"), filled(weight, &[2 * width, hidden])),
        (name("2.bias"), Tensor::new(&bias, &Device::Cpu).unwrap()),
    ]
}

/// Writes generators as one checkpoint.
pub(crate) fn write(path: &Path, generators: &[Vec<(String, Tensor)>]) {
    let all = generators.iter().flatten();
    let named: Vec<(&str, &Tensor)> = all.map(|(name, tensor)| (name.as_str(), tensor)).collect();
    save(path, &named);
}

/// What is measured of γ or β in PyTorch's own numbers.
fn expected(values: &Tensor) -> [(&'static str, f64); 7] {
    let rows: Vec<Vec<f64>> = values.to_dtype(candle_core::DType::F64).unwrap().to_vec2().unwrap();
    let all = numbers(values);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let variance = |values: &[f64]| {
        let squares: Vec<f64> = values.iter().map(|x| (x - mean(values)).powi(2)).collect();
        mean(&squares)
    };
    let columns: Vec<Vec<f64>> =
        (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column]).collect()).collect();
    let means: Vec<f64> = columns.iter().map(|column| mean(column)).collect();
    let spreads: Vec<f64> = columns.iter().map(|column| variance(column).sqrt()).collect();
    let negative: Vec<f64> = all.iter().map(|&x| f64::from(u8::from(x < 0.0))).collect();
    [
        ("min", all.iter().copied().fold(f64::INFINITY, f64::min)),
        ("max", all.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        ("mean", mean(&all)),
        ("std", variance(&all).sqrt()),
        ("negative", mean(&negative)),
        ("spread", mean(&spreads)),
        ("across", variance(&means).sqrt()),
    ]
}

#[test]
fn measures_are_those_of_pytorchs_numbers() {
    let folder = tempdir().unwrap();
    let hybrid = fixture("hybrid_model");
    let io = format!("{hybrid}/io.safetensors");
    let truth = safetensors(&io);
    // Each block gets its own, as registers or as conditioning.
    for (flag, tensor) in [
        ("--registers", "blocks.*.register_pooling.input".to_string()),
        ("--conditioning", format!("blocks.*.{FILM}.conditioning")),
    ] {
        let input = format!("{io}:{tensor}");
        let said = report(folder.path(), &["diagnose", &hybrid, flag, &input, "--json"]);
        assert_eq!(said["schema_version"], 1);
        let generators = said["generators"].as_array().unwrap();
        assert_eq!(generators.len(), 2);
        for (block, part) in generators.iter().enumerate() {
            let prefix = format!("blocks.{block}.{FILM}");
            assert_eq!(part["prefix"], prefix);
            let conditioning = &part["outputs"]["conditioning"];
            assert_eq!((&conditioning["samples"], &conditioning["dead"]), (&json!(2), &json!(0)));
            for layer in 0..3 {
                let measured = &part["outputs"]["layers"][layer];
                for which in ["gamma", "beta"] {
                    let tensor = &truth[&format!("{prefix}.{which}.{layer}")];
                    for (key, value) in expected(tensor) {
                        close(&measured[which][key], value, &format!("{prefix} {which} {key}"));
                    }
                }
                let beta = numbers(&truth[&format!("{prefix}.beta.{layer}")]);
                let rms = (beta.iter().map(|x| x * x).sum::<f64>() / beta.len() as f64).sqrt();
                close(&part["layers"][layer]["beta_over_pi"], rms / PI, "beta_over_pi");
                let gamma = &measured["gamma"];
                let between = (number(&gamma["across"]) / number(&gamma["std"])).powi(2);
                close(&part["layers"][layer]["gamma_dependence"], 1.0 - between, "dependence");
            }
            let norms = part["weights"]["norms"].as_array().unwrap();
            assert_eq!(norms.len(), 4);
            assert!(norms.iter().all(|norm| number(&norm["norm"]) > 0.0));
        }
    }
}

#[test]
fn without_an_input_it_is_256_random_vectors() {
    let folder = tempdir().unwrap();
    let checkpoint = fixture("generator/small_8x4x2_h6");
    let of = |more: &[&str]| {
        report(folder.path(), &[&["diagnose", &checkpoint, "--json"], more].concat())
    };
    let said = of(&[]);
    assert_eq!(said["input"], json!({"kind": "random", "seed": 0}));
    assert_eq!(said["generators"][0]["outputs"]["conditioning"]["samples"], 256);
    assert_eq!(said, of(&["--random", "256"]));
    assert_eq!(said, of(&["--seed", "0"]));
    assert_ne!(said, of(&["--seed", "1"]));
    // The same as `run` sums up.
    let run = report(folder.path(), &["run", &checkpoint, "--random", "256", "--json"]);
    for layer in 0..2 {
        for which in ["gamma", "beta"] {
            let ours = &said["generators"][0]["outputs"]["layers"][layer][which];
            assert_eq!(ours, &run["generators"][0]["layers"][layer][which]);
        }
    }
}

#[test]
fn each_trouble_is_found_in_the_generator_that_has_it() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let sound = |index: usize| generator(&format!("blocks.{index}.film"), 1.0, 0.2, 0.3);
    let mut generators: Vec<_> = (0..5).map(sound).collect();
    generators.push(generator("blocks.10.film", -0.8, 0.2, 0.3));
    generators.push(generator("blocks.11.film", 1.0, 7.0, 0.3));
    generators.push(generator("blocks.12.film", 1.0, 0.2, 0.0));
    let mut broken = generator("blocks.13.film", 1.0, 0.2, 0.3);
    broken[0].1 = Tensor::full(f32::NAN, (4, 3), &Device::Cpu).unwrap();
    generators.push(broken);
    write(&path, &generators);
    let arguments = ["diagnose", "m.safetensors", "--kernel-hidden-dim", "2", "--json"];
    let said = report(folder.path(), &arguments);
    let prefixes = said["generators"].as_array().unwrap();
    let prefixes: Vec<&str> =
        prefixes.iter().map(|part| part["prefix"].as_str().unwrap()).collect();
    assert_eq!(
        prefixes[1..6],
        ["blocks.1.film", "blocks.2.film", "blocks.3.film", "blocks.4.film", "blocks.10.film"]
    );
    let found = findings(&said);
    assert!(found[..5].iter().all(Vec::is_empty), "{found:?}");
    assert!(found[5][0].ends_with("% of γ are negative, beyond 25 %"), "{:?}", found[5]);
    // That γ itself was measured says more than its biases do.
    assert!(found[5].iter().all(|text| !text.contains("biases")), "{:?}", found[5]);
    assert!(found[6][0].ends_with("π in the mean square, beyond 1 π"), "{:?}", found[6]);
    assert!(found[7][0].starts_with("layer 0: γ and β do not depend on the conditioning"));
    assert_eq!(
        found[8],
        [
            "layer 0 gamma: NaN or infinite values, 512 of them",
            "layer 0 beta: NaN or infinite values, 512 of them",
            "mlp.0.weight: NaN or infinite values, 12 of them",
        ]
    );
    let count: usize = found.iter().map(Vec::len).sum();
    assert_eq!(said["findings"], count);
    let without = report(folder.path(), &[&arguments[..], &["--random", "0", "--quiet"]].concat());
    let text = findings(&without)[5][0];
    assert_eq!(text, "layer 0: 100.0 % of the biases of γ are negative, beyond 25 %");
    let apart = texts(&said, "stands_out");
    assert!(apart[..5].iter().all(Vec::is_empty), "{apart:?}");
    assert!(apart[5][0].starts_with("layer 0: share of negative γ "), "{:?}", apart[5]);
    assert!(apart[6][0].starts_with("layer 0: √(mean of β²)/π "), "{:?}", apart[6]);
    assert_eq!(said["generators"][5]["stands_out"][0]["measure"], "negative");
    assert!(said["medians"][0]["negative"].is_number());

    // Dead conditioning is said as well; as text all of it fits.
    save(
        folder.path().join("c.safetensors"),
        &[("c", &Tensor::zeros((4, 3), candle_core::DType::F32, &Device::Cpu).unwrap())],
    );
    let arguments = [
        "diagnose",
        "m.safetensors",
        "--kernel-hidden-dim",
        "2",
        "--conditioning",
        "c.safetensors",
    ];
    let text = film_tools(folder.path(), &arguments).stdout();
    assert!(text.contains("\n  conditioning: zero throughout in 4 of 4 samples\n"), "{text}");
    assert!(text.lines().all(|line| unicode_width::UnicodeWidthStr::width(line) <= 80), "{text}");
    // A page of all this is written.
    let arguments = ["diagnose", "m.safetensors", "--kernel-hidden-dim", "2", "--html", "m.html"];
    assert_eq!(film_tools(folder.path(), &arguments).code, 0);
    let page = std::fs::read_to_string(folder.path().join("m.html")).unwrap();
    assert!(
        page.contains("no finite values") && page.contains("NaN or infinite values, 512 of them")
    );
}

#[test]
fn generators_may_differ_in_their_sizes() {
    let folder = tempdir().unwrap();
    let tensors: Vec<(String, Tensor)> = ["production_384x32x3_h64", "small_8x4x2_h6"]
        .into_iter()
        .flat_map(|case| {
            let tensors = safetensors(fixture(&format!("generator/{case}/model.safetensors")));
            tensors.into_iter().map(move |(name, tensor)| (format!("{case}.{name}"), tensor))
        })
        .collect();
    write(&folder.path().join("two.safetensors"), &[tensors]);
    let arguments = ["diagnose", "two.safetensors", "--kernel-hidden-dim", "4", "--json"];
    let said = report(folder.path(), &arguments);
    let size = |index: usize, key: &str| said["generators"][index][key].as_u64().unwrap();
    assert_eq!([size(0, "cond_dim"), size(0, "num_film_layers")], [384, 24]);
    assert_eq!([size(1, "cond_dim"), size(1, "num_film_layers")], [8, 2]);
    assert_eq!(said["medians"].as_array().unwrap().len(), 24);
    let one = [&arguments[..], &["--prefix", "small_8x4x2_h6"]].concat();
    assert_eq!(report(folder.path(), &one)["generators"].as_array().unwrap().len(), 1);
}

#[test]
fn no_rows_leave_the_weights() {
    let folder = tempdir().unwrap();
    let checkpoint = fixture("hybrid_model");
    let arguments = ["diagnose", &checkpoint, "--random", "0", "--json", "--html", "none.html"];
    let outcome = film_tools(folder.path(), &arguments);
    assert_eq!(outcome.code, 0);
    assert!(
        outcome.stderr.contains("the input has no rows: nothing is known of γ and β"),
        "{}",
        outcome.stderr
    );
    let said: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let part = &said["generators"][0];
    assert_eq!(part["outputs"]["layers"][0]["gamma"]["mean"], Value::Null);
    assert!(part["weights"]["layers"][0]["gamma"]["weight"].is_number());
    assert_eq!(said["findings"], 0);
    let text =
        film_tools(folder.path(), &["diagnose", &checkpoint, "--random", "0", "--quiet"]).stdout();
    assert!(text.contains("–"), "{text}");
}

#[test]
fn wrong_input_is_named() {
    let folder = tempdir().unwrap();
    let hybrid = fixture("hybrid_model");
    let io = format!("{hybrid}/io.safetensors");
    let of = |more: &[&str]| refused(folder.path(), &[&["diagnose", &hybrid], more].concat());
    let line = of(&["--prefix", "blocks.7"]);
    assert!(line.contains("no FiLM generator"), "{line}");
    let line = of(&["--registers", &format!("{io}:layers.*.input")]);
    assert!(line.contains(":layers.*.input: the * has no place in blocks.0."), "{line}");
    let line = of(&["--registers", &format!("{io}:blocks.*.x")]);
    assert!(line.contains("holds no tensor blocks.0.x"), "{line}");
    let line = of(&["--conditioning", &format!("{io}:image")]);
    assert!(line.contains("expected shape [*, 48]"), "{line}");
    let alone = fixture("generator/small_8x4x2_h6");
    let line = refused(folder.path(), &["diagnose", &alone, "--registers", &format!("{io}:image")]);
    assert!(line.contains("register encoder"), "{line}");
    for wrong in [
        &["--force"] as &[&str],
        &["--random", "3", "--conditioning", "-"],
        &["--conditioning", "c.npy", "--seed", "3"],
        &["--l-cache", "7"],
        &["--no-mask"],
    ] {
        let outcome = film_tools(folder.path(), &[&["diagnose", &hybrid], wrong].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{wrong:?}: {outcome:?}");
    }
}
