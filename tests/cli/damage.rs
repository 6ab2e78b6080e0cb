//! Damaged files: whatever is done to the bytes, the program ends by itself and says at most one line.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::tempdir;

use crate::support::{film_tools, fixture, npy_bytes};

/// Few cases, as each starts the program, and no file beside the sources when one fails.
fn few() -> ProptestConfig {
    ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }
}

/// A change of some bytes.
#[derive(Debug, Clone)]
enum Damage {
    Replace(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let bytes = prop::collection::vec(prop_oneof![any::<u8>(), Just(b'0'), Just(b'9')], 1..6);
    let one = prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        2 => (any::<Index>(), 1..9usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        2 => (any::<Index>(), bytes).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => any::<Index>().prop_map(Damage::Cut),
    ];
    prop::collection::vec(one, 1..4)
}

/// The bytes with the damage done to the first `reach` of them.
fn damaged(whole: &[u8], reach: usize, damage: &[Damage]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for one in damage {
        let reach = reach.min(bytes.len());
        if reach == 0 {
            break;
        }
        match one {
            Damage::Replace(at, byte) => bytes[at.index(reach)] = *byte,
            Damage::Remove(at, count) => {
                let at = at.index(reach);
                bytes.drain(at..bytes.len().min(at + count));
            }
            Damage::Insert(at, more) => {
                let at = at.index(reach);
                bytes.splice(at..at, more.iter().copied());
            }
            Damage::Cut(at) => bytes.truncate(at.index(reach)),
        }
    }
    bytes
}

/// The program ends by itself: all went well, or one line on stderr, and then no output.
#[track_caller]
fn assert_civil(folder: &Path, arguments: &[&str]) {
    let outcome = film_tools(folder, arguments);
    match outcome.code {
        0 => {}
        1 => {
            outcome.refusal();
            assert!(!folder.join("o.safetensors").exists());
        }
        code => panic!("exit status {code}: {}", outcome.stderr),
    }
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn damaged_checkpoints(damage in damage()) {
        let whole = std::fs::read(fixture("generator/small_8x4x2_h6/model.safetensors")).unwrap();
        let header = usize::try_from(u64::from_le_bytes(whole[..8].try_into().unwrap())).unwrap();
        let folder = tempdir().unwrap();
        let bytes = damaged(&whole, 8 + header, &damage);
        std::fs::write(folder.path().join("m.safetensors"), bytes).unwrap();
        assert_civil(folder.path(), &["inspect", "m.safetensors"]);
        // What opens keeps the rules; what does not has findings.
        let opens = film_tools(folder.path(), &["inspect", "m.safetensors"]).code == 0;
        let verify = film_tools(folder.path(), &["verify", "m.safetensors", "--values"]);
        prop_assert!(verify.code == 0 || verify.code == 1 && !verify.stdout.is_empty());
        prop_assert!(opens || verify.code == 1, "{:?}", verify);
        let run = ["run", "m.safetensors", "--kernel-hidden-dim", "4", "--random", "2"];
        assert_civil(folder.path(), &[run.as_slice(), &["--output", "o.safetensors"]].concat());
    }

    #[test]
    fn damaged_configurations(damage in damage()) {
        let case = fixture("generator/small_8x4x2_h6");
        let whole = std::fs::read(format!("{case}/config.json")).unwrap();
        let folder = tempdir().unwrap();
        let bytes = damaged(&whole, whole.len(), &damage);
        std::fs::write(folder.path().join("config.json"), bytes).unwrap();
        assert_civil(folder.path(), &["flops", "--config", "config.json"]);
        std::fs::copy(
            format!("{case}/model.safetensors"),
            folder.path().join("model.safetensors"),
        )
        .unwrap();
        assert_civil(folder.path(), &["run", ".", "--random", "2", "--output", "o.safetensors"]);
    }

    #[test]
    fn damaged_conditioning(damage in damage(), fortran: bool) {
        let npy = npy_bytes("'<f4'", fortran, "(2, 8)", &[0; 64]);
        let json = b"[[1, -2.5e-3, 3, 4, 5, 6, 7, 8], [0, 0, 0, 0, 0, 0, 0, 1]]";
        let folder = tempdir().unwrap();
        let checkpoint = fixture("generator/small_8x4x2_h6");
        for (name, whole) in [("c.npy", npy.as_slice()), ("c.json", json)] {
            let bytes = damaged(whole, whole.len(), &damage);
            std::fs::write(folder.path().join(name), bytes).unwrap();
            let run = ["run", &checkpoint, "--conditioning", name, "--force"];
            let _ = std::fs::remove_file(folder.path().join("o.safetensors"));
            assert_civil(folder.path(), &[run.as_slice(), &["--output", "o.safetensors"]].concat());
        }
    }
}
