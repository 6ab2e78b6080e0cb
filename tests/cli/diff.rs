//! `diff`: exit status 0 the same, 1 different, 2 trouble, and what differs.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use tempfile::tempdir;

use crate::support::{Outcome, film_tools, fixture, program, save};

fn vector(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

/// The output of a run that found differences.
#[track_caller]
fn different(folder: &Path, args: &[&str]) -> String {
    let Outcome { code, stdout, stderr } = film_tools(folder, &[&["diff"], args].concat());
    assert_eq!((code, stderr.as_str()), (1, ""), "{stdout}");
    stdout
}

#[test]
fn sharding_and_metadata_do_not_matter() {
    let folder = tempdir().unwrap();
    let sharded = fixture("hybrid_model");
    let mut tensors = Vec::new();
    for shard in 1..=3 {
        tensors.extend(crate::support::safetensors(format!(
            "{sharded}/model-0000{shard}-of-00003.safetensors"
        )));
    }
    let tensors: Vec<(&str, &Tensor)> =
        tensors.iter().map(|(name, x)| (name.as_str(), x)).collect();
    save(folder.path().join("one.safetensors"), &tensors);
    let text = film_tools(folder.path(), &["diff", &sharded, "one.safetensors"]).stdout();
    assert_eq!(text, "the same: 64 tensors\n");
}

#[test]
fn differences_are_told_largest_first() {
    let folder = tempdir().unwrap();
    let here = folder.path();
    save(
        here.join("a"),
        &[
            (
                "blocks.0.sequence_mixer.inner_mixer.mixer.global_conv.kernel.out_linear.weight",
                &vector(&[1.0, 2.0, 4.0]),
            ),
            ("b", &vector(&[1.0])),
            ("cast", &vector(&[1.0, 2.0])),
            ("form", &vector(&[1.0, 2.0])),
            ("gone", &vector(&[7.0])),
            ("nan", &vector(&[f32::NAN, 1.0])),
            ("old.name", &vector(&[5.0, 6.0])),
            ("same", &vector(&[1.0])),
        ],
    );
    save(
        here.join("b"),
        &[
            (
                "blocks.0.sequence_mixer.inner_mixer.mixer.global_conv.kernel.out_linear.weight",
                &vector(&[1.0, 2.0, 4.5]),
            ),
            ("b", &vector(&[1.25])),
            ("cast", &vector(&[1.0, 2.0]).to_dtype(DType::F16).unwrap()),
            ("form", &vector(&[1.0, 2.0]).reshape((2, 1)).unwrap()),
            ("nan", &vector(&[0.0, 1.0])),
            ("fresh", &vector(&[8.0])),
            ("new.name", &vector(&[5.0, 6.0])),
            ("same", &vector(&[1.0])),
        ],
    );
    let text = different(here, &["a", "b"]);
    let begin = "\
A  a
B  b

tensor                                          over  max abs  max rel    cosine
nan                                           1 of 2        0        0  1.000000
    1 NaN or infinite
blocks.0.sequence_mixer.inner_mixer.mixer.
    global_conv.kernel.out_linear.weight      1 of 3   0.5000   0.1111  0.998821
b                                             1 of 1   0.2500   0.2000  1.000000
cast                                          0 of 2        0        0  1.000000
    recast F32 → F16
form                                          0 of 2        0        0         1
    reshaped [2] → [2, 1]

renamed: 1
  old.name
  → new.name
";
    assert!(text.starts_with(begin), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for part in [
        "only in A: 1  dtype  shape\ngone          F32    [1]\n",
        "only in B: 1  dtype  shape\nfresh         F32    [1]\n",
        "6 tensors in both: 1 the same, 5 differ, 1 recast, 1 reshaped\n1 renamed, 1 only in A, 1 only in B\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json = film_tools(here, &["diff", "a", "b", "--json"]);
    assert_eq!((json.code, json.stderr.as_str()), (1, ""));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["schema_version"], &json["same"]), (&1.into(), &false.into()));
    assert_eq!(json["identical"], 1);
    assert_eq!(json["compared"][1]["difference"]["max_abs"], 0.5);
    assert_eq!(json["compared"][0]["difference"]["non_finite"], 1);
    assert_eq!(json["renamed"][0]["to"], "new.name");
    assert_eq!(json["removed"][0]["shape"], serde_json::json!([1]));
}

#[test]
fn a_tolerance_makes_the_same_of_nearly_the_same() {
    let folder = tempdir().unwrap();
    let here = folder.path();
    save(here.join("a"), &[("x", &vector(&[1.0, 2.0])), ("z", &vector(&[0.0]))]);
    save(here.join("b"), &[("x", &vector(&[1.0, 2.001])), ("z", &vector(&[-0.0]))]);
    assert!(
        different(here, &["a", "b"])
            .contains("2 tensors in both: 1 the same, 1 differ, 1 the same in value, not in bytes")
    );
    assert!(different(here, &["a", "b", "--atol", "1e-4"]).contains("1 of 2"));
    for tolerance in [["--atol", "2e-3"], ["--rtol", "1e-3"]] {
        let text = film_tools(here, &[&["diff", "a", "b"], &tolerance[..]].concat()).stdout();
        assert_eq!(
            text,
            "the same: 2 tensors, 1 within the tolerance, 1 the same in value, not in bytes\n"
        );
    }
}

#[test]
fn prefixes_come_off_either_side() {
    let folder = tempdir().unwrap();
    let here = folder.path();
    save(here.join("a"), &[("network.x", &vector(&[1.0]))]);
    save(here.join("b"), &[("x", &vector(&[1.0]))]);
    assert!(different(here, &["a", "b"]).contains("renamed: 1\n  network.x\n  → x\n"));
    let a = film_tools(here, &["diff", "a", "b", "--strip-prefix-a", "network"]).stdout();
    let b = film_tools(here, &["diff", "b", "a", "--strip-prefix-b", "network."]).stdout();
    assert_eq!((a.as_str(), b.as_str()), ("the same: 1 tensor\n", "the same: 1 tensor\n"));
}

#[test]
fn trouble_is_status_2() {
    let folder = tempdir().unwrap();
    let here = folder.path();
    save(here.join("a"), &[("network.x", &vector(&[1.0]))]);
    std::fs::write(here.join("empty"), "").unwrap();
    for (args, expected) in [
        (vec!["a", "nowhere"], "error: nowhere: cannot open: No such file or directory\n"),
        (vec!["empty", "a"], "error: empty: the file is empty\n"),
        (
            vec!["a", "a", "--strip-prefix-b", "x"],
            "error: a: no tensor stands below the prefix x\n",
        ),
    ] {
        let Outcome { code, stdout, stderr } = film_tools(here, &[&["diff"], &args[..]].concat());
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (2, "", expected));
    }
    for args in [vec!["a"], vec!["a", "a", "--rtol", "-1"], vec!["a", "a", "--atol", "nan"]] {
        let Outcome { code, stdout, .. } = film_tools(here, &[&["diff"], &args[..]].concat());
        assert_eq!((code, stdout.as_str()), (2, ""));
    }
}

#[cfg(unix)]
#[test]
fn different_is_different_though_nobody_reads_it() {
    let folder = tempdir().unwrap();
    save(folder.path().join("a"), &[("x", &vector(&[1.0]))]);
    save(folder.path().join("b"), &[("x", &vector(&[2.0]))]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program(folder.path());
    let status = command.args(["diff", "a", "b"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}
