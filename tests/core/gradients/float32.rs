//! In float32, where operations may be fused, what they are in float64.

use candle_core::{DType, Device};

use super::whole::assert_those_of_float64;

#[test]
fn float32_has_the_gradients_of_float64() {
    assert_those_of_float64(DType::F32, &Device::Cpu, 4, 2e-5);
}
