//! Disks that are full, and files that may not grow: the line names the file, and nothing is left of it.

use std::path::Path;

use tempfile::tempdir;

use crate::refusal::{Ending, watch};
use crate::support::{PROGRAM, fixture, listing};

/// The commands that write, each with the file that it writes.
fn commands(folder: &str) -> Vec<(Vec<String>, String)> {
    let generator = fixture("generator/production_384x32x3_h64");
    let model = fixture("hybrid_model");
    let file = |name: &str| format!("{folder}/{name}");
    let line = |words: &[&str]| words.iter().map(|word| (*word).to_string()).collect::<Vec<_>>();
    let mut commands = vec![];
    for output in ["o.safetensors", "o.npz", "o.json"] {
        let output = file(output);
        commands.push((
            line(&["run", &generator, "--random", "2000", "--output", &output, "--force"]),
            output,
        ));
    }
    let [tensors, picture, gen_] = ["k.safetensors", "k.png", "gen"].map(file);
    let kernel = ["kernel", &model, "--prefix", "blocks.0", "--grid", "31x31", "--random", "8"];
    commands
        .push((line(&[&kernel[..], &["--output", &tensors, "--force"]].concat()), tensors.clone()));
    commands.push((line(&[&kernel[..], &["--image", &picture, "--force"]].concat()), picture));
    let [one, part] = ["c.safetensors", "part"].map(file);
    commands.push((line(&["convert", &model, &one, "--force"]), one));
    commands.push((
        line(&["extract", &model, "--prefix", "blocks.0", "--output", &part, "--force"]),
        format!("{part}/model.safetensors"),
    ));
    let sizes = ["--cond-dim", "384", "--kernel-hidden-dim", "32", "--num-film-layers", "3"];
    commands.push((
        line(&[&["init", "--output", &gen_, "--force"], &sizes[..]].concat()),
        format!("{gen_}/model.safetensors"),
    ));
    commands
}

/// Runs film-tools from a shell script, as its arguments.
fn under(folder: &Path, shell: &[&str], script: &str, arguments: &[String]) -> Ending {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    watch(folder, &[shell, &["sh", "-c", script, "sh", PROGRAM], &arguments].concat())
}

#[test]
fn files_that_may_not_grow() {
    // 16 KiB, in units of 512 bytes. A write is cut short before the next one fails.
    let script = "trap '' XFSZ; ulimit -f 32; exec \"$@\"";
    for (arguments, file) in commands("out") {
        let folder = tempdir().unwrap();
        std::fs::create_dir(folder.path().join("out")).unwrap();
        // The pictures and the names are smaller than the limit where the arrays are not.
        let ending = under(folder.path(), &[], script, &arguments);
        if ending.code == Some(0) {
            assert!(file.ends_with(".png"), "{arguments:?}: it fit");
            continue;
        }
        let line = ending.line();
        assert!(line.contains("File too large"), "{arguments:?}: {line}");
        assert!(
            line.starts_with(&format!("{file}: ")) || line.contains("a temporary file"),
            "{line}"
        );
        let left = listing(&folder.path().join("out"));
        assert!(left.is_empty(), "{left:?}");
    }
}

/// How a file system can be mounted here for one process, if it can.
fn mounting() -> Option<Vec<&'static str>> {
    let ways = [vec!["unshare", "--mount"], vec!["unshare", "--mount", "--map-root-user"]];
    let folder = tempdir().unwrap();
    let works = |way: &Vec<&str>| {
        let probe = ["sh", "-c", "mount -t tmpfs -o size=64k none ."];
        watch(folder.path(), &[way.as_slice(), &probe].concat()).code == Some(0)
    };
    ways.into_iter().find(works)
}

#[test]
fn a_full_disk() {
    let Some(shell) = mounting() else {
        eprintln!("skipped: no file system can be mounted here, so none can be full");
        return;
    };
    // The listing is made while the file system is there, beside it.
    let script = "mount -t tmpfs -o size=64k none full && echo old > full/old && \"$@\"; \
                  code=$?; find full -mindepth 1 > after; exit $code";
    for (arguments, file) in commands("full") {
        let folder = tempdir().unwrap();
        std::fs::create_dir(folder.path().join("full")).unwrap();
        let ending = under(folder.path(), &shell, script, &arguments);
        let after = std::fs::read_to_string(folder.path().join("after")).unwrap();
        if ending.code == Some(0) {
            assert!(file.ends_with(".png"), "{arguments:?}: it fit");
            continue;
        }
        let line = ending.line();
        assert!(line.starts_with(&format!("{file}: ")), "{line}");
        assert!(line.contains("No space left on device"), "{line}");
        // What was there stays, and nothing else does.
        assert_eq!(after, "full/old\n", "{arguments:?}");
    }
    // The pages are small, and so is the disk.
    let script = script.replace("64k", "16k");
    let folder = tempdir().unwrap();
    std::fs::create_dir(folder.path().join("full")).unwrap();
    let line =
        under(folder.path(), &shell, &script, &["man", "--output", "full/a/mm"].map(String::from));
    let line = line.line();
    assert!(line.starts_with("full/a/mm/film-tools") && line.contains("No space left"), "{line}");
    let after = std::fs::read_to_string(folder.path().join("after")).unwrap();
    assert_eq!(after, "full/old\n");
    // Where the temporary files go that npz and JSON are made from.
    let generator = fixture("generator/production_384x32x3_h64");
    let script = "mount -t tmpfs -o size=64k none full && TMPDIR=full \"$@\"";
    let run = ["run", &generator, "--random", "2000", "--output", "o.npz"].map(String::from);
    let folder = tempdir().unwrap();
    std::fs::create_dir(folder.path().join("full")).unwrap();
    let ending = under(folder.path(), &shell, script, &run);
    let line = ending.line();
    assert_eq!(line, "cannot write to a temporary file: No space left on device (os error 28)");
    assert_eq!(listing(folder.path()), ["full"]);
}
