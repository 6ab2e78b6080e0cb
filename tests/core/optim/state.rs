//! A run that was stopped and taken up again is the run that never stopped; a state that does not fit changes
//! nothing.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Optimizer, VarMap};
use film_core::checkpoint::{Checkpoint, save_tensors};
use film_core::optim::{
    AdamWConfig, Ema, GroupedAdamW, ParameterGroups, Policy, load_state, save_state, schedule,
};
use film_core::{KernelFilmConfig, KernelFilmGenerator, NoWeightDecay, WeightDecay, init};
use tempfile::TempDir;

use super::values;
use crate::support::{message, numbers, random, tensor};

/// A generator in `dtype`, a float32 gain behind it, and a frozen float64 target.
struct Run {
    vars: VarMap,
    generator: KernelFilmGenerator,
    optimizer: GroupedAdamW,
    ema: Ema,
}

const DECAY: f64 = 0.05;

impl Run {
    fn new(seed: u64, dtype: DType) -> Self {
        Self::with(seed, dtype, DECAY)
    }

    fn with(seed: u64, dtype: DType, decay: f64) -> Self {
        let vars = VarMap::new();
        let config = KernelFilmConfig::new(3, 4, 2)
            .with_film_hidden_dim(5)
            .with_no_weight_decay(NoWeightDecay::Value(0.005));
        let vb = init::var_builder(&vars, seed, dtype, &Device::Cpu);
        let generator = KernelFilmGenerator::new(&config, vb.pp("film")).unwrap();
        let insert = |name: &str, shape: &[usize], dtype| {
            let var = Var::from_tensor(&random(&format!("{name} {seed}"), shape, dtype)).unwrap();
            vars.data().lock().unwrap().insert(name.into(), var);
        };
        insert("gain", &[16], DType::F32);
        insert("target", &[16], DType::F64);
        let fast = |_: &str, _: &Var| Policy {
            weight_decay: WeightDecay::Value(decay),
            learning_rate_scale: 3.0,
        };
        let groups = ParameterGroups::assign(&vars, 0.1)
            .and_then(|assignment| {
                let assignment = assignment.module("film", config.parameters()?)?;
                assignment.layers("gain", fast)?.frozen("target")?.finish()
            })
            .unwrap();
        let config = AdamWConfig { max_grad_norm: Some(0.5), ..AdamWConfig::default() };
        let optimizer = GroupedAdamW::with_groups(groups, config).unwrap();
        let ema = Ema::new(&vars, 0.9).unwrap();
        Self { vars, generator, optimizer, ema }
    }

    /// Trains until `steps` are made, and returns each loss and norm.
    fn train(&mut self, steps: u64) -> Vec<(f64, f64)> {
        let mut log = vec![];
        while self.optimizer.steps() < steps {
            let step = self.optimizer.steps();
            self.optimizer.set_learning_rate(0.05 * schedule::cosine(step, 4, 20, 0.1));
            let vars = self.vars.data().lock().unwrap().clone();
            let dtype = vars["film.mlp.0.weight"].dtype();
            let x = random(&format!("batch {step}"), &[4, 3], dtype);
            let flat = candle_nn::Module::forward(&self.generator, &x).unwrap();
            let flat = flat.to_dtype(DType::F32).unwrap().broadcast_mul(&vars["gain"]).unwrap();
            let gap = flat.to_dtype(DType::F64).unwrap().broadcast_sub(&vars["target"]).unwrap();
            // The gain has no gradient every third step.
            let gap = if step % 3 == 2 { gap.zeros_like().unwrap() } else { gap };
            let film = self.generator.tensors()[3].1.to_dtype(DType::F64).unwrap();
            let loss = (gap.sqr().unwrap().mean_all().unwrap()
                + film.sqr().unwrap().mean_all().unwrap())
            .unwrap();
            let report = self.optimizer.update(&loss.backward().unwrap()).unwrap();
            self.ema.update().unwrap();
            log.push((loss.to_scalar().unwrap(), report.grad_norm));
        }
        log
    }

    fn save(&self, path: &Path) -> Vec<u8> {
        save_state(path, &self.optimizer, Some(&self.ema), true).unwrap();
        std::fs::read(path).unwrap()
    }

    fn load(&mut self, path: &Path) -> film_core::Result<()> {
        load_state(path, &mut self.optimizer, Some(&mut self.ema))
    }
}

/// A path in a folder that vanishes with the value.
fn path() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    (folder, path)
}

#[test]
fn a_resumed_run_has_the_bits_of_one_that_never_stopped() {
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        let (_folder, path) = path();
        let mut whole = Run::new(1, dtype);
        let start = values(&whole.vars);
        let mut log = whole.train(7);
        whole.save(&path);
        log.extend(whole.train(20));
        assert_ne!(values(&whole.vars), start);

        // Another seed: nothing but the file can bring the weights back.
        let mut resumed = Run::new(2, dtype);
        resumed.load(&path).unwrap();
        assert_eq!(resumed.optimizer.steps(), 7);
        assert_eq!(resumed.optimizer.learning_rate(), 0.05 * schedule::cosine(6, 4, 20, 0.1));
        assert_eq!(resumed.train(20), log[7..], "{dtype:?}");
        assert_eq!(values(&resumed.vars), values(&whole.vars), "{dtype:?}");
        // Moments, counts and averages too, in the same bytes.
        let [resumed, whole] = [resumed.save(&path), whole.save(&path)];
        assert_eq!(resumed, whole, "{dtype:?}");
    }
}

#[test]
fn the_file_holds_all_of_it_and_is_replaced_only_when_asked() {
    let (_folder, path) = path();
    let mut run = Run::new(1, DType::BF16);
    run.train(3);
    run.save(&path);
    let state = Checkpoint::open(&path).unwrap();
    let number = |name: &str| numbers(&tensor(&state, name, DType::F64));
    assert_eq!(number("steps"), [3.0]);
    assert_eq!(number("updates.gain"), [2.0], "it had none at the third step");
    assert_eq!(number("updates.film.mlp.2.bias"), [3.0]);
    assert_eq!(number("group.gain"), [DECAY, 3.0]);
    assert_eq!(number("group.film.mlp.0.weight"), [0.005, 1.0]);
    assert_eq!(number("weights.target"), numbers(&run.vars.data().lock().unwrap()["target"]));
    let dtype = |name: &str| state.get(name).unwrap().dtype.to_string();
    assert_eq!(dtype("weights.film.mlp.0.weight"), "BF16");
    for wide in ["first_moment", "second_moment", "average"] {
        assert_eq!(dtype(&format!("{wide}.film.mlp.0.weight")), "F32");
    }
    assert!(state.get("first_moment.target").is_none());
    // 6 variables, 5 of them trained.
    assert_eq!(state.tensors().len(), 6 + 5 * 4 + 6 + 2);

    let before = std::fs::read(&path).unwrap();
    run.train(4);
    let text = message(save_state(&path, &run.optimizer, Some(&run.ema), false));
    assert_eq!(text, format!("{}: exists already", path.display()));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn variables_without_names_have_no_state() {
    let (_folder, path) = path();
    let run = Run::new(1, DType::F32);
    let vars = run.vars.all_vars();
    let mut optimizer = GroupedAdamW::new(vars, candle_nn::ParamsAdamW::default()).unwrap();
    let expected = "optimizer: expected variables with names, as GroupedAdamW::with_groups takes them, \
                    found variables without, as Optimizer::new takes them";
    assert_eq!(message(save_state(&path, &optimizer, None, true)), expected);
    assert!(!path.exists());
    save_state(&path, &run.optimizer, None, true).unwrap();
    assert_eq!(message(load_state(&path, &mut optimizer, None)), expected);
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    let (_folder, path) = path();
    let mut run = Run::new(1, DType::F32);
    run.train(3);
    run.save(&path);
    let (_other_folder, other) = self::path();
    let mut target = Run::new(2, DType::F32);
    target.train(2);
    let before = target.save(&other);
    let log = |target: &Run| (values(&target.vars), target.save(&other));
    let expected = (values(&target.vars), before);

    // The file with one tensor changed, taken away or put in.
    let state = Checkpoint::open(&path).unwrap();
    let edited = |name: &str, tensor: Option<Tensor>| {
        let mut tensors: Vec<(String, Tensor)> = state
            .tensors()
            .iter()
            .filter(|info| info.name != name)
            .map(|info| (info.name.clone(), state.load(info, &Device::Cpu).unwrap()))
            .collect();
        tensors.extend(tensor.map(|tensor| (name.to_string(), tensor)));
        let named = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        save_tensors(&path, named, true).unwrap();
    };
    let new = |values: &[f64]| Some(Tensor::new(values, &Device::Cpu).unwrap());
    let scalar = |value: f64| Some(Tensor::new(value, &Device::Cpu).unwrap());
    let count = |value: i64| Some(Tensor::new(value, &Device::Cpu).unwrap());
    for (name, tensor, problem) in [
        ("weights.gain", None, "weights.gain: no such tensor"),
        ("average.target", None, "average.target: no such tensor"),
        ("steps", None, "not the state of a training run: it holds no tensor \"steps\""),
        ("weights.gain", new(&[1.0; 16]), "weights.gain: expected F32 [16], found F64 [16]"),
        (
            "second_moment.film.mlp.2.bias",
            Some(random("x", &[15], DType::F32)),
            "second_moment.film.mlp.2.bias: expected F32 [16], found F32 [15]",
        ),
        (
            "group.gain",
            new(&[0.0, 3.0]),
            "group.gain: expected weight decay 0.05 and learning-rate scale 3, \
             found weight decay 0 and learning-rate scale 3",
        ),
        ("updates.gain", count(-1), "updates.gain: expected a count of at least 0, found -1"),
        ("steps", scalar(1.0), "steps: expected I64 [], found F64 []"),
        (
            "learning_rate",
            scalar(f64::NAN),
            "learning_rate: expected a finite number of at least 0, found NaN",
        ),
        (
            "weights.head",
            new(&[1.0]),
            "weights.head: expected no such tensor, found one: it is of another run",
        ),
    ] {
        edited(name, tensor);
        let text = message(target.load(&path));
        assert_eq!(text, format!("{}: {problem}", path.display()));
        assert!(log(&target) == expected, "{name}: something has changed");
    }

    // Whole files that are something else.
    run.save(&path);
    let text = message(load_state(&path, &mut target.optimizer, None));
    assert_eq!(
        text,
        format!("{}: holds an average of the weights, but none is kept", path.display())
    );
    save_state(&path, &run.optimizer, None, true).unwrap();
    let text = message(target.load(&path));
    assert_eq!(
        text,
        format!("{}: holds no average of the weights, but one is kept", path.display())
    );
    std::fs::write(&path, "{}").unwrap();
    assert!(message(target.load(&path)).starts_with(&format!("{}: not a", path.display())));
    std::fs::remove_file(&path).unwrap();
    assert!(message(target.load(&path)).starts_with(&format!("{}: cannot open", path.display())));
    assert!(log(&target) == expected);
    // The one it was made for fits.
    run.save(&path);
    target.load(&path).unwrap();
    assert_eq!(values(&target.vars), values(&run.vars));
}
