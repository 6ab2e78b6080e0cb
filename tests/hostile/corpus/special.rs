//! What is no regular file in place of one: pipes, which nobody ever writes to, devices and directories.

use std::path::Path;
use std::process::Command;

use super::{Case, config, index, json, npy, pickle};

/// Makes something at a path.
type Make = fn(&Path);

const KINDS: [(&str, Make); 3] = [("a pipe", pipe), ("a device", device), ("a directory", folder)];

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn device(path: &Path) {
    std::os::unix::fs::symlink("/dev/zero", path).unwrap();
}

fn folder(path: &Path) {
    std::fs::create_dir(path).unwrap();
}

/// The case, but with something else in place of its file.
fn instead(of: Case, kind: &str, make: Make) -> Case {
    let Case { make: first, file, .. } = of;
    Case {
        name: format!("{kind} for {file}"),
        make: Box::new(move |folder| {
            first(folder);
            let path = folder.join(file);
            if path.exists() {
                std::fs::remove_file(&path).unwrap();
            }
            make(&path);
        }),
        says: "not a regular file",
        bytes: 0,
        ..of
    }
}

/// A case of nothing.
fn nothing(file: &'static str) -> Case {
    let make = Box::new(|_: &Path| {});
    Case { name: String::new(), make, open: file, file, says: "", bytes: 0 }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (kind, make) in KINDS {
        for case in [index::sound(), index::shard(), config::sound()] {
            cases.push(instead(case, kind, make));
        }
        for file in ["m.safetensors", pickle::FILE, npy::FILE, json::FILE] {
            cases.push(instead(nothing(file), kind, make));
        }
    }
    // A directory may be a checkpoint, by any name.
    cases.retain(|case| case.name != "a directory for m.safetensors");
    for case in cases.iter_mut().filter(|case| case.name == "a directory for x.pt") {
        case.says = "holds neither";
    }
    cases
}
