//! Files that are large or odd, but right.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use tempfile::tempdir;

use crate::refusal::film_tools;
use crate::support::{fixture, safetensors_bytes};

/// Writes a file of tensors of `size` bytes each; gives the length of its header.
fn tensors(path: &Path, count: u64, size: u64, name: impl Fn(u64) -> String) -> u64 {
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(&[0; 8]).unwrap();
    let mut length = 0;
    for index in 0..count {
        let (open, name) = (if index == 0 { '{' } else { ',' }, name(index));
        let (start, end) = (index * size, index * size + size);
        let entry = format!(
            r#"{open}"{name}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{end}]}}"#
        );
        length += entry.len() as u64;
        file.write_all(entry.as_bytes()).unwrap();
    }
    file.write_all(b"}").unwrap();
    length += 1;
    let file = file.into_inner().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &length.to_le_bytes(), 0).unwrap();
    file.set_len(8 + length + count * size).unwrap();
    length
}

#[test]
fn a_million_tensors() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("m.safetensors");
    let header =
        tensors(&file, 1_000_000, 1, |index| format!("blocks.{}.layer.{}", index / 8, index % 8));
    let ending = film_tools(folder.path(), &["inspect", "m.safetensors"]);
    assert_eq!(ending.code, Some(0), "{}", ending.stderr);
    assert!(ending.stdout.contains("1,000,000 tensors"), "{}", ending.stdout);
    assert!(ending.stdout.contains("blocks.[0..124999].layer"), "{}", ending.stdout);
    ending.took_at_most(4, header);
    for more in [&["--json"][..], &["--flat", "--sort", "dtype"], &["--sort", "size", "--hash"]] {
        let ending = film_tools(folder.path(), &[&["inspect", "m.safetensors"], more].concat());
        assert_eq!(ending.code, Some(0), "{}", ending.stderr);
        ending.took_at_most(4, header);
    }
    let ending = film_tools(folder.path(), &["verify", "--values", "m.safetensors"]);
    assert_eq!(ending.code, Some(1), "{}", ending.stderr);
    ending.took_at_most(4, header);
    // Two headers are read, or one is read and one written.
    for arguments in [
        &["diff", "m.safetensors", "m.safetensors"][..],
        &["convert", "m.safetensors", "o.safetensors"],
    ] {
        let ending = film_tools(folder.path(), arguments);
        assert_eq!(ending.code, Some(0), "{arguments:?}: {}", ending.stderr);
        ending.took_at_most(4, 2 * header);
    }
    for arguments in [&["flops", "m.safetensors"][..], &["run", "m.safetensors", "--random", "2"]] {
        let ending = film_tools(folder.path(), arguments);
        assert!(ending.line().starts_with("m.safetensors: holds no FiLM generator"));
        ending.took_at_most(4, header);
    }
}

/// The shortest entries that there are, all side by side: what is kept of a tensor is longer than its entry.
#[test]
fn a_million_tensors_of_no_bytes() {
    let folder = tempdir().unwrap();
    let digit = |number: u64| char::from_digit((number % 36) as u32, 36).unwrap();
    let name = |number: u64| (0..4).map(|place| digit(number / 36u64.pow(place))).collect();
    let header = tensors(&folder.path().join("m.safetensors"), 1_000_000, 0, name);
    for (times, arguments) in [
        (4, &["inspect", "m.safetensors"][..]),
        (4, &["inspect", "m.safetensors", "--json"]),
        (4, &["inspect", "m.safetensors", "--sort", "size", "--hash"]),
        (8, &["diff", "m.safetensors", "m.safetensors"]),
        (8, &["convert", "m.safetensors", "o.safetensors"]),
    ] {
        let ending = film_tools(folder.path(), arguments);
        assert_eq!(ending.code, Some(0), "{arguments:?}: {}", ending.stderr);
        ending.took_at_most(times, header);
    }
}

#[test]
fn a_million_entries_of_an_index() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let header = tensors(&path.join("a.safetensors"), 1_000_000, 1, |index| format!("t{index}"));
    let mut index =
        BufWriter::new(File::create(path.join("model.safetensors.index.json")).unwrap());
    index.write_all(br#"{"weight_map":{"t0":"a.safetensors""#).unwrap();
    for tensor in 1..1_000_000 {
        write!(index, r#","t{tensor}":"a.safetensors""#).unwrap();
    }
    index.write_all(b"}}").unwrap();
    drop(index);
    let bytes = path.join("model.safetensors.index.json").metadata().unwrap().len();
    let ending = film_tools(path, &["inspect", ".", "--json"]);
    assert_eq!(ending.code, Some(0), "{}", ending.stderr);
    ending.took_at_most(4, header + bytes);
}

#[test]
fn a_name_of_a_megabyte() {
    let folder = tempdir().unwrap();
    let name = "n".repeat(1 << 20);
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
    std::fs::write(folder.path().join("m.safetensors"), safetensors_bytes(&header, &[0])).unwrap();
    for arguments in [&["inspect", "m.safetensors"][..], &["inspect", "m.safetensors", "--json"]] {
        let ending = film_tools(folder.path(), arguments);
        assert_eq!(ending.code, Some(0), "{}", ending.stderr);
        ending.took_at_most(16, header.len() as u64);
    }
    let ending =
        film_tools(folder.path(), &["run", "m.safetensors", "--conditioning", "m.safetensors:n"]);
    ending.line();
}

/// Names of characters that take one byte in the header, and six where they are printed.
#[test]
fn a_hundred_names_of_a_megabyte() {
    let folder = tempdir().unwrap();
    let name = "\u{7f}".repeat(450_000);
    let header = tensors(&folder.path().join("m.safetensors"), 100, 1, |index| {
        format!("{name}.{index}.{name}")
    });
    for arguments in [
        &["inspect", "m.safetensors"][..],
        &["inspect", "m.safetensors", "--flat"],
        &["inspect", "m.safetensors", "--json"],
        &["diff", "m.safetensors", "m.safetensors"],
    ] {
        let ending = film_tools(folder.path(), arguments);
        assert_eq!(ending.code, Some(0), "{arguments:?}: {}", ending.stderr);
        ending.took_at_most(4, header);
    }
    // The tree tells them apart by what it shows of them.
    let ending = film_tools(folder.path(), &["inspect", "m.safetensors"]);
    assert!(ending.stdout.contains("100 tensors"), "{}", ending.stdout);
    assert!(ending.stdout.len() < 100_000, "{} bytes", ending.stdout.len());
    assert!(ending.stdout.lines().all(|line| line.chars().count() <= 80));
}

/// As the hub's cache has them: links to files elsewhere, with other names.
#[test]
fn shards_that_are_links() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir_all(path.join("blobs")).unwrap();
    std::fs::create_dir_all(path.join("snapshots/main")).unwrap();
    for (index, entry) in std::fs::read_dir(fixture("hybrid_model")).unwrap().enumerate() {
        let entry = entry.unwrap();
        let blob = format!("blobs/{index}");
        std::fs::copy(entry.path(), path.join(&blob)).unwrap();
        let link = path.join("snapshots/main").join(entry.file_name());
        std::os::unix::fs::symlink(format!("../../{blob}"), link).unwrap();
    }
    let ending = film_tools(path, &["inspect", "snapshots/main"]);
    assert_eq!(ending.code, Some(0), "{}", ending.stderr);
    assert!(ending.stdout.contains("3 files, 64 tensors"), "{}", ending.stdout);
}
