//! The convolution: every way of computing it against the definition, its gradients, and what it refuses.

use candle_core::{DType, Device, Tensor, Var};
use film_core::conv::{Algorithm, Boundary, Channels, Convolution};
use proptest::prelude::*;

use crate::support::{message, numbers, random, relative_error};

const FAST: [Algorithm; 3] = [Algorithm::Direct, Algorithm::Fft, Algorithm::Matmul];

/// An axis: its boundary, the signal's length and the kernel's points.
type AxisCase = (Boundary, usize, usize);

fn axis(longest: usize) -> impl Strategy<Value = AxisCase> {
    (any::<bool>(), 1..=longest).prop_flat_map(|(circular, length)| {
        let most = if circular { length.div_ceil(2) } else { length };
        let boundary = if circular { Boundary::Circular } else { Boundary::Zero };
        (Just(boundary), Just(length), (1..=most).prop_map(|half| 2 * half - 1))
    })
}

fn case() -> impl Strategy<Value = Vec<AxisCase>> {
    prop_oneof![
        proptest::collection::vec(axis(40), 1),
        (1..=150usize).prop_flat_map(|length| {
            (Just(Boundary::Causal), Just(length), 1..=length).prop_map(|axis| vec![axis])
        }),
        (axis(20), axis(33)).prop_map(|(a, b)| vec![a, b]),
        (axis(6), axis(7), axis(9)).prop_map(|(a, b, c)| vec![a, b, c]),
    ]
}

fn convolution(axes: &[AxisCase], order: Channels) -> Convolution {
    let boundaries: Vec<Boundary> = axes.iter().map(|axis| axis.0).collect();
    Convolution::new(&boundaries).unwrap().channels(order)
}

/// A random signal and kernel.
fn operands(
    axes: &[AxisCase],
    order: Channels,
    (batch, kernel_batch, channels): (usize, usize, usize),
    dtype: DType,
) -> (Tensor, Tensor) {
    let spatial: Vec<usize> = axes.iter().map(|axis| axis.1).collect();
    let points: Vec<usize> = axes.iter().map(|axis| axis.2).collect();
    let signal = match order {
        Channels::Last => [&[batch], spatial.as_slice(), &[channels]].concat(),
        Channels::First => [&[batch, channels], spatial.as_slice()].concat(),
    };
    let kernel = [&[kernel_batch], points.as_slice(), &[channels]].concat();
    (random("signal", &signal, dtype), random("kernel", &kernel, dtype))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn all_ways_agree_with_the_definition(
        axes in case(),
        first in any::<bool>(),
        shared in any::<bool>(),
        batch in 1..4usize,
        channels in 1..20usize,
    ) {
        let order = if first { Channels::First } else { Channels::Last };
        let sizes = (batch, if shared { 1 } else { batch }, channels);
        for (dtype, bound) in [(DType::F32, 3e-6), (DType::F64, 1e-13)] {
            let (signal, kernel) = operands(&axes, order, sizes, dtype);
            let convolution = convolution(&axes, order);
            let truth = convolution.clone().algorithm(Algorithm::Reference);
            let truth = truth.forward(&signal, &kernel).unwrap();
            prop_assert_eq!(truth.dims(), signal.dims());
            for algorithm in FAST {
                let got = convolution.clone().algorithm(algorithm).forward(&signal, &kernel).unwrap();
                // Where all products cancel, rounding is measured against the operands.
                let scale = numbers(&truth).iter().fold(1f64, |max, x| max.max(x.abs()));
                let gap = (got - &truth).unwrap().to_dtype(DType::F64).unwrap().abs().unwrap();
                let gap = gap.flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
                prop_assert!(gap <= bound * scale, "{:?} {:?}: {:e}", algorithm, dtype, gap / scale);
            }
        }
    }
}

#[test]
fn the_definition_is_the_formula() {
    // y[n] = Σ_j k[j] x[n + 1 − j], by hand.
    let signal =
        Tensor::new(&[1f64, 10.0, 100.0], &Device::Cpu).unwrap().reshape((1, 3, 1)).unwrap();
    let kernel = Tensor::new(&[1f64, 2.0, 3.0], &Device::Cpu).unwrap().reshape((1, 3, 1)).unwrap();
    for (boundary, expected) in [
        (Boundary::Zero, [12.0, 123.0, 230.0]),
        (Boundary::Circular, [312.0, 123.0, 231.0]),
        (Boundary::Causal, [1.0, 12.0, 123.0]),
    ] {
        let convolution = Convolution::new(&[boundary]).unwrap();
        for algorithm in FAST.into_iter().chain([Algorithm::Reference]) {
            let got = convolution.clone().algorithm(algorithm).forward(&signal, &kernel).unwrap();
            let gap =
                numbers(&got).iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(gap < 1e-10, "{boundary} {algorithm:?}: {got}");
        }
    }
}

/// Gradients in signal and kernel of a weighted sum of squares.
fn gradients(convolution: &Convolution, signal: &Tensor, kernel: &Tensor) -> [Tensor; 2] {
    let [signal, kernel] = [signal, kernel].map(|x| Var::from_tensor(x).unwrap());
    let output = convolution.forward(&signal, &kernel).unwrap();
    let weights = random("weights", output.dims(), signal.dtype());
    let loss = output.sqr().unwrap().mul(&weights).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    [&signal, &kernel].map(|var| gradients.get(var).unwrap().clone())
}

fn gradient_cases() -> Vec<(Vec<AxisCase>, Channels, usize)> {
    use Boundary::{Causal, Circular, Zero};
    vec![
        (vec![(Zero, 6, 11)], Channels::Last, 2),
        (vec![(Causal, 7, 7)], Channels::First, 1),
        (vec![(Causal, 7, 4)], Channels::Last, 2),
        (vec![(Circular, 5, 3)], Channels::First, 2),
        (vec![(Zero, 4, 5), (Circular, 5, 5)], Channels::Last, 1),
        (vec![(Zero, 3, 5), (Zero, 2, 3), (Circular, 3, 1)], Channels::First, 2),
    ]
}

#[test]
fn gradients_are_central_differences() {
    const STEP: f64 = 1e-5;
    for (axes, order, kernel_batch) in gradient_cases() {
        let (signal, kernel) = operands(&axes, order, (2, kernel_batch, 3), DType::F64);
        for algorithm in FAST.into_iter().chain([Algorithm::Reference]) {
            let convolution = convolution(&axes, order).algorithm(algorithm);
            let loss = |signal: &Tensor, kernel: &Tensor| {
                let output = convolution.forward(signal, kernel).unwrap();
                let weights = random("weights", output.dims(), DType::F64);
                let loss = output.sqr().unwrap().mul(&weights).unwrap().sum_all().unwrap();
                loss.to_scalar::<f64>().unwrap()
            };
            let moved = |x: &Tensor, index: usize, step: f64| {
                let mut values = numbers(x);
                values[index] += step;
                Tensor::from_vec(values, x.shape(), &Device::Cpu).unwrap()
            };
            let [in_signal, in_kernel] =
                gradients(&convolution, &signal, &kernel).map(|x| numbers(&x));
            for (index, got) in in_signal.into_iter().enumerate() {
                let at = |step| loss(&moved(&signal, index, step), &kernel);
                let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                assert!((got - expected).abs() < 1e-7, "{axes:?} {algorithm:?} signal {index}");
            }
            for (index, got) in in_kernel.into_iter().enumerate() {
                let at = |step| loss(&signal, &moved(&kernel, index, step));
                let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                assert!((got - expected).abs() < 1e-7, "{axes:?} {algorithm:?} kernel {index}");
            }
        }
    }
}

/// Sizes beyond a tile, a block of channels, one thread and one matrix; rings with long prime factors.
#[test]
fn large_shapes_agree_in_value_and_gradients() {
    use Boundary::{Causal, Circular, Zero};
    let cases = [
        (vec![(Zero, 150, 299)], Channels::Last, (3, 1, 21)),
        (vec![(Causal, 700, 650)], Channels::First, (2, 2, 19)),
        (vec![(Circular, 262, 261)], Channels::Last, (2, 1, 17)),
        (vec![(Circular, 360, 131)], Channels::First, (1, 1, 3)),
        (vec![(Zero, 90, 179), (Zero, 17, 33)], Channels::Last, (1, 1, 3)),
        (vec![(Circular, 134, 25), (Zero, 9, 17)], Channels::First, (2, 1, 2)),
        (vec![(Zero, 70, 3), (Zero, 5, 9), (Circular, 6, 5)], Channels::Last, (1, 1, 2)),
    ];
    for (axes, order, sizes) in cases {
        let (signal, kernel) = operands(&axes, order, sizes, DType::F64);
        let way = |algorithm| {
            let convolution = convolution(&axes, order).algorithm(algorithm);
            let [in_signal, in_kernel] = gradients(&convolution, &signal, &kernel);
            [convolution.forward(&signal, &kernel).unwrap(), in_signal, in_kernel]
        };
        let truth = way(Algorithm::Reference);
        for algorithm in FAST {
            for (got, truth) in way(algorithm).iter().zip(&truth) {
                let error = relative_error(got, truth);
                assert!(error < 1e-12, "{axes:?} {algorithm:?}: {error:e}");
            }
        }
    }
}

/// More channels than are packed at a time, the last of them no whole vector, and more samples than are put together at a time.
#[test]
fn jobs_are_put_together_by_any_number_of_threads() {
    let axes = [(Boundary::Zero, 200, 5)];
    for (order, kernel_batch) in
        [(Channels::Last, 9), (Channels::Last, 1), (Channels::First, 9), (Channels::First, 1)]
    {
        let (signal, kernel) = operands(&axes, order, (9, kernel_batch, 301), DType::F64);
        let way = |algorithm, threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let convolution = convolution(&axes, order).algorithm(algorithm);
                let [in_signal, in_kernel] = gradients(&convolution, &signal, &kernel);
                [convolution.forward(&signal, &kernel).unwrap(), in_signal, in_kernel]
            })
        };
        let truth = way(Algorithm::Reference, 1);
        for algorithm in [Algorithm::Direct, Algorithm::Fft] {
            let alone = way(algorithm, 1);
            for (got, truth) in alone.iter().zip(&truth) {
                let error = relative_error(got, truth);
                assert!(error < 1e-12, "{order:?} {kernel_batch} {algorithm:?}: {error:e}");
            }
            let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for threads in [2, 7] {
                for (got, alone) in way(algorithm, threads).iter().zip(&alone) {
                    assert_eq!(numbers(got), numbers(alone), "{order:?} {kernel_batch} {threads}");
                }
            }
        }
    }
}

/// Sums of many terms, in long rows and in many short ones; of numbers of both signs and of one, whose partial sums
/// grow.
#[test]
fn long_sums_keep_their_digits() {
    use Boundary::{Causal, Circular, Zero};
    let cases = [
        vec![(Zero, 16_384, 32_767)],
        vec![(Causal, 16_384, 16_384)],
        vec![(Circular, 16_381, 16_381)],
        vec![(Zero, 80, 159), (Zero, 80, 159)],
        vec![(Zero, 4_000, 7_999), (Zero, 2, 3)],
    ];
    for axes in cases {
        let (signal, kernel) = operands(&axes, Channels::Last, (1, 1, 1), DType::F32);
        let positive = |x: &Tensor| (x.abs().unwrap() + 0.1).unwrap();
        for (signal, kernel) in
            [(signal.clone(), kernel.clone()), (positive(&signal), positive(&kernel))]
        {
            let way = |algorithm, dtype| {
                let [signal, kernel] = [&signal, &kernel].map(|x| x.to_dtype(dtype).unwrap());
                let convolution = convolution(&axes, Channels::Last).algorithm(algorithm);
                convolution.forward(&signal, &kernel).unwrap()
            };
            let truth = way(Algorithm::Fft, DType::F64);
            for algorithm in FAST {
                let error = relative_error(&way(algorithm, DType::F32), &truth);
                assert!(error < 2e-6, "{axes:?} {algorithm:?}: {error:e}");
            }
        }
    }
}

#[test]
fn half_precision_is_computed_in_float32() {
    let axes = [(Boundary::Zero, 30, 59)];
    let (signal, kernel) = operands(&axes, Channels::Last, (1, 1, 4), DType::BF16);
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    let convolution = convolution(&axes, Channels::Last);
    let truth = convolution.forward(&wide(&signal), &wide(&kernel)).unwrap();
    for algorithm in FAST {
        let got = convolution.clone().algorithm(algorithm).forward(&signal, &kernel).unwrap();
        assert_eq!(got.dtype(), DType::BF16);
        // One rounding to bfloat16: 2⁻⁸ of a value at most.
        assert!(relative_error(&got, &truth) < 0.0039, "{algorithm:?}");
    }
}

#[test]
fn strided_and_empty_signals_are_right() {
    let axes = [(Boundary::Zero, 5, 9), (Boundary::Zero, 4, 7)];
    let (signal, kernel) = operands(&axes, Channels::Last, (2, 2, 3), DType::F64);
    let truth = convolution(&axes, Channels::Last).forward(&signal, &kernel).unwrap();
    let first = signal.permute((0, 3, 1, 2)).unwrap();
    for algorithm in FAST {
        let convolution = convolution(&axes, Channels::First).algorithm(algorithm);
        let got = convolution.forward(&first, &kernel).unwrap().permute((0, 2, 3, 1)).unwrap();
        assert!(relative_error(&got, &truth) < 1e-13, "{algorithm:?}");
        for (batch, channels) in [(0, 3), (2, 0)] {
            let sizes = (batch, 1, channels);
            let (signal, kernel) = operands(&axes, Channels::First, sizes, DType::F32);
            let got = convolution.forward(&signal, &kernel).unwrap();
            assert_eq!(got.dims(), signal.dims(), "{algorithm:?}");
        }
    }
}

#[test]
fn what_is_not_defined_is_refused() {
    use Boundary::{Causal, Circular, Zero};
    assert_eq!(
        message(Convolution::new(&[Causal, Zero])),
        "is_causal: expected one axis, for a causal convolution, found 2 axes"
    );
    assert_eq!(
        message(Convolution::new(&[])),
        "boundaries: expected one for each axis, found none"
    );
    let refused = |boundary, signal: &[usize], kernel: &[usize]| {
        let [signal, kernel] = [signal, kernel].map(|shape| random("x", shape, DType::F32));
        message(Convolution::new(&[boundary]).unwrap().forward(&signal, &kernel))
    };
    assert_eq!(
        refused(Zero, &[2, 4], &[1, 3, 4]),
        "signal: expected shape [B, N1, C], found [2, 4]"
    );
    assert_eq!(
        refused(Zero, &[3, 4, 5], &[2, 3, 5]),
        "kernel: expected shape [1 or 3, K1, 5], found [2, 3, 5]"
    );
    assert_eq!(
        refused(Zero, &[1, 4, 5], &[1, 9, 5]),
        "kernel: expected an odd number of points, 1 to 7, on axis 0 of a signal 4 long, whose boundary is zero, \
         found [1, 9, 5]"
    );
    assert!(refused(Zero, &[1, 4, 5], &[1, 4, 5]).contains("odd"));
    assert!(refused(Zero, &[1, 0, 5], &[1, 1, 5]).contains("1 to 0"));
    assert!(refused(Circular, &[1, 4, 5], &[1, 5, 5]).contains("1 to 4"));
    assert!(refused(Causal, &[1, 4, 5], &[1, 5, 5]).contains("points, 1 to 4"));
    let signal = random("x", &[1, 4, 5], DType::F32);
    let kernel = random("x", &[1, 3, 5], DType::F64);
    assert_eq!(
        message(Convolution::new(&[Zero]).unwrap().forward(&signal, &kernel)),
        "kernel: expected dtype f32, the signal's, found f64"
    );
}

#[test]
fn many_threads_get_the_same_bits() {
    // Enough work for the threads of each call to share it.
    let axes = [(Boundary::Zero, 600, 1199)];
    let (signal, kernel) = operands(&axes, Channels::Last, (3, 1, 20), DType::F32);
    for algorithm in [Algorithm::Direct, Algorithm::Fft] {
        let convolution = convolution(&axes, Channels::Last).algorithm(algorithm);
        let once = numbers(&convolution.forward(&signal, &kernel).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert_eq!(numbers(&convolution.forward(&signal, &kernel).unwrap()), once);
                });
            }
        });
    }
}
