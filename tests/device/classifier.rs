//! The whole network of the example `hyena_classifier`: image → logits.

use candle_core::DType;

use crate::reference::{fixture, tensor};
use crate::support::{assert_close, device, inputs, open, roundings};

#[path = "../../crates/film-core/examples/hyena_classifier/model.rs"]
#[allow(dead_code, reason = "what trains it")]
mod model;

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn images_become_pytorchs_logits() {
    let folder = fixture("hybrid_model");
    let [checkpoint, io] = open(&folder);
    let config = model::Config::from_checkpoint(&checkpoint).unwrap();
    let truth = tensor(&io, "logits", DType::F64);
    // As on the CPU; in bfloat16 some 35 operations in each of two blocks.
    for (dtype, bound) in [(DType::F32, 1e-5), (DType::BF16, roundings(70))] {
        let vb = checkpoint.var_builder(dtype, device());
        let [image, _] = inputs(&io, "image", dtype);
        let logits = model::Classifier::new(&config, vb).unwrap().forward(&image).unwrap();
        assert_close(&logits, &truth, dtype, bound, "logits");
    }
}
