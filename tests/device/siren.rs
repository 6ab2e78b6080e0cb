//! SIREN kernels: grid lengths and conditioning → kernel.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use film_core::init;
use film_core::siren::{Omega, Scale, SirenConfig, SirenKernel};

use crate::reference::{cases, relative_error, tensor};
use crate::support::{assert_close, device, inputs, open, rounded, roundings};

/// Roundings in a kernel of so many layers: in each, product, bias, sine, γ and β; and the conditioning and the generator's
/// own behind it.
pub(crate) fn kernel_roundings(num_layers: usize) -> usize {
    5 * num_layers + 8
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn kernels_give_pytorchs_numbers() {
    let folders = cases("siren_kernel");
    assert_eq!(folders.len(), 6);
    for folder in folders {
        let what = folder.display().to_string();
        let [checkpoint, io] = open(&folder);
        let json = checkpoint.config().unwrap().unwrap();
        let config = SirenConfig::from_json(&json).unwrap();
        let lengths: Vec<usize> = serde_json::from_value(json["seq_lens"].clone()).unwrap();
        let drawn = |vb: VarBuilder, conditioning: Option<&Tensor>| {
            SirenKernel::new(&config, vb).unwrap().forward(&lengths, conditioning).unwrap()
        };
        let conditioning =
            |dtype| io.get("conditioning").map(|_| inputs(&io, "conditioning", dtype));

        // float32, as on the CPU within twice the original's error: the layers' sums are short, and the sine is as good.
        let there = conditioning(DType::F32).map(|[there, _]| there);
        let vb = checkpoint.var_builder(DType::F32, device());
        let (kernel, grid) = drawn(vb, there.as_ref());
        for (name, got) in [("kernel", kernel), ("grid", grid)] {
            let truth = tensor(&io, name, DType::F64);
            let theirs = relative_error(&tensor(&io, &format!("f32.{name}"), DType::F64), &truth);
            let bound = 2.0 * theirs.max(1e-7);
            assert_close(&got, &truth, DType::F32, bound, &format!("{what} {name}"));
        }

        let (_folder, exact) = rounded(&folder, DType::BF16);
        let (there, here) = conditioning(DType::BF16).map(<(Tensor, Tensor)>::from).unzip();
        let vb = checkpoint.var_builder(DType::BF16, device());
        let (kernel, grid) = drawn(vb, there.as_ref());
        assert_eq!(grid.dtype(), DType::F32);
        let (truth, _) = drawn(exact.var_builder(DType::F64, &Device::Cpu), here.as_ref());
        let bound = roundings(kernel_roundings(config.num_layers));
        assert_close(&kernel, &truth, DType::BF16, bound, &what);
    }
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn the_sine_of_the_embedding_is_taken_in_float32() {
    // A phase of up to 2π · 200, rounded to bfloat16, would be off by whole periods.
    let config = SirenConfig {
        out_dim: 12,
        data_dim: 2,
        mlp_hidden_dim: 8,
        num_layers: 1,
        embedding_dim: 8,
        omega: Omega::Learnable { omega_0: 200.0, scale: Scale::default() },
        hidden_omega_0: 1.0,
        l_cache: vec![5, 4],
        use_bias: true,
        film_after_pos_embed: false,
        film_generator: None,
    };
    let vars = candle_nn::VarMap::new();
    let there = init::var_builder(&vars, 3, DType::BF16, device());
    let kernel = SirenKernel::new(&config, there).unwrap();
    let drawn = kernel.forward(&[5, 4], None).unwrap().0;
    let vars = vars.data().lock().unwrap();
    let exact = vars.iter().map(|(name, var)| {
        (name.clone(), var.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap())
    });
    let here = VarBuilder::from_tensors(exact.collect(), DType::F64, &Device::Cpu);
    let truth = SirenKernel::new(&config, here).unwrap().forward(&[5, 4], None).unwrap().0;
    // The sine, the last layer's product and its bias.
    assert_close(&drawn, &truth, DType::BF16, roundings(3), "ω₀ = 200");
}
