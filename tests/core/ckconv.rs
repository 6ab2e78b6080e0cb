//! The continuous-kernel convolution: PyTorch's numbers each way, counts, start, refusals.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use film_core::checkpoint::{Checkpoint, KernelSettings};
use film_core::conv::{Algorithm, Boundary, Channels};
use film_core::siren::{Omega, Phase, SirenConfig};
use film_core::{CKConvConfig, CKConvNd, Condition, KernelFilmConfig, WeightDecay, init};
use serde_json::{Value, json};

use crate::support::{
    cases, fixture, folder, json_fixture, message, numbers, random, relative_error,
    small_checkpoint, tensor,
};

const WAYS: [Algorithm; 4] =
    [Algorithm::Reference, Algorithm::Direct, Algorithm::Fft, Algorithm::Matmul];

fn siren(data_dim: usize, conditioned: bool) -> SirenConfig {
    SirenConfig {
        out_dim: 4,
        data_dim,
        mlp_hidden_dim: 6,
        num_layers: 3,
        embedding_dim: 6,
        omega: Omega::Fixed { omega_0: 5.0 },
        hidden_omega_0: 1.0,
        l_cache: vec![5; data_dim],
        use_bias: true,
        film_after_pos_embed: conditioned,
        film_generator: conditioned.then(|| KernelFilmConfig::new(3, 6, 3)),
    }
}

fn fresh(config: &CKConvConfig, dtype: DType) -> (VarMap, CKConvNd) {
    let vars = VarMap::new();
    let module = CKConvNd::new(config, init::var_builder(&vars, 5, dtype, &Device::Cpu)).unwrap();
    (vars, module)
}

/// The convolution in a folder, loaded by discovery.
fn load(folder: &Path, prefix: Option<&str>, dtype: DType) -> CKConvNd {
    let checkpoint = Arc::new(Checkpoint::open(folder).unwrap());
    let settings = KernelSettings::from_json(&checkpoint.config().unwrap().unwrap()).unwrap();
    let discovery = checkpoint.discover().unwrap();
    let found = discovery.conv(prefix).unwrap();
    CKConvNd::load(&checkpoint, found, &settings, dtype, &Device::Cpu).unwrap()
}

#[test]
fn every_way_gives_pytorchs_numbers() {
    let folders = cases("ckconv");
    assert_eq!(folders.len(), 9);
    for folder in folders {
        let io = Checkpoint::open(folder.join("io.safetensors")).unwrap();
        for dtype in [DType::F32, DType::F64] {
            let signal = tensor(&io, "input", dtype);
            let expected = tensor(&io, "output", DType::F64);
            let conditioning = io.get("conditioning").map(|_| tensor(&io, "conditioning", dtype));
            let condition = conditioning.as_ref().map_or(Condition::None, Condition::Conditioning);
            let rank = signal.rank();
            let first: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
            for way in WAYS {
                let module = load(&folder, None, dtype).algorithm(way);
                let error = relative_error(&module.forward(&signal, condition).unwrap(), &expected);
                assert!(error < 2e-6, "{} {way:?} {dtype:?}: {error:e}", folder.display());
                let module = module.channels(Channels::First);
                let output = module.forward(&signal.permute(first.clone()).unwrap(), condition);
                let expected = expected.permute(first.clone()).unwrap();
                let error = relative_error(&output.unwrap(), &expected);
                assert!(error < 2e-6, "{} {way:?} channels first: {error:e}", folder.display());
            }
        }
    }
}

#[test]
fn a_production_checkpoint_convolves_as_in_pytorch() {
    let folder = fixture("hybrid_model");
    let io = Checkpoint::open(folder.join("io.safetensors")).unwrap();
    for block in 0..2 {
        let name = format!("blocks.{block}.sequence_mixer.inner_mixer.mixer.global_conv");
        let registers = tensor(&io, &format!("blocks.{block}.register_pooling.input"), DType::F32);
        let signal = tensor(&io, &format!("{name}.input"), DType::F32);
        let expected = tensor(&io, &format!("{name}.output"), DType::F32);
        for way in WAYS {
            let module = load(&folder, Some(&format!("blocks.{block}")), DType::F32);
            let module = module.channels(Channels::First).algorithm(way);
            let output = module.forward(&signal, Condition::Registers(&registers)).unwrap();
            let error = relative_error(&output, &expected);
            assert!(error < 2e-6, "block {block} {way:?}: {error:e}");
        }
    }
}

#[test]
fn json_and_shapes_tell_the_same_convolution() {
    for folder in cases("ckconv") {
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let json = checkpoint.config().unwrap().unwrap();
        let told = CKConvConfig::from_json(&json).unwrap();
        let vb = Arc::new(Checkpoint::open(&folder).unwrap()).var_builder(DType::F32, &Device::Cpu);
        CKConvNd::new(&told, vb).unwrap();
        let discovery = checkpoint.discover().unwrap();
        let found = discovery.conv(None).unwrap();
        let found = found.config(&KernelSettings::from_json(&json).unwrap()).unwrap();
        assert_eq!(found.boundaries, told.boundaries);
        assert_eq!(found.mask, told.mask);
        assert_eq!(found.kernel.l_cache, told.kernel.l_cache);
        let names = |config: &CKConvConfig| -> Vec<String> {
            config.parameters().unwrap().into_iter().map(|parameter| parameter.name).collect()
        };
        assert_eq!(names(&found), names(&told));
        let mut there: Vec<&str> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
        let mut named = names(&told);
        named.sort();
        there.sort_unstable();
        assert_eq!(named, there, "{}", folder.display());
    }
}

#[test]
fn counts_are_the_originals() {
    let all = json_fixture("flops.json");
    let mut checked = 0;
    for entry in all.as_array().unwrap().iter().filter(|entry| entry["module"] == "CKConvND") {
        let config = CKConvConfig::from_json(entry["config"].as_object().unwrap()).unwrap();
        let spatial: Vec<usize> = serde_json::from_value(entry["spatial"].clone()).unwrap();
        for (phase, key) in [(Phase::Training, "training"), (Phase::Inference, "inference")] {
            let flops = config.flops(&spatial, phase).unwrap();
            assert_eq!(flops.total(), entry[key].as_u64().unwrap(), "{key} {}", entry["config"]);
            assert_eq!(flops.items().iter().map(|item| item.flops).sum::<u64>(), flops.total());
        }
        checked += 1;
    }
    assert_eq!(checked, 9);
    let overflow = CKConvConfig::new(siren(1, true), &[Boundary::Zero]).unwrap();
    assert!(message(overflow.flops(&[1 << 62], Phase::Training)).contains("overflows"));
}

#[test]
fn a_fresh_one_starts_and_decays_as_it_should() {
    let config =
        CKConvConfig::new(SirenConfig { out_dim: 400, ..siren(2, true) }, &[Boundary::Zero; 2]);
    let config = config.unwrap();
    let (vars, _) = fresh(&config, DType::F64);
    let shortcut = numbers(&vars.data().lock().unwrap()["shortcut"]);
    let largest = shortcut.iter().fold(0f64, |max, x| max.max(x.abs()));
    assert!(largest < 0.05 && largest > 0.048, "U(±1/√400): {largest}");
    let parameters = config.parameters().unwrap();
    let decays = |name: &str| parameters.iter().find(|p| p.name == name).unwrap().weight_decay;
    assert_eq!(decays("shortcut"), WeightDecay::Default);
    assert_eq!(decays("kernel.hidden_linears.0.weight"), WeightDecay::None);
}

#[test]
fn the_cache_length_is_halved_on_rings() {
    let kernel = SirenConfig { l_cache: vec![9, 8], ..siren(2, false) };
    let config = CKConvConfig::new(kernel, &[Boundary::Circular, Boundary::Zero]).unwrap();
    assert_eq!(config.kernel.l_cache, [5, 8]);
    assert_eq!(config.grid_lengths(&[9, 8]).unwrap(), [5, 8]);
}

#[test]
fn constants_are_drawn_once_and_variables_each_time() {
    let folder = fixture("ckconv/2d_zero_unconditioned");
    let module = load(&folder, None, DType::F32);
    let [first, second] = [0, 1].map(|_| module.kernel(&[6, 5], Condition::None).unwrap());
    assert_eq!(first.id(), second.id());
    assert_ne!(first.dims(), module.kernel(&[4, 4], Condition::None).unwrap().dims());
    // A kernel without a generator depends on no condition, kept or not.
    let registers = random("r", &[2, 3, 4], DType::F32);
    for lengths in [[6, 5], [3, 3]] {
        let kernel = module.kernel(&lengths, Condition::Registers(&registers)).unwrap();
        assert_eq!(kernel.dim(0).unwrap(), 1);
    }

    let config = CKConvConfig::new(siren(1, false), &[Boundary::Zero]).unwrap();
    let (vars, module) = fresh(&config, DType::F32);
    let before = module.kernel(&[5], Condition::None).unwrap();
    let weight = vars.data().lock().unwrap()["kernel.out_linear.weight"].clone();
    weight.set(&(weight.as_tensor() * 2.0).unwrap()).unwrap();
    let after = module.kernel(&[5], Condition::None).unwrap();
    assert_ne!(numbers(&before), numbers(&after));
}

#[test]
fn half_precision_keeps_the_signals_dtype() {
    let folder = fixture("ckconv/2d_zero");
    let io = Checkpoint::open(folder.join("io.safetensors")).unwrap();
    let [signal, conditioning] =
        ["input", "conditioning"].map(|name| tensor(&io, name, DType::BF16));
    let module = load(&folder, None, DType::BF16);
    let output = module.forward(&signal, Condition::Conditioning(&conditioning)).unwrap();
    assert_eq!(output.dtype(), DType::BF16);
    assert!(relative_error(&output, &tensor(&io, "output", DType::F64)) < 0.05);
}

fn config_json() -> Value {
    json!({
        "data_dim": 1, "hidden_dim": 4, "fft_padding": "zero", "grid_type": "double",
        "kernel": {
            "out_dim": 4, "data_dim": 1, "mlp_hidden_dim": 6, "num_layers": 2, "embedding_dim": 6,
            "omega_0": 5.0, "L_cache": [5]
        }
    })
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    let refused = |key: &str, value: Value| {
        let mut json = config_json();
        json[key] = value;
        message(CKConvConfig::from_json(json.as_object().unwrap()))
    };
    assert!(CKConvConfig::from_json(config_json().as_object().unwrap()).is_ok());
    assert_eq!(
        refused("fft_padding", json!("reflect")),
        "fft_padding: expected \"zero\", \"circular\", or a list of them, found \"reflect\""
    );
    assert_eq!(
        refused("fft_padding", json!(["zero", "zero"])),
        "fft_padding: expected 1 of them, one for each axis, found [\"zero\",\"zero\"]"
    );
    assert!(refused("fft_padding", Value::Null).starts_with("fft_padding: expected"));
    assert_eq!(
        refused("grid_type", json!("single")),
        "grid_type: expected \"double\" with fft_padding \"zero\", found \"single\""
    );
    assert_eq!(
        refused("hidden_dim", json!(5)),
        "hidden_dim: expected 4, as the kernel has it, found 5"
    );
    assert_eq!(refused("kernel", json!(3)), "kernel: expected an object, found 3");
    assert!(refused("mask", json!({ "type": "box", "num_channels": 4 })).starts_with("mask.type"));
    assert!(
        refused("mask", json!({ "type": "gaussian", "num_channels": 5 })).starts_with("mask: ")
    );
    let mut json = config_json();
    json["is_causal"] = true.into();
    let causal = CKConvConfig::from_json(json.as_object().unwrap()).unwrap();
    assert_eq!(causal.boundaries, [Boundary::Causal]);
    json["fft_padding"] = "circular".into();
    let text = message(CKConvConfig::from_json(json.as_object().unwrap()));
    assert_eq!(text, "fft_padding: expected \"zero\" with is_causal, found \"circular\"");
    assert_eq!(
        message(CKConvConfig::new(siren(2, false), &[Boundary::Causal; 2])),
        "is_causal: expected one axis, for a causal convolution, found 2 axes"
    );
}

#[test]
fn signals_that_do_not_fit_are_refused() {
    let module = load(&fixture("ckconv/2d_zero"), None, DType::F32);
    let forward =
        |shape: &[usize]| message(module.forward(&random("x", shape, DType::F32), Condition::None));
    assert_eq!(forward(&[2, 6, 5, 7]), "signal: expected shape [B, N1, N2, 8], found [2, 6, 5, 7]");
    assert!(forward(&[2, 6, 8]).starts_with("signal: expected shape"));
    assert!(forward(&[2, 0, 5, 8]).contains("at least 1"));
    let conditioning = random("c", &[3, 12], DType::F32);
    let signal = random("x", &[2, 6, 5, 8], DType::F32);
    let text = message(module.forward(&signal, Condition::Conditioning(&conditioning)));
    assert!(text.starts_with("kernel: expected shape [1 or 2, K1, K2, 8]"), "{text}");
}

#[test]
fn what_is_missing_is_said() {
    let folder = fixture("ckconv/1d_zero");
    let checkpoint = Arc::new(Checkpoint::open(folder).unwrap());
    let discovery = checkpoint.discover().unwrap();
    let settings = KernelSettings { l_cache: Some(vec![10]), ..KernelSettings::default() };
    let text = message(discovery.conv(None).unwrap().config(&settings));
    assert!(text.contains("does not tell fft_padding"), "{text}");
    let (_folder, other) = small_checkpoint(&[("x", &[2])], None);
    assert!(message(other.discover().unwrap().conv(None)).starts_with("holds no convolution"));
    let no_shortcut: Vec<(String, Vec<usize>)> = checkpoint
        .tensors()
        .iter()
        .filter(|tensor| tensor.name != "shortcut")
        .map(|tensor| (tensor.name.clone(), tensor.shape.clone()))
        .collect();
    let shapes: Vec<(&str, &[usize])> =
        no_shortcut.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    let (_folder, other) = small_checkpoint(&shapes, None);
    let text = message(other.discover().unwrap().conv(None));
    assert_eq!(text, "holds no convolution: shortcut is missing");
}

#[test]
fn a_shared_condition_serves_the_batch() {
    let module = load(&fixture("ckconv/1d_causal"), None, DType::F64);
    let signal = random("x", &[3, 10, 8], DType::F64);
    let one = random("c", &[1, 12], DType::F64);
    let all = Tensor::cat(&[&one, &one, &one], 0).unwrap();
    let [shared, each] =
        [&one, &all].map(|c| module.forward(&signal, Condition::Conditioning(c)).unwrap());
    assert!(relative_error(&shared, &each) < 1e-13);
}

#[test]
fn one_kernel_serves_many_signals() {
    let module = load(&fixture("ckconv/2d_zero"), None, DType::F64);
    let conditioning = random("c", &[1, 12], DType::F64);
    let condition = Condition::Conditioning(&conditioning);
    let kernel = module.kernel(&[6, 5], condition).unwrap();
    for name in ["one", "another"] {
        let signal = random(name, &[2, 6, 5, 8], DType::F64);
        let together = module.forward(&signal, condition).unwrap();
        assert_eq!(numbers(&module.convolve(&signal, &kernel).unwrap()), numbers(&together));
    }
    let text = message(module.convolve(&random("x", &[2, 6, 5, 7], DType::F64), &kernel));
    assert_eq!(text, "signal: expected shape [B, N1, N2, 8], found [2, 6, 5, 7]");
}

#[test]
fn a_config_that_contradicts_the_tensors_is_refused() {
    let refused = |case: &str, change: &dyn Fn(&mut Value)| {
        let checkpoint = Checkpoint::open(fixture(case)).unwrap();
        let mut config = Value::Object(checkpoint.config().unwrap().unwrap());
        change(&mut config);
        let files = [
            ("config.json", config.to_string().into_bytes()),
            ("model.safetensors", std::fs::read(fixture(case).join("model.safetensors")).unwrap()),
        ];
        let folder = folder(&files.each_ref().map(|(name, bytes)| (*name, bytes.as_slice())));
        let checkpoint = Arc::new(Checkpoint::open(folder.path()).unwrap());
        let discovery = checkpoint.discover().unwrap();
        let found = discovery.conv(None).unwrap();
        let loaded = checkpoint.kernel_settings(&found.kernel).and_then(|settings| {
            CKConvNd::load(&checkpoint, found, &settings, DType::F32, &Device::Cpu)
        });
        let text = message(loaded);
        text.rsplit_once("config.json: ").map_or(text.clone(), |(_, text)| text.into())
    };
    let zero = "ckconv/2d_zero";
    assert_eq!(
        refused(zero, &|json| json["hidden_dim"] = 9.into()),
        "hidden_dim: expected 8, as the tensors have it, found 9"
    );
    assert_eq!(
        refused(zero, &|json| json["data_dim"] = 1.into()),
        "data_dim: expected 2, as the tensors have it, found 1"
    );
    let none = "mask: expected none, as there is neither mask.std_param nor mask.weight, found ";
    assert_eq!(
        refused(zero, &|json| json["mask"] = json!({ "type": "gaussian", "num_channels": 8 })),
        format!("{none}\"gaussian\"")
    );
    assert_eq!(
        refused(zero, &|json| json["kernel"]["mask"] = "GaussianModulationND".into()),
        format!("{none}\"GaussianModulationND\"")
    );
    let masked = "ckconv/2d_zero_gaussian";
    assert_eq!(
        refused(masked, &|json| json["mask"]["type"] = "exponential".into()),
        "mask: expected a Gaussian one, as there is mask.std_param, found \"exponential\""
    );
    assert_eq!(
        refused(masked, &|json| json["mask"]["num_channels"] = 7.into()),
        "num_channels: expected 8, as the tensors have it, found 7"
    );
}
