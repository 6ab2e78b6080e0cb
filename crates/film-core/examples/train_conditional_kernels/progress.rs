//! What is shown meanwhile, on stderr: a bar with loss and learning rate, and reports.

use film_core::Result;
use film_core::health::Thresholds;
use indicatif::{ProgressBar, ProgressStyle};

use super::training::Training;

/// The bar. Where stderr is no terminal there are only the reports.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar of a run that may have come some way already.
    pub(crate) fn new(training: &Training) -> Self {
        let bar = ProgressBar::new(training.settings.steps).with_position(training.steps());
        let template = "{bar:30} {pos}/{len} steps, {msg}, {eta} left";
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.reset_eta();
        Self(bar)
    }

    /// Shows a step that was made.
    pub(crate) fn step(&self, training: &Training, loss: f64) {
        self.0.set_position(training.steps());
        self.0.set_message(figures(training, loss));
    }

    /// Reports the error and the generator's health, with what of it is cause for concern.
    pub(crate) fn report(&self, training: &Training, loss: f64, error: f64) -> Result<()> {
        let (steps, of) = (training.steps(), training.settings.steps);
        let (figures, error) = (figures(training, loss), 100.0 * error);
        let mut text = format!("step {steps} of {of}: {figures}, held-out error {error:.2} %\n");
        if let Some(health) = training.model.health(&training.held_out.registers)? {
            for line in health.to_string().lines() {
                text += &format!("  {line}\n");
            }
            for finding in health.findings(&Thresholds::default()) {
                text += &format!("  ! {finding}\n");
            }
        }
        self.0.suspend(|| eprint!("{text}"));
        Ok(())
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        self.0.finish_and_clear();
    }
}

fn figures(training: &Training, loss: f64) -> String {
    let rate = training.optimizer.config().learning_rate;
    format!("loss {loss:.5}, learning rate {rate:.2e}")
}
