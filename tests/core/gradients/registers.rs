//! Of both register encoders, in their parameter and the registers.

use candle_core::{DType, Device, Module};
use candle_nn::VarMap;
use film_core::{
    RegisterCompressConcat, RegisterCompressConcatConfig, RegisterPooling, RegisterPoolingConfig,
    init,
};

use super::{assert_gradients, moved, names, sizes, var, weighted_squares};

#[test]
fn pooling_has_gradients_in_logits_and_registers() {
    for seed in 0..6 {
        let [batch, count, channels] = sizes(seed, 4);
        // One register has the weight 1, whatever its logit.
        let count = count + 1;
        let registers = var("registers", &[batch, count, channels]);
        let input = registers.1.as_tensor().clone();
        let vars = VarMap::new();
        let vb = init::var_builder(&vars, 0, DType::F64, &Device::Cpu);
        let config = RegisterPoolingConfig { num_registers: count };
        let pooling = RegisterPooling::new(&config, vb).unwrap();
        let all = [moved(&vars), vec![registers]].concat();
        assert_eq!(names(&all), ["logits", "registers"]);
        assert_gradients(&all, || weighted_squares(&pooling.forward(&input).unwrap()));
    }
}

#[test]
fn compression_has_gradients_in_weight_and_registers() {
    for seed in 0..6 {
        let [batch, num_registers, hidden_dim, compressed_dim] = sizes(seed, 4);
        let registers = var("registers", &[batch, num_registers, hidden_dim]);
        let input = registers.1.as_tensor().clone();
        let vars = VarMap::new();
        let vb = init::var_builder(&vars, 0, DType::F64, &Device::Cpu);
        let config = RegisterCompressConcatConfig { num_registers, hidden_dim, compressed_dim };
        let encoder = RegisterCompressConcat::new(&config, vb).unwrap();
        let all = [moved(&vars), vec![registers]].concat();
        assert_eq!(names(&all), ["compress.weight", "registers"]);
        assert_gradients(&all, || weighted_squares(&encoder.forward(&input).unwrap()));
    }
}
