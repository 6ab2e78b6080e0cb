//! Applying a (γ, β) pair: broadcasting against loops by hand, and the shapes it refuses.

use candle_core::{DType, Device, Tensor};
use film_core::Film;
use proptest::prelude::*;

use crate::support::{message, numbers, random};

fn film(pair: &[usize]) -> Film {
    Film::new(random("gamma", pair, DType::F64), random("beta", pair, DType::F64)).unwrap()
}

/// γ ⊙ h + β, sample by sample, point by point, channel by channel.
fn by_hand(film: &Film, h: &Tensor, samples: usize, points: usize, width: usize) -> Vec<f64> {
    let (gamma, beta, h) = (numbers(&film.gamma), numbers(&film.beta), numbers(h));
    let mut out = Vec::with_capacity(samples * points * width);
    for sample in 0..samples {
        for point in 0..points {
            for channel in 0..width {
                // A sample axis of length 1 serves every sample.
                let pair = if gamma.len() == width { channel } else { sample * width + channel };
                let row = if h.len() == points * width { 0 } else { sample };
                let value = h[(row * points + point) * width + channel];
                out.push(gamma[pair] * value + beta[pair]);
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pairs_broadcast_over_any_grid(
        samples in 1usize..4,
        grid in prop::collection::vec(1usize..4, 0..4),
        width in 1usize..5,
        pair_of_each in any::<bool>(),
        h_of_each in any::<bool>(),
    ) {
        let pair = film(&[if pair_of_each { samples } else { 1 }, width]);
        let leading = if h_of_each { samples } else { 1 };
        let h = random("h", &[&[leading][..], &grid, &[width]].concat(), DType::F64);
        let out = pair.apply(&h).unwrap();
        let samples = if pair_of_each || h_of_each { samples } else { 1 };
        prop_assert_eq!(out.dims(), [&[samples][..], &grid, &[width]].concat());
        let points = grid.iter().product();
        prop_assert_eq!(numbers(&out), by_hand(&pair, &h, samples, points, width));
    }

    #[test]
    fn one_pair_without_a_sample_axis_serves_all(
        leading in prop::collection::vec(1usize..4, 0..4),
        width in 1usize..5,
    ) {
        let pair = film(&[width]);
        let h = random("h", &[&leading[..], &[width]].concat(), DType::F64);
        let out = pair.apply(&h).unwrap();
        prop_assert_eq!(out.dims(), h.dims());
        let points = leading.iter().product();
        prop_assert_eq!(numbers(&out), by_hand(&pair, &h, 1, points, width));
    }
}

#[test]
fn a_square_grid_is_not_mistaken_for_samples_or_channels() {
    // Every axis is 3 long: only the position tells them apart.
    let pair = film(&[3, 3]);
    let h = random("h", &[3, 3, 3], DType::F64);
    assert_eq!(numbers(&pair.apply(&h).unwrap()), by_hand(&pair, &h, 3, 3, 3));
}

#[test]
fn several_leading_axes_stand_before_the_grid() {
    let pair = film(&[2, 3, 4]);
    let h = random("h", &[2, 3, 5, 4], DType::F64);
    let out = pair.apply(&h).unwrap();
    assert_eq!(out.dims(), [2, 3, 5, 4]);
    assert_eq!(numbers(&out), by_hand(&pair, &h, 6, 5, 4));
}

#[test]
fn transposed_activations_and_pairs_give_what_their_copies_give() {
    let transposed = |name, shape| random(name, shape, DType::F64).t().unwrap();
    let pair = Film::new(transposed("gamma", &[4, 2]), transposed("beta", &[4, 2])).unwrap();
    let h = random("h", &[2, 4, 5], DType::F64).transpose(1, 2).unwrap();
    assert_eq!(numbers(&pair.apply(&h).unwrap()), by_hand(&pair, &h, 2, 5, 4));
}

#[test]
fn no_samples_stay_no_samples() {
    let pair = film(&[0, 4]);
    for leading in [0, 1] {
        let h = random("h", &[leading, 5, 4], DType::F64);
        assert_eq!(pair.apply(&h).unwrap().dims(), [0, 5, 4]);
    }
    let no_points = random("h", &[2, 0, 4], DType::F64);
    assert_eq!(film(&[2, 4]).apply(&no_points).unwrap().dims(), [2, 0, 4]);
}

#[test]
fn every_float_dtype_is_kept() {
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let two = Tensor::full(2f32, (1, 3), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let one = Tensor::ones((1, 3), dtype, &Device::Cpu).unwrap();
        let h = Tensor::full(3f32, (5, 2, 3), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let out = Film::new(two, one).unwrap().apply(&h).unwrap();
        assert_eq!(out.dtype(), dtype);
        assert_eq!(numbers(&out), [7.0; 30]);
    }
}

#[test]
fn activations_that_do_not_fit_are_refused() {
    for (pair, h, expected) in [
        (
            vec![2, 4],
            vec![3, 5, 4],
            "[2 or 1, *grid, 4] to be modulated by γ [2, 4], found [3, 5, 4]",
        ),
        (
            vec![2, 4],
            vec![2, 5, 3],
            "[2 or 1, *grid, 4] to be modulated by γ [2, 4], found [2, 5, 3]",
        ),
        (vec![2, 4], vec![4], "[2 or 1, *grid, 4] to be modulated by γ [2, 4], found [4]"),
        (vec![1, 4], vec![2, 4, 5], "[B, *grid, 4] to be modulated by γ [1, 4], found [2, 4, 5]"),
        (vec![4], vec![2, 1], "[*grid, 4] to be modulated by γ [4], found [2, 1]"),
        (vec![4], vec![], "[*grid, 4] to be modulated by γ [4], found []"),
        // The last axis must match, not broadcast.
        (
            vec![2, 1],
            vec![2, 5, 4],
            "[2 or 1, *grid, 1] to be modulated by γ [2, 1], found [2, 5, 4]",
        ),
    ] {
        let text = message(film(&pair).apply(&random("h", &h, DType::F64)));
        assert_eq!(text, format!("hidden activations: expected shape {expected}"));
    }
}

#[test]
fn gamma_and_beta_must_match() {
    let pair = |gamma: &[usize], beta: &[usize]| {
        message(Film::new(random("g", gamma, DType::F64), random("b", beta, DType::F64)))
    };
    assert_eq!(pair(&[2, 4], &[2, 3]), "beta: expected the shape of gamma, [2, 4], found [2, 3]");
    assert_eq!(pair(&[2, 4], &[4]), "beta: expected the shape of gamma, [2, 4], found [4]");
    // Two scalars agree in shape, but have no feature axis.
    assert!(pair(&[], &[]).contains("expected"));
}
