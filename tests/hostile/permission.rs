//! What may not be read or written. Root may all of it, so as root the program runs as nobody.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::refusal::{Ending, watch};
use crate::support::{PROGRAM, fixture, listing};

/// Runs the program without root's rights, if that is possible.
fn unprivileged(folder: &Path, arguments: &[&str]) -> Option<Ending> {
    let root = is_root();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let shell = if root { &nobody[..] } else { &[] };
    if root && watch(folder, &[shell, &[PROGRAM, "--version"]].concat()).code != Some(0) {
        eprintln!("skipped: runs as root, and nobody else may run the program");
        return None;
    }
    Some(watch(folder, &[shell, &[PROGRAM], arguments].concat()))
}

fn is_root() -> bool {
    let output = std::process::Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// A folder that everybody may enter and write to.
fn open_folder() -> TempDir {
    let folder = tempdir().unwrap();
    mode(folder.path(), 0o777);
    folder
}

#[test]
fn files_and_folders_that_may_not_be_read() {
    let folder = open_folder();
    let path = folder.path();
    for name in ["closed", "open"] {
        std::fs::create_dir(path.join(name)).unwrap();
        let weights = fixture("generator/small_8x4x2_h6/model.safetensors");
        std::fs::copy(weights, path.join(name).join("model.safetensors")).unwrap();
        std::fs::write(path.join(name).join("c.json"), "[1]").unwrap();
        std::fs::write(path.join(name).join("c.npy"), "").unwrap();
        std::fs::write(path.join(name).join("config.json"), "{}").unwrap();
    }
    mode(&path.join("closed"), 0o000);
    for name in ["model.safetensors", "c.json", "c.npy", "config.json"] {
        mode(&path.join("open").join(name), 0o000);
    }
    let index = "sharded/model.safetensors.index.json";
    for name in ["sharded", "shard"] {
        std::fs::create_dir(path.join(name)).unwrap();
    }
    std::fs::write(path.join(index), r#"{"weight_map":{"a":"a.safetensors"}}"#).unwrap();
    std::fs::copy(path.join(index), path.join("shard/model.safetensors.index.json")).unwrap();
    std::fs::write(path.join("shard/a.safetensors"), "").unwrap();
    std::fs::copy(fixture("pickle/state_dict.pt"), path.join("x.pt")).unwrap();
    for name in [index, "shard/a.safetensors", "x.pt"] {
        mode(&path.join(name), 0o000);
    }
    let generator = fixture("generator/small_8x4x2_h6");
    let cases: [(&[&str], &str); 9] = [
        (&["inspect", "sharded"], index),
        (&["inspect", "shard"], "shard/a.safetensors"),
        (&["convert", "x.pt", "o.safetensors"], "x.pt"),
        (&["inspect", "closed/model.safetensors"], "closed/model.safetensors"),
        (&["inspect", "open"], "open/model.safetensors"),
        (&["inspect", "open/model.safetensors"], "open/model.safetensors"),
        (&["flops", "--config", "open/config.json"], "open/config.json"),
        (&["run", &generator, "--conditioning", "open/c.json"], "open/c.json"),
        (&["run", &generator, "--conditioning", "open/c.npy"], "open/c.npy"),
    ];
    for (arguments, file) in cases {
        let Some(ending) = unprivileged(path, arguments) else { break };
        let line = ending.line();
        assert!(line.starts_with(&format!("{file}: ")), "{line}");
        assert!(line.contains("Permission denied"), "{line}");
    }
    mode(&path.join("closed"), 0o755);
}

#[test]
fn folders_that_may_not_be_written_to() {
    let folder = open_folder();
    let path = folder.path();
    std::fs::create_dir(path.join("closed")).unwrap();
    std::fs::write(path.join("closed/k.png"), "mine").unwrap();
    mode(&path.join("closed"), 0o555);
    let generator = fixture("generator/small_8x4x2_h6");
    let model = fixture("hybrid_model");
    let run = |output| ["run", &generator, "--random", "2", "--force", "--output", output];
    let sizes = ["--cond-dim", "4", "--kernel-hidden-dim", "2", "--num-film-layers", "1"];
    let kernel = ["kernel", &model, "--prefix", "blocks.0", "--grid", "3x3", "--random", "2"];
    let cases: [(Vec<&str>, &str); 6] = [
        (run("closed/o.safetensors").to_vec(), "closed/o.safetensors"),
        (run("closed/o.npz").to_vec(), "closed/o.npz"),
        (run("closed/o.json").to_vec(), "closed/o.json"),
        ([&kernel[..], &["--force", "--image", "closed/k.png"]].concat(), "closed/k.png"),
        ([&["init", "--output", "closed"], &sizes[..]].concat(), "closed/config.json"),
        ([&["init", "--output", "closed/gen"], &sizes[..]].concat(), "closed/gen"),
    ];
    for (arguments, file) in cases {
        let Some(ending) = unprivileged(path, &arguments) else { break };
        assert_eq!(ending.line(), format!("{file}: cannot create: Permission denied"));
    }
    assert_eq!(listing(&path.join("closed")), ["k.png"]);
    assert_eq!(std::fs::read(path.join("closed/k.png")).unwrap(), b"mine");
}
