//! Steps are the definition's, by group and by variable, in every dtype; what is broken changes nothing.

use candle_core::{DType, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use film_core::WeightDecay;
use film_core::optim::{AdamWConfig, GroupedAdamW, ParameterGroups, Policy};

use super::{gradients, map, values, var};
use crate::support::{message, numbers, random};

/// AdamW of one number, as its definition has it.
#[derive(Default)]
struct Definition {
    m: f64,
    v: f64,
    t: i32,
}

impl Definition {
    fn step(&mut self, theta: f64, g: f64, rate: f64, decay: f64, config: &AdamWConfig) -> f64 {
        let (beta1, beta2) = config.betas;
        self.t += 1;
        self.m = beta1 * self.m + (1.0 - beta1) * g;
        self.v = beta2 * self.v + (1.0 - beta2) * g * g;
        let m = self.m / (1.0 - beta1.powi(self.t));
        let v = self.v / (1.0 - beta2.powi(self.t));
        theta - rate * decay * theta - rate * m / (v.sqrt() + config.eps)
    }
}

/// A group of two variables each decay and scale, in these dtypes and sizes.
const VARIABLES: [(&str, &[usize], DType, f64, f64); 6] = [
    ("bf16", &[3, 5], DType::BF16, 0.0, 1.0),
    ("f16", &[7], DType::F16, 0.1, 1.0),
    ("f32", &[2, 3, 4], DType::F32, 0.1, 0.5),
    ("f64", &[4, 5], DType::F64, 0.03, 2.0),
    // More than a thread takes at once.
    ("large", &[3, 33_000], DType::F32, 0.2, 1.0),
    ("scalar", &[], DType::F64, 0.0, 1.0),
];

fn optimizer(vars: &candle_nn::VarMap, config: AdamWConfig) -> GroupedAdamW {
    let policy = |name: &str, _: &Var| {
        let (.., decay, scale) = VARIABLES.into_iter().find(|each| each.0 == name).unwrap();
        Policy { weight_decay: WeightDecay::Value(decay), learning_rate_scale: scale }
    };
    let groups = ParameterGroups::assign(vars, 0.0).unwrap().layers("", policy).unwrap();
    GroupedAdamW::with_groups(groups.finish().unwrap(), config).unwrap()
}

fn variables() -> candle_nn::VarMap {
    map(&VARIABLES.map(|(name, shape, dtype, ..)| (name, shape, dtype)))
}

#[test]
fn steps_are_the_definitions() {
    for betas in [(0.9, 0.999), (0.3, 0.5), (0.0, 0.0)] {
        let vars = variables();
        let config = AdamWConfig { learning_rate: 0.01, betas, eps: 1e-6, max_grad_norm: None };
        let mut optimizer = optimizer(&vars, config.clone());
        let mut expected: Vec<(Vec<f64>, Vec<Definition>)> = VARIABLES
            .iter()
            .map(|(name, ..)| {
                let values = numbers(&var(&vars, name));
                let state = values.iter().map(|_| Definition::default()).collect();
                (values, state)
            })
            .collect();
        for step in 0..5 {
            let given: Vec<(Var, Tensor)> = VARIABLES
                .iter()
                .map(|(name, shape, dtype, ..)| {
                    (var(&vars, name), random(&format!("{name} {step}"), shape, *dtype))
                })
                .collect();
            let given: Vec<_> = given.iter().map(|(var, g)| (var, g.clone())).collect();
            optimizer.update(&gradients(&given)).unwrap();
            for ((each, (_, g)), (values, state)) in VARIABLES.iter().zip(&given).zip(&mut expected)
            {
                let (name, _, dtype, decay, scale) = *each;
                let got = numbers(&var(&vars, name));
                let bound = match dtype {
                    DType::F64 => 1e-14,
                    DType::F32 => 2e-6,
                    DType::F16 => 1e-3,
                    _ => 8e-3,
                };
                for (((value, state), g), got) in
                    values.iter_mut().zip(state).zip(numbers(g)).zip(got)
                {
                    *value = state.step(*value, g, 0.01 * scale, decay, &config);
                    let gap = (got - *value).abs();
                    assert!(gap <= bound * value.abs().max(1.0), "{name} {step}: {got} {value}");
                    // Half precision is rounded each time, and goes on from there.
                    *value = got;
                }
            }
        }
        assert_eq!(optimizer.steps(), 5);
    }
}

#[test]
fn as_candles_optimizer_it_is_candles_adamw() {
    let [ours, theirs] =
        [(); 2].map(|()| map(&[("a", &[4, 3], DType::F64), ("b", &[5], DType::F64)]));
    let params = ParamsAdamW { lr: 0.02, weight_decay: 0.3, ..ParamsAdamW::default() };
    fn train<O: Optimizer<Config = ParamsAdamW>>(
        vars: &candle_nn::VarMap,
        params: ParamsAdamW,
    ) -> f64 {
        let (a, b) = (var(vars, "a"), var(vars, "b"));
        let mut optimizer = O::new(vec![a.clone(), b.clone()], params).unwrap();
        for step in 0..10 {
            optimizer.set_learning_rate(0.02 / f64::from(step + 1));
            let loss = (a.sqr().unwrap().sum_all().unwrap() + b.exp().unwrap().sum_all().unwrap())
                .unwrap();
            optimizer.backward_step(&loss).unwrap();
        }
        optimizer.learning_rate()
    }
    let rates = [train::<GroupedAdamW>(&ours, params.clone()), train::<AdamW>(&theirs, params)];
    assert_eq!(rates, [0.002; 2]);
    for ((name, ours), (_, theirs)) in values(&ours).iter().zip(&values(&theirs)) {
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!((ours - theirs).abs() < 1e-14, "{name}: {ours} {theirs}");
        }
    }
    // What cannot be trained is passed over; without variables there is nothing to do.
    let integers = Var::from_tensor(&random("i", &[2], DType::F32).to_dtype(DType::U32).unwrap());
    let mut empty = GroupedAdamW::new(vec![integers.unwrap()], ParamsAdamW::default()).unwrap();
    assert!(empty.groups().groups().is_empty());
    empty.step(&gradients(&[])).unwrap();
    let mut empty = GroupedAdamW::empty(ParamsAdamW::default()).unwrap();
    empty.step(&gradients(&[])).unwrap();
}

#[test]
fn half_precision_keeps_its_moments_in_float32() {
    // Squared, this gradient is below all that float16 can hold.
    for dtype in [DType::F16, DType::BF16] {
        let vars = map(&[("w", &[2, 2], dtype)]);
        let w = var(&vars, "w");
        w.set(&w.ones_like().unwrap()).unwrap();
        let groups = ParameterGroups::assign(&vars, 0.0).unwrap();
        let groups = groups.layers("", Policy::by_rank).unwrap().finish().unwrap();
        let config = AdamWConfig { learning_rate: 0.125, ..AdamWConfig::default() };
        let mut optimizer = GroupedAdamW::with_groups(groups, config).unwrap();
        let g = (w.ones_like().unwrap() * 1e-5).unwrap();
        optimizer.update(&gradients(&[(&w, g)])).unwrap();
        // The first step is as long as the learning rate, whatever the gradient.
        for value in numbers(&w) {
            assert!((value - 0.875).abs() < 1e-3, "{dtype:?}: {value}");
        }
    }
}

#[test]
fn gradients_may_be_views_and_wider_than_their_variable() {
    let step = |gradient: &dyn Fn(Tensor) -> Tensor| {
        let vars = map(&[("w", &[3, 4], DType::BF16)]);
        let mut optimizer = GroupedAdamW::new(vars.all_vars(), ParamsAdamW::default()).unwrap();
        let w = var(&vars, "w");
        let g = gradient(random("g", &[3, 4], DType::BF16));
        optimizer.update(&gradients(&[(&w, g)])).unwrap();
        numbers(&w)
    };
    let plain = step(&|g| g);
    assert_eq!(step(&|g| g.t().unwrap().contiguous().unwrap().t().unwrap()), plain);
    assert_eq!(step(&|g| g.to_dtype(DType::F32).unwrap()), plain);
    assert_eq!(step(&|g| g.to_dtype(DType::F64).unwrap()), plain);
}

#[test]
fn a_variable_without_a_gradient_is_left_alone() {
    let vars = map(&[("a", &[2, 3], DType::F64), ("b", &[4], DType::F64)]);
    let (a, b) = (var(&vars, "a"), var(&vars, "b"));
    let params = ParamsAdamW { weight_decay: 0.5, ..ParamsAdamW::default() };
    let groups = || {
        let assignment = ParameterGroups::assign(&vars, 0.5).unwrap();
        assignment.layers("", |_, _| WeightDecay::Default).unwrap().finish().unwrap()
    };
    let mut optimizer = GroupedAdamW::with_groups(groups(), AdamWConfig::default()).unwrap();
    let (before, g) = (numbers(&b), |var: &Var| (var.ones_like().unwrap() * 0.3).unwrap());
    for step in 1..=3 {
        let report = optimizer.update(&gradients(&[(&a, g(&a))])).unwrap();
        assert_eq!(report.without_gradient, ["b"]);
        assert_eq!((report.step, report.learning_rate), (step, 1e-3));
        assert_eq!(numbers(&b), before, "not even decayed");
    }
    // Its first gradient is its first, also where others have had more.
    let report = optimizer.update(&gradients(&[(&a, g(&a)), (&b, g(&b))])).unwrap();
    assert!(report.without_gradient.is_empty());
    let got = numbers(&b);
    b.set(&Tensor::new(before, b.device()).unwrap()).unwrap();
    let mut alone = GroupedAdamW::new(vec![b.clone()], params).unwrap();
    alone.update(&gradients(&[(&b, g(&b))])).unwrap();
    assert_eq!(got, numbers(&b));
}

#[test]
fn frozen_variables_stay() {
    let vars = map(&[("a", &[2, 3], DType::F32), ("b", &[4], DType::F32)]);
    let (a, b) = (var(&vars, "a"), var(&vars, "b"));
    let groups = ParameterGroups::assign(&vars, 0.5).unwrap().frozen("b").unwrap();
    let groups = groups.layers("", Policy::by_rank).unwrap().finish().unwrap();
    let mut optimizer = GroupedAdamW::with_groups(groups, AdamWConfig::default()).unwrap();
    let before = values(&vars);
    let ones = |var: &Var| var.ones_like().unwrap();
    let report = optimizer.update(&gradients(&[(&a, ones(&a)), (&b, ones(&b))])).unwrap();
    assert_ne!(numbers(&a), before[0].1);
    assert_eq!(numbers(&b), before[1].1);
    assert_eq!(report.grad_norm, 6f64.sqrt(), "the frozen one's gradient does not count");
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let refused = |config: AdamWConfig| {
        let groups = ParameterGroups::assign(&candle_nn::VarMap::new(), 0.0).unwrap();
        message(GroupedAdamW::with_groups(groups.finish().unwrap(), config))
    };
    let config = AdamWConfig::default;
    for (config, expected) in [
        (
            AdamWConfig { learning_rate: -1.0, ..config() },
            "learning_rate: expected a finite number of at least 0, found -1",
        ),
        (
            AdamWConfig { betas: (1.0, 0.9), ..config() },
            "beta1: expected a number from 0 to below 1, found 1",
        ),
        (
            AdamWConfig { betas: (0.9, f64::NAN), ..config() },
            "beta2: expected a number from 0 to below 1, found NaN",
        ),
        (
            AdamWConfig { eps: 1e-60, ..config() },
            "eps: expected a number above 0, in float32, found 0.000000000000000000000000000000000000000000000000000000000001",
        ),
        (
            AdamWConfig { max_grad_norm: Some(0.0), ..config() },
            "max_grad_norm: expected a finite number above 0, found 0",
        ),
    ] {
        assert_eq!(refused(config), expected);
    }
    let vars = map(&[("a", &[2], DType::F32)]);
    let before = values(&vars);
    let mut optimizer = GroupedAdamW::new(vars.all_vars(), ParamsAdamW::default()).unwrap();
    optimizer.set_learning_rate(f64::NAN);
    let a = var(&vars, "a");
    let text = message(optimizer.update(&gradients(&[(&a, a.ones_like().unwrap())])));
    assert_eq!(text, "learning_rate: expected a finite number of at least 0, found NaN");
    assert_eq!((values(&vars), optimizer.steps()), (before, 0));
}
