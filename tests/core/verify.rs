//! What is wrong with a checkpoint: all of it, in the words in which opening it stops at the first.

use std::path::Path;

use film_core::checkpoint::{Checkpoint, Dtype, verify};

use crate::support::{cases, fixture, folder, message, safetensors_bytes, safetensors_of};

/// The problems of the checkpoint at `path`, without the folder's name.
fn problems(path: &Path) -> Vec<String> {
    let verified = verify(path).unwrap();
    let here = format!("{}/", path.display());
    verified.problems.iter().map(|problem| problem.to_string().replace(&here, "")).collect()
}

/// The problems of a file with this header and 16 bytes of data, without the file's name and the format's. The first of
/// them is what opening the file says, unless opening accepts it.
fn header_problems(header: &str) -> Vec<String> {
    // Padded, so that the padding is no problem.
    let header = format!("{header}{}", " ".repeat(header.len().next_multiple_of(8) - header.len()));
    let folder = folder(&[("model.safetensors", &safetensors_bytes(&header, &[0; 16]))]);
    let found = problems(folder.path());
    if let Err(error) = Checkpoint::open(folder.path()) {
        assert!(error.to_string().ends_with(&found[0]), "{error}: {found:?}");
    }
    let short = |problem: String| {
        let problem = problem.strip_prefix("model.safetensors: ").unwrap().to_string();
        let rule = problem.strip_prefix("not a valid safetensors file: ");
        rule.map(str::to_string).unwrap_or(problem)
    };
    found.into_iter().map(short).collect()
}

#[test]
fn sound_checkpoints_have_no_problems() {
    for group in ["generator", "siren_kernel", "ckconv", "register_pooling"] {
        for case in cases(group) {
            assert_eq!(problems(&case), [""; 0], "{}", case.display());
        }
    }
    let verified = verify(fixture("hybrid_model")).unwrap();
    assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    assert_eq!(verified.checkpoint.files().len(), 3);
    assert_eq!(verified.checkpoint.tensors().len(), 64);
}

#[test]
fn one_header_may_break_several_rules() {
    let tensor = |name: &str, dtype: &str, from: u64, to: u64| {
        format!(r#""{name}": {{"dtype": "{dtype}", "shape": [8], "data_offsets": [{from}, {to}]}}"#)
    };
    let found = header_problems(&format!(
        r#"{{"__metadata__": {{"format": "pt", "step": 7}}, {}, {}, {}, {}, "e": 7, {}}}"#,
        tensor("a", "U8", 0, 8),
        tensor("b", "F99", 8, 16),
        tensor("c", "U8", 16, 8),
        tensor("a", "U8", 4, 12),
        tensor("d", "F32", 24, 32),
    ));
    assert_eq!(
        found,
        [
            r#"entry "__metadata__": "step": expected a string, found 7"#,
            r#"entry "e": invalid type: integer `7`, expected an object"#,
            r#"tensor "a" stands twice, at 0 to 8 and at 4 to 12"#,
            r#"tensor "b": unknown dtype "F99""#,
            r#"tensor "c": its offsets run backwards, from 16 to 8"#,
            r#"tensor "d": shape [8] of F32 takes 32 bytes, not 8"#,
            r#"tensor "a" overlaps the tensor before it"#,
            r#"tensor "b" overlaps the tensor before it"#,
            "the file is truncated: 16 of 32 bytes of tensors are there",
        ]
    );
}

#[test]
fn holes_and_names_that_stand_twice() {
    let two = |a: &str, b: &str, names: [&str; 2]| {
        let tensor = |name: &str, at: &str| {
            format!(r#""{name}": {{"dtype": "U8", "shape": [8], "data_offsets": {at}}}"#)
        };
        header_problems(&format!("{{{}, {}}}", tensor(names[0], a), tensor(names[1], b)))
    };
    assert_eq!(
        two("[0, 8]", "[0, 8]", ["a", "a"]),
        [
            r#"tensor "a" stands twice, both times at 0 to 8"#,
            "8 bytes stand behind the last tensor"
        ]
    );
    assert_eq!(
        two("[0, 8]", "[8, 16]", ["a", "a"]),
        [r#"tensor "a" stands twice, at 0 to 8 and at 8 to 16"#]
    );
    assert_eq!(
        two("[1, 9]", "[10, 18]", ["a", "b"]),
        [
            r#"tensor "a" leaves a hole before it"#,
            r#"tensor "b" leaves a hole before it"#,
            "the file is truncated: 16 of 18 bytes of tensors are there"
        ]
    );
    assert_eq!(
        header_problems(
            r#"{"__metadata__": {"x": "1", "x": "2"}, "a": {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}}"#
        ),
        [r#"entry "__metadata__": "x" stands twice"#]
    );
    assert_eq!(
        header_problems(
            r#"{"__metadata__": {}, "__metadata__": {}, "a": {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}}"#
        ),
        [r#"entry "__metadata__" stands twice"#]
    );
}

#[test]
fn where_json_breaks_off_nothing_more_is_told() {
    assert_eq!(
        header_problems(r#"{"a": 7, "b": nope}"#),
        [
            r#"entry "a": invalid type: integer `7`, expected an object at line 1 column 7"#,
            "expected ident at line 1 column 16"
        ]
    );
    assert_eq!(
        header_problems(r#"{"b": nope}"#),
        [r#"entry "b": expected ident at line 1 column 8"#]
    );
}

#[test]
fn form_that_readers_accept_is_told_of_and_not_refused() {
    let entry = r#"{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}"#;
    let mixed = r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "b": {"dtype": "F64", "shape": [1], "data_offsets": [4, 12]}}"#;
    for (header, data, expected) in [
        (
            format!("{entry}   "),
            16,
            "the tensors' bytes begin at 73, not at a multiple of 8: the header lacks padding"
                .into(),
        ),
        (format!(" {entry} "), 16, "the header begins with byte 0x20, not with {".into()),
        (format!("{entry}\n "), 16, "the header is padded with byte 0x0a, not with spaces".into()),
        (
            format!("{mixed}{}", " ".repeat(mixed.len().next_multiple_of(8) - mixed.len())),
            12,
            format!(
                "tensor \"b\" of F64 begins at {}, not at a multiple of 8",
                8 + mixed.len().next_multiple_of(8) + 4
            ),
        ),
    ] {
        let bytes = safetensors_bytes(&header, &vec![0; data]);
        let folder = folder(&[("model.safetensors", &bytes)]);
        assert_eq!(
            problems(folder.path()),
            [format!("model.safetensors: {expected}")],
            "{header:?}"
        );
        assert!(Checkpoint::open(folder.path()).is_ok());
    }
}

/// The problems of a folder with these shards and an index of this weight_map and metadata.
fn index_problems(shards: &[(&str, &[u8])], map: &str, metadata: &str) -> Vec<String> {
    let index = format!(r#"{{"metadata": {metadata}, "weight_map": {map}}}"#);
    let files = [shards, &[("model.safetensors.index.json", index.as_bytes())]].concat();
    problems(folder(&files).path())
}

#[test]
fn an_index_is_held_against_its_shards_both_ways() {
    let (one, two) = ("model-1-of-2.safetensors", "model-2-of-2.safetensors");
    let (a, b) =
        (safetensors_of(&[("a", &[2]), ("x", &[2])]), safetensors_of(&[("b", &[2]), ("x", &[2])]));
    let shards: [(&str, &[u8]); 2] = [(one, &a), (two, &b)];
    let index = "model.safetensors.index.json";
    assert_eq!(
        index_problems(
            &[shards[0], (two, &safetensors_of(&[("b", &[2])]))],
            &format!(r#"{{"a": "{one}", "x": "{one}", "b": "{two}"}}"#),
            r#"{"total_size": 24}"#
        ),
        [""; 0]
    );
    assert_eq!(
        index_problems(
            &shards[..1],
            &format!(r#"{{"a": "./{one}", "x": "{one}"}}"#),
            r#"{"total_size": 3}"#
        ),
        [format!("{index}: metadata.total_size: expected 16, the bytes of all tensors, found 3")]
    );
    // The sum is not held against tensors of which some are missing.
    assert_eq!(
        index_problems(
            &shards,
            &format!(r#"{{"a": "{one}", "x": "{one}", "b": "{one}"}}"#),
            r#"{"total_size": 24}"#
        ),
        [
            format!("{index}: weight_map: tensor \"b\" is not in {one}"),
            format!("{two}: the index does not name this file"),
        ]
    );
    assert_eq!(
        index_problems(
            &[shards[0], shards[1], ("model-3-of-2.safetensors", &a), ("other.safetensors", &a)],
            &format!(r#"{{"a": "{two}", "y": "{one}", "a": "{two}", "b": "{two}", "z": "../z"}}"#),
            r#"{"total_size": 3}"#
        )
        .into_iter()
        // The folder, which the name of a tensor in two shards is told with, is not at hand.
        .map(|problem| problem
            .rsplit_once(": x: stands in both ")
            .map_or(problem.clone(), |(_, shards)| format!("x: {shards}")))
        .collect::<Vec<_>>(),
        [
            format!("{index}: weight_map: \"a\" stands twice"),
            format!(
                "{index}: weight_map: \"z\": expected a file in the same directory, found \"../z\""
            ),
            format!("{index}: weight_map: tensor \"a\" is not in {two}"),
            format!("{index}: weight_map: tensor \"y\" is not in {one}"),
            format!("x: {one} and {two}"),
            format!("{one}: the index does not name tensor \"x\""),
            "model-3-of-2.safetensors: the index does not name this file".into(),
        ]
    );
}

#[test]
fn what_cannot_be_read_does_not_hide_the_rest() {
    let whole = safetensors_of(&[("b", &[2])]);
    let found = index_problems(
        &[
            ("s2", &whole),
            ("s3", &whole[..whole.len() - 1]),
            ("s4", b"<!DOCTYPE html><html></html>"),
        ],
        r#"{"a": "s1", "b": "s2", "c": "s3", "d": "s4"}"#,
        r#"{"total_size": 1}"#,
    );
    assert_eq!(found[0], "s1: cannot open: No such file or directory");
    assert_eq!(
        found[1],
        "s3: not a valid safetensors file: the file is truncated: 7 of 8 bytes of tensors are there"
    );
    assert_eq!(found[2], "s4: not a safetensors file but an HTML page: the download went wrong");
    assert_eq!(found[3], "model.safetensors.index.json: weight_map: tensor \"c\" is not in s3");
    let nowhere = folder(&[("config.json", b"{}")]);
    assert!(message(verify(nowhere.path())).contains("holds neither model.safetensors nor"));
    let broken = folder(&[("model.safetensors.index.json", b"{")]);
    let found = problems(broken.path());
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("model.safetensors.index.json: not a valid index: "));
    let both = folder(&[
        ("model.safetensors", &safetensors_of(&[("b", &[2])])),
        ("model.safetensors.index.json", b"{}"),
    ]);
    assert!(problems(both.path()).contains(
        &"model.safetensors.index.json: is not read: model.safetensors stands beside it".into()
    ));
}

#[test]
fn config_json_is_held_against_the_shapes() {
    let case = fixture("ckconv/2d_zero_gaussian");
    let weights = std::fs::read(case.join("model.safetensors")).unwrap();
    let text = std::fs::read_to_string(case.join("config.json")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from));
        let config = text.replacen(from, to, 1);
        problems(
            folder(&[("model.safetensors", &weights), ("config.json", config.as_bytes())]).path(),
        )
    };
    assert_eq!(with("gaussian", "gaussian"), [""; 0]);
    for (from, to, problem) in [
        (
            "\"hidden_dim\": 8",
            "\"hidden_dim\": 9",
            "hidden_dim: expected 8, as the tensors have it, found 9",
        ),
        ("\"gaussian\"", "\"exponential\"", "mask: expected a Gaussian one"),
        (
            "\"num_layers\": 3",
            "\"num_layers\": \"x\"",
            "num_layers: expected an integer of at least 1, found \"x\"",
        ),
        ("\"zero\"", "\"reflect\"", "fft_padding: expected"),
        ("{", "[", "not a JSON object"),
    ] {
        let found = with(from, to);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("config.json: {problem}")), "{found:?}");
    }
    // Both a generator's and a kernel's.
    let two = text.replacen("\"num_layers\": 3", "\"num_layers\": 5", 1).replacen(
        "\"cond_dim\": 12",
        "\"cond_dim\": \"x\"",
        1,
    );
    let found = problems(
        folder(&[("model.safetensors", &weights), ("config.json", two.as_bytes())]).path(),
    );
    assert!(found.iter().any(|problem| problem.contains("num_layers: expected 3")), "{found:?}");
}

#[test]
fn values_are_counted_tensor_by_tensor() {
    let floats = [1.0f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN, 0.0];
    let data: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).chain([0, 1, 2, 255]).collect();
    let header = r#"{"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "b": {"dtype": "BOOL", "shape": [4], "data_offsets": [24, 28]}}"#;
    let folder = folder(&[("model.safetensors", &safetensors_bytes(header, &data))]);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let tensors: Vec<_> = checkpoint.tensors().iter().collect();
    let counts: Vec<_> = checkpoint.count_values(&tensors).map(Result::unwrap).collect();
    assert_eq!((counts[0].nan, counts[0].infinite, counts[0].no_bool), (2, 2, 0));
    assert_eq!((counts[1].nan, counts[1].infinite, counts[1].no_bool), (0, 0, 2));
    assert_eq!(tensors[0].dtype, Dtype::F32);
    // A file that is shortened meanwhile is an error of the tensor.
    std::fs::write(folder.path().join("model.safetensors"), "").unwrap();
    let counts: Vec<_> = checkpoint.count_values(&tensors).collect();
    assert!(message(counts.into_iter().next().unwrap()).contains("shortened"));
}

#[test]
fn bytes_are_read_and_hashed_as_they_are_stored() {
    let data: Vec<u8> = (0..=255).collect();
    let header = r#"{"a": {"dtype": "U8", "shape": [253], "data_offsets": [0, 253]}, "b": {"dtype": "U8", "shape": [3], "data_offsets": [253, 256]}, "c": {"dtype": "U8", "shape": [0], "data_offsets": [256, 256]}}"#;
    let folder = folder(&[("model.safetensors", &safetensors_bytes(header, &data))]);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let tensors: Vec<_> = checkpoint.tensors().iter().collect();
    let mut bytes = [0; 2];
    checkpoint.read_bytes(tensors[1], 1, &mut bytes).unwrap();
    assert_eq!(bytes, [254, 255]);
    for offset in [2, u64::MAX] {
        let text = message(checkpoint.read_bytes(tensors[1], offset, &mut bytes));
        assert!(text.contains("b: expected at most 3 bytes, found 2 from byte"), "{text}");
    }
    let hashes = checkpoint.sha256(&tensors).unwrap();
    // As sha256sum has them: `printf '\375\376\377' | sha256sum`, and of nothing.
    assert_eq!(
        hashes[1].to_string(),
        "3fe672f6de09ec588aa0fed4a6bb72bcc03a956e951d56e789a95956fc16888d"
    );
    assert_eq!(
        hashes[2].to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}
