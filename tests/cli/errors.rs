//! Checkpoints and configurations that cannot be: one line that names the file, and nothing written. What may be wrong
//! inside of a file is in `tests/hostile`.

use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::support::{film_tools, fixture, refused, safetensors_bytes};

/// The bytes of a file among the fixtures.
fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

/// A folder of these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

/// Each command refuses the checkpoint, naming `file` and saying `problem`.
#[track_caller]
fn assert_refused(folder: &Path, checkpoint: &str, file: &str, problem: &str) {
    for arguments in [
        &["inspect", checkpoint][..],
        &["inspect", checkpoint, "--json"],
        &["flops", checkpoint],
        &["run", checkpoint, "--random", "2"],
        &["run", checkpoint, "--random", "2", "--output", "o.safetensors"],
        &["run", checkpoint, "--random", "2", "--output", "o.npz"],
    ] {
        let line = refused(folder, arguments);
        assert!(line.starts_with(&format!("{file}: ")), "{arguments:?}: {line}");
        assert!(line.contains(problem), "{arguments:?}: {line}");
    }
}

#[test]
fn paths_without_a_checkpoint() {
    let folder = folder(&[("hollow/notes.txt", b"x"), ("odd/weights.safetensors", b"x")]);
    let path = folder.path();
    assert_refused(path, "nowhere", "nowhere", "No such file");
    assert_refused(path, "hollow/notes.txt/x", "hollow/notes.txt/x", "Not a directory");
    assert_refused(path, "hollow", "hollow", "holds neither model.safetensors nor");
    // It says which file may have been meant.
    assert_refused(path, "odd", "odd", "weights.safetensors");
    assert_refused(path, "hollow/notes.txt", "hollow/notes.txt", "1 bytes are too few");
    std::fs::create_dir(path.join("nested")).unwrap();
    std::fs::create_dir(path.join("nested/model.safetensors")).unwrap();
    assert_refused(path, "nested", "nested/model.safetensors", "not a regular file");
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    std::os::unix::fs::symlink("gone", path.join("dangling.safetensors")).unwrap();
    assert_refused(path, "dangling.safetensors", "dangling.safetensors", "No such file");
    std::os::unix::fs::symlink("loop.safetensors", path.join("loop.safetensors")).unwrap();
    assert_refused(path, "loop.safetensors", "loop.safetensors", "ymbolic link");
}

/// A pipe without a writer: who opens it waits for ever.
#[cfg(unix)]
#[test]
fn pipes_are_refused_without_waiting() {
    let folder = folder(&[("gen/config.json", &bytes("generator/small_8x4x2_h6/config.json"))]);
    let names =
        ["p.safetensors", "p.npy", "p.json", "gen/model.safetensors", "p.safetensors.index.json"];
    for name in names {
        let made = std::process::Command::new("mkfifo").arg(folder.path().join(name)).status();
        assert!(made.unwrap().success());
    }
    let checkpoint = fixture("generator/small_8x4x2_h6");
    let run = ["run", checkpoint.as_str(), "--output", "o.npz", "--conditioning"];
    let input = |name| [run.as_slice(), &[name]].concat();
    let commands = [
        (vec!["inspect", "p.safetensors"], "p.safetensors"),
        (vec!["inspect", "gen"], "gen/model.safetensors"),
        (vec!["inspect", "p.safetensors.index.json"], "p.safetensors.index.json"),
        (vec!["flops", "--config", "p.json"], "p.json"),
        (input("p.safetensors"), "p.safetensors"),
        (input("p.safetensors:conditioning"), "p.safetensors"),
        (input("p.npy"), "p.npy"),
        (input("p.json"), "p.json"),
    ];
    for (arguments, file) in commands {
        let mut command = std::process::Command::new("timeout");
        command.args(["60", crate::support::PROGRAM]).args(&arguments).current_dir(folder.path());
        let line = crate::support::Outcome::of(command.output().unwrap()).refusal();
        assert_eq!(line, format!("{file}: not a regular file"), "{arguments:?}");
    }
}

/// A safetensors file of float32 zeros.
fn zeros(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let mut end = 0;
    let mut entries = Vec::new();
    for (name, shape) in tensors {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        entries.push(format!(
            r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
    }
    safetensors_bytes(&format!("{{{}}}", entries.join(",")), &vec![0; end])
}

const GENERATOR: [(&str, &[usize]); 4] = [
    ("mlp.0.weight", &[6, 8]),
    ("mlp.0.bias", &[6]),
    ("mlp.2.weight", &[16, 6]),
    ("mlp.2.bias", &[16]),
];

#[test]
fn tensors_that_make_no_generator() {
    let run = ["run", "bad.safetensors", "--random", "2", "--output", "o.safetensors"];
    for (index, (name, _)) in GENERATOR.iter().enumerate() {
        // Missing, transposed or of one more row.
        let mut without = GENERATOR.to_vec();
        without.remove(index);
        let mut misshapen = GENERATOR.to_vec();
        let shape: &[usize] = [[8, 6].as_slice(), &[7], &[6, 16], &[17]][index];
        misshapen[index].1 = shape;
        for tensors in [without, misshapen] {
            let folder = folder(&[("bad.safetensors", &zeros(&tensors))]);
            for arguments in [&run[..], &["flops", "bad.safetensors"]] {
                let line = refused(folder.path(), arguments);
                assert!(line.starts_with("bad.safetensors: holds no FiLM generator: "), "{line}");
                assert!(line.contains("mlp."), "{name}: {line}");
            }
            // To look into it is fine, and says what is wrong.
            let text = film_tools(folder.path(), &["inspect", "bad.safetensors"]).stdout();
            assert!(text.contains("FiLM generators: 0\n  closest: mlp."), "{text}");
        }
    }
    let folder = folder(&[("bad.safetensors", &zeros(&[("x", &[2])]))]);
    let line = refused(folder.path(), &run);
    assert!(
        line.starts_with("bad.safetensors: holds no FiLM generator (mlp.0 and mlp.2"),
        "{line}"
    );
}

#[test]
fn configurations_that_cannot_be() {
    let weights = bytes("generator/small_8x4x2_h6/model.safetensors");
    let config = r#"{"cond_dim":8,"kernel_hidden_dim":4,"num_film_layers":2}"#;
    let with = |from: &str, to: &str| config.replace(from, to);
    let cases = [
        (String::new(), "not a JSON object"),
        (with(":8", ":0"), "cond_dim"),
        (with(":4", ":4.5"), "kernel_hidden_dim"),
    ];
    for (text, problem) in cases {
        let folder = folder(&[("g/config.json", text.as_bytes())]);
        for command in [&["flops"][..], &["init", "--output", "new"]] {
            let arguments = [command, &["--config", "g/config.json"]].concat();
            let line = refused(folder.path(), &arguments);
            assert!(line.starts_with("g/config.json: ") && line.contains(problem), "{line}");
        }
    }
    // Where a checkpoint and a configuration are mixed up, it says which flag takes which.
    let folder = folder(&[("g/config.json", config.as_bytes()), ("g/model.safetensors", &weights)]);
    let line = refused(folder.path(), &["flops", "g/config.json"]);
    assert!(line.starts_with("g/config.json: ") && line.contains("--config FILE"), "{line}");
    let line = refused(folder.path(), &["flops", "--config", "g"]);
    assert!(line.starts_with("g: a directory") && line.contains("config.json"), "{line}");
    // Of a kernel's configuration the generator's part is taken.
    let kernel = fixture("siren_kernel/1d/config.json");
    let text = film_tools(folder.path(), &["flops", "--config", &kernel]).stdout();
    assert!(text.starts_with("cond_dim 21, film_hidden_dim 19, "), "{text}");
    let folder = self::folder(&[("half.json", br#"{"cond_dim": 8}"#)]);
    for arguments in [["flops", "--config", "half.json"], ["flops", "--config", "gone.json"]] {
        let line = refused(folder.path(), &arguments);
        assert!(line.starts_with(&format!("{}: ", arguments[2])), "{line}");
    }
}
