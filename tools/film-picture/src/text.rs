//! Texts and numbers, as short as a label or a cell wants them.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    // Nearly all texts are such.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain { text.len() } else { UnicodeWidthStr::width(text) }
}

/// The text, its middle cut out where it is wider than `columns`.
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.into();
    }
    let room = columns.saturating_sub(1);
    let head = take(text.chars(), room / 2);
    let tail: String = take(text.chars().rev(), room - room / 2).chars().rev().collect();
    format!("{head}…{tail}")
}

/// As many of the characters as fit into `columns`.
fn take(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    characters
        .take_while(|character| {
            used += character.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

/// Four significant digits.
pub fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let scientific = format!("{value:.3e}");
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok());
    match exponent {
        Some(exponent @ -3..5) => format!("{value:.*}", usize::try_from(3 - exponent).unwrap_or(0)),
        _ => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_lose_their_middle() {
        assert_eq!(fit("abcdefgh", 8), "abcdefgh");
        assert_eq!(fit("abcdefghi", 8), "abc…fghi");
    }

    #[test]
    fn numbers_have_four_significant_digits() {
        let texts = [0.0, 1.0, -0.15973, 123.456, 0.00123456, 1.5e-7, -2e6].map(significant);
        assert_eq!(texts, ["0", "1.000", "-0.1597", "123.5", "0.001235", "1.500e-7", "-2.000e6"]);
        let rounded = [9.99951, 0.00099999, -9999.6, 99999.6, 12345.6, f64::NAN].map(significant);
        assert_eq!(rounded, ["10.00", "0.001000", "-10000", "1.000e5", "12346", "NaN"]);
    }
}
