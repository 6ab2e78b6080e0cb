//! `init`: what it writes, when it refuses, and what it leaves behind.

use std::path::Path;

use candle_core::DType;
use tempfile::tempdir;

use crate::support::{Named, film_tools, json, listing, numbers, program, safetensors};

const SIZES: [&str; 6] = ["--cond-dim", "12", "--kernel-hidden-dim", "5", "--num-film-layers", "3"];

/// Runs `init --output NAME` with the rest, which must go well.
#[track_caller]
fn init(folder: &Path, name: &str, rest: &[&str]) {
    let outcome = film_tools(folder, &[&["init", "--output", name], rest].concat());
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    assert!(outcome.stderr.starts_with(&format!("wrote {name}: ")), "{}", outcome.stderr);
}

fn bytes(folder: &Path, name: &str) -> [Vec<u8>; 2] {
    ["config.json", "model.safetensors"]
        .map(|file| std::fs::read(folder.join(name).join(file)).unwrap())
}

fn weights(folder: &Path, name: &str) -> Named {
    safetensors(folder.join(name).join("model.safetensors"))
}

fn config(folder: &Path, name: &str) -> serde_json::Value {
    serde_json::from_slice(&bytes(folder, name)[0]).unwrap()
}

#[test]
fn the_seed_decides_the_bytes() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    init(folder, "a", &SIZES);
    init(folder, "deep/er/b", &[SIZES.as_slice(), &["--seed", "0"]].concat());
    init(folder, "c", &[SIZES.as_slice(), &["--seed", "1"]].concat());
    let [a, b, c] = ["a", "deep/er/b", "c"].map(|name| bytes(folder, name));
    assert_eq!(a, b);
    assert_eq!(a[0], c[0], "the seed is not part of the configuration");
    assert_ne!(a[1], c[1]);
}

#[test]
fn what_it_wrote_is_said() {
    let folder = tempdir().unwrap();
    let args = [&["init", "--output", "gen", "--seed", "3"], SIZES.as_slice()].concat();
    let outcome = film_tools(folder.path(), &args);
    // 64 · 12 + 64 weights and biases, then 30 · 64 + 30.
    assert_eq!(outcome.stderr, "wrote gen: 2,782 parameters, f32, seed 3\n");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
}

#[test]
fn the_files_hold_what_was_asked_for() {
    let folder = tempdir().unwrap();
    let more = ["--film-hidden-dim", "9", "--init-type", "small_random", "--init-std", "0.25"];
    let more = [SIZES.as_slice(), &more, &["--no-weight-decay", "0.05"]].concat();
    init(folder.path(), "gen", &more);
    let expected = serde_json::json!({
        "cond_dim": 12, "kernel_hidden_dim": 5, "num_film_layers": 3, "film_hidden_dim": 9,
        "no_weight_decay": 0.05, "init_type": "small_random", "init_std": 0.25,
    });
    assert_eq!(config(folder.path(), "gen"), expected);
    let shapes: Vec<(String, Vec<usize>)> = weights(folder.path(), "gen")
        .into_iter()
        .map(|(name, tensor)| (name, tensor.dims().to_vec()))
        .collect();
    let expected: [(&str, &[usize]); 4] = [
        ("mlp.0.bias", &[9]),
        ("mlp.0.weight", &[9, 12]),
        ("mlp.2.bias", &[30]),
        ("mlp.2.weight", &[30, 9]),
    ];
    assert_eq!(shapes, expected.map(|(name, shape)| (name.to_string(), shape.to_vec())));
}

#[test]
fn dtypes_are_stored_and_rounded_from_the_same_numbers() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    init(folder, "f64", &[SIZES.as_slice(), &["--dtype", "f64"]].concat());
    let exact = weights(folder, "f64");
    let dtypes =
        [("f32", DType::F32, 1e-7), ("f16", DType::F16, 1e-3), ("bf16", DType::BF16, 8e-3)];
    for (name, dtype, share) in dtypes {
        init(folder, name, &[SIZES.as_slice(), &["--dtype", name]].concat());
        for (tensor, rounded) in weights(folder, name) {
            assert_eq!(rounded.dtype(), dtype);
            for (a, b) in numbers(&rounded).into_iter().zip(numbers(&exact[&tensor])) {
                assert!((a - b).abs() <= share * b.abs() + 1e-7, "{tensor}: {a} for {b}");
            }
        }
    }
}

#[test]
fn flags_override_the_config_file() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    init(folder, "first", &[SIZES.as_slice(), &["--init-type", "small_random"]].concat());
    init(folder, "same", &["--config", "first/config.json"]);
    assert_eq!(bytes(folder, "same"), bytes(folder, "first"));
    init(folder, "wide", &["--config", "first/config.json", "--cond-dim", "20"]);
    let mut expected = config(folder, "first");
    expected["cond_dim"] = 20.into();
    assert_eq!(config(folder, "wide"), expected);
    assert_eq!(weights(folder, "wide")["mlp.0.weight"].dims(), [64, 20]);
}

#[test]
fn existing_files_are_kept_unless_forced() {
    for existing in ["config.json", "model.safetensors"] {
        let folder = tempdir().unwrap();
        let folder = folder.path();
        init(folder, "fresh", &SIZES);
        std::fs::create_dir(folder.join("gen")).unwrap();
        std::fs::write(folder.join("gen").join(existing), "mine").unwrap();
        let before = listing(folder);

        let arguments = [&["init", "--output", "gen"], SIZES.as_slice()].concat();
        let line = film_tools(folder, &arguments).refusal();
        assert_eq!(line, format!("gen/{existing}: exists already: --force replaces it"));
        assert_eq!(std::fs::read(folder.join("gen").join(existing)).unwrap(), b"mine");
        assert_eq!(listing(folder), before);

        init(folder, "gen", &[SIZES.as_slice(), &["--force"]].concat());
        assert_eq!(bytes(folder, "gen"), bytes(folder, "fresh"));
    }
}

#[test]
fn nothing_else_is_left_in_the_directory() {
    let folder = tempdir().unwrap();
    init(folder.path(), "gen", &SIZES);
    init(folder.path(), "gen", &[SIZES.as_slice(), &["--force"]].concat());
    assert_eq!(listing(folder.path()), ["gen", "gen/config.json", "gen/model.safetensors"]);
}

#[test]
fn a_failed_run_makes_no_directory() {
    let folder = tempdir().unwrap();
    let wrong: [&[&str]; 3] = [
        &["--cond-dim", "12"],
        &["--config", "nowhere.json"],
        // More memory than any machine has.
        &["--cond-dim", "1000000000000000", "--kernel-hidden-dim", "1", "--num-film-layers", "1"],
    ];
    for arguments in wrong {
        let outcome =
            film_tools(folder.path(), &[&["init", "--output", "gen"], arguments].concat());
        assert!(matches!(outcome.code, 1 | 2), "{outcome:?}");
        assert_eq!(listing(folder.path()), [""; 0]);
    }
}

#[cfg(unix)]
#[test]
fn modes_are_those_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let mode = |name: &str| folder.join(name).metadata().unwrap().permissions().mode() & 0o7777;
    init(folder, "gen", &SIZES);
    std::fs::File::create(folder.join("plain")).unwrap();
    assert_eq!(mode("gen/config.json"), mode("plain"));
    assert_eq!(mode("gen/model.safetensors"), mode("plain"));

    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "umask 027; exec \"$@\"", "sh"]).arg(program(folder).get_program());
    shell.args(["init", "--output", "masked"]).args(SIZES).current_dir(folder);
    assert!(shell.output().unwrap().status.success());
    assert_eq!([mode("masked/config.json"), mode("masked/model.safetensors")], [0o640; 2]);
}

#[test]
fn identity_gives_ones_and_zeros_exactly() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    for stored in ["f32", "f16", "bf16", "f64"] {
        init(folder, stored, &[SIZES.as_slice(), &["--dtype", stored, "--seed", "5"]].concat());
        for dtype in ["f32", "f16", "bf16", "f64"] {
            let arguments = ["run", stored, "--random", "9", "--dtype", dtype, "--output", "-"];
            let films = json(&film_tools(folder, &arguments).stdout());
            assert_eq!(films.len(), 6);
            for (name, film) in films {
                let expected = if name.starts_with("gamma.") { 1.0 } else { 0.0 };
                assert_eq!(film.dims(), [9, 5]);
                assert!(numbers(&film).iter().all(|&x| x == expected), "{name} in {dtype}");
            }
        }
    }
    // small_random differs from identity by about its standard deviation.
    init(folder, "random", &[SIZES.as_slice(), &["--init-type", "small_random"]].concat());
    let films =
        json(&film_tools(folder, &["run", "random", "--random", "9", "--output", "-"]).stdout());
    let far = |x: f64| (1e-6..1e-2).contains(&(x - 1.0).abs());
    assert!(numbers(&films["gamma.0"]).into_iter().filter(|&x| far(x)).count() > 40);
}
