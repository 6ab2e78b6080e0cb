//! `conv` gives the numbers that PyTorch gave, in either layout, and says what does not fit.

use candle_core::DType;
use tempfile::{TempDir, tempdir};

use crate::support::{
    Named, cases, film_tools, fixture, random, refused, relative_error, report, safetensors, save,
};

/// Convolves and reads back what was written.
#[track_caller]
fn conv(arguments: &[&str]) -> Named {
    let folder = tempdir().unwrap();
    let arguments = [&["conv"], arguments, &["--output", "y.safetensors"]].concat();
    let outcome = film_tools(folder.path(), &arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    safetensors(folder.path().join("y.safetensors"))
}

#[test]
fn every_case_agrees_each_way() {
    for case in cases("ckconv") {
        let io = format!("{case}/io.safetensors");
        let truth = safetensors(&io);
        let (input, conditioning) = (format!("{io}:input"), format!("{io}:conditioning"));
        let mut arguments = vec![case.as_str(), "--input", &input];
        if truth.contains_key("conditioning") {
            arguments.extend(["--conditioning", &conditioning]);
        }
        for way in ["direct", "fft", "matmul", "reference"] {
            let got = conv(&[arguments.as_slice(), &["--algorithm", way]].concat());
            assert_eq!(got.keys().collect::<Vec<_>>(), ["output"]);
            let error = relative_error(&got["output"], &truth["output"]);
            assert!(error <= 2e-6, "{case} {way}: {error:e}");
        }
        let wide = conv(&[arguments.as_slice(), &["--dtype", "f64"]].concat());
        assert_eq!(wide["output"].dtype(), DType::F64);
        assert!(relative_error(&wide["output"], &truth["output"]) <= 2e-6, "{case}");
    }
}

#[test]
fn a_production_layout_goes_from_registers_to_outputs() {
    let hybrid = fixture("hybrid_model");
    let io = format!("{hybrid}/io.safetensors");
    let truth = safetensors(&io);
    for block in ["blocks.0", "blocks.1"] {
        let name = format!("{block}.sequence_mixer.inner_mixer.mixer.global_conv");
        let input = format!("{io}:{name}.input");
        let registers = format!("{io}:{block}.register_pooling.input");
        let got = conv(&[
            &hybrid,
            "--prefix",
            block,
            "--channels-first",
            "--input",
            &input,
            "--registers",
            &registers,
        ]);
        let error = relative_error(&got["output"], &truth[&format!("{name}.output")]);
        assert!(error <= 2e-6, "{block}: {error:e}");
    }
}

#[test]
fn flags_stand_in_for_a_config() {
    let case = fixture("ckconv/2d_mixed");
    let folder = tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    std::fs::copy(format!("{case}/model.safetensors"), &model).unwrap();
    let model = model.display().to_string();
    let io = format!("{case}/io.safetensors");
    let (input, conditioning) = (format!("{io}:input"), format!("{io}:conditioning"));
    let given = [model.as_str(), "--input", &input, "--conditioning", &conditioning];
    let flags = ["--padding", "circular,zero", "--l-cache", "3x6"];
    let got = conv(&[given.as_slice(), &flags].concat());
    assert!(relative_error(&got["output"], &safetensors(&io)["output"]) <= 2e-6);
    let refusal = refused(
        tempdir().unwrap().path(),
        &[["conv"].as_slice(), &given, &["--l-cache", "3x6"]].concat(),
    );
    assert!(
        refusal.contains("model.safetensors: (root): the checkpoint does not tell fft_padding")
    );
}

/// A folder with the case's tensors and its config.json, changed.
fn changed(case: &str, change: impl Fn(&mut serde_json::Value)) -> TempDir {
    let (case, folder) = (fixture(case), tempdir().unwrap());
    let model = "model.safetensors";
    std::fs::copy(format!("{case}/{model}"), folder.path().join(model)).unwrap();
    let config = std::fs::read(format!("{case}/config.json")).unwrap();
    let mut config = serde_json::from_slice(&config).unwrap();
    change(&mut config);
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn another_padding_has_another_cache_length() {
    let case = fixture("ckconv/1d_circular");
    let input = format!("{case}/io.safetensors:input");
    for flags in [["--padding", "zero"].as_slice(), &["--causal"]] {
        let given = [&["conv", &case, "--input", &input], flags].concat();
        let text = refused_usage(&given);
        assert!(text.contains("--l-cache: expected with "), "{text}");
        conv(&[&given[1..], &["--l-cache", "9"]].concat());
    }
    conv(&[&case, "--input", &input, "--padding", "circular"]);

    // The circular case is the zero one, for signals of 9, on a ring: its L_cache of 5 is half of 9.
    let zero = changed("ckconv/1d_circular", |config| {
        config["fft_padding"] = "zero".into();
        config["grid_type"] = "double".into();
        config["kernel"]["L_cache"] = 9.into();
    });
    let zero = zero.path().display().to_string();
    let io = format!("{case}/io.safetensors");
    let conditioning = format!("{io}:conditioning");
    let given = ["--input", &input, "--conditioning", &conditioning, "--padding", "circular"];
    let got = conv(&[[zero.as_str()].as_slice(), &given].concat());
    assert!(relative_error(&got["output"], &safetensors(&io)["output"]) <= 2e-6);
}

#[test]
fn a_config_that_contradicts_the_tensors_is_refused() {
    let input = format!("{}/io.safetensors:input", fixture("ckconv/2d_zero"));
    let refused = |folder: &TempDir, more: &[&str]| {
        let path = folder.path().display().to_string();
        refused(
            tempdir().unwrap().path(),
            &[["conv", &path, "--input", &input].as_slice(), more].concat(),
        )
    };
    let wide = changed("ckconv/2d_zero", |config| config["hidden_dim"] = 9.into());
    let text = refused(&wide, &[]);
    assert!(
        text.ends_with("config.json: hidden_dim: expected 8, as the tensors have it, found 9"),
        "{text}"
    );
    let masked = changed("ckconv/2d_zero", |config| {
        config["mask"] = serde_json::json!({ "type": "gaussian", "num_channels": 8 });
    });
    let text = refused(&masked, &[]);
    assert!(text.contains("config.json: mask: expected none, as there is neither"), "{text}");
    // Whoever leaves it out knows.
    let path = masked.path().display().to_string();
    conv(&[&path, "--input", &input, "--no-mask"]);
}

#[test]
fn one_condition_for_a_batch_is_as_one_for_each() {
    // More samples than one chunk holds.
    let case = fixture("ckconv/2d_zero");
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    save(path("x.safetensors"), &[("x", &random(&[120, 40, 40, 8]))]);
    let one = random(&[1, 12]);
    save(path("one.safetensors"), &[("c", &one)]);
    save(path("all.safetensors"), &[("c", &one.repeat((120, 1)).unwrap())]);
    let outputs = ["one", "all"].map(|name| {
        let (input, conditioning) = (path("x.safetensors"), path(&format!("{name}.safetensors")));
        conv(&[&case, "--input", &input, "--conditioning", &conditioning])
    });
    assert!(relative_error(&outputs[0]["output"], &outputs[1]["output"]) < 1e-6);
}

#[test]
fn the_report_says_what_was_done() {
    let case = fixture("ckconv/1d_causal");
    let input = format!("{case}/io.safetensors:input");
    let json = report(
        tempdir().unwrap().path(),
        &["conv", &case, "--input", &input, "--random", "1", "--json"],
    );
    assert_eq!(json["shape"], serde_json::json!([2, 10, 8]));
    assert_eq!(json["kernel"], serde_json::json!([10]));
    assert_eq!(json["boundaries"], serde_json::json!(["causal"]));
    assert_eq!((&json["modulated"], &json["masked"]), (&true.into(), &false.into()));
    assert!(json["summary"]["spread"].is_null());
}

#[test]
fn what_does_not_fit_is_refused() {
    let case = fixture("ckconv/2d_zero");
    let io = format!("{case}/io.safetensors");
    let with = |input: &str, more: &[&str]| {
        let input = format!("{io}:{input}");
        refused(
            tempdir().unwrap().path(),
            &[["conv", &case, "--input", &input].as_slice(), more].concat(),
        )
    };
    assert!(with("conditioning", &[]).contains("expected shape [B, N1, N2, 8], found [2, 12]"));
    let text = with("input", &["--channels-first"]);
    assert!(
        text.contains("expected shape [B, 8, N1, N2] with --channels-first, found [2, 6, 5, 8]")
    );
    let text = with("input", &["--random", "3"]);
    assert!(text.contains("a batch of 1 or 2, the signal's, in front"), "{text}");
    let registers = format!("{io}:input");
    assert!(with("input", &["--registers", &registers]).contains("holds no register encoder"));
    let generator = fixture("generator/tiny_1x1x1");
    let refusal = refused(tempdir().unwrap().path(), &["conv", &generator, "--input", &registers]);
    assert!(refusal.contains("holds no convolution"), "{refusal}");
    let unconditioned = fixture("ckconv/2d_zero_unconditioned");
    let refusal = refused(
        tempdir().unwrap().path(),
        &["conv", &unconditioned, "--input", &registers, "--random", "1"],
    );
    assert!(refusal.contains("takes no conditioning"), "{refusal}");
}

#[test]
fn wrong_usage_is_told_apart() {
    let case = fixture("ckconv/2d_zero");
    for wrong in [
        ["--padding", "zero,zero,zero", "--input", "x.npy"].as_slice(),
        &["--causal", "--input", "x.npy"],
        &["--omega-0", "3", "--input", "x.npy"],
        &["--padding", "circular", "--causal", "--input", "x.npy"],
        &["--padding", "reflect", "--input", "x.npy"],
        &["--input", "-", "--conditioning", "-"],
        &["--input", "x.npy", "--output", "-", "--json"],
        &[],
    ] {
        let folder = tempdir().unwrap();
        let outcome = film_tools(folder.path(), &[["conv", &case].as_slice(), wrong].concat());
        assert_eq!(outcome.code, 2, "{wrong:?}: {}", outcome.stderr);
    }
}

/// What wrong usage is told.
#[track_caller]
fn refused_usage(arguments: &[&str]) -> String {
    let outcome = film_tools(tempdir().unwrap().path(), arguments);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    outcome.stderr
}

#[test]
fn counts_cover_the_convolution() {
    let counted = |name: &str, grid: &str, more: &[&str]| {
        let case = fixture(name);
        let json = report(
            tempdir().unwrap().path(),
            &[["flops", &case, "--grid", grid, "--json"].as_slice(), more].concat(),
        );
        (json["flops_per_sample"].as_u64().unwrap(), json["inference_flops_per_sample"].as_u64())
    };
    // The totals in flops.json.
    assert_eq!(counted("ckconv/1d_circular", "9", &[]), (9385, Some(9385)));
    assert_eq!(counted("ckconv/2d_zero_unconditioned", "6x5", &[]), (149_019, Some(72_306)));
    // What is left without transforms, shortcut and generator is the same for each point of the kernel.
    let (circular, _) = counted("ckconv/1d_zero", "10", &["--padding", "circular"]);
    let (zero, _) = counted("ckconv/1d_zero", "10", &[]);
    let transforms = |points: f64| (3.0 * 5.0 * 8.0 * points * points.log2()).trunc() as u64;
    let conv = |points: u64| transforms(points as f64) + 6 * 8 * points + 8 * 10;
    let generator = 2 * 12 * 10 + 10 + 2 * 10 * 48;
    let each = |kernel: u64, conv: u64, points: u64| (kernel - conv - generator) / points;
    assert_eq!(each(zero, conv(20), 19), each(circular, conv(10), 9));
    let without = refused_usage(&["flops", &fixture("siren_kernel/1d"), "--grid", "5", "--causal"]);
    assert!(without.contains("of a kernel in a convolution"), "{without}");
}
