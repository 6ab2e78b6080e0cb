//! Gradients in every parameter and input: of register encoders, and of whole convolutions, from the conditioning on.

use candle_core::{DType, Module, Tensor};
use candle_nn::VarBuilder;
use film_core::{
    RegisterCompressConcat, RegisterCompressConcatConfig, RegisterPooling, RegisterPoolingConfig,
};

use crate::support::device;

#[path = "../core/gradients/variables.rs"]
mod variables;
#[path = "../core/gradients/whole.rs"]
mod whole;

/// In float32 what the CPU promises. In bfloat16 gradients are sums over points and samples whose terms cancel, so that roundings
/// are no measure: on the CPU the worst of these is 0.06.
const BOUNDS: [(DType, f64); 2] = [(DType::F32, 2e-5), (DType::BF16, 0.15)];

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn encoders_have_the_gradients_of_float64() {
    let pooling = RegisterPoolingConfig { num_registers: 5 };
    let pool = |vb: VarBuilder, registers: &Tensor| {
        RegisterPooling::new(&pooling, vb).unwrap().forward(registers).unwrap()
    };
    let compression =
        RegisterCompressConcatConfig { num_registers: 5, hidden_dim: 7, compressed_dim: 3 };
    let compress = |vb: VarBuilder, registers: &Tensor| {
        RegisterCompressConcat::new(&compression, vb).unwrap().forward(registers).unwrap()
    };
    for (dtype, bound) in BOUNDS {
        let on = (dtype, device());
        let errors =
            [variables::errors(on, &[2, 5, 7], pool), variables::errors(on, &[2, 5, 7], compress)];
        for (name, error) in errors.into_iter().flatten() {
            assert!(error < bound, "{name} {dtype:?}: {error:e}");
        }
    }
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn whole_convolutions_have_the_gradients_of_float64() {
    for (dtype, bound) in BOUNDS {
        whole::assert_those_of_float64(dtype, device(), 2, bound);
    }
}
