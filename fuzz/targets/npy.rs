//! A NumPy file, as the tools read it.
#![no_main]

use film_fuzz::{folder, write};
use libfuzzer_sys::fuzz_target;

#[path = "../../tools/film-tools/src/input/npy.rs"]
mod npy;

fuzz_target!(|bytes: &[u8]| {
    write("a.npy", bytes);
    if let Ok(array) = npy::Array::open(&folder().join("a.npy")) {
        let count: usize = array.shape.iter().product();
        let some = array.elements(0..count.min(1000)).unwrap();
        assert_eq!(some.dims(), [count.min(1000)]);
    }
});
