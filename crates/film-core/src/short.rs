//! Text out of files, which may be of any length, for messages, which may not.

use std::fmt::{self, Debug, Display, Formatter};

/// More characters than that no name has that a person gave.
const MOST: usize = 400;

/// Text as a message shows it: of long text the start and the end.
///
/// `{}` writes it as it is, `{:?}` quoted and escaped. The text is never copied, nor escaped as a whole, which takes
/// up to eight times its memory.
///
/// ```
/// use film_core::short;
/// assert_eq!(format!("{} {:?}", short("mlp.0"), short("a\n")), "mlp.0 \"a\\n\"");
/// let long = "n".repeat(90_000_000);
/// let text = format!("{:?}", short(&long));
/// assert!(text.len() < 500 && text.starts_with("\"nn") && text.contains("n\" … \"n"));
/// ```
#[derive(Clone, Copy)]
pub struct Short<'a> {
    start: &'a str,
    end: Option<&'a str>,
}

/// The text, as messages show it: of more than 400 characters the first and the last 200.
pub fn short(text: &str) -> Short<'_> {
    Short::within(text, MOST)
}

impl<'a> Short<'a> {
    /// Of more than `most` characters the first and the last `most / 2`.
    pub fn within(text: &'a str, most: usize) -> Self {
        if text.chars().nth(most).is_none() {
            return Self { start: text, end: None };
        }
        let half = most / 2;
        let start = text.char_indices().nth(half).map_or(0, |(end, _)| end);
        let end =
            text.char_indices().rev().take(half).last().map_or(text.len(), |(start, _)| start);
        Self { start: &text[..start], end: Some(&text[end..]) }
    }
}

impl Display for Short<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.end {
            None => f.write_str(self.start),
            Some(end) => write!(f, "{} … {end}", self.start),
        }
    }
}

impl Debug for Short<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.end {
            None => write!(f, "{:?}", self.start),
            Some(end) => write!(f, "{:?} … {end:?}", self.start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Short, short};

    #[test]
    fn what_is_not_long_stays_whole() {
        let name = "γ".repeat(MOST);
        assert_eq!(short(&name).to_string(), name);
        assert_eq!(format!("{:?}", short("\u{7f}\"")), format!("{:?}", "\u{7f}\""));
    }

    #[test]
    fn long_text_keeps_both_ends() {
        let text = format!("a{}z", "γ".repeat(1 << 20));
        assert_eq!(Short::within(&text, 4).to_string(), "aγ … γz");
        assert_eq!(format!("{:?}", Short::within(&text, 5)), "\"aγ\" … \"γz\"");
        assert_eq!(short(&text).to_string().chars().count(), MOST + 3);
    }
}
