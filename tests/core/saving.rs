//! Writing checkpoints in one file or several, and casting what is written.

use std::path::{Path, PathBuf};

use film_core::checkpoint::{
    Cast, Checkpoint, CheckpointWriter, Dtype, TensorInfo, save, save_sharded,
};
use film_core::{KernelFilmConfig, Result};

use crate::support::{fixture, fresh, gathered, message};

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn stored(checkpoint: &Checkpoint, tensor: &TensorInfo) -> Vec<u8> {
    gathered(|each| checkpoint.blocks(tensor, each))
}

fn contents(folder: &Path) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let tensors = checkpoint.tensors().iter();
    tensors
        .map(|tensor| (tensor.name.clone(), tensor.shape.clone(), stored(&checkpoint, tensor)))
        .collect()
}

/// Tensors a, b, c, d of 64 bytes each, all bytes of which are `fill`; one or `shards` files.
fn write(folder: &Path, fill: u8, limit: Option<u64>, overwrite: bool) -> Result<Vec<String>> {
    let entries = ["a", "b", "c", "d"].map(|name| (name.to_string(), Dtype::F32, vec![4, 4]));
    let mut writer = CheckpointWriter::directory(folder, None, entries, limit, overwrite)?;
    for name in ["d", "a", "c", "b"] {
        writer.write(name, 0, &[fill; 24])?;
        writer.write(name, 24, &[fill; 40])?;
    }
    let written = writer.commit()?;
    let name = |(path, bytes): &(PathBuf, u64)| {
        assert_eq!(path.metadata().unwrap().len(), *bytes);
        path.file_name().unwrap().to_str().unwrap().to_string()
    };
    Ok(written.iter().map(name).collect())
}

const HALVES: u64 = 64 + 2 * (64 + 100);
const QUARTERS: u64 = 1;

#[test]
fn shards_and_one_file_hold_the_same() {
    let config = KernelFilmConfig::new(12, 4, 3);
    let generator = fresh(&config, candle_core::DType::F32);
    let [one, several] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    save(one.path(), &config, generator.tensors(), false).unwrap();
    save_sharded(several.path(), &config, generator.tensors(), 3000, false).unwrap();
    assert!(names(several.path()).len() > 3, "{:?}", names(several.path()));
    assert_eq!(contents(one.path()), contents(several.path()));
    let index = several.path().join("model.safetensors.index.json");
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(index).unwrap()).unwrap();
    let bytes: u64 = Checkpoint::open(one.path()).unwrap().tensors().iter().map(|x| x.bytes).sum();
    assert_eq!(index["metadata"]["total_size"], bytes);
}

#[test]
fn what_was_there_before_is_gone_and_never_mixed_in() {
    let index = "model.safetensors.index.json";
    let halves = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", index];
    let limits = [None, Some(HALVES), Some(QUARTERS)];
    for (before, after) in limits.iter().flat_map(|a| limits.iter().map(move |b| (*a, *b))) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let old = write(folder.path(), 1, before, false).unwrap();
        let text = message(write(folder.path(), 2, after, false));
        assert!(text.ends_with(": exists already"), "{text}");
        assert!(contents(folder.path()).iter().all(|(.., bytes)| bytes == &[1; 64]));
        let mut new = write(folder.path(), 2, after, true).unwrap();
        assert!(contents(folder.path()).iter().all(|(.., bytes)| bytes == &[2; 64]));
        if after == Some(HALVES) {
            assert_eq!(new, halves);
        }
        new.push("notes.txt".into());
        new.sort();
        assert_eq!(names(folder.path()), new, "{old:?}");
    }
}

#[test]
fn what_appears_meanwhile_is_replaced_as_a_whole_or_not_at_all() {
    let limits = [None, Some(HALVES), Some(QUARTERS)];
    for (first, last) in limits.iter().flat_map(|a| limits.iter().map(move |b| (*a, *b))) {
        for (overwrite, config) in [(false, None), (true, None), (true, Some(&b"{}"[..]))] {
            let folder = tempfile::tempdir().unwrap();
            let entries =
                [("a".to_string(), Dtype::F32, vec![4]), ("b".into(), Dtype::F32, vec![4])];
            let mut writer =
                CheckpointWriter::directory(folder.path(), config, entries, last, overwrite)
                    .unwrap();
            writer.write("a", 0, &[2; 16]).unwrap();
            writer.write("b", 0, &[2; 16]).unwrap();
            assert!(writer.replaces().unwrap().is_empty());
            let theirs = write(folder.path(), 1, first, false).unwrap();
            std::fs::write(folder.path().join("config.json"), "theirs").unwrap();
            let committed = if overwrite {
                assert!(!writer.replaces().unwrap().is_empty());
                writer.commit()
            } else {
                let text = message(writer.commit());
                assert!(text.ends_with(": exists already"), "{text}");
                assert!(contents(folder.path()).iter().all(|(.., bytes)| bytes == &[1; 64]));
                assert_eq!(names(folder.path()).len(), theirs.len() + 1);
                continue;
            };
            let mut ours: Vec<String> = committed
                .unwrap()
                .iter()
                .map(|(path, _)| path.file_name().unwrap().to_str().unwrap().into())
                .collect();
            ours.sort();
            assert_eq!(names(folder.path()), ours);
            assert!(contents(folder.path()).iter().all(|(.., bytes)| bytes == &[2; 16]));
        }
    }
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b/c");
    let entries = [("x".to_string(), Dtype::F32, vec![4])];
    let writer =
        CheckpointWriter::directory(&deep, Some(b"{}"), entries.clone(), None, false).unwrap();
    assert!(deep.exists());
    drop(writer);
    assert_eq!(names(folder.path()), [""; 0]);
    std::fs::create_dir_all(folder.path().join("a")).unwrap();
    std::fs::write(folder.path().join("a/kept"), "").unwrap();
    drop(CheckpointWriter::directory(&deep, None, entries, None, false).unwrap());
    assert_eq!(names(&folder.path().join("a")), ["kept"]);
}

#[test]
fn writes_beyond_a_tensor_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let entries = [("x".to_string(), Dtype::F32, vec![2]), ("y".to_string(), Dtype::F32, vec![2])];
    let path = folder.path().join("x.safetensors");
    let mut writer = CheckpointWriter::file(&path, entries.clone(), false).unwrap();
    assert_eq!(message(writer.write("z", 0, &[0])), "z: no such tensor");
    assert_eq!(message(writer.write("x", 4, &[0; 5])), "x: expected at most 8 bytes, found 9");
    assert!(
        message(writer.write("x", u64::MAX, &[0; 5])).starts_with("x: expected at most 8 bytes")
    );
    // What is not written is zero, at the end of the file too.
    writer.write("x", 0, &[1; 8]).unwrap();
    let bytes = writer.commit().unwrap()[0].1;
    assert_eq!(path.metadata().unwrap().len(), bytes);
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(stored(&checkpoint, checkpoint.get("y").unwrap()), [0; 8]);
    let twice = [entries[0].clone(), entries[0].clone()];
    let text = message(CheckpointWriter::file(&folder.path().join("t"), twice, false));
    assert_eq!(text, "x: expected one tensor of that name, found two");
    let huge = [("x".to_string(), Dtype::F32, vec![usize::MAX, 2])];
    let text = message(CheckpointWriter::file(&folder.path().join("t"), huge, false));
    assert!(text.starts_with("x: the size overflows"), "{text}");
    assert_eq!(names(folder.path()), ["x.safetensors"]);
}

/// A safetensors dtype by PyTorch's name.
fn dtype(name: &str) -> Dtype {
    match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "float8_e4m3fn" => Dtype::F8_E4M3,
        "float8_e5m2" => Dtype::F8_E5M2,
        "float8_e4m3fnuz" => Dtype::F8_E4M3FNUZ,
        "float8_e5m2fnuz" => Dtype::F8_E5M2FNUZ,
        "float8_e8m0fnu" => Dtype::F8_E8M0,
        other => panic!("{other}"),
    }
}

/// The bits of each number, all NaN the same.
fn bits(bytes: &[u8], dtype: Dtype) -> Vec<u64> {
    let size = dtype.bitsize() / 8;
    let (exponent, infinity) = match dtype {
        Dtype::F64 => (0x7ff << 52, 0x7ffu64 << 52),
        Dtype::F32 => (0xff << 23, 0xff << 23),
        Dtype::F16 => (0x1f << 10, 0x1f << 10),
        _ => (0xff << 7, 0xff << 7),
    };
    let sign = 1u64 << (8 * size - 1);
    let number = |bytes: &[u8]| {
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        if bits & exponent == exponent && bits & !sign != infinity { u64::MAX } else { bits }
    };
    bytes.chunks(size).map(number).collect()
}

#[test]
fn casts_are_pytorchs() {
    let checkpoint = Checkpoint::open(fixture("casts.safetensors")).unwrap();
    let mut casts = 0;
    for tensor in checkpoint.tensors() {
        let Some((from, to)) = tensor.name.split_once(".to.") else { continue };
        let input = stored(&checkpoint, checkpoint.get(from).unwrap());
        let to = dtype(to);
        let cast = Cast::new(dtype(from), to).unwrap();
        let mut converted = vec![7];
        let overflowed = cast.apply(&input, &mut converted);
        let expected = stored(&checkpoint, tensor);
        assert_eq!(bits(&converted, to), bits(&expected, to), "{}", tensor.name);
        let finite = |bytes: &[u8], dtype: Dtype| {
            let largest = match dtype {
                Dtype::F64 => 0x7ff << 52,
                Dtype::F32 => 0xff << 23,
                Dtype::F16 => 0x1f << 10,
                _ => 0xff << 7,
            };
            bits(bytes, dtype).iter().filter(|&&bits| bits & largest != largest).count() as u64
        };
        // Those of 8 bits overflow nowhere but in float16; the wide ones are counted here.
        if ["float64", "float32", "float16", "bfloat16"].contains(&from) {
            let lost = finite(&input, dtype(from)) - finite(&expected, to);
            assert_eq!(overflowed, lost, "{}", tensor.name);
        }
        casts += 1;
    }
    assert_eq!(casts, 4 * 3 + 5 * 4);
    for kept in [Dtype::I64, Dtype::BOOL, Dtype::C64, Dtype::F4] {
        assert!(Cast::new(kept, Dtype::F16).is_none());
    }
    assert!(Cast::new(Dtype::F32, Dtype::F8_E4M3).is_none());
}
