//! config.json files that cannot be, beside weights that can.

use super::{Case, bytes};

const FILE: &str = "g/config.json";
const SOUND: &str = r#"{"cond_dim":8,"kernel_hidden_dim":4,"num_film_layers":2}"#;

fn config(name: &str, text: impl Into<Vec<u8>>, says: &'static str) -> Case {
    let text = text.into();
    Case {
        name: format!("a config.json: {name}"),
        bytes: text.len() as u64,
        make: Box::new(move |folder| {
            std::fs::create_dir(folder.join("g")).unwrap();
            let weights = bytes("generator/small_8x4x2_h6/model.safetensors");
            std::fs::write(folder.join("g/model.safetensors"), weights).unwrap();
            std::fs::write(folder.join(FILE), &text).unwrap();
        }),
        open: "g",
        file: FILE,
        says,
    }
}

/// The sound one with `from` replaced.
fn with(from: &str, to: &str, says: &'static str) -> Case {
    config(&format!("{to} for {from}"), SOUND.replace(from, to), says)
}

/// One that can be.
pub(super) fn sound() -> Case {
    config("sound", SOUND, "")
}

/// Members of an object.
fn keys(count: usize) -> String {
    (0..count).map(|key| format!("\"{key}\":0,")).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = "n".repeat(1 << 20);
    vec![
        config("nothing", "", "not a JSON object"),
        config("half of one", "{", "not a JSON object"),
        config("an array", "[1]", "not a JSON object"),
        config("more behind it", format!("{SOUND}}}"), "not a JSON object"),
        config("no UTF-8", b"{\"\xff\":1}".to_vec(), "not a JSON object"),
        config("deep nesting", format!(r#"{{"a":{deep}}}"#), "recursion"),
        with(":8", ":-8", "cond_dim"),
        with(":8", ":0", "cond_dim"),
        with(":8", ":\"8\"", "cond_dim"),
        with(":8", ":[8]", "cond_dim"),
        with(":8", ":1e999", "number out of range"),
        with(":8", ":18446744073709551616", "cond_dim"),
        with(":8", ":9223372036854775807", "cond_dim"),
        with(":4", ":4.5", "kernel_hidden_dim"),
        with(":4", ":9223372036854775807", "kernel_hidden_dim"),
        with(":2", ":3", "num_film_layers"),
        with(":2", ":4611686018427387904", "num_film_layers"),
        config("a value of 1 MB", SOUND.replace(":8", &format!(":\"{long}\"")), "cond_dim"),
        config("a key twice", SOUND.replace('}', ",\"cond_dim\":9}"), "cond_dim"),
        config("many values", format!(r#"{{"a":[{}0]}}"#, "[],".repeat(2 << 20)), "131072 values"),
        config("many keys", format!("{{{}\"z\":0}}", keys(200_000)), "131072 values"),
        Case {
            make: Box::new(|folder| {
                (config("", SOUND, "").make)(folder);
                std::fs::remove_file(folder.join(FILE)).unwrap();
                std::os::unix::fs::symlink("gone", folder.join(FILE)).unwrap();
            }),
            bytes: 0,
            ..config("a link to nothing", SOUND, "cannot open")
        },
        config(
            "a value that clears the screen",
            SOUND.replace(":8", ":\"\\u001b[2J\""),
            r#""\u001b[2J""#,
        ),
        Case {
            make: Box::new(|folder| {
                (config("", SOUND, "").make)(folder);
                let file = std::fs::File::options().write(true).open(folder.join(FILE)).unwrap();
                file.set_len(1 << 40).unwrap();
            }),
            bytes: 0,
            ..config("1 TB", SOUND, "expected at most 16777216 bytes, found 1099511627776")
        },
    ]
}
