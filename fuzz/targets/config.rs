//! A config.json beside the weights of a modulated, masked convolution, and read by itself.
#![no_main]

use std::sync::Once;

use film_core::checkpoint::{Checkpoint, KernelSettings, read_json_object};
use film_core::mask::MaskConfig;
use film_core::siren::SirenConfig;
use film_core::{CKConvConfig, KernelFilmConfig};
use film_fuzz::{check, examine, folder, write};
use libfuzzer_sys::fuzz_target;

const WEIGHTS: &[u8] =
    include_bytes!("../../tests/fixtures/ckconv/2d_zero_gaussian/model.safetensors");

fuzz_target!(|config: &[u8]| {
    static MODEL: Once = Once::new();
    MODEL.call_once(|| write("model.safetensors", WEIGHTS));
    write("config.json", config);
    let Some(json) = check(read_json_object(&folder().join("config.json"))) else { return };
    // What is read is valid: it was checked.
    if let Some(config) = check(KernelFilmConfig::from_json(&json)) {
        config.validate().unwrap();
        let _ = (check(config.parameters()), check(config.flops()));
    }
    if let Some(config) = check(SirenConfig::from_json(&json)) {
        config.validate().unwrap();
        let _ = check(config.parameters());
    }
    if let Some(config) = check(CKConvConfig::from_json(&json)) {
        config.validate().unwrap();
        let _ = check(config.grid_lengths(&vec![5; config.boundaries.len()]));
    }
    let _ = (check(KernelSettings::from_json(&json)), check(MaskConfig::from_json(&json, &[5, 5])));
    if let Some(checkpoint) = check(Checkpoint::open(folder())) {
        examine(checkpoint);
    }
});
