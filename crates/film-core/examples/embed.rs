//! A Candle model of one's own around a FiLM generator: a small network on 2-D points whose hidden
//! layer is modulated by a conditioning vector.
//!
//! ```text
//! cargo run --release -p film-core --example embed
//! ```

#![allow(clippy::print_stdout)]

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Linear, Optimizer, SGD, VarBuilder, VarMap, linear};
use film_core::{KernelFilmConfig, KernelFilmGenerator, Result, init};

struct ConditionalNet {
    generator: KernelFilmGenerator,
    hidden: Linear,
    out: Linear,
}

impl ConditionalNet {
    fn new(config: &KernelFilmConfig, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            generator: KernelFilmGenerator::new(config, vb.pp("film_generator"))?,
            hidden: linear(2, config.kernel_hidden_dim, vb.pp("hidden"))?,
            out: linear(config.kernel_hidden_dim, 1, vb.pp("out"))?,
        })
    }

    /// points `[1, N, 2]`, conditioning `[B, cond_dim]` → `[B, N, 1]`
    fn forward(&self, points: &Tensor, conditioning: &Tensor) -> Result<Tensor> {
        let films = self.generator.films(conditioning)?;
        let h = self.hidden.forward(points)?.sin()?;
        Ok(self.out.forward(&films[0].apply(&h)?)?)
    }
}

fn main() -> Result<()> {
    let device = Device::Cpu;
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, 0, DType::F32, &device);
    let net = ConditionalNet::new(&KernelFilmConfig::new(8, 32, 1), vb)?;

    let points = Tensor::rand(-1f32, 1f32, (1, 100, 2), &device)?;
    let conditioning = Tensor::randn(0f32, 1f32, (4, 8), &device)?;
    // What to learn: each sample's first conditioning number, everywhere.
    let target = conditioning.narrow(1, 0, 1)?.unsqueeze(1)?.broadcast_as((4, 100, 1))?;

    let mut optimizer = SGD::new(vars.all_vars(), 0.05)?;
    let mut losses = Vec::new();
    for _ in 0..200 {
        let loss = (net.forward(&points, &conditioning)? - &target)?.sqr()?.mean_all()?;
        optimizer.backward_step(&loss)?;
        losses.push(loss.to_scalar::<f32>()?);
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    println!("loss {first:.4} → {last:.6} in {} steps", losses.len());
    assert!(last < 0.2 * first, "the generator did not learn to use the conditioning");
    Ok(())
}
