//! Register encoders: registers → conditioning.

use candle_core::{DType, Module, Tensor};
use candle_nn::VarBuilder;
use film_core::{
    RegisterCompressConcat, RegisterCompressConcatConfig, RegisterPooling, RegisterPoolingConfig,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::reference::{cases, tensor};
use crate::support::{assert_close, device, inputs, open, roundings};

/// In float32 twice what the CPU promises: there sums are made of blocks of 64 terms, on a GPU they may be one term after
/// the other. In bfloat16: the parameter, the registers and the result, for all between them is float32, or one product.
fn bounds() -> [(DType, f64); 2] {
    [(DType::F32, 2e-6), (DType::BF16, roundings(3))]
}

/// Holds an encoder to a case of each folder of a group.
fn check<C: DeserializeOwned>(group: &str, encode: impl Fn(&C, VarBuilder, &Tensor) -> Tensor) {
    for folder in cases(group) {
        let [checkpoint, io] = open(&folder);
        let config = Value::Object(checkpoint.config().unwrap().unwrap());
        let config: C = serde_json::from_value(config).unwrap();
        let truth = tensor(&io, "conditioning", DType::F64);
        for (dtype, bound) in bounds() {
            let [registers, _] = inputs(&io, "registers", dtype);
            let vb = checkpoint.var_builder(dtype, device());
            let encoded = encode(&config, vb, &registers);
            assert_close(&encoded, &truth, dtype, bound, &folder.display().to_string());
        }
    }
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn pooling_gives_pytorchs_numbers() {
    check("register_pooling", |config: &RegisterPoolingConfig, vb, registers| {
        RegisterPooling::new(config, vb).unwrap().forward(registers).unwrap()
    });
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn compress_concat_gives_pytorchs_numbers() {
    check("register_compress_concat", |config: &RegisterCompressConcatConfig, vb, registers| {
        RegisterCompressConcat::new(config, vb).unwrap().forward(registers).unwrap()
    });
}
