//! Names in the order of the numbers in them.

/// The order of dotted names: blocks.2 stands before blocks.10.
pub(crate) fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    // Segments in which the names agree order nothing.
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let start =
        a.as_bytes()[..same].iter().rposition(|&byte| byte == b'.').map_or(0, |dot| dot + 1);
    a[start..].split('.').map(order).cmp(b[start..].split('.').map(order))
}

/// What a segment is ordered by: whether it is no number, its value, itself. Numbers come first.
fn order(segment: &str) -> (bool, Option<u64>, &str) {
    let number = number(segment);
    (number.is_none(), number, segment)
}

/// The number that a segment is, written the usual way: "7", but not "07" or "+7".
pub(super) fn number(segment: &str) -> Option<u64> {
    let usual = segment == "0" || segment.starts_with(|first: char| matches!(first, '1'..='9'));
    if usual { segment.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn numbers_count() {
        let mut names = ["b.10.f", "b.1x", "b.2.f", "a.9", "b.2", "b.x", "b.02.f", ""];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "a.9", "b.2", "b.2.f", "b.10.f", "b.02.f", "b.1x", "b.x"]);
    }
}
