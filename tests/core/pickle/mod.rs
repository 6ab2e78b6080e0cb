//! PyTorch pickles: the tensors in them to the last bit, and which of them are the weights.

mod build;
mod machine;
mod malformed;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use film_core::checkpoint::{Checkpoint, PickleCheckpoint, PickleOptions};
use film_core::{Error, Result};

use self::build::{archive, call, dict, floats, legacy_start, pair, pickle, saved, text, tuple};
use crate::support::{fixture, folder, gathered, message, numbers, tensor};

fn open(path: &Path) -> Result<PickleCheckpoint> {
    PickleCheckpoint::open(path, &PickleOptions::default())
}

fn with_key(path: &Path, key: &str) -> Result<PickleCheckpoint> {
    PickleCheckpoint::open(path, &PickleOptions { key: Some(key.into()), ..Default::default() })
}

fn skipping(path: &Path) -> Result<PickleCheckpoint> {
    PickleCheckpoint::open(path, &PickleOptions { skip_unknown: true, ..Default::default() })
}

/// What opening a file of these bytes gives; errors do not name it.
fn opened(bytes: &[u8]) -> Result<PickleCheckpoint> {
    let folder = folder(&[("x.pt", bytes)]);
    open(&folder.path().join("x.pt")).map_err(|error| match error {
        Error::InFile { error, .. } => *error,
        other => other,
    })
}

/// A tensor's name, dtype, shape and bytes.
type Content = (String, String, Vec<usize>, Vec<u8>);

fn content(checkpoint: &PickleCheckpoint) -> Vec<Content> {
    let tensors = checkpoint.tensors().iter().map(|tensor| {
        let bytes = gathered(|each| checkpoint.blocks(tensor, each));
        (tensor.name.clone(), tensor.dtype.to_string(), tensor.shape.clone(), bytes)
    });
    tensors.collect()
}

fn safetensors_content(path: PathBuf) -> Vec<Content> {
    let checkpoint = Checkpoint::open(path).unwrap();
    let tensors = checkpoint.tensors().iter().map(|tensor| {
        let bytes = gathered(|each| checkpoint.blocks(tensor, each));
        (tensor.name.clone(), tensor.dtype.to_string(), tensor.shape.clone(), bytes)
    });
    tensors.collect()
}

#[test]
fn every_case_is_what_pytorch_loads() {
    let cases = [
        ("kinds.pt", "kinds"),
        ("strided.pt", "strided"),
        ("strided_legacy.pt", "strided"),
        ("module.pt", "module"),
        ("protocol_1.pt", "module"),
        ("protocol_2.pt", "module"),
        ("protocol_3.pt", "module"),
        ("protocol_4.pt", "module"),
        ("protocol_1_legacy.pt", "module"),
        ("protocol_4_legacy.pt", "module"),
        ("protocol_5.pt", "module"),
        ("parameters.pt", "parameters"),
        ("training.ckpt", "training"),
        ("nested.pt", "nested"),
        ("mixed.pt", "mixed"),
        ("big_endian.pt", "big_endian"),
    ];
    for (case, expected) in cases {
        let path = fixture("pickle").join(case);
        assert!(PickleCheckpoint::is_at(&path).unwrap(), "{case}");
        let found = content(&open(&path).unwrap());
        assert_eq!(
            found,
            safetensors_content(fixture("pickle").join(format!("{expected}.safetensors"))),
            "{case}"
        );
    }
}

#[test]
fn the_original_pickles_are_a_generator_of_the_fixtures() {
    let weights = fixture("generator/odd_13x7x5_h11/model.safetensors");
    assert!(!PickleCheckpoint::is_at(&weights).unwrap());
    let expected = safetensors_content(weights);
    for (case, prefix) in [
        ("state_dict.pt", ""),
        ("legacy_format.pt", ""),
        ("lightning.ckpt", "network.blocks.0.film_generator."),
    ] {
        let mut found = content(&open(&fixture("pickle").join(case)).unwrap());
        found.iter_mut().for_each(|(name, ..)| *name = name.strip_prefix(prefix).unwrap().into());
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn tensors_load_into_candle() {
    let checkpoint = open(&fixture("pickle/strided.pt")).unwrap();
    let expected = Checkpoint::open(fixture("pickle/strided.safetensors")).unwrap();
    for info in checkpoint.tensors() {
        let loaded = checkpoint.load(info, &Device::Cpu).unwrap();
        let expected = tensor(&expected, &info.name, DType::F64);
        assert_eq!(loaded.dims(), expected.dims(), "{}", info.name);
        assert_eq!(numbers(&loaded), numbers(&expected), "{}", info.name);
    }
    let checkpoint = open(&fixture("pickle/kinds.pt")).unwrap();
    let bool = checkpoint.tensors().iter().find(|tensor| tensor.name == "bool").unwrap();
    let text = message(checkpoint.load(bool, &Device::Cpu));
    assert_eq!(text, "bool: expected a dtype that candle can load, found BOOL");
}

#[test]
fn what_stands_beside_the_weights_is_listed() {
    let listed = |name: &str| -> Vec<(String, String, usize)> {
        let checkpoint = open(&fixture("pickle").join(name)).unwrap();
        let skipped = checkpoint.files()[0].skipped().iter();
        skipped.map(|entry| (entry.path.clone(), entry.what.clone(), entry.tensors)).collect()
    };
    let entry = |path: &str, what: &str, tensors| (path.to_string(), what.to_string(), tensors);
    assert_eq!(
        listed("training.ckpt"),
        [
            entry("epoch", "3", 0),
            entry("global_step", "1200", 0),
            entry("pytorch-lightning_version", "\"2.5.0\"", 0),
            entry("loops", "a dict of 1", 0),
            entry("callbacks", "a dict of 1", 1),
            // A step and two moments for each of the two parameters.
            entry("optimizer_states", "a list of 1", 6),
            entry("lr_schedulers", "a list of 1", 0),
            entry("hparams_name", "\"args\"", 0),
            entry("hyper_parameters", "an object of argparse.Namespace", 0),
        ]
    );
    assert_eq!(listed("nested.pt"), [entry("checkpoint.step", "5", 0)]);
    assert_eq!(
        listed("mixed.pt"),
        [entry("epoch", "3", 0), entry("extra._extra_state", "a dict of 1", 0)]
    );
    assert_eq!(listed("module.pt"), []);
    let checkpoint = open(&fixture("pickle/nested.pt")).unwrap();
    assert_eq!(checkpoint.files()[0].key(), "checkpoint.state_dict");
}

#[test]
fn tied_weights_are_known() {
    let checkpoint = open(&fixture("pickle/strided.pt")).unwrap();
    let storage = |name: &str| {
        checkpoint.tensors().iter().find(|tensor| tensor.name == name).unwrap().storage()
    };
    assert_eq!(storage("tied"), storage("tied.again"));
    assert_eq!(storage("offset"), storage("transposed"));
    assert_ne!(storage("tied"), storage("offset"));
}

#[test]
fn one_of_several_state_dicts_is_chosen_by_its_key() {
    let path = fixture("pickle/several.pt");
    let text = message(open(&path));
    let text = text.strip_prefix(&format!("{}: ", path.display())).unwrap();
    assert_eq!(
        text,
        "holds 2 state dicts: model (2 tensors), ema (1 tensor): choose one by its key"
    );
    let ema = with_key(&path, "ema").unwrap();
    assert_eq!(content(&ema)[0].3, floats(&[1.0; 6]));
    assert_eq!(ema.files()[0].key(), "ema");
    let skipped = ema.files()[0].skipped();
    assert_eq!((skipped[0].path.as_str(), skipped[0].tensors), ("model", 2));
    let text = message(with_key(&path, "emo"));
    assert!(
        text.ends_with("holds no state dict at \"emo\"; found: model (2 tensors), ema (1 tensor)"),
        "{text}"
    );
    // A loss and a step are no weights.
    let number = || build::tensor(2, 0, &[], &[]);
    let losses = dict(&[("loss", number()), ("epoch", build::int(3))]);
    let root = [("model", dict(&[("w", pair())])), ("metrics", losses), ("step", number())];
    let checkpoint = opened(&saved(&dict(&root))).unwrap();
    assert_eq!(checkpoint.files()[0].key(), "model");
    let alone = opened(&saved(&dict(&[("loss", number())]))).unwrap();
    assert_eq!(alone.tensors()[0].name, "loss");
    // Weights around weights: nobody knows which are meant.
    let around = saved(&dict(&[("w", pair()), ("more", dict(&[("x", pair()), ("y", pair())]))]));
    let text = message(opened(&around));
    assert_eq!(
        text,
        "holds 2 state dicts: (root) (1 tensor), more (2 tensors): choose one by its key"
    );
    let folder = folder(&[("x.pt", &around)]);
    let root = with_key(&folder.path().join("x.pt"), "").unwrap();
    assert_eq!((root.tensors().len(), root.files()[0].skipped()[0].tensors), (1, 2));
    // What a module keeps beside its tensors is no state dict.
    let extra = ("layer._extra_state", dict(&[("scale", pair())]));
    let checkpoint = opened(&saved(&dict(&[("w", pair()), extra]))).unwrap();
    assert_eq!(checkpoint.files()[0].skipped()[0].tensors, 1);
    // Lightning's own key is preferred, whatever else it holds, and the other is listed.
    let weights = dict(&[("w", pair()), ("version", build::int(2))]);
    let both = dict(&[("ema", dict(&[("a", pair())])), ("state_dict", weights)]);
    let checkpoint = opened(&saved(&both)).unwrap();
    assert_eq!(checkpoint.tensors()[0].name, "w");
    assert_eq!(checkpoint.files()[0].skipped()[0].tensors, 1);
}

#[test]
fn no_tensor_is_lost_without_a_word() {
    // One in a tuple in a list, one as a key, one in an attribute, one that nothing leads to.
    let hidden = [b"](".to_vec(), tuple(&[pair()]), b"e".to_vec()].concat();
    let odd = [b"}".to_vec(), pair(), b"Ns".to_vec()].concat();
    let mut root = dict(&[("model", dict(&[("w", pair())])), ("list", hidden), ("odd", odd)]);
    root.extend([pair(), b"0".to_vec()].concat());
    let with_state =
        [call("collections OrderedDict", &[]), dict(&[("x", pair())]), b"b".to_vec()].concat();
    root.extend([text("late"), with_state, b"s".to_vec()].concat());
    let checkpoint = opened(&saved(&root)).unwrap();
    let skipped: Vec<(&str, usize)> = checkpoint.files()[0]
        .skipped()
        .iter()
        .map(|entry| (entry.path.as_str(), entry.tensors))
        .collect();
    assert_eq!(skipped, [("list", 1), ("odd", 1), ("late", 1), ("(elsewhere)", 1)]);
    // A number is no name of a weight.
    let root = [dict(&[("w", pair())]), build::int(7), pair(), b"s".to_vec()].concat();
    let checkpoint = opened(&saved(&root)).unwrap();
    assert_eq!(checkpoint.tensors().len(), 1);
    let skipped = &checkpoint.files()[0].skipped()[0];
    assert_eq!((skipped.path.as_str(), skipped.tensors), ("7", 1));
}

#[test]
fn unknown_objects_are_refused_unless_they_are_to_be_passed_over() {
    let path = fixture("pickle/unknown_class.ckpt");
    let text = message(open(&path));
    assert!(
        text.ends_with(
            "calls project.Settings, which is not known to make plain data: nothing was run"
        ),
        "{text}"
    );
    let checkpoint = skipping(&path).unwrap();
    let skipped = &checkpoint.files()[0].skipped()[0];
    assert_eq!(skipped.what, "an object of project.Settings");
    assert_eq!(
        content(&checkpoint),
        safetensors_content(fixture("pickle/unknown_class.safetensors"))
    );
    // What runs code is never passed over.
    let path = fixture("pickle/executes_code.pt");
    for result in [open(&path), skipping(&path)] {
        let text = message(result);
        assert!(
            text.ends_with("calls posix.system, which runs code: refused, and nothing was run"),
            "{text}"
        );
    }
    assert!(!Path::new("pickle_was_executed").exists());
    let text = message(skipping(&fixture("pickle/refused_whole_module.pt")));
    let found =
        "but an object of torch.nn.modules.linear.Linear; of a module save its state_dict()";
    assert!(text.ends_with(found), "{text}");
}

#[test]
fn tensors_that_cannot_be_stored_are_refused_among_the_weights() {
    for (case, what) in [
        ("quantized", "a quantized tensor"),
        ("sparse", "a sparse tensor"),
        ("complex128", "a tensor of complex128"),
        ("conjugated", "a lazily conjugated or negated tensor"),
        ("meta", "a tensor without data, on device meta"),
    ] {
        let path = fixture("pickle").join(format!("refused_{case}.pt"));
        let text = message(open(&path));
        let expected = format!("weight: expected a tensor that safetensors can hold, found {what}");
        assert_eq!(text, format!("{}: {expected}", path.display()));
    }
    // Beside them they are only counted.
    let sparse = call("torch._utils _rebuild_sparse_tensor", &[]);
    let tables = [b"]".to_vec(), sparse, b"a".to_vec()].concat();
    let root = dict(&[("model", dict(&[("w", pair())])), ("tables", tables)]);
    assert_eq!(opened(&saved(&root)).unwrap().files()[0].skipped()[0].tensors, 1);
}

#[test]
fn shards_of_pickles_are_one_checkpoint() {
    let shard = |name: &str, values: &[f32]| {
        archive(&[("data.pkl", &pickle(&dict(&[(name, pair())]))), ("data/0", &floats(values))])
    };
    let index = r#"{"weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"}}"#;
    let wrong = index.replace("\"b\":", "\"c\":");
    let folder = folder(&[
        ("pytorch_model-1.bin", &shard("a", &[1.0, 2.0])),
        ("pytorch_model-2.bin", &shard("b", &[3.0, 4.0])),
        ("pytorch_model.bin.index.json", index.as_bytes()),
        ("config.json", b"{}"),
        ("wrong.index.json", wrong.as_bytes()),
    ]);
    for path in [folder.path().to_path_buf(), folder.path().join("pytorch_model.bin.index.json")] {
        assert!(PickleCheckpoint::is_at(&path).unwrap());
        let checkpoint = open(&path).unwrap();
        let bytes: Vec<Vec<u8>> =
            content(&checkpoint).into_iter().map(|(.., bytes)| bytes).collect();
        assert_eq!(bytes, [floats(&[1.0, 2.0]), floats(&[3.0, 4.0])]);
        assert_eq!(checkpoint.files().len(), 2);
        assert!(checkpoint.config_path().is_some());
    }
    let text = message(open(&folder.path().join("wrong.index.json")));
    assert!(text.contains("weight_map: tensor \"c\" is not in"), "{text}");
}

#[test]
fn views_of_storages_in_the_legacy_format_are_read() {
    // A view of two elements from number 1 on, and in it a tensor of one from number 1 on.
    let id = |view: Vec<u8>| {
        let id = [
            text("storage"),
            build::global("torch FloatStorage"),
            text("7"),
            text("cpu"),
            build::int(4),
            view,
        ];
        [tuple(&id), b"Q".to_vec()].concat()
    };
    let view = tuple(&[text("8"), build::int(1), build::int(2)]);
    let args = [id(view), build::int(1), build::ints(&[1]), build::ints(&[1])];
    let viewed = call("torch._utils _rebuild_tensor", &args);
    let args = [id(b"N".to_vec()), build::int(0), build::ints(&[4]), build::ints(&[1])];
    let whole = call("torch._utils _rebuild_tensor", &args);
    let object = pickle(&dict(&[("viewed", viewed), ("whole", whole)]));
    let keys = pickle(&[b"](".to_vec(), text("7"), b"e".to_vec()].concat());
    let data = [4u64.to_le_bytes().to_vec(), floats(&[1.0, 2.0, 3.0, 4.0])].concat();
    let folder = folder(&[("x", &[legacy_start(), object, keys, data].concat())]);
    let found = content(&open(&folder.path().join("x")).unwrap());
    assert_eq!(found[0].3, floats(&[3.0]));
    assert_eq!(found[1].3, floats(&[1.0, 2.0, 3.0, 4.0]));
}
