//! Batches of any shape, in chunks of any length, through one generator or all of them.

use std::path::Path;

use candle_core::Tensor;
use tempfile::tempdir;

use crate::support::{
    Named, assert_same, film_tools, fixture, json, npz, random, relative_error, report,
    safetensors, save,
};

/// A generator with two layers of 4, that takes conditioning of 8.
fn generator() -> String {
    fixture("generator/small_8x4x2_h6")
}

/// Runs the generator, with `input` and more as its arguments.
#[track_caller]
fn films(folder: &Path, arguments: &[&str]) -> Named {
    let checkpoint = generator();
    let arguments = [&["run", &checkpoint, "--output", "-"], arguments].concat();
    json(&film_tools(folder, &arguments).stdout())
}

#[track_caller]
fn assert_within(a: &Named, b: &Named, limit: f64) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, tensor) in a {
        let error = relative_error(tensor, &b[name]);
        assert!(error <= limit, "{name}: {error:e}");
    }
}

#[test]
fn leading_axes_are_kept() {
    let folder = tempdir().unwrap();
    let flat = random(&[6, 8]);
    let shapes: [(&str, &[usize]); 4] =
        [("flat", &[6, 8]), ("deep", &[2, 3, 8]), ("deeper", &[1, 2, 1, 3, 8]), ("one", &[8])];
    let tensors = shapes.map(|(name, shape)| {
        let tensor = match shape {
            [8] => flat.get(4).unwrap(),
            _ => flat.reshape(shape).unwrap(),
        };
        (name, tensor)
    });
    let named: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, x)| (*name, x)).collect();
    save(folder.path().join("c.safetensors"), &named);
    let by_name =
        |name: &str| films(folder.path(), &["--conditioning", &format!("c.safetensors:{name}")]);
    let expected = by_name("flat");
    for (name, shape) in shapes {
        for (film, tensor) in by_name(name) {
            let leading = [&shape[..shape.len() - 1], &[4]].concat();
            assert_eq!(tensor.dims(), leading, "{name}");
            let rows = match name {
                "one" => expected[&film].get(4).unwrap(),
                _ => expected[&film].reshape(leading).unwrap(),
            };
            assert!(relative_error(&tensor, &rows) <= 1e-6, "{name}");
        }
    }
}

#[test]
fn an_empty_batch_gives_empty_tensors() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let header = r#"{"c":{"dtype":"F32","shape":[2,0,8],"data_offsets":[0,0]}}"#;
    let file = crate::support::safetensors_bytes(header, &[]);
    std::fs::write(path.join("c.safetensors"), file).unwrap();
    for (fortran, name) in [(false, "c.npy"), (true, "f.npy")] {
        let file = crate::support::npy_bytes("'<f4'", fortran, "(2, 0, 8)", &[]);
        std::fs::write(path.join(name), file).unwrap();
    }
    let checkpoint = generator();
    for input in ["c.safetensors", "c.npy", "f.npy"] {
        let run = ["run", &checkpoint, "--conditioning", input, "--force"];
        for output in ["o.safetensors", "o.npz", "o.json"] {
            let outcome = film_tools(path, &[run.as_slice(), &["--output", output]].concat());
            assert_eq!(outcome.code, 0, "{input} to {output}: {}", outcome.stderr);
        }
        for films in [safetensors(path.join("o.safetensors")), npz(path.join("o.npz"))] {
            assert_eq!(films.len(), 4);
            assert!(films.values().all(|film| film.dims() == [2, 0, 4]), "{input}");
        }
        let text = std::fs::read_to_string(path.join("o.json")).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["gamma.1"], serde_json::json!([[], []]));
        // There is nothing to sum up.
        let summary = report(path, &["run", &checkpoint, "--conditioning", input, "--json"]);
        assert_eq!(summary["batch"], serde_json::json!([2, 0]));
        assert_eq!(summary["generators"][0]["layers"][1]["beta"]["mean"], serde_json::Value::Null);
        let table = film_tools(path, &["run", &checkpoint, "--conditioning", input]).stdout();
        assert!(table.contains('–') && !table.contains("NaN"), "{table}");
    }
    let none = film_tools(path, &["run", &checkpoint, "--random", "0", "--output", "-"]).stdout();
    assert_eq!(json(&none)["gamma.0"].dims(), [0]);
}

#[test]
fn chunks_change_nothing() {
    let folder = tempdir().unwrap();
    save(folder.path().join("c.safetensors"), &[("c", &random(&[5, 7, 8]))]);
    for input in [["--conditioning", "c.safetensors"], ["--random", "35"]] {
        let whole = films(folder.path(), &input);
        for chunk in ["1", "2", "34", "35", "36", "18446744073709551615"] {
            let chunked = films(folder.path(), &[input.as_slice(), &["--chunk", chunk]].concat());
            assert_within(&chunked, &whole, 1e-6);
        }
    }
}

#[test]
fn chunks_change_no_file_either() {
    let folder = tempdir().unwrap();
    let checkpoint = generator();
    for format in ["safetensors", "npz"] {
        for chunk in ["1", "6", "100"] {
            let output = format!("{chunk}.{format}");
            let run = ["run", &checkpoint, "--random", "13", "--dtype", "f64"];
            let rest = ["--chunk", chunk, "--output", &output];
            let outcome = film_tools(folder.path(), &[run.as_slice(), &rest].concat());
            assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        }
        let read = |chunk: &str| {
            let path = folder.path().join(format!("{chunk}.{format}"));
            if format == "npz" { npz(path) } else { safetensors(path) }
        };
        for chunk in ["1", "6"] {
            assert_within(&read(chunk), &read("100"), 1e-12);
        }
    }
}

#[test]
fn random_rows_depend_on_the_seed_alone() {
    let folder = tempdir().unwrap();
    let few = films(folder.path(), &["--random", "3", "--seed", "4"]);
    let many = films(folder.path(), &["--random", "10", "--seed", "4"]);
    let other = films(folder.path(), &["--random", "3", "--seed", "5"]);
    for (name, film) in &few {
        assert!(relative_error(film, &many[name].narrow(0, 0, 3).unwrap()) <= 1e-6, "{name}");
        assert!(relative_error(film, &other[name]) > 1e-2, "{name}");
    }
    // Without --seed it is 0.
    assert_same(
        &films(folder.path(), &["--random", "3"]),
        &films(folder.path(), &["--random", "3", "--seed", "0"]),
    );
}

#[test]
fn all_generators_give_what_each_gives_alone() {
    let folder = tempdir().unwrap();
    let model = fixture("hybrid_model");
    let run = |rest: &[&str]| {
        let arguments = [&["run", &model, "--random", "4", "--output", "-"], rest].concat();
        json(&film_tools(folder.path(), &arguments).stdout())
    };
    let (first, second) = (run(&["--prefix", "blocks.0"]), run(&["--prefix", "blocks.1"]));
    let generator = |block: &str| {
        format!("{block}.sequence_mixer.inner_mixer.mixer.global_conv.kernel.film_generator")
    };
    let named = |block: &str, films: &Named| -> Named {
        films.iter().map(|(k, x)| (format!("{}.{k}", generator(block)), x.clone())).collect()
    };
    let (first, second) = (named("blocks.0", &first), named("blocks.1", &second));
    assert_same(&run(&["--all", "--prefix", "blocks.1"]), &second);
    let both: Named = first.into_iter().chain(second).collect();
    assert_eq!(both.len(), 12);
    assert_same(&run(&["--all"]), &both);
    assert_same(&run(&["--all", "--prefix", "blocks"]), &both);
    // At the root there is no prefix to put in front.
    assert_eq!(
        films(folder.path(), &["--random", "1", "--all"]).into_keys().collect::<Vec<_>>(),
        ["beta.0", "beta.1", "gamma.0", "gamma.1"]
    );
}

#[test]
fn a_width_given_by_hand_must_divide() {
    // The weights alone: no config.json beside them tells γ's width.
    let folder = tempdir().unwrap();
    let weights = fixture("generator/small_8x4x2_h6/model.safetensors");
    std::fs::copy(weights, folder.path().join("bare.safetensors")).unwrap();
    let run = ["run", "bare.safetensors", "--random", "2"];
    let line = film_tools(folder.path(), &run).refusal();
    assert!(line.starts_with("bare.safetensors: "), "{line}");
    assert!(line.contains("kernel_hidden_dim is unknown"), "{line}");

    let with = |width: &str| {
        let rest = ["--kernel-hidden-dim", width, "--output", "-"];
        film_tools(folder.path(), &[run.as_slice(), &rest].concat())
    };
    let line = with("3").refusal();
    assert!(line.contains("found 3"), "{line}");
    assert_same(&json(&with("4").stdout()), &films(folder.path(), &["--random", "2"]));
    let names: Vec<String> = json(&with("2").stdout()).into_keys().collect();
    assert_eq!((names.len(), names[7].as_str()), (8, "gamma.3"));
}
