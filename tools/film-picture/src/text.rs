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

/// Four significant digits, and what else stands before the point.
pub fn significant(value: f64) -> String {
    match magnitude(value, 4) {
        _ if value == 0.0 => "0".into(),
        Some(power @ -3..5) => format!("{value:.*}", (3 - power).max(0) as usize),
        _ => format!("{value:.3e}"),
    }
}

/// The power of ten of a finite number that is rounded to so many digits, of which there is at least one.
pub fn magnitude(value: f64, digits: usize) -> Option<i32> {
    let rounded = format!("{value:.*e}", digits.saturating_sub(1));
    rounded.split_once('e').and_then(|(_, power)| power.parse().ok())
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
        let rounded = [9.99951, 0.00099999, -9999.6, 12345.6, 99994.9].map(significant);
        assert_eq!(rounded, ["10.00", "0.001000", "-10000", "12346", "99995"]);
        let others = [99999.0, -5e-324, f64::NAN, f64::NEG_INFINITY].map(significant);
        assert_eq!(others, ["1.000e5", "-4.941e-324", "NaN", "-inf"]);
    }
}
