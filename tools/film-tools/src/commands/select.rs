//! Tensors by a pattern of their names.

use super::Usage;

/// A glob that a flag gave: `*` any text, `?` any character, `[ab]` one of these.
#[derive(Debug)]
pub(super) struct Select {
    flag: &'static str,
    glob: glob::Pattern,
}

impl Select {
    /// The pattern, if the flag was given.
    pub(super) fn parse(flag: &'static str, text: Option<&str>) -> Result<Option<Self>, Usage> {
        let parse = |text| {
            let glob = glob::Pattern::new(text);
            glob.map(|glob| Self { flag, glob }).map_err(|error| Usage(format!("{flag}: {error}")))
        };
        text.map(parse).transpose()
    }

    /// Whether the whole name fits.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.glob.matches(name)
    }

    /// What to say when nothing fits.
    pub(super) fn missed(&self) -> String {
        format!("no tensor's name matches {} {}", self.flag, self.glob)
    }
}
