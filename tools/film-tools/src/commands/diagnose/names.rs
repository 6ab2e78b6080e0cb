//! Generators' names without what all of them end with.

/// The names, in their order.
#[derive(Debug, PartialEq)]
pub(super) struct Names {
    /// What differs.
    pub(super) short: Vec<String>,
    /// What all of them go on with; empty where that is nothing.
    pub(super) tail: String,
}

/// Cuts off the segments that all prefixes end with, and leaves each at least one.
pub(super) fn short(prefixes: &[&str]) -> Names {
    let segments: Vec<Vec<&str>> = prefixes.iter().map(|name| name.split('.').collect()).collect();
    let shortest = segments.iter().map(Vec::len).min().unwrap_or(0);
    let from_end = |back: usize| segments.iter().map(move |of| of[of.len() - back]);
    let alike = |back: &usize| {
        let mut all = from_end(*back);
        let first = all.next();
        all.all(|segment| Some(segment) == first)
    };
    let common = match segments.len() {
        1 => 0,
        _ => (1..shortest).take_while(alike).count(),
    };
    let join = |of: &[&str]| match of.join(".") {
        name if name.is_empty() => "(root)".into(),
        name => name,
    };
    let tail = segments.first().map_or(vec![], |of| of[of.len() - common..].to_vec());
    let short = segments.iter().map(|of| join(&of[..of.len() - common])).collect();
    Names { short, tail: tail.join(".") }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn what_all_end_with_is_cut_off() {
        let names = short(&["blocks.0.kernel.film", "blocks.11.kernel.film"]);
        assert_eq!(
            (names.short, names.tail),
            (vec!["blocks.0".into(), "blocks.11".into()], "kernel.film".into())
        );
        let names = short(&["film", "blocks.0.film"]);
        assert_eq!(
            (names.short, names.tail),
            (vec!["film".into(), "blocks.0.film".into()], "".into())
        );
        let names = short(&["a.b"]);
        assert_eq!((names.short, names.tail), (vec!["a.b".into()], "".into()));
        assert_eq!(short(&[""]).short, ["(root)"]);
    }
}
