//! `run` gives the numbers that PyTorch gave, from the files to the file.

use std::path::Path;

use candle_core::{DType, Tensor};
use tempfile::tempdir;

use crate::support::{
    Named, cases, film_tools, fixture, relative_error, report, safetensors, save,
};

/// Runs the generator and reads back what it wrote.
#[track_caller]
fn run(checkpoint: &str, arguments: &[&str]) -> Named {
    let folder = tempdir().unwrap();
    let arguments = [&["run", checkpoint, "--output", "films.safetensors"], arguments].concat();
    let outcome = film_tools(folder.path(), &arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    assert!(outcome.stderr.starts_with("wrote films.safetensors: "), "{}", outcome.stderr);
    safetensors(folder.path().join("films.safetensors"))
}

/// Every tensor is within `limit` of the truth, and the names are γ and β of each layer.
#[track_caller]
fn assert_close(films: &Named, truth: impl Fn(&str) -> Tensor, layers: usize, limit: f64) {
    let mut names: Vec<String> =
        (0..layers).flat_map(|layer| [format!("beta.{layer}"), format!("gamma.{layer}")]).collect();
    names.sort();
    assert_eq!(films.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    for (name, film) in films {
        let error = relative_error(film, &truth(name));
        assert!(error <= limit, "{name}: {error:e} is more than {limit:e}");
    }
}

#[test]
fn every_case_agrees() {
    for case in cases("generator") {
        let io = format!("{case}/io.safetensors");
        let truth = safetensors(&io);
        let layers = truth.keys().filter(|name| name.starts_with("gamma.")).count();
        assert!(layers >= 1, "{io}");
        let input = format!("{io}:conditioning");
        for (dtype, stored, limit) in [("f32", DType::F32, 1e-6), ("f64", DType::F64, 1e-12)] {
            let films = run(&case, &["--conditioning", &input, "--dtype", dtype]);
            assert!(films.values().all(|film| film.dtype() == stored), "{case}");
            assert_close(&films, |name| truth[name].clone(), layers, limit);
        }
        // Without --dtype it is float32.
        assert_close(
            &run(&case, &["--conditioning", &input]),
            |name| truth[name].clone(),
            layers,
            1e-6,
        );
    }
}

#[test]
fn half_precision_is_as_close_as_its_digits() {
    let case = fixture("generator/production_384x32x3_h64");
    let io = format!("{case}/io.safetensors");
    let truth = safetensors(&io);
    let input = format!("{io}:conditioning");
    for (dtype, stored, limit) in [("f16", DType::F16, 2e-3), ("bf16", DType::BF16, 2e-2)] {
        let films = run(&case, &["--conditioning", &input, "--dtype", dtype]);
        assert!(films.values().all(|film| film.dtype() == stored));
        assert_close(&films, |name| truth[name].clone(), 3, limit);
    }
}

#[test]
fn generators_inside_a_model_agree() {
    let model = fixture("hybrid_model");
    let io = format!("{model}/io.safetensors");
    let truth = safetensors(&io);
    for block in ["blocks.0", "blocks.1"] {
        let generator =
            format!("{block}.sequence_mixer.inner_mixer.mixer.global_conv.kernel.film_generator");
        let of = |name: &str| truth[&format!("{generator}.{name}")].clone();
        let conditioning = format!("{io}:{generator}.conditioning");
        let registers = format!("{io}:{block}.register_pooling.input");
        for (flag, input) in [("--conditioning", &conditioning), ("--registers", &registers)] {
            // The block's name is enough; so is the generator's own.
            for prefix in [block, &generator] {
                let films = run(&model, &["--prefix", prefix, flag, input]);
                assert_close(&films, of, 3, 2e-6);
            }
        }
    }
}

#[test]
fn the_shards_index_is_a_checkpoint_too() {
    let io = fixture("hybrid_model/io.safetensors");
    let input = format!("{io}:blocks.0.register_pooling.input");
    let rest = ["--prefix", "blocks.0", "--registers", &input];
    let by_folder = run(&fixture("hybrid_model"), &rest);
    let by_index = run(&fixture("hybrid_model/model.safetensors.index.json"), &rest);
    crate::support::assert_same(&by_folder, &by_index);
}

/// A checkpoint of a fresh generator and one more tensor in front of it.
fn with_encoder(folder: &Path, cond_dim: &str, name: &str, encoder: &Tensor) {
    let sizes = ["--cond-dim", cond_dim, "--kernel-hidden-dim", "8", "--num-film-layers", "2"];
    let start = ["--init-type", "small_random", "--init-std", "0.5"];
    let made =
        film_tools(folder, &[["init", "--output", "gen"].as_slice(), &sizes, &start].concat());
    assert_eq!(made.code, 0, "{}", made.stderr);
    let tensors = safetensors(folder.join("gen/model.safetensors"));
    let mut tensors: Vec<(&str, &Tensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    tensors.push((name, encoder));
    save(folder.join("gen/model.safetensors"), &tensors);
}

#[test]
fn each_kind_of_encoder_feeds_its_generator() {
    let kinds = [
        ("register_pooling/r14_c384", "384", "logits", "pooling", 14),
        ("register_compress_concat/r14_c384_d32", "448", "compress.weight", "compress_concat", 14),
        ("register_compress_concat/r2_c4_d3", "6", "compress.weight", "compress_concat", 2),
    ];
    for (case, cond_dim, parameter, kind, registers) in kinds {
        let folder = tempdir().unwrap();
        let weights = safetensors(fixture(&format!("{case}/model.safetensors")));
        with_encoder(folder.path(), cond_dim, parameter, &weights[parameter]);
        let checkpoint = folder.path().join("gen").display().to_string();

        let found = &report(folder.path(), &["inspect", "gen", "--json"])["generators"][0];
        let expected = serde_json::json!({"prefix": "", "kind": kind, "num_registers": registers});
        assert_eq!(found["registers"], expected);

        let io = fixture(&format!("{case}/io.safetensors"));
        let through_encoder =
            run(&checkpoint, &["--registers", &format!("{io}:registers"), "--dtype", "f64"]);
        // PyTorch's output of the encoder, straight into the generator.
        let past_encoder =
            run(&checkpoint, &["--conditioning", &format!("{io}:conditioning"), "--dtype", "f64"]);
        assert_close(&through_encoder, |name| past_encoder[name].clone(), 2, 1e-12);
    }
}
