//! `inspect`: the order, the depth and the hashes that are asked for.

use std::path::Path;

use candle_core::{Device, Tensor};
use tempfile::tempdir;

use crate::support::{film_tools, fixture, report, safetensors_bytes, save};

/// The names in a flat or JSON report, in its order.
fn names(folder: &Path, checkpoint: &str, args: &[&str]) -> Vec<String> {
    let json = report(folder, &[&["inspect", checkpoint, "--json"], args].concat());
    let json: Vec<String> = json["tensors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tensor| tensor["name"].as_str().unwrap().to_string())
        .collect();
    let text = film_tools(folder, &[&["inspect", checkpoint, "--flat"], args].concat()).stdout();
    let flat: Vec<&str> =
        text.lines().filter_map(|line| line.split("]  ").nth(1)).map(str::trim).collect();
    assert_eq!(flat, json, "{text}");
    json
}

/// A file with tensors whose orders by name, size, offset, dtype and shape all differ.
fn sample(folder: &Path) -> &'static str {
    let header = r#"{"d": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "a.x": {"dtype": "I16", "shape": [2, 2], "data_offsets": [3, 11]},
        "c": {"dtype": "F64", "shape": [1], "data_offsets": [11, 19]},
        "a.b": {"dtype": "BF16", "shape": [1, 1, 9], "data_offsets": [19, 37]}}"#;
    std::fs::write(folder.join("m.safetensors"), safetensors_bytes(header, &[0; 37])).unwrap();
    "m.safetensors"
}

#[test]
fn tensors_come_in_the_order_asked_for() {
    let folder = tempdir().unwrap();
    let file = sample(folder.path());
    let order = |args: &[&str]| names(folder.path(), file, args).join(" ");
    assert_eq!(order(&[]), "a.b a.x c d");
    assert_eq!(order(&["--reverse"]), "d c a.x a.b");
    assert_eq!(order(&["--sort", "size"]), "a.b a.x c d");
    assert_eq!(order(&["--sort", "size", "--reverse"]), "d c a.x a.b");
    assert_eq!(order(&["--sort", "offset"]), "d a.x c a.b");
    assert_eq!(order(&["--sort", "dtype"]), "a.b c a.x d");
    assert_eq!(order(&["--sort", "shape"]), "c d a.x a.b");
}

/// The first words of the lines of the tree.
fn tree(folder: &Path, args: &[&str]) -> Vec<String> {
    let text = film_tools(folder, &[&["inspect"], args].concat()).stdout();
    let lines = text.lines().skip_while(|line| !line.starts_with("tensor ")).skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    lines.map(|line| line.split("  ").find(|cell| !cell.is_empty()).unwrap().to_string()).collect()
}

#[test]
fn groups_are_ordered_among_their_siblings() {
    let folder = tempdir().unwrap();
    let file = sample(folder.path());
    assert_eq!(tree(folder.path(), &[file]), ["a", "b", "x", "c", "d"]);
    assert_eq!(tree(folder.path(), &[file, "--reverse"]), ["d", "c", "a", "x", "b"]);
    assert_eq!(tree(folder.path(), &[file, "--sort", "offset"]), ["d", "a", "x", "b", "c"]);
    assert_eq!(
        tree(folder.path(), &[file, "--sort", "size", "--reverse"]),
        ["d", "c", "a", "x", "b"]
    );
}

/// Folded siblings stand where the first of them stands in the file, whichever it is.
#[test]
fn a_fold_is_where_its_first_tensor_is() {
    let folder = tempdir().unwrap();
    let entry = |(name, start): (&str, usize)| {
        let end = start + 4;
        format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{start},{end}]}}"#)
    };
    let entries = [("1.w", 0), ("y", 4), ("0.w", 8)].map(entry);
    let bytes = safetensors_bytes(&format!("{{{}}}", entries.join(",")), &[0; 12]);
    std::fs::write(folder.path().join("m.safetensors"), bytes).unwrap();
    let args = &["m.safetensors", "--sort", "offset"];
    assert_eq!(tree(folder.path(), args), ["[0..1].w", "y"]);
}

#[test]
fn what_is_deeper_is_summed_up() {
    let hybrid = fixture("hybrid_model");
    let here = Path::new("/");
    let text = film_tools(here, &["inspect", &hybrid, "--depth", "1"]).stdout();
    let line = text.lines().find(|line| line.starts_with("blocks.[0..1]")).unwrap();
    let cells: Vec<&str> =
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells, ["blocks.[0..1]", "F32", "29 tensors", "2 × 48,920", "71.7%"]);
    assert_eq!(tree(here, &[&hybrid, "--depth", "1"]).len(), 7);
    assert_eq!(tree(here, &[&hybrid, "--depth", "40"]), tree(here, &[&hybrid]));
    let folder = tempdir().unwrap();
    let file = sample(folder.path());
    let text = film_tools(folder.path(), &["inspect", file, "--depth", "1"]).stdout();
    assert!(text.contains("BF16 + I16  2 tensors"), "{text}");
}

#[test]
fn hashes_are_those_of_the_stored_bytes() {
    let folder = tempdir().unwrap();
    let file = sample(folder.path());
    // As sha256sum has it of 3 zeros.
    let json = report(folder.path(), &["inspect", file, "--json", "--hash"]);
    let of_d = json["tensors"][3]["sha256"].as_str().unwrap();
    assert_eq!(of_d, "709e80c88487a2411e1ee4dfb9f22a861492d20c4765150c0c794abd70f8147c");
    let flat = film_tools(folder.path(), &["inspect", file, "--flat", "--hash"]).stdout();
    assert!(
        flat.lines()
            .any(|line| line.starts_with(&format!("{of_d}  U8  ")) && line.ends_with("  d"))
    );
    let tree = film_tools(folder.path(), &["inspect", file, "--hash"]).stdout();
    assert!(tree.contains(&format!("\n  {of_d}\n")), "{tree}");
    assert!(tree.lines().all(|line| line.chars().count() <= 80));
    // Without it, no bytes are read and no key is there.
    let json = report(folder.path(), &["inspect", file, "--json"]);
    assert!(json["tensors"][3].get("sha256").is_none());
}

#[test]
fn with_hashes_only_the_same_bytes_are_folded() {
    let folder = tempdir().unwrap();
    let [zero, one] = [0f32, 1.0].map(|value| Tensor::new(&[value], &Device::Cpu).unwrap());
    let names = ["b.0.w", "b.1.w", "b.2.w"];
    save(folder.path().join("m"), &[(names[0], &zero), (names[1], &zero), (names[2], &one)]);
    assert_eq!(tree(folder.path(), &["m"]), ["b.[0..2].w"]);
    let hashed = tree(folder.path(), &["m", "--hash"]);
    assert!(
        hashed.contains(&"[0..1].w".to_string()) && hashed.contains(&"2.w".to_string()),
        "{hashed:?}"
    );
}

#[test]
fn orders_and_depths_that_cannot_be_are_wrong_usage() {
    let folder = tempdir().unwrap();
    let file = sample(folder.path());
    for args in [
        &["--sort", "colour"][..],
        &["--sort", "dtype"],
        &["--depth", "0"],
        &["--depth", "-1"],
        &["--depth", "2", "--flat"],
        &["--depth", "2", "--json"],
    ] {
        let outcome = film_tools(folder.path(), &[&["inspect", file], args].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{args:?}");
    }
}
