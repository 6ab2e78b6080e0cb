//! Conditioning that cannot be: one line that names the file, and nothing written. What may be wrong inside of a file
//! is in `tests/hostile`.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use tempfile::{TempDir, tempdir};

use crate::support::{
    Outcome, film_tools, film_tools_fed, fixture, npy_bytes, random, refused, safetensors,
    safetensors_bytes, save,
};

/// A generator with two layers of 4, that takes conditioning of 8.
fn generator() -> String {
    fixture("generator/small_8x4x2_h6")
}

/// `run` refuses the input, naming it and saying `problem`.
#[track_caller]
fn assert_refused(folder: &Path, input: &str, file: &str, problem: &str) {
    let checkpoint = generator();
    for output in [&[][..], &["--output", "o.safetensors"], &["--output", "o.json"], &["--json"]] {
        let run = ["run", &checkpoint, "--conditioning", input];
        let line = refused(folder, &[run.as_slice(), output].concat());
        assert!(line.starts_with(&format!("{file}: ")), "{input}: {line}");
        assert!(line.contains(problem), "{input}: {line}");
    }
}

fn folder(name: &str, bytes: &[u8]) -> TempDir {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join(name), bytes).unwrap();
    folder
}

#[test]
fn standard_input_that_is_no_tensor() {
    let cases = [
        ("", "expected JSON, an array of arrays of numbers: EOF"),
        ("[[1, 2], [3]]", "expected an array of 2 like the ones before it, found 1"),
        ("[1, 2, 3, NaN, 5, 6, 7, 8]", "JSON has no NaN: use .npy"),
        ("[1, 2, 3]", "expected shape [*, 8] (cond_dim), found [3]"),
    ];
    for (text, problem) in cases {
        let folder = tempdir().unwrap();
        let arguments = ["run", &generator(), "--conditioning", "-", "--output", "o.npz"];
        let line = film_tools_fed(folder.path(), &arguments, text).refusal();
        assert!(line.starts_with("standard input: ") && line.contains(problem), "{line}");
        assert!(!folder.path().join("o.npz").exists());
    }
}

#[test]
fn npy_files_hold_one_array_without_a_name() {
    let good = npy_bytes("'<f4'", false, "(1, 8)", &[0; 32]);
    assert_refused(folder("c.npy", &good).path(), "c.npy:c", "c.npy", "leave out :TENSOR");
}

#[test]
fn safetensors_that_hold_something_else() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    save(path.join("one.safetensors"), &[("c", &random(&[2, 7]))]);
    save(path.join("two.safetensors"), &[("c", &random(&[2, 8])), ("d", &random(&[2, 8]))]);
    std::fs::write(path.join("none.safetensors"), safetensors_bytes("{}", &[])).unwrap();
    std::fs::write(path.join("empty.safetensors"), "").unwrap();
    let boolean = r#"{"c":{"dtype":"BOOL","shape":[1,8],"data_offsets":[0,8]}}"#;
    std::fs::write(path.join("bool.safetensors"), safetensors_bytes(boolean, &[0; 8])).unwrap();
    let cases = [
        ("one.safetensors:d", "one", "holds no tensor d; there are c"),
        ("one.safetensors:d:e", "one", "holds no tensor d:e; there are c"),
        ("two.safetensors", "two", "choose one as FILE:TENSOR: c, d"),
        ("two.safetensors:", "two", "holds no tensor"),
        ("none.safetensors", "none", "holds no tensor"),
        ("empty.safetensors", "empty", "empty"),
        ("bool.safetensors", "bool", "BOOL"),
        ("gone.safetensors", "gone", "No such file"),
        ("gone.safetensors:c", "gone", "No such file"),
    ];
    for (input, file, problem) in cases {
        assert_refused(path, input, &format!("{file}.safetensors"), problem);
    }
    let problem = "expected shape [*, 8] (cond_dim), found [2, 7]";
    assert_refused(path, "one.safetensors", "one.safetensors:c", problem);
}

#[test]
fn files_of_no_known_kind_or_none_at_all() {
    let folder = folder("c.txt", b"[1, 2, 3, 4, 5, 6, 7, 8]");
    let path = folder.path();
    std::fs::create_dir(path.join("folder.npy")).unwrap();
    std::fs::create_dir(path.join("folder.json")).unwrap();
    let formats = "expected a .safetensors, .npy or .json file";
    for input in ["c.txt", "c", "c.NPY", "c.pt:x"] {
        let file = input.split(':').next().unwrap();
        assert_refused(path, input, file, formats);
    }
    for input in ["gone.npy", "gone.json"] {
        assert_refused(path, input, input, "No such file");
    }
    for input in ["folder.npy", "folder.json"] {
        assert_refused(path, input, input, "not a regular file");
    }
}

#[test]
fn registers_need_an_encoder_and_its_shape() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    save(path.join("r.safetensors"), &[("r", &random(&[2, 8, 48])), ("s", &random(&[2, 7, 48]))]);
    let bare = fixture("generator/production_384x32x3_h64");
    let line =
        refused(path, &["run", &bare, "--registers", "r.safetensors:r", "--output", "o.npz"]);
    assert!(line.starts_with(&bare) && line.contains("holds no register encoder"), "{line}");
    let model = fixture("hybrid_model");
    let run = ["run", &model, "--prefix", "blocks.0", "--output", "o.npz"];
    let registers = [run.as_slice(), &["--registers", "r.safetensors:s"]].concat();
    let line = refused(path, &registers);
    let expected = "expected shape [*, 8, 48] (registers, channels), found [2, 7, 48]";
    assert!(line.starts_with("r.safetensors:s: ") && line.ends_with(expected), "{line}");
}

/// The warning's count, the report's and the number of nulls are the same.
#[test]
fn overflow_is_a_warning_with_a_count() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let huge = (random(&[300, 8]) * 1e8).unwrap();
    save(path.join("c.safetensors"), &[("c", &huge.to_dtype(DType::F64).unwrap())]);
    let checkpoint = generator();
    let run = ["run", &checkpoint, "--conditioning", "c.safetensors", "--dtype", "f16"];
    let Outcome { code, stdout, stderr } =
        film_tools(path, &[run.as_slice(), &["--output", "-"]].concat());
    assert_eq!(code, 0, "{stderr}");
    let nulls = stdout.matches("null").count();
    assert!((1000..=300 * 16).contains(&nulls), "{nulls}");
    let (thousands, rest) = (nulls / 1000, nulls % 1000);
    let warning =
        format!("warning: {thousands},{rest:03} of the outputs are NaN or infinite in f16\n");
    assert_eq!(stderr, warning);

    let arguments = [run.as_slice(), &["--json", "--output", "o.safetensors"]].concat();
    let Outcome { code, stdout, stderr } = film_tools(path, &arguments);
    assert!(code == 0 && stderr.starts_with(&warning), "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["non_finite"], nulls);
    let finite = |x: &f64| x.is_finite();
    let films = safetensors(path.join("o.safetensors"));
    let values = films.values().flat_map(crate::support::numbers);
    assert_eq!(values.filter(|x| !finite(x)).count(), nulls);

    // In float64 the same conditioning is no trouble.
    let outcome = film_tools(path, &[&run[..5], &["f64", "--output", "wide.safetensors"]].concat());
    assert_eq!(outcome.code, 0);
    assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
}

/// The same of kernels and of convolutions: the warning, the report and the numbers written agree.
#[test]
fn kernels_and_convolutions_count_what_is_not_finite() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let model = fixture("hybrid_model");
    let huge = (random(&[2, 48]) * 1e30).unwrap();
    save(path.join("c.safetensors"), &[("c", &huge)]);
    let mut signal = vec![1f32; 9 * 9 * 48];
    signal[1000] = f32::INFINITY;
    let signal = Tensor::from_vec(signal, (1, 9, 9, 48), &Device::Cpu).unwrap();
    save(path.join("x.safetensors"), &[("x", &signal)]);
    let kernel = ["kernel", &model, "--grid", "5x5", "--conditioning", "c.safetensors"];
    let conv = ["conv", &model, "--input", "x.safetensors", "--random", "1"];
    for (command, dtype) in [(&kernel[..], "f16"), (&conv, "f32")] {
        let more = ["--prefix", "blocks.0", "--dtype", dtype, "--json", "--force"];
        let output = ["--output", "o.safetensors"];
        let Outcome { code, stdout, stderr } =
            film_tools(path, &[command, &more, &output].concat());
        assert_eq!(code, 0, "{stderr}");
        let written = safetensors(path.join("o.safetensors"));
        let values = written.values().flat_map(crate::support::numbers);
        let count = values.filter(|x| !x.is_finite()).count();
        assert!(count > 0, "{command:?}");
        let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let told =
            report["kernel"]["non_finite"].as_u64().or(report["summary"]["non_finite"].as_u64());
        assert_eq!(told, Some(count as u64), "{stdout}");
        let warning = stderr.lines().next().unwrap().replace(',', "");
        assert!(warning.starts_with(&format!("warning: {count} of the ")), "{warning}");
        assert!(warning.ends_with(&format!(" are NaN or infinite in {dtype}")), "{warning}");
    }
}
