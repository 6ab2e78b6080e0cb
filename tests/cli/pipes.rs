//! Readers that leave early, and streams that cannot be written to.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use tempfile::{TempDir, tempdir};

use crate::support::{film_tools, fixture, program, safetensors_bytes};

/// A checkpoint of many tensors without elements: what is printed of it fills any pipe.
fn crowded() -> TempDir {
    let folder = tempdir().unwrap();
    let entry = |index: usize| {
        format!(r#""block_{index}.some.tensor":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#)
    };
    let entries: Vec<String> = (0..20_000).map(entry).collect();
    let header = format!("{{{}}}", entries.join(","));
    std::fs::write(folder.path().join("many.safetensors"), safetensors_bytes(&header, &[]))
        .unwrap();
    folder
}

/// Reads `bytes` of stdout and leaves; the program must not mind.
#[track_caller]
fn leave_after(folder: &Path, arguments: &[&str], bytes: usize) {
    let mut command = program(folder);
    let mut child =
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut vec![0; bytes]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{arguments:?}");
}

#[test]
fn a_reader_may_leave() {
    let folder = crowded();
    let checkpoint = fixture("generator/small_8x4x2_h6");
    let commands: [&[&str]; 5] = [
        &["inspect", "many.safetensors"],
        &["inspect", "many.safetensors", "--flat"],
        &["inspect", "many.safetensors", "--json"],
        &["run", &checkpoint, "--random", "5000", "--output", "-"],
        &["run", &checkpoint, "--random", "5000", "--output", "-", "--dtype", "f16"],
    ];
    for arguments in commands {
        // Without a reader that leaves, there is more than a pipe holds.
        assert!(film_tools(folder.path(), arguments).stdout().len() > 200_000, "{arguments:?}");
        leave_after(folder.path(), arguments, 0);
        leave_after(folder.path(), arguments, 10);
        leave_after(folder.path(), arguments, 100_000);
    }
}

#[test]
fn help_and_small_reports_may_go_unread() {
    let checkpoint = fixture("generator/small_8x4x2_h6");
    let commands: [&[&str]; 6] = [
        &["--help"],
        &["run", "--help"],
        &["--version"],
        &["flops", &checkpoint],
        &["flops", &checkpoint, "--json"],
        &["run", &checkpoint, "--random", "2"],
    ];
    for arguments in commands {
        leave_after(Path::new("/"), arguments, 0);
    }
}

#[test]
fn an_unread_stderr_changes_nothing() {
    let checkpoint = fixture("generator/small_8x4x2_h6");
    let folder = tempdir().unwrap();
    let commands: [(&[&str], i32); 3] = [
        (&["run", &checkpoint, "--random", "2", "--output", "o.npz"], 0),
        (&["inspect", "nowhere"], 1),
        (&["flops"], 2),
    ];
    for (arguments, code) in commands {
        let mut command = program(folder.path());
        let mut child = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments:?}");
    }
    assert!(folder.path().join("o.npz").is_file());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let checkpoint = fixture("generator/small_8x4x2_h6");
    let commands: [&[&str]; 7] = [
        &["inspect", &checkpoint],
        &["inspect", &checkpoint, "--json"],
        &["flops", &checkpoint],
        &["flops", &checkpoint, "--json"],
        &["run", &checkpoint, "--random", "2"],
        &["run", &checkpoint, "--random", "2", "--json"],
        &["run", &checkpoint, "--random", "2", "--output", "-"],
    ];
    for arguments in commands {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = program(Path::new("/"));
        let output = command.args(arguments).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains("No space left"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
