//! Where a picture goes, and which part of the kernels it shows.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Result;
use film_core::checkpoint::AtomicFile;
use film_picture::Sheet;

/// Where `--image` goes, in the format of its extension.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    path: PathBuf,
    format: Format,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Png,
    Svg,
}

impl Picture {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("png") => Format::Png,
            Some("svg") => Format::Svg,
            _ => return Err("expected a name that ends in .png or .svg".into()),
        };
        Ok(Self { path, format })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reserves the file's place, so that what cannot be written is known before there is work.
    pub(crate) fn create(&self, overwrite: bool) -> Result<AtomicFile> {
        Ok(AtomicFile::create(&self.path, overwrite)?)
    }

    /// Draws the sheet into the file.
    pub(crate) fn write(&self, mut file: AtomicFile, sheet: &Sheet) -> Result<()> {
        let bytes = match self.format {
            Format::Svg => film_picture::svg(sheet)?.into_bytes(),
            Format::Png => film_picture::png(sheet)?,
        };
        file.write(&bytes)?;
        Ok(file.commit()?)
    }
}

/// `a..b` or a single number.
pub(crate) fn range(text: &str) -> Result<Range<usize>, String> {
    let number = |text: &str| text.parse::<usize>().ok();
    let range = match text.split_once("..") {
        Some((start, end)) => number(start).zip(number(end)).map(|(start, end)| start..end),
        None => number(text).and_then(|one| Some(one..one.checked_add(1)?)),
    };
    range
        .filter(|range| !range.is_empty())
        .ok_or_else(|| "expected a range such as 0..8, or one number".into())
}
