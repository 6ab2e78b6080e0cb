//! Malformed files, one by one: each is refused in one line that names the file and the problem.

use film_core::checkpoint::Checkpoint;

use crate::support::{fixture, folder, message, safetensors_bytes};

/// What opening these bytes says, behind the file's name.
fn refusal(bytes: &[u8]) -> String {
    let folder = folder(&[("model.safetensors", bytes)]);
    let text = message(Checkpoint::open(folder.path()));
    let file = format!("{}: ", folder.path().join("model.safetensors").display());
    text.strip_prefix(&file).unwrap_or_else(|| panic!("{text}")).to_string()
}

/// What opening a file with this header and 16 bytes of data says.
fn header_refusal(header: &str) -> String {
    let text = refusal(&safetensors_bytes(header, &[0; 16]));
    text.strip_prefix("not a valid safetensors file: ")
        .unwrap_or_else(|| panic!("{text}"))
        .to_string()
}

fn good() -> Vec<u8> {
    std::fs::read(fixture("generator/small_8x4x2_h6/model.safetensors")).unwrap()
}

#[test]
fn files_that_are_something_else() {
    assert_eq!(refusal(b""), "the file is empty");
    assert_eq!(
        refusal(&good()[..5]),
        "not a valid safetensors file: 5 bytes are too few for a header"
    );
    let html = [b"<!DOCTYPE html><html>".as_slice(), &[b'x'; 400]].concat();
    assert_eq!(refusal(&html), "not a safetensors file but an HTML page: the download went wrong");
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 123\n";
    assert_eq!(
        refusal(lfs),
        "not a safetensors file but a git-lfs pointer: fetch the file itself with `git lfs pull`"
    );
    assert_eq!(
        refusal(b"\x93NUMPY\x01\x00v\x00{'descr'"),
        "not a safetensors file but a NumPy array (.npy)"
    );
    assert_eq!(
        refusal(b"PK\x03\x04aaaaaaaagamma.0.npy\x93NUMPY"),
        "not a safetensors file but an archive of NumPy arrays (.npz)"
    );
    assert_eq!(
        refusal(b"PK\x03\x04aaaaaaaaaaaa"),
        "not a safetensors file but a PyTorch pickle: `film-tools convert` makes safetensors of it"
    );
}

#[test]
fn lengths_that_lie() {
    let good = good();
    let longer = [&(1u64 << 60).to_le_bytes(), &good[8..]].concat();
    assert_eq!(
        refusal(&longer),
        "not a valid safetensors file: the header claims 1152921504606846976 bytes, at most 968 can be"
    );
    assert!(refusal(&good[..100]).contains("the header claims"));
    assert!(refusal(&good[..good.len() - 7]).contains("the file is truncated: "));
    assert_eq!(
        refusal(&[&good, b"zzz".as_slice()].concat()),
        "not a valid safetensors file: 3 bytes stand behind the last tensor"
    );
}

#[test]
fn headers_that_are_no_headers() {
    assert!(header_refusal(r#"{"a": nope}"#).starts_with("entry \"a\": expected ident"));
    assert!(
        header_refusal("[]")
            .starts_with("invalid type: sequence, expected an object of tensors by name")
    );
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(header_refusal(&deep).starts_with("entry \"a\": invalid type: sequence"));
    let deep = format!("{{\"a\": {{\"x\": {}{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(header_refusal(&deep).contains("missing field `dtype`"));
    let utf8 = [&8u64.to_le_bytes(), b"{\"\xff\xfe\":1}".as_slice()].concat();
    assert!(refusal(&utf8).contains("invalid unicode"), "{}", refusal(&utf8));
    assert!(
        header_refusal(r#"{"__metadata__": {"a": 1}}"#)
            .starts_with("entry \"__metadata__\": \"a\": expected a string, found 1")
    );
}

#[test]
fn tensors_that_cannot_be() {
    let entry = |dtype: &str, shape: &str, start: &str, end: &str| {
        header_refusal(&format!(
            r#"{{"a": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": [{start}, {end}]}}}}"#
        ))
    };
    assert_eq!(entry("F99", "[4]", "0", "16"), "tensor \"a\": unknown dtype \"F99\"");
    assert_eq!(
        entry("F32", "[3]", "0", "16"),
        "tensor \"a\": shape [3] of F32 takes 12 bytes, not 16"
    );
    assert_eq!(
        entry("F32", "[4]", "16", "0"),
        "tensor \"a\": its offsets run backwards, from 16 to 0"
    );
    assert_eq!(entry("F4", "[3]", "0", "1"), "tensor \"a\": shape [3] of F4 is no number of bytes");
    let huge = "[4611686018427387904, 4611686018427387904]";
    assert!(entry("F32", huge, "0", "16").ends_with("of F32 is no number of bytes"));
    assert!(entry("F32", "[-1]", "0", "16").contains("invalid value: integer `-1`, expected u64"));
    assert!(entry("F32", "[1e3]", "0", "16").contains("invalid type: floating point `1000.0`"));
    assert_eq!(
        entry("F32", "[4]", "18446744073709551599", "18446744073709551615"),
        "tensor \"a\": offset 18446744073709551599 is beyond any file"
    );
    assert!(
        header_refusal(r#"{"a": {"dtype": "F32", "shape": [4]}}"#)
            .contains("missing field `data_offsets`")
    );
}

#[test]
fn tensors_that_do_not_fill_the_file() {
    let two = |a: &str, b: &str, names: [&str; 2]| {
        let tensor = |name: &str, at: &str| {
            format!(r#""{name}": {{"dtype": "U8", "shape": [8], "data_offsets": {at}}}"#)
        };
        header_refusal(&format!("{{{}, {}}}", tensor(names[0], a), tensor(names[1], b)))
    };
    assert_eq!(two("[0, 8]", "[4, 12]", ["a", "b"]), "tensor \"b\" overlaps the tensor before it");
    assert_eq!(two("[0, 8]", "[9, 17]", ["a", "b"]), "tensor \"b\" leaves a hole before it");
    assert!(two("[0, 8]", "[8, 16]", ["a", "a"]).starts_with("tensor \"a\" stands twice"));
    assert!(two("[0, 8]", "[0, 8]", ["a", "a"]).starts_with("tensor \"a\" stands twice"));
}

#[cfg(unix)]
#[test]
fn what_is_not_a_regular_file_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("model.safetensors");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text = message(Checkpoint::open(folder.path()));
    assert_eq!(text, format!("{}: not a regular file", pipe.display()));
    assert_eq!(message(Checkpoint::open("/dev/zero")), "/dev/zero: not a regular file");
    assert_eq!(
        message(Checkpoint::open("/nowhere/x")),
        "/nowhere/x: cannot open: No such file or directory"
    );
}

/// What opening a folder with this index, and one shard, says.
fn index_refusal(index: &str) -> String {
    let shard =
        safetensors_bytes(r#"{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}"#, &[0]);
    let files: [(&str, &[u8]); 2] =
        [("model.safetensors.index.json", index.as_bytes()), ("s.safetensors", &shard)];
    let folder = folder(&files);
    let text = message(Checkpoint::open(folder.path()));
    text.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn indexes_that_lead_astray() {
    let map = |map: &str| index_refusal(&format!(r#"{{"weight_map": {map}}}"#));
    let invalid = |problem: &str| {
        format!("model.safetensors.index.json: not a valid index: {problem} at line 1 column ")
    };
    for file in [r#""../../etc/passwd""#, r#""/etc/passwd""#, r#""""#, "7", "null"] {
        let problem = format!("\"a\": expected a file in the same directory, found {file}");
        assert_eq!(
            map(&format!(r#"{{"a": {file}}}"#)),
            format!("model.safetensors.index.json: weight_map: {problem}")
        );
    }
    assert_eq!(
        map(r#"{"a": "t.safetensors"}"#),
        "t.safetensors: cannot open: No such file or directory"
    );
    assert_eq!(
        map(r#"{"b": "s.safetensors"}"#),
        "model.safetensors.index.json: weight_map: tensor \"b\" is not in s.safetensors"
    );
    assert_eq!(map("{}"), "model.safetensors.index.json: weight_map names no tensor");
    let text = map("[]");
    let problem = "invalid type: sequence, expected an object weight_map of files by tensor";
    assert!(text.starts_with(&invalid(problem)), "{text}");
    assert!(index_refusal("<html>").starts_with(&invalid("expected value")));
}

#[test]
fn folders_without_weights_say_what_they_hold() {
    let none = folder(&[("config.json", b"{}")]);
    let text = message(Checkpoint::open(none.path()));
    assert!(
        text.ends_with(": holds neither model.safetensors nor model.safetensors.index.json"),
        "{text}"
    );
    let other = folder(&[("lora.safetensors", b"")]);
    let text = message(Checkpoint::open(other.path()));
    assert!(text.ends_with("; it holds lora.safetensors: name that file"), "{text}");
}
