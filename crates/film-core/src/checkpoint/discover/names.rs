//! Dotted names.

/// What stands before `suffix` and its dot, if `name` ends in it.
pub(super) fn parent<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let prefix = name.strip_suffix(suffix)?;
    if prefix.is_empty() { Some("") } else { prefix.strip_suffix('.') }
}

pub(super) fn parent_of(prefix: &str) -> &str {
    prefix.rsplit_once('.').map_or("", |(parent, _)| parent)
}

pub(in crate::checkpoint) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.into() } else { format!("{prefix}.{name}") }
}

pub(super) fn segments(prefix: &str) -> Vec<&str> {
    prefix.split('.').filter(|segment| !segment.is_empty()).collect()
}

/// Whether the tensor or module `name` is `prefix` or stands below it. The wrappers' names `network.`
/// in front and `_orig_mod.` anywhere may be left out.
pub fn is_below(name: &str, prefix: &str) -> bool {
    let bare = unwrapped(prefix);
    // A wrapper's name alone is a place of its own, not everything.
    (!bare.is_empty() && unwrapped(name).starts_with(&bare))
        || segments(name).starts_with(&segments(prefix))
}

/// The path without what Lightning (`network` in front) and `torch.compile` (`_orig_mod`) add.
pub(super) fn unwrapped(prefix: &str) -> Vec<&str> {
    let mut path = segments(prefix);
    path.retain(|segment| *segment != "_orig_mod");
    if path.first() == Some(&"network") {
        path.remove(0);
    }
    path
}
