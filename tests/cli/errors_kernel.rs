//! Kernels and flags that cannot be: named, and nothing drawn around them.

use std::path::Path;

use candle_core::Tensor;
use tempfile::tempdir;

use crate::support::{film_tools, fixture, refused, safetensors, save};

/// What a usage error says.
#[track_caller]
fn usage(folder: &Path, args: &[&str]) -> String {
    let outcome = film_tools(folder, args);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{}", outcome.stderr);
    outcome.stderr
}

/// A copy of the checkpoint `case` without some tensors, and with its config.json.
fn copy(folder: &Path, case: &str, files: &[&str], without: &str) {
    let tensors: Vec<(String, Tensor)> = files
        .iter()
        .flat_map(|file| safetensors(format!("{}/{file}", fixture(case))))
        .filter(|(name, _)| name != without)
        .collect();
    let named: Vec<(&str, &Tensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    save(folder.join("model.safetensors"), &named);
    std::fs::copy(format!("{}/config.json", fixture(case)), folder.join("config.json")).unwrap();
}

const SHARDS: [&str; 3] = [
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
];

#[test]
fn a_model_with_a_broken_generator_gives_nothing_by_itself() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let bias =
        "blocks.0.sequence_mixer.inner_mixer.mixer.global_conv.kernel.film_generator.mlp.2.bias";
    copy(path, "hybrid_model", &SHARDS, bias);
    let run = ["run", ".", "--random", "1"];
    let missing = format!("{bias} is missing");
    let line = refused(path, &run);
    assert!(line.contains(&missing) && line.contains("--prefix"), "{line}");
    let line = refused(path, &[&run[..], &["--prefix", "blocks.0"]].concat());
    assert!(line.contains(&format!("at blocks.0: {missing}")), "{line}");
    let line = refused(path, &["kernel", ".", "--grid", "3x3", "--prefix", "blocks.0"]);
    assert!(line.contains(&missing), "{line}");
    // All that is whole may be run, but not without a word about the rest.
    let all = film_tools(path, &[&run[..], &["--all"]].concat());
    assert_eq!(all.code, 0);
    assert_eq!(all.stderr, format!("warning: left out what is no FiLM generator: {missing}\n"));
    let text = film_tools(path, &["inspect", "."]).stdout();
    assert!(text.contains("SIREN kernels: 1") && text.contains("broken: "), "{text}");
}

#[test]
fn config_json_is_held_against_the_tensors() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    copy(path, "siren_kernel/2d_unconditioned", &["model.safetensors"], "");
    for (key, wrong, problem) in [
        ("\"num_layers\": 3", "\"num_layers\": 4", "num_layers: expected 3, as the tensors"),
        ("\"out_dim\": 6", "\"out_dim\": 7", "out_dim: expected 6, as the tensors"),
        ("\"L_cache\": 5", "\"L_cache\": [5, 1]", "L_cache: expected 2 integers of at least 2"),
    ] {
        let config =
            std::fs::read_to_string(fixture("siren_kernel/2d_unconditioned/config.json")).unwrap();
        assert!(config.contains(key));
        std::fs::write(path.join("config.json"), config.replace(key, wrong)).unwrap();
        let line = refused(path, &["kernel", ".", "--grid", "3x3"]);
        if key.contains("L_cache") {
            assert!(line.starts_with(&format!("./config.json: {problem}")), "{line}");
        } else {
            assert!(line.starts_with(&format!("./config.json: {problem}")), "{line}");
            assert_eq!(line, refused(path, &["flops", ".", "--grid", "3x3"]));
        }
    }
}

#[test]
fn flags_that_would_do_nothing_or_contradict_are_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let (kernel, generator) = (fixture("siren_kernel/1d"), fixture("generator/small_8x4x2_h6"));
    let sizes =
        ["--cond-dim", "4", "--kernel-hidden-dim", "2", "--num-film-layers", "1", "--output", "g"];
    let init = |more: &[&'static str]| [&["init"], &sizes[..], more].concat();
    for (arguments, problem) in [
        (vec!["kernel", &kernel, "--grid", "3", "--omega-0", "20"], "--omega-0: "),
        (vec!["kernel", &kernel, "--grid", "3", "--seed", "1"], "--seed: "),
        (vec!["run", &generator, "--conditioning", "c.npy", "--seed", "1"], "--seed: "),
        (init(&["--init-std", "0.1"]), "--init-std: "),
        (
            init(&["--init-std", "1e300", "--init-type", "small_random"]),
            "--init-std 1e300: too large for mlp.2.weight in f32",
        ),
        (
            init(&["--init-std", "1e5", "--init-type", "small_random", "--dtype", "f16"]),
            "--init-std 1e5: too large for mlp.2.weight in f16",
        ),
        (vec!["kernel", &kernel, "--grid", "12x3"], "--grid: expected 1 lengths"),
        (vec!["flops", &kernel, "--grid", "12x3"], "--grid: expected 1 lengths"),
        (
            vec!["kernel", &kernel, "--grid", "3", "--l-cache", "1"],
            "--l-cache: expected 1 integers",
        ),
    ] {
        let text = usage(path, &arguments);
        assert!(text.contains(problem), "{text}");
        assert!(!path.join("g").exists());
    }
    let hybrid = fixture("hybrid_model");
    let at = ["--prefix", "blocks.0", "--kernel-hidden-dim", "16"];
    for command in [["run", &hybrid, "--random", "1"].as_slice(), &["flops", &hybrid]] {
        let line = refused(path, &[command, &at].concat());
        let problem = "--kernel-hidden-dim: expected 32, as the checkpoint tells, found 16";
        assert!(line.contains(problem), "{line}");
    }
    let line = refused(
        path,
        &["kernel", &fixture("siren_kernel/2d_unconditioned"), "--grid", "3x3", "--random", "3"],
    );
    assert!(line.contains("model.safetensors: (root): has no FiLM generator"), "{line}");
    let bare = path.join("bare.safetensors");
    std::fs::copy(format!("{generator}/model.safetensors"), &bare).unwrap();
    let line = refused(path, &["run", "bare.safetensors", "--random", "1"]);
    assert!(line.ends_with("; give --kernel-hidden-dim"), "{line}");
    for flag in ["--random", "--chunk"] {
        let text = usage(path, &["run", &generator, flag, "-1"]);
        assert!(text.contains("expected an integer of at least"), "{text}");
    }
}

#[test]
fn sizes_beyond_all_memory_are_refused() {
    let folder = tempdir().unwrap();
    let (kernel, generator) = (fixture("siren_kernel/1d"), fixture("generator/small_8x4x2_h6"));
    let hybrid = fixture("hybrid_model");
    let most = "18446744073709551615";
    let picture = ["kernel", &kernel, "--grid", "3", "--image", "x.png", "--random"];
    for (arguments, problem) in [
        (
            vec!["run", &generator, "--random", most, "--chunk", most],
            "--random 18446744073709551615",
        ),
        (
            vec!["run", &generator, "--random", "4000000000000", "--chunk", "4000000000000"],
            "--chunk: not enough memory for 4000000000000 rows",
        ),
        (vec!["run", &hybrid, "--all", "--random", most], "--random 18446744073709551615"),
        (
            [&picture[..], &[most, "--samples", "0..18446744073709551614"]].concat(),
            "--random 18446744073709551615",
        ),
        (
            [&picture[..], &["100000", "--samples", "0..100000"]].concat(),
            "--image: 100000 samples × 6 channels would take",
        ),
        ([&picture[..], &["0"]].concat(), "--image: there are no samples to draw"),
    ] {
        let line = refused(folder.path(), &arguments);
        assert!(line.contains(problem), "{line}");
    }
}

#[test]
fn a_file_is_named_once() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let bias = Tensor::zeros(31, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    let mut tensors = safetensors(fixture("siren_kernel/2d_production/model.safetensors"));
    tensors.insert("hidden_linears.1.bias".into(), bias);
    let named: Vec<(&str, &Tensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    save(path.join("k.safetensors"), &named);
    let line = refused(path, &["kernel", "k.safetensors", "--grid", "3x3", "--l-cache", "7"]);
    assert_eq!(line, "k.safetensors: hidden_linears.1.bias: expected shape [32], found [31]");
}
