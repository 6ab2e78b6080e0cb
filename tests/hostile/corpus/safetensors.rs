//! Safetensors files that break a rule of the format.

use super::{Case, DELETE, bytes, file, large, whole};
use crate::support::safetensors_bytes;

const FILE: &str = "m.safetensors";

/// A file of this header and 16 bytes of data.
fn header(name: &str, header: &str, says: &'static str) -> Case {
    file(name, FILE, safetensors_bytes(header, &[0; 16]), says)
}

/// A header of one tensor.
fn tensor(name: &str, dtype: &str, shape: &str, offsets: &str, says: &'static str) -> Case {
    let text = format!(r#"{{"a":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}"#);
    header(name, &text, says)
}

/// A header of tensors of 8 bytes.
fn eights(name: &str, tensors: &[(&str, &str)], says: &'static str) -> Case {
    let tensor = |(name, offsets): &(&str, &str)| {
        format!(r#""{name}":{{"dtype":"U8","shape":[8],"data_offsets":{offsets}}}"#)
    };
    let tensors: Vec<String> = tensors.iter().map(tensor).collect();
    header(name, &format!("{{{}}}", tensors.join(",")), says)
}

/// A sound file but for its one name.
fn of_name(name: &str) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}}}"#);
    safetensors_bytes(&header, &[0; 8])
}

/// A header with this `__metadata__`.
fn metadata(name: &str, value: &str, says: &'static str) -> Case {
    header(name, &format!(r#"{{"__metadata__":{value}}}"#), says)
}

pub(super) fn cases() -> Vec<Case> {
    let invalid = "not a valid safetensors file";
    let length = |length: u64| [&length.to_le_bytes(), &whole()[8..]].concat();
    let real = bytes("generator/small_8x4x2_h6/model.safetensors");
    let right = whole().len() as u64 - 8 - 11;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many = |count: usize, entry: fn(usize) -> String| {
        (0..count).map(entry).collect::<Vec<_>>().join(",")
    };
    let long = "n".repeat(1 << 20);
    let mut cases = vec![
        file("nothing", FILE, vec![], "the file is empty"),
        file("a real one cut in the header", FILE, real[..100].to_vec(), "the header claims"),
        file("a real one cut in the tensors", FILE, real[..real.len() - 1].to_vec(), "truncated"),
        file(
            "bytes behind the end",
            FILE,
            [&whole(), &b"more"[..]].concat(),
            "4 bytes stand behind",
        ),
        file("zeros", FILE, vec![0; 64], invalid),
        file("length 0", FILE, length(0), invalid),
        file("a length of one less", FILE, length(right - 1), invalid),
        file("a length of one more", FILE, length(right + 1), invalid),
        file("length 2^31", FILE, length(1 << 31), "claims 2147483648 bytes"),
        file("length 2^53", FILE, length(1 << 53), "claims 9007199254740992 bytes"),
        file("length 2^63", FILE, length(1 << 63), "claims 9223372036854775808 bytes"),
        file("length 2^64 - 1", FILE, length(u64::MAX), "claims 18446744073709551615 bytes"),
        file("a big-endian length", FILE, [&right.to_be_bytes(), &whole()[8..]].concat(), "claims"),
        // Other files.
        file(
            "a web page",
            FILE,
            b"<!DOCTYPE html><html><body>404</body></html>".to_vec(),
            "HTML page",
        ),
        file(
            "a git-lfs pointer",
            FILE,
            b"version https://git-lfs.github.com/spec/v1\nsize 1\n".to_vec(),
            "git lfs pull",
        ),
        file("a zip file", FILE, b"PK\x03\x04archive/data.pkl........".to_vec(), "PyTorch pickle"),
        file("a NumPy array", FILE, b"\x93NUMPY\x01\x00v\x00{'descr'".to_vec(), "NumPy array"),
        file("JSON alone", FILE, b"{\"weight_map\":{}}".to_vec(), "JSON text"),
        // Not JSON, or not an object of tensors.
        header("no header", "", invalid),
        header("no JSON", "{nonsense}", invalid),
        header("an array", "[]", "expected an object of tensors by name"),
        header("null", "null", "expected an object of tensors by name"),
        header("two objects", "{}{}", "trailing characters"),
        header("an end too soon", r#"{"a":{"dtype":"F32""#, "EOF"),
        header("a tensor that is a number", r#"{"a":7}"#, "entry \"a\""),
        header("deep nesting", &format!(r#"{{"a":{deep}}}"#), "entry \"a\": invalid type"),
        header("deep nesting in an unknown field", &format!(r#"{{"a":{{"x":{deep}}}}}"#), invalid),
        file(
            "a name that is no UTF-8",
            FILE,
            [&10u64.to_le_bytes(), &b"{\"\xff\xfe\":1}  "[..]].concat(),
            "unicode",
        ),
        header("half a surrogate pair", r#"{"\ud800":1}"#, invalid),
        header("a control character in a string", "{\"a\u{1}\":1}", invalid),
        // Names out to steer the terminal.
        eights("a name that clears the screen", &[("\\u001b[2J\\u0007", "[1,9]")], r#"\u{1b}[2J"#),
        eights("a name that reverses text", &[("\u{202e}gpj", "[1,9]")], "gpj"),
        eights("a name of two lines", &[("a\\nerror: b", "[1,9]")], r"a\nerror: b"),
        eights(
            "a name of characters that hide",
            &[("\u{61c}\u{ad}\u{2029}\u{e0041}", "[1,9]")],
            r"\u{61c}\u{ad}\u{2029}\u{e0041}",
        ),
        eights(
            "a name of 1 MB that escapes",
            &[(&DELETE.repeat(1 << 20), "[1,9]")],
            r#"\u{7f}" leaves a hole"#,
        ),
        eights(
            "a name of 1 MB and a byte",
            &[(&"n".repeat((1 << 20) + 1), "[0,8]")],
            "a text of 1048577 bytes, expected at most 1048576",
        ),
        large(
            "a name of 90 MB that escapes",
            FILE,
            90_000_000,
            || of_name(&DELETE.repeat(90_000_000)),
            "a text of 90000000 bytes, expected at most 1048576",
        ),
        large(
            "a dtype of 90 MB that escapes",
            FILE,
            90_000_000,
            || {
                let text = DELETE.repeat(90_000_000);
                let text =
                    format!(r#"{{"a":{{"dtype":"{text}","shape":[],"data_offsets":[0,16]}}}}"#);
                safetensors_bytes(&text, &[0; 16])
            },
            "a text of 90000000 bytes",
        ),
        large(
            "a key of metadata twice, 90 MB that escape",
            FILE,
            90_000_000,
            || {
                let key = DELETE.repeat(45_000_000);
                safetensors_bytes(&format!(r#"{{"__metadata__":{{"{key}":"","{key}":""}}}}"#), &[])
            },
            "a text of 45000000 bytes",
        ),
        large(
            "90 names of 1 MB that escape, each of a wrong size",
            FILE,
            90_000_000,
            || {
                let name = DELETE.repeat(1_000_000 - 60);
                let entry = |i| {
                    format!(r#""{name}{i:02}":{{"dtype":"U8","shape":[9],"data_offsets":[0,8]}}"#)
                };
                let entries: Vec<String> = (0..90).map(entry).collect();
                safetensors_bytes(&format!("{{{}}}", entries.join(",")), &[0; 8])
            },
            "takes 9 bytes, not 8",
        ),
        eights("a name of 1 MB", &[(&long, "[1,9]")], "nnn"),
        header(
            "an unknown name of 1 MB for a dtype",
            &format!(r#"{{"a":{{"dtype":"{long}","shape":[],"data_offsets":[0,16]}}}}"#),
            "unknown dtype",
        ),
        // One tensor that cannot be.
        tensor("an unknown dtype", r#""F7""#, "[2]", "[0,16]", "unknown dtype \"F7\""),
        tensor("a dtype in small letters", r#""f32""#, "[4]", "[0,16]", "unknown dtype"),
        tensor("a dtype that is a number", "32", "[4]", "[0,16]", "invalid type"),
        tensor(
            "too few bytes for its shape",
            r#""F32""#,
            "[5]",
            "[0,16]",
            "takes 20 bytes, not 16",
        ),
        tensor(
            "too many bytes for its shape",
            r#""F32""#,
            "[3]",
            "[0,16]",
            "takes 12 bytes, not 16",
        ),
        tensor("half a byte", r#""F4""#, "[31]", "[0,16]", "no number of bytes"),
        tensor(
            "a shape that overflows",
            r#""F32""#,
            "[4294967296,4294967296]",
            "[0,16]",
            "no number of bytes",
        ),
        tensor(
            "a shape that overflows to its bytes",
            r#""U8""#,
            "[4294967296,4294967296,0]",
            "[0,0]",
            "no number of bytes",
        ),
        tensor(
            "a shape of 2^64 - 1",
            r#""U8""#,
            "[18446744073709551615]",
            "[0,16]",
            "no number of bytes",
        ),
        tensor("a size of 2^64", r#""U8""#, "[18446744073709551616]", "[0,16]", "entry \"a\""),
        tensor("a negative size", r#""U8""#, "[-16]", "[0,16]", "`-16`, expected u64"),
        tensor("a size that is no whole number", r#""U8""#, "[1.6e1]", "[0,16]", "floating point"),
        tensor("a size that is no number", r#""U8""#, r#"["16"]"#, "[0,16]", "string"),
        tensor("no shape", r#""U8""#, "null", "[0,16]", "entry \"a\""),
        tensor(
            "65 axes",
            r#""U8""#,
            &format!("[16{}]", ",1".repeat(64)),
            "[0,16]",
            "more than 64 axes",
        ),
        tensor(
            "a million axes",
            r#""U8""#,
            &format!("[16{}]", ",1".repeat(1_000_000)),
            "[0,16]",
            "more than 64 axes",
        ),
        tensor("offsets that run backwards", r#""U8""#, "[16]", "[16,0]", "backwards"),
        tensor("negative offsets", r#""U8""#, "[16]", "[-16,0]", "expected u64"),
        tensor(
            "offsets beyond any file",
            r#""U8""#,
            "[16]",
            "[18446744073709551599,18446744073709551615]",
            "beyond any file",
        ),
        tensor("one offset", r#""U8""#, "[16]", "[16]", "entry \"a\""),
        tensor("three offsets", r#""U8""#, "[16]", "[0,16,32]", "entry \"a\""),
        header(
            "no offsets",
            r#"{"a":{"dtype":"U8","shape":[16]}}"#,
            "missing field `data_offsets`",
        ),
        header(
            "a shape twice",
            r#"{"a":{"dtype":"U8","shape":[16],"shape":[1],"data_offsets":[0,16]}}"#,
            "duplicate field",
        ),
        // Several that do not fill the file.
        eights("an overlap", &[("a", "[0,8]"), ("b", "[4,12]")], "\"b\" overlaps"),
        header(
            "a million tensors in one place",
            &format!(
                "{{{}}}",
                many(1_000_000, |i| format!(
                    r#""{i}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#
                ))
            ),
            "overlaps",
        ),
        eights("two in one place", &[("a", "[0,8]"), ("b", "[0,8]")], "overlaps"),
        eights("a hole at the start", &[("a", "[8,16]")], "leaves a hole before it"),
        eights("a hole between", &[("a", "[0,8]"), ("b", "[9,17]")], "\"b\" leaves a hole"),
        eights("a hole at the end", &[("a", "[0,8]")], "8 bytes stand behind the last tensor"),
        eights(
            "more than the file",
            &[("a", "[0,8]"), ("b", "[8,16]"), ("c", "[16,24]")],
            "truncated",
        ),
        eights(
            "a name twice, in two places",
            &[("a", "[0,8]"), ("a", "[8,16]")],
            "\"a\" stands twice",
        ),
        eights(
            "a name twice, in one place",
            &[("a", "[0,8]"), ("a", "[0,8]")],
            "\"a\" stands twice",
        ),
        eights(
            "a name twice, once with an escape",
            &[("a", "[0,8]"), ("\\u0061", "[8,16]")],
            "\"a\" stands twice",
        ),
        // Metadata.
        metadata("metadata in an array", "[]", "entry \"__metadata__\""),
        metadata("metadata that are text", r#""pt""#, "entry \"__metadata__\""),
        metadata("metadata that are null", "null", "entry \"__metadata__\""),
        metadata(
            "metadata of numbers",
            r#"{"steps":1}"#,
            "entry \"__metadata__\": \"steps\": expected a string, found 1",
        ),
        metadata(
            "metadata of objects",
            r#"{"a":{}}"#,
            "entry \"__metadata__\": \"a\": expected a string",
        ),
        metadata(
            "a million keys of metadata",
            &format!("{{{}}}", many(1_000_000, |i| format!(r#""{i}":"""#))),
            "more than 65536 keys",
        ),
        header("metadata twice", r#"{"__metadata__":{},"__metadata__":{}}"#, "stands twice"),
        // Many.
        header(
            "a million tensors, the last of them broken",
            &format!(
                "{{{},{}}}",
                many(1_000_000, |i| format!(
                    r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#
                )),
                r#""z":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}"#
            ),
            "\"z\" leaves a hole",
        ),
        header(
            "a tensor a million times",
            &format!(
                "{{{}}}",
                many(1_000_000, |_| r#""a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}"#.into())
            ),
            "\"a\" stands twice",
        ),
    ];
    // A header longer than the format allows, in a file that could hold it.
    cases.push(Case {
        name: "a header of 200 MB".into(),
        make: Box::new(|folder| {
            let file = std::fs::File::create(folder.join(FILE)).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &200_000_000u64.to_le_bytes(), 0)
                .unwrap();
            file.set_len(300_000_000).unwrap();
        }),
        open: FILE,
        file: FILE,
        says: "claims 200000000 bytes, at most 100000000 can be",
        bytes: 8,
    });
    // Inside a folder the file is named by its way there.
    cases.push(Case {
        name: "a broken file in a folder".into(),
        make: Box::new(|folder| {
            std::fs::create_dir(folder.join("gen")).unwrap();
            std::fs::write(folder.join("gen/model.safetensors"), &whole()[..40]).unwrap();
        }),
        open: "gen",
        file: "gen/model.safetensors",
        says: "the header claims",
        bytes: 40,
    });
    cases
}
