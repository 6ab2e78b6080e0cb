//! Generators: conditioning → γ, β.

use candle_core::{DType, Module};
use film_core::KernelFilmGenerator;

use crate::reference::{cases, flat_truth};
use crate::support::{assert_close, device, inputs, open, roundings};

/// In float32 twice what the CPU promises: there sums are made of blocks of 64 terms, on a GPU they may be one term after
/// the other. In bfloat16: the conditioning and, in each of two layers, weight, product and sum with the bias, and GELU.
fn bounds() -> [(DType, f64); 2] {
    [(DType::F32, 2e-6), (DType::BF16, roundings(8))]
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn generators_give_pytorchs_numbers() {
    let folders = cases("generator");
    assert_eq!(folders.len(), 8);
    for folder in folders {
        let [checkpoint, io] = open(&folder);
        let discovery = checkpoint.discover().unwrap();
        let config = discovery.generator(None).unwrap().config(None).unwrap();
        let truth = flat_truth(&io, "", config.num_film_layers);
        for (dtype, bound) in bounds() {
            let vb = checkpoint.var_builder(dtype, device());
            let generator = KernelFilmGenerator::new(&config, vb).unwrap();
            let [conditioning, _] = inputs(&io, "conditioning", dtype);
            let flat = generator.forward(&conditioning).unwrap();
            assert_close(&flat, &truth, dtype, bound, &folder.display().to_string());
        }
    }
}
