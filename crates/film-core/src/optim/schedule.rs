//! Learning-rate schedules: factors on the learning rate, plain functions of the step.
//!
//! `step` counts the steps made before this one, from 0. A warm-up rises linearly, from 1/warmup at the first
//! step to 1 at step warmup − 1; no step is wasted on a rate of 0. Behind its end a schedule keeps its last
//! value.
//!
//! ```
//! use film_core::optim::schedule;
//! let learning_rate = |step| 3e-4 * schedule::cosine(step, 100, 10_000, 0.1);
//! assert_eq!(learning_rate(0), 3e-4 / 100.0);
//! assert_eq!(learning_rate(100), 3e-4);
//! assert_eq!(learning_rate(10_000), 3e-4 * 0.1);
//! ```

use std::f64::consts::PI;

/// 1.
pub fn constant(_step: u64) -> f64 {
    1.0
}

/// min(1, (step + 1) / warmup): rises, then stays.
pub fn linear_warmup(step: u64, warmup: u64) -> f64 {
    if step < warmup { (step as f64 + 1.0) / warmup as f64 } else { 1.0 }
}

/// A warm-up, then half a cosine from 1 down to `floor` at step `total`
/// (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5, without restarts):
/// floor + (1 − floor) · (1 + cos(π·p)) / 2, p = (step − warmup) / (total − warmup).
pub fn cosine(step: u64, warmup: u64, total: u64, floor: f64) -> f64 {
    let progress = progress(step, warmup, total);
    // libm's cosine is the same on every platform.
    linear_warmup(step, warmup) * (floor + (1.0 - floor) * 0.5 * (1.0 + libm::cos(PI * progress)))
}

/// A warm-up, `stable` steps at 1, then linearly down to `floor` within `decay` steps
/// (Hu et al. 2024, arXiv:2404.06395, section 4): floor + (1 − floor) · (1 − p), p = (step − warmup − stable) / decay.
pub fn warmup_stable_decay(step: u64, warmup: u64, stable: u64, decay: u64, floor: f64) -> f64 {
    let start = warmup.saturating_add(stable);
    let progress = progress(step, start, start.saturating_add(decay));
    linear_warmup(step, warmup) * (floor + (1.0 - floor) * (1.0 - progress))
}

/// 0 before `start`, 1 from `end` on, linear between.
fn progress(step: u64, start: u64, end: u64) -> f64 {
    if step >= end {
        1.0
    } else {
        step.saturating_sub(start) as f64 / end.saturating_sub(start).max(1) as f64
    }
}
