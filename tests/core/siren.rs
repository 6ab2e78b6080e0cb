//! SIREN kernels and masks: PyTorch's numbers, the start of each type, counts and refusals.

use std::f64::consts::TAU;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use film_core::checkpoint::Checkpoint;
use film_core::siren::{Blocks, Omega, Phase, Scale, SirenConfig, SirenKernel, Spacing};
use film_core::{KernelFilmConfig, WeightDecay, init};

use crate::support::{cases, json_fixture, message, numbers, random, relative_error, tensor};

fn config() -> SirenConfig {
    SirenConfig {
        out_dim: 12,
        data_dim: 2,
        mlp_hidden_dim: 8,
        num_layers: 3,
        embedding_dim: 8,
        omega: Omega::Fixed { omega_0: 10.0 },
        hidden_omega_0: 1.0,
        l_cache: vec![5, 4],
        use_bias: true,
        film_after_pos_embed: true,
        film_generator: Some(KernelFilmConfig::new(6, 8, 3)),
    }
}

fn types() -> Vec<Omega> {
    let blocks = Blocks { num_blocks: 4, ..Blocks::default() };
    vec![
        Omega::Fixed { omega_0: 10.0 },
        Omega::Multi { omegas: (1..=8).map(f64::from).collect() },
        Omega::Blocks(blocks.clone()),
        Omega::Learnable { omega_0: 10.0, scale: Scale::default() },
        Omega::LearnableBlocks { blocks, scale: Scale::default() },
    ]
}

fn fresh(config: &SirenConfig, dtype: DType) -> (VarMap, SirenKernel) {
    let vars = VarMap::new();
    let kernel =
        SirenKernel::new(config, init::var_builder(&vars, 3, dtype, &Device::Cpu)).unwrap();
    (vars, kernel)
}

#[test]
fn kernels_give_pytorchs_numbers() {
    let folders = cases("siren_kernel");
    assert_eq!(folders.len(), 6);
    for folder in folders {
        let checkpoint = Arc::new(Checkpoint::open(&folder).unwrap());
        let io = Checkpoint::open(folder.join("io.safetensors")).unwrap();
        let json = checkpoint.config().unwrap().unwrap();
        let config = SirenConfig::from_json(&json).unwrap();
        let lengths: Vec<usize> = serde_json::from_value(json["seq_lens"].clone()).unwrap();
        for dtype in [DType::F64, DType::F32] {
            let vb = checkpoint.var_builder(dtype, &Device::Cpu);
            let kernel = SirenKernel::new(&config, vb).unwrap();
            let conditioning = io.get("conditioning").map(|_| tensor(&io, "conditioning", dtype));
            let (drawn, grid) = kernel.forward(&lengths, conditioning.as_ref()).unwrap();
            assert_eq!(drawn.dtype(), dtype);
            for (name, got) in [("kernel", drawn), ("grid", grid)] {
                let truth = tensor(&io, name, DType::F64);
                let theirs =
                    relative_error(&tensor(&io, &format!("f32.{name}"), DType::F64), &truth);
                let bound = if dtype == DType::F64 { 1e-10 } else { 2.0 * theirs.max(1e-7) };
                let error = relative_error(&got, &truth);
                assert!(
                    error <= bound,
                    "{} {name} {dtype:?}: {error:e} > {bound:e}",
                    folder.display()
                );
            }
        }
    }
}

#[test]
fn half_precision_does_not_blur_the_phase() {
    // ω₀ = 200: a phase rounded to bfloat16 would be off by whole periods.
    let config = SirenConfig {
        omega: Omega::Learnable { omega_0: 200.0, scale: Scale::default() },
        num_layers: 1,
        film_generator: None,
        ..config()
    };
    let (vars, kernel) = fresh(&config, DType::BF16);
    let exact = VarMap::new();
    {
        let vars = vars.data().lock().unwrap();
        let mut exact = exact.data().lock().unwrap();
        for (name, var) in vars.iter() {
            let wide = var.to_dtype(DType::F64).unwrap();
            exact.insert(name.clone(), candle_core::Var::from_tensor(&wide).unwrap());
        }
    }
    let vb = init::var_builder(&exact, 3, DType::F64, &Device::Cpu);
    let exact = SirenKernel::new(&config, vb).unwrap();
    let drawn = kernel.forward(&[5, 4], None).unwrap().0;
    assert_eq!(drawn.dtype(), DType::BF16);
    let error = relative_error(&drawn, &exact.forward(&[5, 4], None).unwrap().0);
    assert!(error < 1e-2, "{error:e}");
}

#[test]
fn every_type_starts_as_it_should() {
    for omega in types() {
        let config =
            SirenConfig { omega, mlp_hidden_dim: 64, embedding_dim: 64, out_dim: 64, ..config() };
        let omega = match config.omega.clone() {
            Omega::Multi { .. } => Omega::Multi { omegas: (1..=64).map(f64::from).collect() },
            other => other,
        };
        let config = SirenConfig { omega, film_generator: None, ..config };
        let (vars, _) = fresh(&config, DType::F64);
        let vars = vars.data().lock().unwrap();
        let values = |name: &str| numbers(&vars[name]);
        let row_omega = |row: usize| match &config.omega {
            Omega::Fixed { omega_0 } => TAU * omega_0,
            Omega::Multi { omegas } => TAU * omegas[row],
            Omega::Blocks(blocks) => TAU * blocks.omegas()[row / 16],
            _ => 1.0,
        };
        // Each row stays within its bound, and comes close to it somewhere.
        let embedding = values("positional_embedding.linear.weight");
        let shares =
            embedding.iter().enumerate().map(|(index, x)| x.abs() / (row_omega(index / 2) / 2.0));
        let widest = shares.fold(0.0, f64::max);
        assert!(widest <= 1.0 && widest > 0.95, "{:?}: {widest}", config.omega);
        for name in ["positional_embedding.linear.bias", "hidden_linears.1.bias", "out_linear.bias"]
        {
            assert!(values(name).iter().all(|x| *x == 0.0), "{name}");
        }
        // Hidden and out weights, inside and outside the diagonal blocks.
        let off = config.omega.blocks().map_or(1.0, |blocks| blocks.off_block_scale);
        let size = config.omega.blocks().map_or(64, |blocks| 64 / blocks.num_blocks);
        for (name, shrink) in
            [("hidden_linears.0", 1.0), ("hidden_linears.1", 1.0), ("out_linear", 20f64.sqrt())]
        {
            let bound = (6.0f64 / 64.0).sqrt() / shrink;
            let [mut inside, mut outside] = [0f64, 0f64];
            for (index, x) in values(&format!("{name}.weight")).iter().enumerate() {
                let widest = if (index / 64) / size == (index % 64) / size {
                    &mut inside
                } else {
                    &mut outside
                };
                *widest = widest.max(x.abs() / bound);
            }
            assert!(inside <= 1.0 && inside > 0.97, "{name}: {inside}");
            assert!(outside <= off && (size == 64 || outside > 0.97 * off), "{name}: {outside}");
        }
        let scale = vars.get("positional_embedding.omega_0_scale").map(|scale| numbers(scale));
        match &config.omega {
            Omega::Learnable { .. } => assert!(scale.unwrap().iter().all(|s| *s == 1.0)),
            Omega::LearnableBlocks { blocks, .. } => {
                let omegas = blocks.omegas();
                let expected: Vec<f64> = (0..64).map(|row| omegas[row / 16] / 12.0).collect();
                assert_eq!(scale.unwrap(), expected);
            }
            _ => assert!(scale.is_none()),
        }
    }
}

#[test]
fn learned_frequencies_are_clamped() {
    let scale = Scale { min: 0.5, max: 1.5, scale_learning_rate: false };
    let config = SirenConfig { omega: Omega::Learnable { omega_0: 2.0, scale }, ..config() };
    let (vars, kernel) = fresh(&config, DType::F64);
    let draw = |factor: f64| {
        let vars = vars.data().lock().unwrap();
        let var = &vars["positional_embedding.omega_0_scale"];
        var.set(&(var.ones_like().unwrap() * factor).unwrap()).unwrap();
        numbers(&kernel.forward(&[5, 4], None).unwrap().0)
    };
    assert_eq!(draw(0.1), draw(0.5));
    assert_eq!(draw(7.0), draw(1.5));
    assert_ne!(draw(0.5), draw(1.5));
}

#[test]
fn the_conditioning_changes_the_kernel_and_identity_does_not() {
    let dtypes = [DType::F64, DType::F32];
    for (omega, dtype) in
        types().into_iter().flat_map(|omega| dtypes.map(|dtype| (omega.clone(), dtype)))
    {
        let config = SirenConfig { omega, ..config() };
        let (vars, kernel) = fresh(&config, dtype);
        let conditioning = random("conditioning", &[3, 6], dtype);
        let plain = kernel.forward(&[3, 6], None).unwrap().0;
        assert_eq!(plain.dims(), [1, 5, 11, 12]);
        let identity = kernel.forward(&[3, 6], Some(&conditioning)).unwrap().0;
        assert_eq!(identity.dims(), [3, 5, 11, 12]);
        for sample in 0..3 {
            let gap = identity.get(sample).unwrap();
            assert_eq!(numbers(&gap), numbers(&plain), "{:?}", config.omega);
        }
        {
            let vars = vars.data().lock().unwrap();
            let weight = &vars["film_generator.mlp.2.weight"];
            weight.set(&random("weight", weight.dims(), dtype)).unwrap();
        }
        let modulated = kernel.forward(&[3, 6], Some(&conditioning)).unwrap().0;
        let (first, second) = (modulated.get(0).unwrap(), modulated.get(1).unwrap());
        assert!(relative_error(&first, &second) > 1e-3);
        assert!(relative_error(&first, &plain.get(0).unwrap()) > 1e-3);
    }
}

#[test]
fn counts_are_the_originals() {
    let mut cases = 0;
    for case in json_fixture("flops.json").as_array().unwrap() {
        if case["module"] != "SIRENKernelND" {
            continue;
        }
        let config = SirenConfig::from_json(case["config"].as_object().unwrap()).unwrap();
        let lengths: Vec<usize> = serde_json::from_value(case["grid_lens"].clone()).unwrap();
        for (phase, key) in [(Phase::Training, "training"), (Phase::Inference, "inference")] {
            let counts = config.flops(&lengths, phase).unwrap();
            assert_eq!(counts.total(), case[key].as_u64().unwrap(), "{case}");
        }
        let counts = config.flops(&lengths, Phase::Training).unwrap();
        let parameters: u64 =
            config.parameters().unwrap().iter().map(film_core::Parameter::count).sum();
        assert_eq!(counts.parameters(), parameters);
        cases += 1;
    }
    assert_eq!(cases, 6);
    let huge = config().flops(&[1 << 30, 1 << 30], Phase::Training);
    assert!(message(huge).contains("overflows"));
}

#[test]
fn only_the_last_weight_decays() {
    let blocks = Blocks { num_blocks: 4, ..Blocks::default() };
    let scale = Scale { scale_learning_rate: true, ..Scale::default() };
    let config = SirenConfig { omega: Omega::LearnableBlocks { blocks, scale }, ..config() };
    for parameter in config.parameters().unwrap() {
        let name = parameter.name.as_str();
        let decays =
            ["out_linear.weight", "film_generator.mlp.0.weight", "film_generator.mlp.2.weight"];
        let expected =
            if decays.contains(&name) { WeightDecay::Default } else { WeightDecay::None };
        assert_eq!(parameter.weight_decay, expected, "{name}");
        let scaled = name.starts_with("positional_embedding.linear.");
        let factor = if scaled { 1.0 / (TAU * 12.0) } else { 1.0 };
        assert_eq!(parameter.learning_rate_scale, factor, "{name}");
    }
}

#[test]
fn impossible_kernels_are_refused() {
    let blocks = |num_blocks| Omega::Blocks(Blocks { num_blocks, ..Blocks::default() });
    let film = |layers, width| Some(KernelFilmConfig::new(6, width, layers));
    let scale =
        |min, max| Omega::Learnable { omega_0: 1.0, scale: Scale { min, max, ..Scale::default() } };
    let log = Omega::Blocks(Blocks {
        num_blocks: 4,
        omega_0_min: 0.0,
        spacing: Spacing::Log,
        ..Blocks::default()
    });
    for (config, expected) in [
        (
            SirenConfig { film_generator: film(2, 8), ..config() },
            "num_film_layers: expected 3, num_layers − 1 = 2 and 1 after the embedding, found 2",
        ),
        (
            SirenConfig { film_generator: film(3, 9), ..config() },
            "kernel_hidden_dim: expected 8, the mlp_hidden_dim, found 9",
        ),
        (
            SirenConfig { embedding_dim: 10, ..config() },
            "embedding_dim: expected 8, the mlp_hidden_dim, as film_after_pos_embed needs it, found 10",
        ),
        (
            SirenConfig { omega: blocks(3), ..config() },
            "embedding_dim: expected a multiple of num_blocks, 3, found 8",
        ),
        (
            SirenConfig { omega: blocks(0), ..config() },
            "num_blocks: expected an integer of at least 1, found 0",
        ),
        (
            SirenConfig { omega: Omega::Fixed { omega_0: -1.0 }, ..config() },
            "omega_0: expected a finite number above 0, found -1",
        ),
        (
            SirenConfig { omega: Omega::Multi { omegas: vec![1.0] }, ..config() },
            "omega_0: expected 8 of them, one for each row of the embedding, found 1",
        ),
        (
            SirenConfig { omega: log, ..config() },
            "omega_0_min: expected a finite number above 0, found 0",
        ),
        (
            SirenConfig { omega: scale(0.0, 1.0), ..config() },
            "omega_0_scale_min: expected a finite number above 0, found 0",
        ),
        (
            SirenConfig { omega: scale(2.0, 1.0), ..config() },
            "omega_0_scale_max: expected at least omega_0_scale_min, 2, found 1",
        ),
        (
            SirenConfig { l_cache: vec![5], ..config() },
            "L_cache: expected 2 integers of at least 2, one for each axis, found [5]",
        ),
        (
            SirenConfig { l_cache: vec![5, 1], ..config() },
            "L_cache: expected 2 integers of at least 2, one for each axis, found [5, 1]",
        ),
        (
            SirenConfig { num_layers: 0, ..config() },
            "num_layers: expected an integer of at least 1, found 0",
        ),
    ] {
        assert_eq!(message(config.validate()), expected);
    }
    let (_, kernel) = fresh(&config(), DType::F32);
    let wrong = Tensor::zeros((2, 7), DType::F32, &Device::Cpu).unwrap();
    let text = message(kernel.forward(&[3, 3], Some(&wrong)));
    assert_eq!(text, "conditioning: expected shape [*, 6], found [2, 7]");
    let flat = Tensor::zeros(6, DType::F32, &Device::Cpu).unwrap();
    let text = message(kernel.forward(&[3, 3], Some(&flat)));
    assert_eq!(text, "conditioning: expected shape [B, 6], found [6]");
    let text = message(kernel.forward(&[3], None));
    assert_eq!(text, "grid: expected 2 lengths, one for each axis, found [3]");
}
