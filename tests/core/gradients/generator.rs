//! Of the generator, in its parameters and the conditioning.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use film_core::{Film, InitType, KernelFilmConfig, KernelFilmGenerator, init};

use super::{assert_gradients, gradient_of, moved, names, sizes, sorted, var, weighted_squares};
use crate::support::{numbers, random};

fn generator(vars: &VarMap, config: &KernelFilmConfig) -> KernelFilmGenerator {
    KernelFilmGenerator::new(config, init::var_builder(vars, 0, DType::F64, &Device::Cpu)).unwrap()
}

#[test]
fn parameters_and_conditioning_have_gradients_through_every_film() {
    for seed in 0..6 {
        let [cond_dim, width, layers, hidden, batch] = sizes(seed, 4);
        // Leading axes are free.
        let leading = if seed % 2 == 0 { vec![batch] } else { vec![batch, 2] };
        let conditioning = var("conditioning", &[leading.as_slice(), &[cond_dim]].concat());
        let vars = VarMap::new();
        let config =
            KernelFilmConfig::new(cond_dim, width, layers).with_film_hidden_dim(hidden + 1);
        let generator = generator(&vars, &config);
        let input = conditioning.1.as_tensor().clone();
        let all = [moved(&vars), vec![conditioning]].concat();
        assert_eq!(
            names(&all),
            ["mlp.0.bias", "mlp.0.weight", "mlp.2.bias", "mlp.2.weight", "conditioning"]
        );
        let h = random("hidden", &[vec![1; leading.len()], vec![3, width]].concat(), DType::F64);
        assert_gradients(&all, || {
            let apply = |h: Tensor, film: &Film| film.apply(&h).unwrap().sin().unwrap();
            let films = generator.films(&input).unwrap();
            weighted_squares(&films.iter().fold(h.clone(), apply))
        });
    }
}

#[test]
fn identity_initialisation_moves_the_output_layer_alone() {
    for (init_type, alone) in [(InitType::Identity, true), (InitType::SmallRandom, false)] {
        let vars = VarMap::new();
        let config = KernelFilmConfig::new(3, 2, 2).with_init_type(init_type).with_init_std(0.5);
        let generator = generator(&vars, &config);
        let films = generator.films(&random("conditioning", &[2, 3], DType::F64)).unwrap();
        let hidden = random("hidden", &[1, 5, 2], DType::F64);
        let out = films[1].apply(&films[0].apply(&hidden).unwrap()).unwrap();
        let gradients = weighted_squares(&out).backward().unwrap();
        for (name, var) in sorted(&vars) {
            let gradient = numbers(gradient_of(&gradients, &name, &var));
            // While mlp.2.weight is zero, nothing reaches mlp.0.
            let moves = !alone || name.starts_with("mlp.2");
            assert_eq!(gradient.iter().any(|x| *x != 0.0), moves, "{init_type:?} {name}");
        }
    }
}

#[test]
fn setting_a_variable_changes_the_module() {
    let vars = VarMap::new();
    let generator = generator(&vars, &KernelFilmConfig::new(3, 2, 2));
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
