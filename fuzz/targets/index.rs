//! An index beside two shards.
#![no_main]

use std::sync::Once;

use film_core::checkpoint::Checkpoint;
use film_fuzz::{check, examine, folder, headed, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|index: &[u8]| {
    static SHARDS: Once = Once::new();
    SHARDS.call_once(|| {
        for name in ["a", "b"] {
            let header =
                format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
            write(&format!("{name}.safetensors"), &[headed(header.as_bytes()), vec![1]].concat());
        }
    });
    write("model.safetensors.index.json", index);
    if let Some(checkpoint) = check(Checkpoint::open(folder())) {
        examine(checkpoint);
    }
});
