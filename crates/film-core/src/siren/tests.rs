//! The fused network against the plain one.

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use pulp::Arch;

use super::network::Network;
use super::op::{draw, draw_on};
use super::{grid, plain};
use crate::film::Film;
use crate::ops::vector::tests::arches;
use crate::testing::random;

#[derive(Debug, Clone)]
struct Case {
    lengths: Vec<usize>,
    embedding: usize,
    hidden: usize,
    layers: usize,
    outputs: usize,
    biases: bool,
    scale: bool,
    after: bool,
    batch: Option<usize>,
}

fn cases() -> Vec<Case> {
    let case = |lengths: &[usize], [embedding, hidden, layers, outputs]: [usize; 4], batch| Case {
        lengths: lengths.into(),
        embedding,
        hidden,
        layers,
        outputs,
        biases: outputs != 5,
        scale: outputs % 2 == 0,
        after: embedding == hidden,
        batch,
    };
    vec![
        case(&[1], [1, 1, 1, 1], None),
        case(&[9], [7, 5, 2, 3], Some(2)),
        case(&[40], [17, 33, 4, 50], Some(3)),
        case(&[6, 5], [32, 32, 3, 48], Some(5)),
        case(&[6, 5], [32, 32, 3, 5], None),
        case(&[17, 18], [20, 20, 3, 70], Some(2)),
        case(&[3, 2, 4], [8, 16, 3, 24], Some(1)),
        case(&[5], [12, 12, 1, 6], Some(4)),
        case(&[4, 4], [16, 16, 3, 8], Some(0)),
        // More points than are embedded at a time, and kernels that are written past the cache.
        case(&[130, 130], [16, 16, 2, 16], Some(2)),
        // Layers of which one sample's are packed at a time.
        case(&[3], [16, 400, 3, 2], Some(3)),
    ]
}

/// The kernel and the gradients of a weighted sum of it, in all tensors and in the films.
type Way<'a> = &'a dyn Fn(&Network<Tensor>, &Tensor, Option<&Tensor>) -> Tensor;

fn results(case: &Case, dtype: DType, way: Way<'_>) -> Vec<Tensor> {
    // The same float32 numbers in every dtype.
    let var = |name: &str, shape: &[usize], size: f64| {
        let values = random(name, shape, size, DType::F32).to_dtype(dtype).unwrap();
        Var::from_tensor(&values).unwrap()
    };
    let mut vars = vec![];
    let mut add = |shape: &[usize], size: f64| {
        let var = var(&vars.len().to_string(), shape, size);
        vars.push(var.clone());
        var.as_tensor().clone()
    };
    let mut linear = |outputs: usize, inputs: usize, size: f64| {
        (add(&[outputs, inputs], size), case.biases.then(|| add(&[outputs], 1.0)))
    };
    let embedding = linear(case.embedding, case.lengths.len(), 9.0);
    let mut layers = vec![];
    for index in 0..case.layers {
        let inputs = if index == 0 { case.embedding } else { case.hidden };
        let outputs = if index + 1 == case.layers { case.outputs } else { case.hidden };
        layers.push(linear(outputs, inputs, (6.0 / inputs as f64).sqrt()));
    }
    let scale = case.scale.then(|| add(&[case.embedding], 1.5));
    let network = Network { embedding, scale, layers };
    let width = if case.layers == 1 { case.embedding } else { case.hidden };
    let pairs = case.layers - usize::from(!case.after);
    let films = case.batch.map(|batch| add(&[batch, 2 * pairs * width], 1.0));
    let l_cache: Vec<usize> = case.lengths.iter().map(|length| length + 1).collect();
    let grid = grid(&case.lengths, &l_cache, dtype, &Device::Cpu).unwrap();
    let kernel = way(&network, &grid, films.as_ref());
    let weights = var("weights", kernel.dims(), 1.0);
    let loss = (&kernel * weights.as_tensor()).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    let of = |var: &Var| gradients.get(var).cloned().unwrap_or(var.zeros_like().unwrap());
    [vec![kernel], vars.iter().map(of).collect()].concat()
}

/// By the plain network.
fn plainly(case: &Case, dtype: DType) -> Vec<Tensor> {
    results(case, dtype, &|network, grid, films| {
        let width = network.layers.last().unwrap().0.dim(1).unwrap();
        let films: Vec<Film> = films.map_or(vec![], |films| {
            let part = |start: usize| films.narrow(1, start * width, width).unwrap();
            (0..films.dim(1).unwrap() / (2 * width))
                .map(|film| Film::new(part(2 * film), part(2 * film + 1)).unwrap())
                .collect()
        });
        plain::draw(network, case.after, grid, &films, dtype).unwrap()
    })
}

/// By the fused one.
fn fused(case: &Case, arch: Arch) -> Vec<Tensor> {
    results(case, DType::F32, &|network, grid, films| {
        draw_on(arch, network, case.after, grid, films).unwrap()
    })
}

/// The largest |value|.
fn largest(x: &Tensor) -> f64 {
    if x.elem_count() == 0 {
        return 0.0;
    }
    x.abs().unwrap().max_all().unwrap().to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

fn assert_fused_is_plain(case: &Case) {
    let truth = plainly(case, DType::F64);
    let plain = plainly(case, DType::F32);
    let error = |x: &Tensor, truth: &Tensor| {
        assert_eq!(x.dims(), truth.dims());
        largest(&(x.to_dtype(DType::F64).unwrap() - truth).unwrap())
    };
    for arch in arches() {
        let fused = fused(case, arch);
        for (index, ((truth, plain), fused)) in truth.iter().zip(&plain).zip(&fused).enumerate() {
            // Sines multiply what rounding leaves, more with each layer: the plain way shows how much.
            let allowed = 6.0 * error(plain, truth) + 2e-6 * largest(truth).max(1.0);
            let gap = error(fused, truth);
            assert!(gap <= allowed, "{arch:?} {case:?}, tensor {index}: {gap:e} > {allowed:e}");
        }
    }
}

#[test]
fn fused_and_plain_agree_in_values_and_gradients() {
    cases().iter().for_each(assert_fused_is_plain);
}

fn any_case() -> impl Strategy<Value = Case> {
    let lengths = prop_oneof![
        prop::collection::vec(1usize..60, 1),
        prop::collection::vec(1usize..9, 2),
        prop::collection::vec(1usize..5, 3),
    ];
    let widths = (1usize..40, 1usize..40, 1usize..5, 1usize..70);
    let batch = prop::option::of(0usize..4);
    (lengths, widths, any::<[bool; 3]>(), batch).prop_map(
        |(lengths, (embedding, hidden, layers, outputs), [biases, scale, after], batch)| {
            // A single layer has no (γ, β) but the embedding's, which is as wide as the hidden layers.
            let after = after || layers == 1;
            let embedding = if after { hidden } else { embedding };
            Case { lengths, embedding, hidden, layers, outputs, biases, scale, after, batch }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn fused_and_plain_agree_at_any_sizes(case in any_case()) {
        assert_fused_is_plain(&case);
    }
}

#[test]
fn threads_change_no_bit() {
    let case = Case {
        lengths: vec![20, 18],
        embedding: 32,
        hidden: 32,
        layers: 3,
        outputs: 100,
        biases: true,
        scale: true,
        after: true,
        batch: Some(5),
    };
    let bits = [1, 2, 7].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let tensors = pool.install(|| fused(&case, Arch::new()));
        let bits = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        tensors.iter().map(bits).collect::<Vec<_>>()
    });
    assert_eq!(bits[0], bits[1]);
    assert_eq!(bits[0], bits[2]);
}

#[test]
fn constants_and_variables_give_the_same_bits() {
    for case in cases() {
        let kernels = [false, true].map(|detached| {
            results(&case, DType::F32, &|network, grid, films| {
                let mut network = network.clone();
                let mut films = films.cloned();
                let constant = |tensor: &mut Tensor| *tensor = tensor.detach();
                if detached {
                    let linears = network.layers.iter_mut().chain([&mut network.embedding]);
                    linears.for_each(|(weight, bias)| {
                        constant(weight);
                        bias.as_mut().map(constant);
                    });
                    network.scale.as_mut().map(constant);
                    films.as_mut().map(constant);
                }
                draw(&network, case.after, grid, films.as_ref()).unwrap()
            })
        });
        let bits = |kernel: &Tensor| kernel.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bits(&kernels[0][0]), bits(&kernels[1][0]));
    }
}
