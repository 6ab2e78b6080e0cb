//! A safetensors file: raw, or with a header whose length is right, followed by some bytes of data.
#![no_main]

use film_core::checkpoint::Checkpoint;
use film_fuzz::{check, examine, folder, headed, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (whole, data, bytes) = input;
    let file = match whole {
        true => bytes.to_vec(),
        false => [headed(bytes), vec![1; data.into()]].concat(),
    };
    write("model.safetensors", &file);
    if let Some(checkpoint) = check(Checkpoint::open(folder())) {
        examine(checkpoint);
    }
});
