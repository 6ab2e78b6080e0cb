//! Nested arrays of numbers, as the tools read them.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tools/film-tools/src/input/json.rs"]
#[allow(dead_code, reason = "the tools open files with it, too")]
mod json;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(spool) = json::spool(bytes) {
        let count: usize = spool.shape.iter().product();
        assert_eq!(spool.elements(0..count).unwrap().dims(), [count]);
    }
});
