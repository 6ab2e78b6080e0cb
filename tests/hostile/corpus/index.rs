//! Indices that lead nowhere, astray or round in circles.

use std::path::Path;

use super::{Case, DELETE, whole};

const FILE: &str = "m/model.safetensors.index.json";
const OPEN: &str = "m";

/// An index of this text beside two shards, `a.safetensors` and `b.safetensors`, with tensors `a` and `b` each.
fn index(name: &str, text: impl Into<Vec<u8>>, says: &'static str) -> Case {
    let text = text.into();
    Case {
        name: format!("an index: {name}"),
        bytes: text.len() as u64,
        make: Box::new(move |folder| make(folder, &text)),
        open: OPEN,
        file: FILE,
        says,
    }
}

fn make(folder: &Path, text: &[u8]) {
    std::fs::create_dir(folder.join("m")).unwrap();
    for shard in ["m/a.safetensors", "m/b.safetensors", "outside.safetensors"] {
        std::fs::write(folder.join(shard), whole()).unwrap();
    }
    std::fs::write(folder.join(FILE), text).unwrap();
}

/// An index of this map.
fn map(name: &str, map: &str, says: &'static str) -> Case {
    index(name, format!(r#"{{"metadata":{{}},"weight_map":{map}}}"#), says)
}

/// One that is sound.
pub(super) fn sound() -> Case {
    map("sound", r#"{"a":"a.safetensors","b":"a.safetensors"}"#, "")
}

/// One that is sound, said of its shard.
pub(super) fn shard() -> Case {
    of("m/a.safetensors", sound())
}

/// The case, but it is another file that must be named.
fn of(file: &'static str, case: Case) -> Case {
    Case { file, ..case }
}

/// The case with something more done to the folder.
fn and(case: Case, more: impl Fn(&Path) -> std::io::Result<()> + 'static) -> Case {
    let make = case.make;
    Case {
        make: Box::new(move |folder| {
            make(folder);
            more(folder).unwrap();
        }),
        ..case
    }
}

pub(super) fn cases() -> Vec<Case> {
    let same = "expected a file in the same directory";
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = "n".repeat(1 << 20);
    let absolute = std::env::temp_dir().join("outside.safetensors").display().to_string();
    let million: Vec<String> =
        (0..1_000_000).map(|i| format!(r#""{i}":"a.safetensors""#)).collect();
    let shards: Vec<String> = (0..200_000).map(|i| format!(r#""{i}":"{i}.safetensors""#)).collect();
    vec![
        index("nothing", "", "EOF"),
        index("half of one", r#"{"weight_map":{"a":"#, "EOF"),
        index("an array", "[]", "expected an object"),
        index("no map", "{}", "weight_map"),
        index("two maps", r#"{"weight_map":{},"weight_map":{"a":"a.safetensors"}}"#, "weight_map"),
        index("a web page", "<html>", "not a valid index"),
        index("no UTF-8", b"{\"weight_map\":{\"\xff\":\"a.safetensors\"}}".to_vec(), "unicode"),
        index("deep nesting", format!(r#"{{"metadata":{deep}}}"#), "expected an object"),
        index(
            "an array that begins with a map",
            r#"[{"a":"a.safetensors"}]"#,
            "expected an object",
        ),
        map("an array for a map", "[]", "weight_map"),
        map("an empty map", "{}", "names no tensor"),
        map(
            "a number for a file",
            r#"{"a":7}"#,
            "weight_map: \"a\": expected a file in the same directory, found 7",
        ),
        map("a list for a file", &format!(r#"{{"a":{deep}}}"#), "found a list"),
        map("no name", r#"{"a":""}"#, same),
        map("the directory above", r#"{"a":"../outside.safetensors"}"#, same),
        map("out and in again", r#"{"a":"../m/a.safetensors"}"#, same),
        map("the root", r#"{"a":"/etc/passwd"}"#, same),
        map("an absolute path", &format!(r#"{{"a":"{absolute}"}}"#), same),
        map("a Windows path", r#"{"a":"..\\outside.safetensors"}"#, same),
        map("the directory itself", r#"{"a":"."}"#, same),
        map("a NUL byte", r#"{"a":"a.safetensors\u0000.txt"}"#, same),
        map("a file name that clears the screen", r#"{"a":"../\u001b[2J"}"#, r"\u{1b}[2J"),
        map("a file name of 1 MB", &format!(r#"{{"a":"../{}"}}"#, &long[3..]), same),
        of(
            "m/gone.safetensors",
            map("a missing shard", r#"{"a":"gone.safetensors"}"#, "No such file"),
        ),
        of(
            "m/nnnn",
            map(
                "a missing shard with a name of 1 MB",
                &format!(r#"{{"a":"{long}"}}"#),
                "File name too long",
            ),
        ),
        map(
            "a tensor that is not in its shard",
            r#"{"ghost":"a.safetensors"}"#,
            "\"ghost\" is not in",
        ),
        of(
            OPEN,
            map(
                "a tensor in two shards at once",
                r#"{"a":"a.safetensors","a":"b.safetensors"}"#,
                "\"a\" stands twice",
            ),
        ),
        map(
            "a tensor name of 1 MB that escapes",
            &format!(r#"{{"{}":"a.safetensors"}}"#, DELETE.repeat(1 << 20)),
            r#"\u{7f}" is not in m/a.safetensors"#,
        ),
        map(
            "a file name of 1 MB that escapes",
            &format!(r#"{{"a":"/{}"}}"#, DELETE.repeat((1 << 20) - 1)),
            "expected a file in the same directory",
        ),
        map(
            "a file name of 60 MB that escapes",
            &format!(r#"{{"a":"{}"}}"#, DELETE.repeat(60_000_000)),
            "a text of 60000000 bytes, expected at most 1048576",
        ),
        map(
            "keys that hide and turn text",
            "{\"\u{61c}\u{ad}\u{2028}\u{e0041}\":7}",
            r"\u{61c}\u{ad}\u{2028}\u{e0041}",
        ),
        map("a tensor name of 1 MB", &format!(r#"{{"{long}":"a.safetensors"}}"#), "is not in"),
        map(
            "a million tensors that are not there",
            &format!("{{{}}}", million.join(",")),
            "is not in",
        ),
        map("200,000 shards", &format!("{{{}}}", shards.join(",")), "more than 65536 files"),
        of(
            "m/gone",
            index(
                "a sum that is a list of lists",
                format!(
                    r#"{{"metadata":{{"total_size":[{}0]}},"weight_map":{{"a":"gone"}}}}"#,
                    "[],".repeat(4 << 20)
                ),
                "cannot open",
            ),
        ),
        // Shards that stand in each other's way: both hold `a` and `b`.
        of(
            OPEN,
            map(
                "two shards of the same names",
                r#"{"a":"a.safetensors","b":"b.safetensors"}"#,
                "stands in both",
            ),
        ),
        of(
            FILE,
            map(
                "itself",
                r#"{"a":"model.safetensors.index.json"}"#,
                "not a safetensors file but JSON text",
            ),
        ),
        of(
            "m/2.index.json",
            and(map("another index", r#"{"a":"2.index.json"}"#, "JSON text"), |folder| {
                std::fs::write(
                    folder.join("m/2.index.json"),
                    r#"{"weight_map":{"a":"model.safetensors.index.json"}}"#,
                )
            }),
        ),
        of(
            "m/link.safetensors",
            and(map("a link to itself", r#"{"a":"link.safetensors"}"#, "ymbolic link"), |folder| {
                std::os::unix::fs::symlink("link.safetensors", folder.join("m/link.safetensors"))
            }),
        ),
        of(
            "m/folder",
            and(map("a directory", r#"{"a":"folder"}"#, "not a regular file"), |folder| {
                std::fs::create_dir(folder.join("m/folder"))
            }),
        ),
        of(
            "m/null",
            and(map("a link to a device", r#"{"a":"null"}"#, "not a regular file"), |folder| {
                std::os::unix::fs::symlink("/dev/zero", folder.join("m/null"))
            }),
        ),
        of(
            "m/b.safetensors",
            and(
                map(
                    "an empty shard",
                    r#"{"a":"a.safetensors","b":"b.safetensors"}"#,
                    "the file is empty",
                ),
                |folder| std::fs::write(folder.join("m/b.safetensors"), ""),
            ),
        ),
        Case {
            bytes: 0,
            ..and(
                index("200 MB", "", "expected at most 100000000 bytes, found 200000000"),
                |folder| {
                    let file = std::fs::File::options().write(true).open(folder.join(FILE))?;
                    file.set_len(200_000_000)
                },
            )
        },
    ]
}
