//! A PyTorch pickle: an archive, or the format before it.
#![no_main]

use candle_core::Device;
use film_core::checkpoint::{PickleCheckpoint, PickleOptions};
use film_fuzz::{check, folder, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, &[u8])| {
    let (skip_unknown, bytes) = input;
    write("x.pt", bytes);
    let options = PickleOptions { skip_unknown, ..PickleOptions::default() };
    let Some(pickle) = check(PickleCheckpoint::open(folder().join("x.pt"), &options)) else {
        return;
    };
    for tensor in pickle.tensors().iter().filter(|tensor| tensor.count() < 4096).take(64) {
        if let Some(loaded) = check(pickle.load(tensor, &Device::Cpu)) {
            assert_eq!(loaded.dims(), tensor.shape);
        }
    }
});
