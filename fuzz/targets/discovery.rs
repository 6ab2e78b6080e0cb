//! Checkpoints of any names and shapes, most of them those of modules.
#![no_main]

use std::fs::File;

use film_core::checkpoint::Checkpoint;
use film_fuzz::{check, examine, folder, headed, write};
use libfuzzer_sys::{arbitrary, fuzz_target};

const SEGMENTS: [&str; 32] = [
    "mlp",
    "0",
    "1",
    "2",
    "weight",
    "bias",
    "film_generator",
    "kernel",
    "hidden_linears",
    "linear",
    "positional_embedding",
    "out_linear",
    "omega_0_scale",
    "mask",
    "std_param",
    "shortcut",
    "register_pooling",
    "logits",
    "compress",
    "blocks",
    "mixer",
    "global_conv",
    "network",
    "_orig_mod",
    "",
    "é\n",
    "x",
    "positional_embedding.linear.weight",
    "hidden_linears.0.weight",
    "mlp.0.weight",
    "mlp.2.weight",
    "out_linear.weight",
];
const SIZES: [u64; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 255, 1 << 20, 1 << 31];

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    tensors: Vec<([u8; 4], u8, [u8; 3])>,
    config: Option<String>,
}

fuzz_target!(|input: Input| {
    let mut header = serde_json::Map::new();
    let mut end = 0u64;
    for (name, rank, shape) in &input.tensors {
        let name: Vec<&str> =
            name.iter().map(|byte| SEGMENTS[usize::from(*byte) % SEGMENTS.len()]).collect();
        let shape = &shape[..usize::from(*rank) % 4];
        let shape: Vec<u64> =
            shape.iter().map(|byte| SIZES[usize::from(*byte) % SIZES.len()]).collect();
        let bytes = shape.iter().try_fold(4u64, |bytes, size| bytes.checked_mul(*size));
        // A file of that many zeros takes no memory, but the system has a limit.
        let Some(bytes) = bytes.filter(|bytes| end + bytes < 1 << 40) else { continue };
        // Empty segments give names of any length.
        let name = name.join(".");
        let name = name.trim_start_matches('.').to_string();
        if header.contains_key(&name) {
            continue;
        }
        let entry = serde_json::json!(
            {"dtype": "F32", "shape": shape, "data_offsets": [end, end + bytes]});
        header.insert(name, entry);
        end += bytes;
    }
    let header = headed(serde_json::Value::Object(header).to_string().as_bytes());
    write("model.safetensors", &header);
    let file = File::options().write(true).open(folder().join("model.safetensors")).unwrap();
    file.set_len(header.len() as u64 + end).unwrap();
    write("config.json", input.config.as_deref().unwrap_or("{}").as_bytes());
    examine(Checkpoint::open(folder()).unwrap());
    let _ = check(Checkpoint::open(folder().join("config.json")));
});
