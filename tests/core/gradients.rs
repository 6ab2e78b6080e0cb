//! Gradients reach everything that trains, and are right: against central differences in float64.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarMap;
use film_core::{
    Film, InitType, KernelFilmConfig, KernelFilmGenerator, RegisterCompressConcat,
    RegisterCompressConcatConfig, RegisterPooling, RegisterPoolingConfig, init,
};

use crate::support::{numbers, random};

/// The differences' own error.
const DIFFERENCES: f64 = 1e-8;

/// Compares the gradient of `loss` in every element of `vars` with a central difference.
fn assert_gradients(vars: &[(String, Var)], tolerance: f64, loss: impl Fn() -> Tensor) {
    const STEP: f64 = 1e-5;
    let gradients = loss().backward().unwrap();
    for (name, var) in vars {
        let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name}: no gradient"));
        assert_eq!(gradient.dims(), var.dims(), "{name}");
        let gradient = numbers(gradient);
        let values = numbers(var);
        for index in 0..values.len() {
            let at = |step: f64| {
                let mut moved = values.clone();
                moved[index] += step;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                loss().to_scalar::<f64>().unwrap()
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let got = gradient[index];
            let allowed = tolerance * (1.0 + expected.abs());
            assert!((got - expected).abs() < allowed, "{name}[{index}]: {got} and {expected}");
        }
        var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
        assert!(gradient.iter().any(|x| x.abs() > 1e-3), "{name}: nearly zero {gradient:?}");
    }
}

fn var(name: &str, shape: &[usize]) -> (String, Var) {
    (name.into(), Var::from_tensor(&random(name, shape, DType::F64)).unwrap())
}

fn sorted(vars: &VarMap) -> Vec<(String, Var)> {
    let vars = vars.data().lock().unwrap();
    let mut vars: Vec<_> = vars.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
    vars.sort_by(|(a, _), (b, _)| a.cmp(b));
    vars
}

/// A sum of squares, each weighted differently so that no two outputs are interchangeable.
fn weighted_squares(out: &Tensor) -> Tensor {
    let weights = random("weights of the loss", out.dims(), DType::F64);
    out.sqr().unwrap().mul(&weights).unwrap().sum_all().unwrap()
}

fn generator(vars: &VarMap, init_type: InitType) -> KernelFilmGenerator {
    let vb = init::var_builder(vars, 0, DType::F64, &Device::Cpu);
    let config = KernelFilmConfig::new(3, 2, 2)
        .with_film_hidden_dim(4)
        .with_init_type(init_type)
        .with_init_std(0.7);
    KernelFilmGenerator::new(&config, vb).unwrap()
}

#[test]
fn film_has_gradients_in_gamma_beta_and_h() {
    for (pair, h) in
        [(vec![2, 3], vec![2, 4, 5, 3]), (vec![2, 3], vec![1, 4, 3]), (vec![3], vec![2, 3])]
    {
        let [gamma, beta, h] = [var("gamma", &pair), var("beta", &pair), var("h", &h)];
        let film = Film::new(gamma.1.as_tensor().clone(), beta.1.as_tensor().clone()).unwrap();
        let hidden = h.1.as_tensor().clone();
        assert_gradients(&[gamma, beta, h], DIFFERENCES, || {
            weighted_squares(&film.apply(&hidden).unwrap())
        });
    }
}

#[test]
fn generator_and_conditioning_have_gradients_through_film() {
    let vars = VarMap::new();
    let generator = generator(&vars, InitType::SmallRandom);
    let conditioning = var("conditioning", &[2, 3]);
    let input = conditioning.1.as_tensor().clone();
    let hidden = random("hidden", &[1, 5, 2], DType::F64);
    let all = [sorted(&vars), vec![conditioning]].concat();
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["mlp.0.bias", "mlp.0.weight", "mlp.2.bias", "mlp.2.weight", "conditioning"]);
    assert_gradients(&all, DIFFERENCES, || {
        let apply = |h: Tensor, film: &Film| film.apply(&h).unwrap().sin().unwrap();
        let films = generator.films(&input).unwrap();
        weighted_squares(&films.iter().fold(hidden.clone(), apply))
    });
}

#[test]
fn identity_initialisation_has_a_gradient_for_every_parameter() {
    let vars = VarMap::new();
    let generator = generator(&vars, InitType::Identity);
    let films = generator.films(&random("conditioning", &[2, 3], DType::F64)).unwrap();
    let hidden = random("hidden", &[1, 5, 2], DType::F64);
    let out = films[1].apply(&films[0].apply(&hidden).unwrap()).unwrap();
    let gradients = weighted_squares(&out).backward().unwrap();
    for (name, var) in sorted(&vars) {
        let gradient = gradients.get(&var).unwrap_or_else(|| panic!("{name}: no gradient"));
        let moves = numbers(gradient).iter().any(|x| *x != 0.0);
        // While mlp.2.weight is zero, nothing reaches mlp.0.
        assert_eq!(moves, name.starts_with("mlp.2"), "{name}");
    }
}

#[test]
fn a_step_of_the_optimizer_changes_the_module() {
    let vars = VarMap::new();
    let generator = generator(&vars, InitType::Identity);
    let conditioning = random("conditioning", &[2, 3], DType::F64);
    let gamma = || numbers(&generator.films(&conditioning).unwrap()[1].gamma);
    assert_eq!(gamma(), [1.0; 4]);
    for (name, var) in sorted(&vars) {
        if name == "mlp.2.bias" {
            var.set(&(var.as_tensor() * 3.0).unwrap()).unwrap();
        }
    }
    assert_eq!(gamma(), [3.0; 4]);
}

#[test]
fn register_encoders_have_gradients() {
    let registers = var("registers", &[2, 3, 4]);
    let input = registers.1.as_tensor().clone();
    let fresh = VarMap::new();
    let vb = init::var_builder(&fresh, 0, DType::F64, &Device::Cpu);
    let pooling =
        RegisterPooling::new(&RegisterPoolingConfig { num_registers: 3 }, vb.pp("pooling"))
            .unwrap();
    // Away from zero, where all registers weigh the same.
    let logits = fresh.data().lock().unwrap()["pooling.logits"].clone();
    logits.set(&random("logits", &[3], DType::F64)).unwrap();
    let config =
        RegisterCompressConcatConfig { num_registers: 3, hidden_dim: 4, compressed_dim: 2 };
    let compress = RegisterCompressConcat::new(&config, vb.pp("compress_concat")).unwrap();
    let all = [sorted(&fresh), vec![registers]].concat();
    assert_eq!(all.len(), 3);
    assert_gradients(&all, DIFFERENCES, || {
        let pooled = weighted_squares(&pooling.pool(&input).unwrap());
        (pooled + weighted_squares(&compress.encode(&input).unwrap())).unwrap()
    });
}
