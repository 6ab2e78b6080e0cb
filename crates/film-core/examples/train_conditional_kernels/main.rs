//! Trains a SIREN to draw Gabor kernels of any angle, frequency and width, through registers, pooling and FiLM.
//!
//! ```text
//! cargo run --release -p film-core --example train_conditional_kernels -- gabor
//! ```
//!
//! ```text
//! task (registers, targets) ─▶ model ─▶ training, step by step ─▶ folder (checkpoint, state, pictures)
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example prints")]

mod args;
mod folder;
mod model;
mod pictures;
mod progress;
mod task;
mod training;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;

use args::Args;
use folder::Folder;
use progress::Progress;
use training::Training;

fn main() -> ExitCode {
    // Wrong usage ends here, with status 2.
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let (folder, mut training) = if args.resume {
        Folder::resume(&args.folder)?
    } else {
        let folder = Folder::create(&args.folder, args.force)?;
        let training = Training::new(args.settings())?;
        // From here on there is a run to resume, whenever this one is stopped.
        folder.save(&training)?;
        (folder, training)
    };
    let (start, first) = (Instant::now(), training.steps());
    let of = training.settings.steps;
    let last = args.stop_after.map_or(of, |stop| stop.min(of));
    let progress = Progress::new(&training);
    while training.steps() < last {
        let loss = training.step()?;
        progress.step(&training, loss);
        let steps = training.steps();
        if steps.is_multiple_of(args.every) || steps == of {
            let error = training.evaluate()?;
            progress.report(&training, loss, error)?;
        }
        if steps.is_multiple_of(args.every) || steps == last {
            folder.save(&training)?;
        }
    }
    progress.finish();
    folder.illustrate(&training)?;
    let seconds = start.elapsed().as_secs_f64();
    let made = training.steps() - first;
    let mut report = format!("{made} steps in {seconds:.0} s: {}\n", args.folder.display());
    if let Some((step, error)) = training.history.errors.last() {
        report += "relative error on held-out kernels after ";
        report += &format!("{step} steps: {:.2} %\n", 100.0 * error);
    }
    // A reader that has gone is no error.
    let _ = std::io::stdout().write_all(report.as_bytes());
    Ok(())
}
