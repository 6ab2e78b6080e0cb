//! Files that become shorter while they are read.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::support::{Outcome, fixture, listing, npy_bytes, program, safetensors_bytes};

/// Conditioning of so many rows that nobody reads it all within this test.
const ROWS: u64 = 1 << 34;

#[test]
fn inputs_that_shrink() {
    let header =
        format!(r#"{{"c":{{"dtype":"F32","shape":[{ROWS},8],"data_offsets":[0,{}]}}}}"#, ROWS * 32);
    let npy = npy_bytes("'<f4'", false, &format!("({ROWS}, 8)"), &[]);
    for (name, start, says) in [
        ("c.safetensors", safetensors_bytes(&header, &[]), "found the file shortened"),
        ("c.npy", npy, "cannot read"),
    ] {
        let folder = tempdir().unwrap();
        let mut file = File::create(folder.path().join(name)).unwrap();
        file.write_all(&start).unwrap();
        // Zeros that take no place on the disk.
        file.set_len(start.len() as u64 + ROWS * 32).unwrap();
        let child = program(folder.path())
            .args(["run", &fixture("generator/small_8x4x2_h6"), "--conditioning", name])
            .args(["--output", "o.safetensors"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // It has begun when it has begun to write.
        let begun = Instant::now();
        while listing(folder.path()).len() < 2 && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(1));
        }
        file.set_len(start.len() as u64 + 40).unwrap();
        let line = Outcome::of(child.wait_with_output().unwrap()).refusal();
        assert!(line.starts_with(&format!("{name}: ")) && line.contains(says), "{line}");
        assert_eq!(listing(folder.path()), [name]);
    }
}
