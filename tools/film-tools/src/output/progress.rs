//! A progress bar on stderr, where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

use crate::printer;

/// Bytes that the rows of a chunk may take, inputs and outputs together.
pub(crate) const CHUNK_BYTES: usize = 16 << 20;

pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// A bar that counts to `total` of `noun`.
    pub(crate) fn new(total: usize, noun: &'static str) -> Self {
        Self(printer::shows_progress().then(|| {
            let bar = ProgressBar::new(total as u64);
            let template = format!("{{bar:40}} {{human_pos}}/{{human_len}} {noun}, {{eta}} left");
            let style = ProgressStyle::with_template(&template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        }))
    }

    pub(crate) fn advance(&self, count: usize) {
        if let Some(bar) = &self.0 {
            bar.inc(count as u64);
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}
