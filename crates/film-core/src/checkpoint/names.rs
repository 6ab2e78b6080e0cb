//! How long names may be in headers and indices.

use super::entries::METADATA;
use crate::short::short;

/// The longest name of a tensor or of a file, and the longest key of metadata, in bytes.
pub(super) const MAX_NAME: usize = 1 << 20;

/// What is wrong with the first text in a header or an index that is longer than a name may be. Only what metadata say
/// may be. It is looked for before anything is read: serde quotes the whole of what it did not expect.
pub(super) fn too_long(json: &[u8]) -> Option<String> {
    if json.len() <= MAX_NAME {
        return None;
    }
    let (mut depth, mut at, mut in_metadata) = (0usize, 0, false);
    while at < json.len() {
        match json[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let end = at + quoted(&json[at..])?;
                let text = &json[at..end];
                if depth == 1 && is_key(json, end) {
                    in_metadata = text[1..text.len() - 1] == *METADATA.as_bytes();
                }
                let is_free = in_metadata && depth == 2 && !is_key(json, end);
                if text.len() - 2 > MAX_NAME && !is_free {
                    // Escapes are longer than what they stand for. What cannot be decoded is passed over or refused,
                    // and never quoted.
                    if let Ok(text) = serde_json::from_slice::<String>(text)
                        && text.len() > MAX_NAME
                    {
                        let (name, bytes) = (short(&text), text.len());
                        let bound = format!("expected at most {MAX_NAME}");
                        return Some(format!("{name:?}: a text of {bytes} bytes, {bound}"));
                    }
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The length of the string, with its quotes, that `json` begins with; `None` if it does not end.
fn quoted(json: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += json.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        match json[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// Whether a colon follows the string that ends there.
fn is_key(json: &[u8], end: usize) -> bool {
    json[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_longest() {
        let (most, more) = ("n".repeat(MAX_NAME), "n".repeat(MAX_NAME + 1));
        let escaped = r"\u006e".repeat(MAX_NAME);
        for sound in [
            format!(r#"{{"{most}":{{"dtype":"{most}"}}}}"#),
            format!(r#"{{"{escaped}":1}}"#),
            format!(r#"{{"__metadata__" : {{"a\"" : "{more}" , "b":"\\"}},"c":1}}"#),
            format!(r#"{{"{more}"#),
            format!(r#"["{}"]"#, r#"a\"b","#.repeat(MAX_NAME)),
        ] {
            assert_eq!(too_long(sound.as_bytes()), None, "{:?}", short(&sound));
        }
        for long in [
            format!(r#"{{"{more}":1}}"#),
            format!(r#"{{"{escaped}n":1}}"#),
            format!(r#"{{"a":{{"dtype":"{more}"}}}}"#),
            format!(r#"{{"a":{{"x":"{more}\ud800","dtype":"{more}"}}}}"#),
            format!(r#"{{"__metadata__":{{"{more}":""}}}}"#),
            format!(r#"{{"__metadata__":{{"a":{{"b":"{more}"}}}}}}"#),
            format!(r#"{{"__metadata__":{{}},"a":{{"dtype":"{more}"}}}}"#),
            format!(r#""{more}""#),
        ] {
            let said = too_long(long.as_bytes()).unwrap();
            assert!(
                said.ends_with("nn\": a text of 1048577 bytes, expected at most 1048576"),
                "{said}"
            );
        }
    }
}
