//! JSON that is no tensor.

use super::{Case, DELETE, file, large};

pub(super) const FILE: &str = "c.json";

fn json(name: &str, text: impl Into<Vec<u8>>, says: &'static str) -> Case {
    file(&format!("a tensor in JSON: {name}"), FILE, text.into(), says)
}

pub(super) fn cases() -> Vec<Case> {
    let row = "[1, 2, 3, 4, 5, 6, 7, 8]";
    let with = |value: &str| row.replace('4', value);
    let array = "expected JSON, an array of arrays of numbers";
    vec![
        json("nothing", "", "expected JSON, an array of arrays of numbers: EOF"),
        json("text", "conditioning", array),
        json("half of one", "[", "EOF"),
        json("a byte order mark", format!("\u{feff}{row}"), array),
        json("no UTF-8", b"[\"\xff\"]".to_vec(), "unicode"),
        json(
            "a short row",
            format!("[{row}, [1, 2]]"),
            "expected an array of 8 like the ones before it, found 2",
        ),
        json("a number for a row", format!("[{row}, 3]"), "expected an array here, found a number"),
        json(
            "a row too deep",
            format!("[[{row}], {row}]"),
            "expected an array here, found a number",
        ),
        json("a row for a number", with("[4]"), "expected a number here, found an array"),
        json("NaN", with("NaN"), "JSON has no NaN: use .npy"),
        json("null", with("null"), "JSON has no NaN"),
        json("a string", with("\"\\u001b[2J\""), "string"),
        large(
            "a tensor in JSON: text of 90 MB that escapes",
            FILE,
            90_000_002,
            || format!("\"{}\"", DELETE.repeat(90_000_000)).into(),
            "invalid type: string",
        ),
        json("a truth value", with("true"), "boolean"),
        json("a number too large", with("1e999"), "out of range"),
        json("more behind it", format!("{row} 9"), "trailing"),
        json("an object", format!("{{\"conditioning\": {row}}}"), "map"),
        json("a single number", "7", "expected an array here, found a number"),
        json("too few numbers", "[1, 2, 3]", "expected shape [*, 8] (cond_dim), found [3]"),
        json("no rows", "[]", "expected shape [*, 8] (cond_dim), found [0]"),
        json("empty rows", "[[], []]", "expected shape [*, 8] (cond_dim), found [2, 0]"),
        json("deep nesting", "[".repeat(100_000), "recursion"),
        json("a million commas", ",".repeat(1_000_000), array),
    ]
}
