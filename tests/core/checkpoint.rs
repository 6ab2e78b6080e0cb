//! Saving and loading: the same weights give the same bytes, and nothing is replaced unasked.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};
use candle_nn::VarMap;
use film_core::checkpoint::{Checkpoint, save};
use film_core::{InitType, KernelFilmConfig, KernelFilmGenerator, NoWeightDecay, init};
use proptest::prelude::*;

use crate::support::{fixture, folder, message, numbers, safetensors_bytes, tensor};

fn generator(config: &KernelFilmConfig, seed: u64, dtype: DType) -> KernelFilmGenerator {
    let vb = init::var_builder(&VarMap::new(), seed, dtype, &Device::Cpu);
    KernelFilmGenerator::new(config, vb).unwrap()
}

fn bytes(folder: &Path) -> [Vec<u8>; 2] {
    ["model.safetensors", "config.json"].map(|name| std::fs::read(folder.join(name)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn saved_loaded_and_saved_again_is_the_same(
        (cond, width, layers, hidden) in (1..20usize, 1..9usize, 1..5usize, 1..20usize),
        seed: u64,
        dtype in prop::sample::select(vec![DType::F32, DType::F64, DType::F16, DType::BF16]),
    ) {
        let config = KernelFilmConfig::new(cond, width, layers)
            .with_film_hidden_dim(hidden)
            .with_init_type(InitType::SmallRandom)
            .with_init_std(0.3)
            .with_no_weight_decay(NoWeightDecay::Value(0.005));
        let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        save(first.path(), &config, generator(&config, seed, dtype).tensors(), false).unwrap();

        let checkpoint = Arc::new(Checkpoint::open(first.path()).unwrap());
        let read = KernelFilmConfig::from_json(&checkpoint.config().unwrap().unwrap()).unwrap();
        prop_assert_eq!(&read, &config);
        let vb = checkpoint.var_builder(dtype, &Device::Cpu);
        let loaded = KernelFilmGenerator::new(&read, vb).unwrap();
        save(second.path(), &read, loaded.tensors(), false).unwrap();
        prop_assert_eq!(bytes(first.path()), bytes(second.path()));

        // The format's own reader takes it.
        let [weights, _] = bytes(first.path());
        let (_, header) = safetensors::SafeTensors::read_metadata(&weights).unwrap();
        let metadata = header.metadata().clone().unwrap();
        prop_assert_eq!(metadata.into_iter().collect::<Vec<_>>(), [("format".to_string(), "pt".to_string())]);
        let tensors = safetensors::SafeTensors::deserialize(&weights).unwrap();
        prop_assert_eq!(tensors.len(), 4);
    }
}

#[test]
fn existing_files_are_replaced_only_when_asked() {
    let config = KernelFilmConfig::new(3, 2, 1);
    let folder = tempfile::tempdir().unwrap();
    let write = |seed, overwrite| {
        save(folder.path(), &config, generator(&config, seed, DType::F32).tensors(), overwrite)
    };
    write(0, false).unwrap();
    let first = bytes(folder.path());
    let text = message(write(1, false));
    assert_eq!(text, format!("{}: exists already", folder.path().join("config.json").display()));
    assert_eq!(bytes(folder.path()), first);
    write(1, true).unwrap();
    assert_ne!(bytes(folder.path()), first);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left behind");
    // One of the two is enough to refuse, and then neither appears.
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    assert!(message(write(2, false)).ends_with("model.safetensors: exists already"));
    assert!(!folder.path().join("config.json").exists());
}

#[test]
fn shards_are_one_checkpoint_by_folder_and_by_index() {
    let by_folder = Checkpoint::open(fixture("hybrid_model")).unwrap();
    let by_index = Checkpoint::open(fixture("hybrid_model/model.safetensors.index.json")).unwrap();
    assert_eq!(by_folder.files().len(), 3);
    assert_eq!(by_folder.tensors(), by_index.tensors());
    assert!(by_index.config().unwrap().is_some());
    for info in by_folder.tensors() {
        let whole = by_folder.load(info, &Device::Cpu).unwrap();
        assert_eq!(whole.dims(), info.shape);
        let file = Checkpoint::open(by_folder.file_of(info).path()).unwrap();
        assert_eq!(numbers(&whole), numbers(&tensor(&file, &info.name, DType::F32)));
        let count = info.count();
        let range = count / 3..count - count / 4;
        let part = by_folder.load_range(info, range.clone(), &Device::Cpu).unwrap();
        assert_eq!(numbers(&part), numbers(&whole)[range]);
    }
    let beyond = by_folder.load_range(&by_folder.tensors()[0], 0..1 << 40, &Device::Cpu);
    assert!(message(beyond).contains("elements, found 0..1099511627776"));
}

#[test]
fn every_float_that_is_stored_loads_as_its_value() {
    // 1.5 and −2 in each dtype.
    for (dtype, data) in [
        ("F64", [1.5f64.to_le_bytes(), (-2f64).to_le_bytes()].concat()),
        ("F32", [1.5f32.to_le_bytes(), (-2f32).to_le_bytes()].concat()),
        ("F16", vec![0x00, 0x3e, 0x00, 0xc0]),
        ("BF16", vec![0xc0, 0x3f, 0x00, 0xc0]),
        ("F8_E4M3", vec![0x3c, 0xc0]),
    ] {
        let header = format!(
            r#"{{"x": {{"dtype": "{dtype}", "shape": [2], "data_offsets": [0, {}]}}}}"#,
            data.len()
        );
        let folder = folder(&[("model.safetensors", &safetensors_bytes(&header, &data))]);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(numbers(&tensor(&checkpoint, "x", DType::F32)), [1.5, -2.0], "{dtype}");
    }
    let header = r#"{"x": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}"#;
    let folder = folder(&[("model.safetensors", &safetensors_bytes(header, &[0, 1]))]);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let text = message(checkpoint.load(&checkpoint.tensors()[0], &Device::Cpu));
    assert!(
        text.ends_with("model.safetensors: x: expected a dtype that candle can load, found BOOL"),
        "{text}"
    );
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let config = KernelFilmConfig::new(64, 8, 2);
    save(folder.path(), &config, generator(&config, 0, DType::F32).tensors(), false).unwrap();
    let checkpoint = Arc::new(Checkpoint::open(folder.path()).unwrap());
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join("model.safetensors"))
        .unwrap();
    file.set_len(1000).unwrap();
    let built = KernelFilmGenerator::new(&config, checkpoint.var_builder(DType::F32, &Device::Cpu));
    let text = message(built);
    assert!(text.contains("model.safetensors: expected"), "{text}");
    assert!(text.ends_with("found the file shortened since it was opened"), "{text}");
}
