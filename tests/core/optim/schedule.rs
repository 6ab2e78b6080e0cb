//! Schedules are their formulas, and stay finite and in range whatever the numbers.

use film_core::optim::schedule::{constant, cosine, linear_warmup, warmup_stable_decay};
use proptest::prelude::*;

#[test]
fn factors_are_those_of_the_formulas() {
    assert_eq!([0, 7, u64::MAX].map(constant), [1.0; 3]);
    let warmup: Vec<f64> = (0..6).map(|step| linear_warmup(step, 4)).collect();
    assert_eq!(warmup, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    // From step 2 to step 6 the cosine runs from 0 to π.
    let half = 0.5f64.sqrt();
    let expected = [0.5, 1.0, 1.0, (1.0 + half) / 2.0, 0.5, (1.0 - half) / 2.0, 0.0, 0.0];
    for (step, expected) in expected.into_iter().enumerate() {
        let factor = cosine(step as u64, 2, 6, 0.0);
        assert!((factor - expected).abs() < 1e-15, "{step}: {factor}");
        let floored = cosine(step as u64, 2, 6, 0.2);
        let expected = if step < 2 { expected } else { 0.2 + 0.8 * expected };
        assert!((floored - expected).abs() < 1e-15, "{step}: {floored}");
    }
    // Two to warm up, three at 1, four to fall.
    let expected = [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2];
    for (step, expected) in expected.into_iter().enumerate() {
        let factor = warmup_stable_decay(step as u64, 2, 3, 4, 0.2);
        assert!((factor - expected).abs() < 1e-15, "{step}: {factor}");
    }
}

#[test]
fn lengths_of_zero_are_skipped() {
    assert_eq!(linear_warmup(0, 0), 1.0);
    assert_eq!(cosine(0, 0, 0, 0.1), 0.1);
    assert_eq!(cosine(0, 0, 10, 0.1), 1.0);
    assert_eq!(warmup_stable_decay(0, 0, 0, 0, 0.1), 0.1);
    assert_eq!(warmup_stable_decay(3, 0, 4, 0, 0.1), 1.0);
    assert_eq!(warmup_stable_decay(4, 0, 4, 0, 0.1), 0.1);
}

proptest! {
    #[test]
    fn factors_stay_from_0_to_1(step: u64, a: u64, b: u64, c: u64, floor in 0.0..=1.0) {
        let factors =
            [linear_warmup(step, a), cosine(step, a, b, floor), warmup_stable_decay(step, a, b, c, floor)];
        for factor in factors {
            prop_assert!((0.0..=1.0).contains(&factor), "{factors:?}");
        }
    }
}
