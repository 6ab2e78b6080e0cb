//! `verify`: findings are lines of data and exit status 1; a checkpoint that is not there is an error.

use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::support::{Outcome, film_tools, fixture, program, refused, report, safetensors_bytes};

/// A folder with the small generator, whose file `change` has changed.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> TempDir {
    let folder = tempdir().unwrap();
    let case = fixture("generator/small_8x4x2_h6");
    let mut bytes = std::fs::read(format!("{case}/model.safetensors")).unwrap();
    change(&mut bytes);
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    std::fs::copy(format!("{case}/config.json"), folder.path().join("config.json")).unwrap();
    folder
}

/// The lines of a run that had findings. stderr counts them.
#[track_caller]
fn findings(folder: &Path, args: &[&str]) -> Vec<String> {
    let Outcome { code, stdout, stderr } = film_tools(folder, args);
    assert_eq!(code, 1, "{stdout}{stderr}");
    let lines: Vec<String> = stdout.lines().map(str::to_string).collect();
    let noun = if lines.len() == 1 { "finding" } else { "findings" };
    assert!(stderr.contains(&format!("{} {noun}: ", lines.len())), "{stderr}");
    // What was measured follows.
    assert!(stderr.lines().skip(1).all(|line| line.starts_with("  ")), "{stderr}");
    lines
}

#[test]
fn a_sound_checkpoint_is_status_0_and_a_line_and_one_for_each_generator() {
    let here = Path::new(&fixture("hybrid_model")).parent().unwrap().to_path_buf();
    let text = film_tools(&here, &["verify", "hybrid_model"]).stdout();
    assert_eq!(text, "hybrid_model: no findings: 3 files, 64 tensors, 545,728 bytes\n");
    let text = film_tools(&here, &["verify", "hybrid_model", "--values"]).stdout();
    assert_eq!(
        text,
        "hybrid_model: no findings: 3 files, 64 tensors, 545,728 bytes and their values, 2 FiLM generators\n  \
         blocks.0.sequence_mixer.inner_mixer.mixer.global_conv.kernel.film_generator: norms 4.64 and 22.29; \
         mlp.2 moved by 1.63 (γ) and 1.64 (β), its bias by 0.20 and 0.22; 0.0 % of the biases of γ below 0\n  \
         blocks.1.sequence_mixer.inner_mixer.mixer.global_conv.kernel.film_generator: norms 4.69 and 22.16; \
         mlp.2 moved by 1.64 (γ) and 1.59 (β), its bias by 0.23 and 0.20; 0.0 % of the biases of γ below 0\n"
    );
}

#[test]
fn every_problem_is_a_line() {
    let folder = changed(|bytes| bytes.truncate(bytes.len() - 3));
    let config = folder.path().join("config.json");
    std::fs::write(config, r#"{"cond_dim": 9, "kernel_hidden_dim": 4}"#).unwrap();
    assert_eq!(
        findings(folder.path(), &["verify", "."]),
        [
            "./model.safetensors: not a valid safetensors file: the file is truncated: 661 of 664 bytes of tensors are there",
            "./config.json: cond_dim: expected 8, as the weights have it, found 9",
        ]
    );
    // What is cut off is not read.
    assert_eq!(findings(folder.path(), &["verify", ".", "--values"]).len(), 2);
}

#[test]
fn values_that_no_weight_should_have() {
    let folder = changed(|bytes| {
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes[end - 8..end - 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    });
    assert!(film_tools(folder.path(), &["verify", "."]).stdout().contains("no findings"));
    assert_eq!(
        findings(folder.path(), &["verify", "model.safetensors", "--values"]),
        ["model.safetensors: tensor \"mlp.2.weight\": 1 NaN and 1 infinite of 96 values"]
    );
}

#[test]
fn of_very_many_odd_tensors_the_number_is_told() {
    let folder = tempdir().unwrap();
    let entry = |index: usize| {
        let (start, end) = (4 * index, 4 * index + 4);
        format!(r#""t{index}":{{"dtype":"F32","shape":[1],"data_offsets":[{start},{end}]}}"#)
    };
    let entries: Vec<String> = (0..10_002).map(entry).collect();
    let mut header = format!("{{{}}}", entries.join(","));
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let bytes = safetensors_bytes(&header, &f32::NAN.to_le_bytes().repeat(entries.len()));
    std::fs::write(folder.path().join("m.safetensors"), bytes).unwrap();
    let Outcome { code, stdout, .. } =
        film_tools(folder.path(), &["verify", "--values", "m.safetensors"]);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((code, lines.len()), (1, 10_001));
    assert_eq!(lines[0], "m.safetensors: tensor \"t0\": 1 NaN of 1 values");
    assert_eq!(lines[10_000], "m.safetensors: 2 more findings about values");
}

#[test]
fn generators_are_told_of_by_their_weights() {
    // The biases of γ and β: 16 numbers, γ₀ β₀ γ₁ β₁ of 4 each.
    let start = |bytes: &[u8]| {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        8 + length + header["mlp.2.bias"]["data_offsets"][0].as_u64().unwrap() as usize
    };
    let folder = changed(|bytes| {
        let start = start(bytes);
        bytes[start..start + 8]
            .copy_from_slice(&[(-3f32).to_le_bytes(), (-3f32).to_le_bytes()].concat());
    });
    assert_eq!(
        findings(folder.path(), &["verify", ".", "--values"]),
        [
            "./model.safetensors: (root): layer 0: 50.0 % of the biases of γ are negative, beyond 25 %",
            "./model.safetensors: (root): layer 0: mlp.2.bias of γ is 2.857 from its start, beyond 1.000",
        ]
    );
    let json = film_tools(folder.path(), &["verify", ".", "--values", "--json"]);
    assert_eq!((json.code, json.stderr.as_str()), (1, ""));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["findings"].as_array().unwrap().len(), 2);
    assert_eq!(json["findings"][0]["path"], "./model.safetensors");
    let layer = &json["generators"][0]["weights"]["layers"][0];
    assert_eq!(layer["gamma"]["negative"], 0.5);
    assert!(layer["beta"]["norm"].as_f64().unwrap() > 0.0);
}

#[test]
fn widths_that_nothing_tells_are_told_of() {
    let folder = changed(|_| {});
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    let text = film_tools(folder.path(), &["verify", ".", "--values"]).stdout();
    assert!(
        text.ends_with("1 FiLM generator (1 not measured: kernel_hidden_dim is unknown)\n"),
        "{text}"
    );
    let json = report(folder.path(), &["verify", ".", "--values", "--json"]);
    assert_eq!(json["generators"][0]["weights"], serde_json::Value::Null);
    assert_eq!(json["findings"], serde_json::json!([]));
}

#[test]
fn names_out_of_files_do_not_steer_the_terminal() {
    let folder = tempdir().unwrap();
    let header = r#"{"a\u001b[2J\nb": {"dtype": "F99", "shape": [4], "data_offsets": [0, 4]}}"#;
    std::fs::write(folder.path().join("x.safetensors"), safetensors_bytes(header, &[0; 4]))
        .unwrap();
    let lines = findings(folder.path(), &["verify", "x.safetensors"]);
    assert!(lines.iter().any(|line| line.contains("unknown dtype \"F99\"")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')));
}

#[test]
fn what_is_no_checkpoint_is_an_error() {
    let folder = tempdir().unwrap();
    let line = refused(folder.path(), &["verify", "nowhere"]);
    assert_eq!(line, "nowhere: cannot open: No such file or directory");
    let line = refused(folder.path(), &["verify", "."]);
    assert_eq!(line, ".: holds neither model.safetensors nor model.safetensors.index.json");
    // A file that is something else is a finding.
    std::fs::write(folder.path().join("model.safetensors"), "").unwrap();
    assert_eq!(
        findings(folder.path(), &["verify", "."]),
        ["./model.safetensors: the file is empty"]
    );
}

#[cfg(unix)]
#[test]
fn findings_are_findings_though_nobody_reads_them() {
    let folder = changed(|bytes| bytes.truncate(bytes.len() - 3));
    for args in [&["verify", "."][..], &["verify", ".", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = program(folder.path()).args(args).stdout(writer).status().unwrap();
        assert_eq!(status.code(), Some(1));
    }
}
