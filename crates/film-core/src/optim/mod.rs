//! Training: parameter groups, AdamW, learning-rate schedules, an average of the weights, runs that resume.
//!
//! ```text
//! modules' parameters ─▶ groups ─▶ AdamW ◀─ clip ◀─ gradients
//!                                   │ ▲
//!                                   │ └── schedule(step)
//!                                   ▼
//!                                variables ─▶ Ema          all of it ◀─▶ state, one file
//! ```
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use candle_nn::Optimizer; // for set_learning_rate
//! use film_core::optim::{
//!     AdamWConfig, Ema, GroupedAdamW, ParameterGroups, Policy, load_state, save_state, schedule,
//! };
//! use film_core::{KernelFilmConfig, KernelFilmGenerator, NoWeightDecay, init};
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("state.safetensors");
//!
//! // A module of this crate, and a layer of candle_nn.
//! let vars = candle_nn::VarMap::new();
//! let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
//! let config = KernelFilmConfig::new(4, 8, 2).with_no_weight_decay(NoWeightDecay::Value(5e-3));
//! let generator = KernelFilmGenerator::new(&config, vb.pp("generator"))?;
//! let head = candle_nn::linear(32, 1, vb.pp("head"))?;
//!
//! let groups = ParameterGroups::assign(&vars, 0.05)?
//!     .module("generator", config.parameters()?)?
//!     .layers("head", Policy::by_rank)?
//!     .finish()?;
//! assert!(groups.warnings().is_empty(), "to be shown to whoever trains");
//! let adamw = AdamWConfig { max_grad_norm: Some(1.0), ..AdamWConfig::default() };
//! let mut optimizer = GroupedAdamW::with_groups(groups, adamw)?;
//! let mut ema = Ema::new(&vars, 0.99)?;
//! if path.exists() {
//!     load_state(&path, &mut optimizer, Some(&mut ema))?;
//! }
//!
//! let x = Tensor::ones((2, 4), DType::F32, &Device::Cpu)?;
//! while optimizer.steps() < 20 {
//!     optimizer.set_learning_rate(1e-2 * schedule::cosine(optimizer.steps(), 5, 20, 0.1));
//!     let loss = head.forward(&generator.forward(&x)?)?.sqr()?.mean_all()?;
//!     let report = optimizer.update(&loss.backward()?)?;
//!     ema.update()?;
//!     assert!(report.grad_norm > 0.0 && report.without_gradient.is_empty());
//! }
//! save_state(&path, &optimizer, Some(&ema), true)?;
//! # Ok::<(), film_core::Error>(())
//! ```

mod adamw;
mod clip;
mod ema;
mod groups;
pub mod schedule;
mod state;
mod update;

pub use adamw::{AdamWConfig, GroupedAdamW, StepReport};
pub use ema::Ema;
pub use groups::{Assignment, DecayWarning, ParameterGroup, ParameterGroups, Policy};
pub use state::{load_state, save_state};
