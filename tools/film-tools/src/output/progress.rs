//! A progress bar on stderr, where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::printer;

/// Bytes that the rows of a chunk may take, inputs and outputs together.
pub(crate) const CHUNK_BYTES: usize = 16 << 20;

pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar that counts to `total` of `noun`.
    pub(crate) fn new(total: usize, noun: &'static str) -> Self {
        let target = match printer::shows_progress() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let template = format!("{{bar:40}} {{human_pos}}/{{human_len}} {noun}, {{eta}} left");
        let style = ProgressStyle::with_template(&template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    pub(crate) fn advance(&self, count: usize) {
        self.0.inc(count as u64);
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        self.0.finish_and_clear();
    }
}
