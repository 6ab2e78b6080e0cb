//! `--json`: stable names, and the numbers that the files have.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::{film_tools, fixture, numbers, report, safetensors};

fn here() -> &'static Path {
    Path::new("/")
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn every_report_says_its_version() {
    let checkpoint = fixture("generator/small_8x4x2_h6");
    for arguments in [
        &["inspect", &checkpoint, "--json"][..],
        &["flops", &checkpoint, "--json"],
        &["run", &checkpoint, "--random", "2", "--json"],
        &["run", &checkpoint, "--random", "2", "--output", "-"],
    ] {
        let report = report(here(), arguments);
        assert_eq!(keys(&report)[0], "schema_version");
        assert_eq!(report["schema_version"], 1);
    }
}

#[test]
fn inspect_reports_files_tensors_and_generators() {
    let model = fixture("hybrid_model");
    let report = report(here(), &["inspect", &model, "--json"]);
    assert_eq!(report["path"], model.as_str());
    assert_eq!(
        (&report["total_tensors"], &report["total_parameters"]),
        (&json!(64), &json!(136_432))
    );
    assert_eq!(
        (&report["total_bytes"], &report["dtypes"]),
        (&json!(545_728), &json!({"F32": 136_432}))
    );

    let mut tensors = std::collections::BTreeMap::new();
    for file in report["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        assert_eq!(file["bytes"], std::fs::metadata(path).unwrap().len());
        assert_eq!(file["metadata"], json!({"format": "pt"}));
        tensors.extend(safetensors(path).into_iter().map(|(name, x)| (name, (x, path))));
    }
    let listed = report["tensors"].as_array().unwrap();
    assert_eq!(listed.len(), tensors.len());
    for (entry, (name, (tensor, file))) in listed.iter().zip(&tensors) {
        let count = tensor.elem_count();
        let expected = json!({
            "name": name, "dtype": "F32", "shape": tensor.dims(), "parameters": count,
            "bytes": 4 * count, "file": file,
        });
        assert_eq!(entry, &expected);
    }

    let generator = |block: usize| {
        let kernel = "sequence_mixer.inner_mixer.mixer.global_conv.kernel.film_generator";
        json!({
            "prefix": format!("blocks.{block}.{kernel}"), "cond_dim": 48, "film_hidden_dim": 64,
            "kernel_hidden_dim": 32, "num_film_layers": 3, "out_dim": 192, "parameters": 15_616,
            "registers": {
                "prefix": format!("blocks.{block}.register_pooling"), "kind": "pooling",
                "num_registers": 8,
            },
        })
    };
    assert_eq!(report["generators"], json!([generator(0), generator(1)]));
}

#[test]
fn a_filter_leaves_the_totals() {
    let model = fixture("hybrid_model");
    // What is not at the prefix or below it is not shown, unless a filter asks for what holds a tensor.
    let generator = fixture("generator/small_8x4x2_h6");
    let inspect = ["inspect", &generator, "--json", "--prefix", "mlp.0"];
    let count =
        |arguments: &[&str]| report(here(), arguments)["generators"].as_array().map(Vec::len);
    assert_eq!(count(&inspect), Some(0));
    assert_eq!(count(&[&inspect[..], &["--filter", "*"]].concat()), Some(1));
    let arguments = ["inspect", &model, "--json", "--prefix", "blocks.1", "--filter", "*.bias"];
    let report = report(here(), &arguments);
    assert_eq!(report["total_tensors"], 64);
    let names: Vec<&str> = report["tensors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tensor| tensor["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("blocks.1.") && name.ends_with(".bias")));
    assert_eq!(report["generators"].as_array().unwrap().len(), 1);
}

#[test]
fn flops_adds_up() {
    let checkpoint = fixture("generator/production_384x32x3_h64");
    let report = report(here(), &["flops", &checkpoint, "--json", "--batch", "64"]);
    let sum = |key: &str| -> u64 {
        report["items"].as_array().unwrap().iter().map(|item| item[key].as_u64().unwrap()).sum()
    };
    // 2 · 384 · 64 + 64 + 2 · 64 · 192, of which half the products are multiply-adds.
    assert_eq!((sum("flops"), sum("macs"), sum("parameters")), (73_792, 36_864, 37_120));
    for (key, expected) in [
        ("flops_per_sample", 73_792),
        ("macs_per_sample", 36_864),
        ("parameters", 37_120),
        ("batch", 64),
        ("flops_per_batch", 64 * 73_792),
        ("macs_per_batch", 64 * 36_864),
    ] {
        assert_eq!(report[key], expected, "{key}");
    }
    for item in report["items"].as_array().unwrap() {
        assert_eq!(keys(item), ["name", "formula", "factors", "flops", "macs", "parameters"]);
    }
}

#[test]
fn flops_of_sizes_are_those_of_the_checkpoint() {
    let folder = fixture("generator/production_384x32x3_h64");
    let config = format!("{folder}/config.json");
    let sizes =
        ["--cond-dim", "384", "--kernel-hidden-dim", "32", "--num-film-layers", "3", "--json"];
    let of_sizes = report(here(), &[&["flops"], sizes.as_slice()].concat());
    let of_config = report(here(), &["flops", "--config", &config, "--json"]);
    let of_checkpoint = report(here(), &["flops", &folder, "--json"]);
    for key in ["items", "flops_per_sample", "parameters", "convention"] {
        assert_eq!(of_sizes[key], of_config[key], "{key}");
        assert_eq!(of_sizes[key], of_checkpoint[key], "{key}");
    }
    let wider =
        report(here(), &["flops", "--config", &config, "--film-hidden-dim", "128", "--json"]);
    assert_eq!(wider["config"]["film_hidden_dim"], 128);
    assert_eq!(wider["flops_per_sample"], 2 * 384 * 128 + 128 + 2 * 128 * 192);
}

#[test]
fn run_sums_up_what_it_wrote() {
    let folder = tempdir().unwrap();
    let checkpoint = fixture("generator/production_384x32x3_h64");
    let run = ["run", &checkpoint, "--random", "50", "--seed", "9", "--dtype", "f64", "--json"];
    let arguments = [run.as_slice(), &["--output", "o.safetensors", "--chunk", "7"]].concat();
    let outcome = film_tools(folder.path(), &arguments);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&report["batch"], &report["output"]), (&json!([50]), &json!("o.safetensors")));
    assert_eq!((&report["dtype"], &report["device"]), (&json!("f64"), &json!("cpu")));
    assert_eq!((&report["checkpoint"], &report["non_finite"]), (&json!(checkpoint), &json!(0)));

    let films = safetensors(folder.path().join("o.safetensors"));
    let layers = report["generators"][0]["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    for (index, layer) in layers.iter().enumerate() {
        assert_eq!(layer["layer"], index);
        for which in ["gamma", "beta"] {
            let values = numbers(&films[&format!("{which}.{index}")]);
            let expected = statistics(&values, 32);
            for (key, expected) in expected {
                let found = layer[which][key].as_f64().unwrap();
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{which}.{index} {key}: {found} {expected}"
                );
            }
        }
    }
}

/// The summary of a matrix of rows of `width`, by its definitions.
fn statistics(values: &[f64], width: usize) -> [(&'static str, f64); 7] {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let std = |values: &[f64]| {
        let squares: Vec<f64> = values.iter().map(|x| (x - mean(values)).powi(2)).collect();
        mean(&squares).sqrt()
    };
    let column = |column: usize| -> Vec<f64> {
        values.iter().skip(column).step_by(width).copied().collect()
    };
    let spreads: Vec<f64> = (0..width).map(|index| std(&column(index))).collect();
    let negative: Vec<f64> = values.iter().map(|&x| f64::from(u8::from(x < 0.0))).collect();
    [
        ("min", values.iter().copied().fold(f64::INFINITY, f64::min)),
        ("mean", mean(values)),
        ("max", values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        ("std", std(values)),
        ("negative", mean(&negative)),
        ("spread", mean(&spreads)),
        ("non_finite", 0.0),
    ]
}
