//! Dotted names.

/// What stands before `suffix` and its dot, if `name` ends in it.
pub(super) fn parent<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let prefix = name.strip_suffix(suffix)?;
    if prefix.is_empty() { Some("") } else { prefix.strip_suffix('.') }
}

pub(super) fn parent_of(prefix: &str) -> &str {
    prefix.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// The name of what is called `name` in the module at `prefix`: with a dot between them, unless that is the root.
pub fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.into() } else { [prefix, ".", name].concat() }
}

/// What `name` is without the dotted `prefix` (a dot at its end counts for nothing); `None` where it does not stand below.
pub fn strip_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(prefix.trim_end_matches('.'))?.strip_prefix('.')?;
    (!rest.is_empty()).then_some(rest)
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
