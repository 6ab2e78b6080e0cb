//! The building blocks against float64, with every kind of vectors that this processor has.

use pulp::{Arch, Simd, WithSimd};

use super::{Aligned, Layer, Rows, Vectors, Wave, add_outer, exp, gelu, gelu_slope, wave};

/// Every kind of vectors that this processor has, and none.
pub(crate) fn arches() -> Vec<Arch> {
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "two kinds elsewhere"))]
    let mut arches = vec![Arch::Scalar, Arch::new()];
    #[cfg(target_arch = "x86_64")]
    arches.extend(pulp::x86::V3::try_new().map(Arch::V3));
    arches
}

/// One of the blocks.
enum Block<'a> {
    Wave(Wave, &'a mut [f32]),
    Gelu(&'a mut [f32]),
    GeluSlope(&'a mut [f32]),
    Exp(&'a mut [f32]),
    Layer(&'a Layer, Rows<'a>, &'a mut [f32], usize),
    Outer(Rows<'a>, Rows<'a>, &'a mut [f32]),
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self {
            Block::Wave(kind, values) => wave(simd, kind, values),
            Block::Gelu(values) => gelu(simd, values),
            Block::GeluSlope(values) => gelu_slope(simd, values),
            Block::Exp(values) => {
                for values in values.chunks_mut(S::F32_LANES) {
                    let value = exp(simd, simd.partial_load_f32s(values));
                    simd.partial_store_f32s(values, value);
                }
            }
            Block::Layer(layer, x, out, row) => layer.apply(simd, x, out.chunks_exact_mut(row)),
            Block::Outer(left, right, sums) => add_outer(simd, left, right, sums),
        }
    }
}

/// Numbers between −size and size, spread evenly but in no order.
fn numbers(count: usize, size: f32) -> Vec<f32> {
    let spread = |index: usize| (index as f64 * 0.618_033_988_749_895).fract() * 2.0 - 1.0;
    (0..count).map(|index| spread(index + 1) as f32 * size).collect()
}

#[test]
fn sine_and_cosine_are_within_1e_7() {
    for arch in arches() {
        for (kind, truth) in [(Wave::Sine, libm::sin as fn(f64) -> f64), (Wave::Cosine, libm::cos)]
        {
            for size in [1e-3, 1.0, 10.0, 1_000.0, 10_000.0, 11_999.0, 1e6, 1e30] {
                let x = numbers(30_011, size);
                let mut y = x.clone();
                arch.dispatch(Block::Wave(kind, &mut y));
                for (x, y) in x.into_iter().zip(y) {
                    let error = (f64::from(y) - truth(f64::from(x))).abs();
                    assert!(error <= 1e-7, "{arch:?} {kind:?} of {x}: {y}, off by {error:e}");
                }
            }
        }
    }
}

#[test]
fn sine_keeps_zeros_subnormals_and_what_is_no_number() {
    for arch in arches() {
        let mut y = vec![0.0, -0.0, 1e-40, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0];
        arch.dispatch(Block::Wave(Wave::Sine, &mut y));
        assert_eq!((y[0], y[1]), (0.0, 0.0));
        assert!((y[2] - 1e-40).abs() < 1e-44, "{arch:?}: {:e}", y[2]);
        assert!(y[3..6].iter().all(|y| y.is_nan()), "{arch:?}: {y:?}");
        assert!((f64::from(y[6]) - 1f64.sin()).abs() < 1e-7);
    }
}

#[test]
fn gelu_is_within_rounding() {
    for arch in arches() {
        let mut x = numbers(50_021, 7.0);
        x.extend([0.0, -0.0, 2.0, -2.0, 5.75, -5.75, 1e30, -1e30]);
        let mut y = x.clone();
        arch.dispatch(Block::Gelu(&mut y));
        for (x, y) in x.into_iter().zip(y) {
            let wide = f64::from(x);
            let truth = 0.5 * wide * libm::erfc(-wide / std::f64::consts::SQRT_2);
            let error = (f64::from(y) - truth).abs();
            assert!(error <= 1.2e-7 * wide.abs().max(1.0), "{arch:?}, {x}: {y}, off by {error:e}");
        }
        let mut slopes = numbers(50_021, 7.0);
        arch.dispatch(Block::GeluSlope(&mut slopes));
        for (x, slope) in numbers(50_021, 7.0).into_iter().zip(slopes) {
            let wide = f64::from(x);
            let density = libm::exp(-0.5 * wide * wide) / std::f64::consts::TAU.sqrt();
            let truth = 0.5 * libm::erfc(-wide / std::f64::consts::SQRT_2) + wide * density;
            let error = (f64::from(slope) - truth).abs();
            assert!(error <= 4e-7, "{arch:?}, {x}: slope {slope}, off by {error:e}");
        }
        // As PyTorch's: −∞ · Φ(−∞) is no number.
        let mut y = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        arch.dispatch(Block::Gelu(&mut y));
        assert!(y[0].is_nan() && y[1] == f32::INFINITY && y[2].is_nan(), "{arch:?}: {y:?}");
    }
}

#[test]
fn exp_is_within_1e_7() {
    for arch in arches() {
        for size in [1e-6, 1.0, 86.9, 1e4, f32::INFINITY] {
            let x: Vec<f32> = numbers(20_011, 1.0).into_iter().map(|x| -x.abs() * size).collect();
            let mut y = x.clone();
            arch.dispatch(Block::Exp(&mut y));
            for (x, y) in x.into_iter().zip(y) {
                let error = (f64::from(y) - libm::exp(f64::from(x))).abs();
                assert!(error <= 1e-7, "{arch:?}, {x}: {y}, off by {error:e}");
            }
        }
        let mut y = [0.0, -0.0, f32::NAN];
        arch.dispatch(Block::Exp(&mut y));
        assert!(y[..2] == [1.0, 1.0] && y[2].is_nan(), "{arch:?}: {y:?}");
    }
}

#[test]
fn layers_are_matrix_products() {
    for arch in arches() {
        for (rows, inputs, outputs) in [
            (1, 1, 1),
            (3, 5, 7),
            (8, 32, 32),
            (9, 33, 48),
            (21, 200, 49),
            (24, 2, 130),
            (7, 700, 40),
            (24, 64, 300),
            (5, 64, 16),
        ] {
            let x = numbers(rows * inputs, 1.0);
            let weight = numbers(outputs * inputs, 1.3);
            let [bias, gamma, beta] = [(outputs, 1.0), (inputs, 2.0), (inputs, 1.5)]
                .map(|(count, size)| numbers(count, size));
            let film = |row: usize, k: usize, film: bool| {
                let x = f64::from(x[row * inputs + k]);
                if film { f64::from(gamma[k]) * x + f64::from(beta[k]) } else { x }
            };
            for modulated in [false, true] {
                let mut layer = Layer::new(inputs, outputs, Vectors::of(arch));
                layer.pack(&weight, Some(&bias));
                if modulated {
                    layer = layer.modulated(arch, (&gamma, &beta));
                }
                for row in [outputs, layer.columns()] {
                    let mut out = vec![f32::NAN; rows * row];
                    let values = Rows::new(&x, inputs);
                    arch.dispatch(Block::Layer(&layer, values, &mut out, row));
                    for (m, n) in (0..rows).flat_map(|m| (0..outputs).map(move |n| (m, n))) {
                        let terms = (0..inputs)
                            .map(|k| film(m, k, modulated) * f64::from(weight[n * inputs + k]));
                        let truth = f64::from(bias[n]) + terms.sum::<f64>();
                        let error = (f64::from(out[m * row + n]) - truth).abs();
                        assert!(
                            error <= 3e-6 * inputs as f64,
                            "{arch:?} {rows} {inputs} {outputs}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn outer_products_are_sums_over_rows() {
    for arch in arches() {
        for (rows, outputs, vectors) in [(1, 1, 1), (5, 7, 2), (32, 24, 3), (31, 33, 5)] {
            let columns = vectors * Vectors::of(arch).lanes;
            let left = numbers(rows * outputs, 1.0);
            let mut right = Aligned::zeros(rows * columns);
            right.as_mut().copy_from_slice(&numbers(rows * columns, 2.0));
            let right = right.as_ref();
            let mut sums = vec![1.0; outputs * columns];
            arch.dispatch(Block::Outer(
                Rows::new(&left, outputs),
                Rows::new(right, columns),
                &mut sums,
            ));
            for (n, k) in (0..outputs).flat_map(|n| (0..columns).map(move |k| (n, k))) {
                let terms = (0..rows)
                    .map(|m| f64::from(left[m * outputs + n]) * f64::from(right[m * columns + k]));
                let truth = 1.0 + terms.sum::<f64>();
                let error = (f64::from(sums[n * columns + k]) - truth).abs();
                assert!(error < 1e-5 * rows as f64, "{arch:?} {rows} {outputs} {vectors}");
            }
        }
    }
}
