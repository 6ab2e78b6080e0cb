//! `extract`: what is taken out gives the same bits as where it was.

use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::support::{
    Named, assert_same, film_tools, fixture, listing, refused, report, safetensors,
    safetensors_bytes, save,
};

/// Extracts into a folder's `x`.
#[track_caller]
fn extracted(checkpoint: &str, prefix: &str) -> TempDir {
    let folder = tempdir().unwrap();
    let args = ["extract", checkpoint, "--prefix", prefix, "--output", "x"];
    let outcome = film_tools(folder.path(), &args);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    assert!(outcome.stderr.starts_with("wrote x: "), "{}", outcome.stderr);
    assert_eq!(listing(folder.path()), ["x", "x/config.json", "x/model.safetensors"]);
    let checked = film_tools(folder.path(), &["verify", "x"]).stdout();
    assert!(checked.starts_with("x: no findings"), "{checked}");
    folder
}

/// What a command writes of a checkpoint.
#[track_caller]
fn output(folder: &Path, command: &[&str]) -> Named {
    let args = [command, &["--output", "out.safetensors", "--force"]].concat();
    let outcome = film_tools(folder, &args);
    assert_eq!(outcome.code, 0, "{command:?}: {}", outcome.stderr);
    safetensors(folder.join("out.safetensors"))
}

/// The command says the same of both checkpoints, with these arguments; the whole one takes the prefix.
#[track_caller]
fn assert_same_bits(folder: &Path, command: &str, whole: &str, prefix: &str, args: &[&str]) {
    let part = output(folder, &[&[command, "x"], args].concat());
    let whole = output(folder, &[&[command, whole, "--prefix", prefix], args].concat());
    assert_same(&part, &whole);
}

#[test]
fn a_convolution_of_a_network_brings_its_parts() {
    let hybrid = fixture("hybrid_model");
    let registers = format!("{hybrid}/io.safetensors:blocks.1.register_pooling.input");
    let conv = "blocks.1.sequence_mixer.inner_mixer.mixer.global_conv";
    let signal = format!("{hybrid}/io.safetensors:{conv}.input");
    for prefix in ["blocks.1", conv] {
        let folder = extracted(&hybrid, prefix);
        let here = folder.path();
        assert_same_bits(here, "run", &hybrid, prefix, &["--registers", &registers]);
        let grid = ["--grid", "7x4", "--registers", &registers];
        assert_same_bits(here, "kernel", &hybrid, prefix, &grid);
        let args = ["--channels-first", "--input", &signal, "--registers", &registers];
        assert_same_bits(here, "conv", &hybrid, prefix, &args);
    }
    let folder = extracted(&hybrid, "blocks.1");
    let names: Vec<String> =
        safetensors(folder.path().join("x/model.safetensors")).into_keys().collect();
    assert!(names.contains(&"register_pooling.logits".into()), "{names:?}");
    assert_eq!(names.len(), 16);
}

#[test]
fn a_kernel_brings_its_mask_and_encoder_a_generator_its_encoder() {
    let hybrid = fixture("hybrid_model");
    let registers = format!("{hybrid}/io.safetensors:blocks.0.register_pooling.input");
    let kernel = "blocks.0.sequence_mixer.inner_mixer.mixer.global_conv.kernel";
    let folder = extracted(&hybrid, kernel);
    let grid = ["--grid", "5x7", "--registers", &registers];
    assert_same_bits(folder.path(), "kernel", &hybrid, kernel, &grid);
    let random = ["--grid", "5x7", "--random", "3", "--no-mask"];
    assert_same_bits(folder.path(), "kernel", &hybrid, kernel, &random);
    let generator = format!("{kernel}.film_generator");
    let folder = extracted(&hybrid, &generator);
    assert_same_bits(folder.path(), "run", &hybrid, &generator, &["--registers", &registers]);
    let config = std::fs::read_to_string(folder.path().join("x/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["kernel_hidden_dim"], 32);
    assert_eq!(config["register_pooling"]["num_registers"], 8);
}

#[test]
fn reference_folders_come_out_of_larger_ones_as_they_were() {
    for (case, prefix, extra) in [
        ("ckconv/1d_causal", "", &["--random", "1"][..]),
        ("ckconv/2d_mixed", "", &["--random", "1"]),
        ("ckconv/2d_zero_gaussian", "", &["--random", "1"]),
        ("ckconv/2d_circular", "", &["--random", "1"]),
        ("ckconv/2d_zero_unconditioned", "", &[]),
    ] {
        let whole = fixture(case);
        let folder = extracted(&whole, prefix);
        let input = format!("{whole}/io.safetensors:input");
        assert_same_bits(
            folder.path(),
            "conv",
            &whole,
            prefix,
            &[&["--input", &input], extra].concat(),
        );
    }
    for (case, grid) in [
        ("siren_kernel/1d", "9"),
        ("siren_kernel/2d_anisotropic", "3x8"),
        ("siren_kernel/3d", "4x3x2"),
    ] {
        let whole = fixture(case);
        let folder = extracted(&whole, "");
        assert_same_bits(folder.path(), "kernel", &whole, "", &["--grid", grid, "--random", "2"]);
        let folder = extracted(&whole, "film_generator");
        assert_same_bits(folder.path(), "run", &whole, "film_generator", &["--random", "2"]);
    }
    for case in ["small_8x4x2_h6", "stored_bf16", "stored_f64"] {
        let whole = fixture(&format!("generator/{case}"));
        let folder = extracted(&whole, "");
        assert_same_bits(folder.path(), "run", &whole, "", &["--random", "2"]);
        let same = film_tools(folder.path(), &["diff", "x", &whole]).stdout();
        assert_eq!(same, "the same: 4 tensors\n");
        let told = |path: String| -> serde_json::Map<String, serde_json::Value> {
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let part = told(folder.path().join("x/config.json").display().to_string());
        for (key, value) in told(format!("{whole}/config.json")) {
            assert_eq!(part.get(&key), Some(&value), "{case}: {key}");
        }
    }
}

#[test]
fn bytes_and_dtypes_stay_as_they_are() {
    // A NaN with a payload, and tensors of a kind that nothing here computes with.
    let header = r#"{"n.mlp.0.weight": {"dtype": "F16", "shape": [1, 1], "data_offsets": [0, 2]},
        "n.mlp.0.bias": {"dtype": "F16", "shape": [1], "data_offsets": [2, 4]},
        "n.mlp.2.weight": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [4, 8]},
        "n.mlp.2.bias": {"dtype": "BF16", "shape": [2], "data_offsets": [8, 12]},
        "n.seen": {"dtype": "U64", "shape": [1], "data_offsets": [12, 20]},
        "m.other": {"dtype": "U8", "shape": [1], "data_offsets": [20, 21]}}"#;
    let data: Vec<u8> = (0..21).map(|byte| (byte * 11) | 0x81).collect();
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("m.safetensors"), safetensors_bytes(header, &data)).unwrap();
    let args = ["extract", "m.safetensors", "--prefix", "n", "--output", "x", "--json"];
    let outcome = film_tools(folder.path(), &args);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&json["kind"], &json["bytes"]), (&"FiLM generator".into(), &20.into()));
    assert_eq!(json["tensors"][4], serde_json::json!({"name": "seen", "from": "n.seen"}));
    let hashes = |checkpoint: &str| -> Vec<serde_json::Value> {
        let json = report(folder.path(), &["inspect", checkpoint, "--hash", "--json"]);
        let tensors = json["tensors"].as_array().unwrap();
        let own = tensors.iter().filter(|tensor| tensor["name"] != "m.other");
        own.map(|tensor| serde_json::json!([tensor["dtype"], tensor["shape"], tensor["sha256"]]))
            .collect()
    };
    assert_eq!(hashes("x"), hashes("m.safetensors"));
}

#[test]
fn what_cannot_be_extracted_is_told_and_nothing_written() {
    let folder = tempdir().unwrap();
    let here = folder.path();
    let hybrid = fixture("hybrid_model");
    let extract = |prefix: &str| {
        refused(here, &["extract", &hybrid, "--prefix", prefix, "--output", "x"])
            .replace(&format!("{hybrid}: "), "")
    };
    assert!(
        extract("blocks")
            .starts_with("holds 2 convolutions: choose one by its --prefix: blocks.0.")
    );
    assert!(extract("").starts_with("holds 2 convolutions"));
    assert!(
        extract("cls_token").starts_with("no FiLM generator at cls_token; there are blocks.0.")
    );
    std::fs::create_dir(here.join("x")).unwrap();
    std::fs::write(here.join("x/config.json"), "mine").unwrap();
    let line = refused(here, &["extract", &hybrid, "--prefix", "blocks.0", "--output", "x"]);
    assert_eq!(line, "x/config.json: exists already: --force replaces it");
    assert_eq!(std::fs::read(here.join("x/config.json")).unwrap(), b"mine");
    let args = ["extract", &hybrid, "--prefix", "blocks.0", "--output", "x", "--force"];
    assert_eq!(film_tools(here, &args).code, 0);
    assert!(
        refused(here, &["extract", "nowhere", "--prefix", "x", "--output", "y"])
            .starts_with("nowhere: ")
    );
    for args in [
        vec!["extract", &hybrid, "--output", "y"],
        vec!["extract", &hybrid, "--prefix", "blocks.0"],
    ] {
        assert_eq!(film_tools(here, &args).code, 2);
    }
}

#[test]
fn what_the_checkpoint_does_not_tell_is_told() {
    let folder = tempdir().unwrap();
    let here = folder.path();
    let tensors = safetensors(format!("{}/model.safetensors", fixture("siren_kernel/3d")));
    let tensors: Vec<_> = tensors.iter().map(|(name, x)| (name.as_str(), x)).collect();
    save(here.join("k.safetensors"), &tensors);
    let outcome = film_tools(here, &["extract", "k.safetensors", "--prefix", "", "--output", "x"]);
    assert_eq!(outcome.code, 0);
    assert!(
        outcome
            .stderr
            .ends_with("the checkpoint does not tell L_cache: give it in config.json or by flag\n"),
        "{}",
        outcome.stderr
    );
    assert_same_bits(here, "kernel", "k.safetensors", "", &["--grid", "2x2x2", "--l-cache", "4"]);
}

#[cfg(unix)]
#[test]
fn a_part_never_takes_the_place_of_the_whole() {
    let folder = tempdir().unwrap();
    let here = folder.path();
    let case = fixture("siren_kernel/1d");
    std::fs::create_dir(here.join("m")).unwrap();
    std::fs::create_dir(here.join("linked")).unwrap();
    for name in ["model.safetensors", "config.json"] {
        std::fs::copy(format!("{case}/{name}"), here.join("m").join(name)).unwrap();
    }
    std::fs::hard_link(here.join("m/model.safetensors"), here.join("m/other.safetensors")).unwrap();
    std::os::unix::fs::symlink("../m/config.json", here.join("linked/config.json")).unwrap();
    let before = std::fs::read(here.join("m/model.safetensors")).unwrap();
    for (input, output) in
        [("m", "m"), ("m", "m/../m"), ("m/other.safetensors", "m"), ("m", "linked")]
    {
        let part = ["extract", input, "--prefix", "film_generator", "--output", output, "--force"];
        let outcome = film_tools(here, &part);
        assert_eq!(
            (outcome.code, outcome.stderr.trim_end()),
            (
                2,
                format!(
                    "error: --output {output}: the checkpoint itself is there: choose another place"
                )
                .as_str()
            )
        );
        assert!(std::fs::read(here.join("m/model.safetensors")).unwrap() == before);
    }
    assert_eq!(listing(&here.join("m")).len(), 3);
}
