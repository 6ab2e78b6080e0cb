//! The command line.

use std::path::PathBuf;

use clap::Parser;

use super::training::Settings;

/// Train a SIREN to draw Gabor kernels of any angle, frequency and width.
///
/// Register tokens that speak of these parameters are pooled to conditioning, from which a FiLM generator modulates the
/// SIREN. The folder becomes a checkpoint (config.json, model.safetensors) that film-tools opens, with pictures of the
/// error (loss.png) and of held-out kernels (kernels.png).
#[derive(Debug, Parser)]
#[command(name = "train_conditional_kernels", max_term_width = 80)]
pub(crate) struct Args {
    /// Folder of the run.
    pub(crate) folder: PathBuf,
    /// Go on with the run in the folder, to the same bits as if it had never stopped.
    #[arg(long, conflicts_with_all = ["force", "steps", "batch", "learning_rate", "seed"])]
    pub(crate) resume: bool,
    /// Replace the run in the folder.
    #[arg(long)]
    pub(crate) force: bool,
    /// Steps of the whole run.
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = count(Settings::STEPS))]
    steps: u64,
    /// Kernels in a step.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = count(Settings::BATCH))]
    batch: u64,
    /// The highest learning rate, after a warm-up; it falls by half a cosine.
    #[arg(long, value_name = "X", default_value_t = 0.02, value_parser = positive, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Seed of the start and of all kernels drawn.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Steps between reports and checkpoints.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = count(1_000_000))]
    pub(crate) every: u64,
    /// Stop when that many steps of the run are made, for --resume to go on from.
    #[arg(long, value_name = "N", value_parser = count(1_000_000))]
    pub(crate) stop_after: Option<u64>,
}

impl Args {
    pub(crate) fn settings(&self) -> Settings {
        let Self { steps, batch, learning_rate, seed, .. } = *self;
        Settings { steps, batch: batch as usize, learning_rate, seed }
    }
}

/// A number from 1 to `most`.
fn count(most: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=most)
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "expected a finite number above 0".into())
}
