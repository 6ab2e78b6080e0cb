//! How well a generator's modulation is: what is measured, and what of it is cause for concern.
//!
//! ```text
//! conditioning, films ─ outputs ─▶ statistics of γ and β ┐
//! generator ─ weights ─▶ distances from where it started ┴▶ Health ─ finding, by thresholds ─▶ findings
//! several Health ─ comparison ─▶ medians, and what stands out
//! ```
//!
//! Measuring takes one copy to the host for the conditioning and for each layer and weight, so it may be done every few
//! steps of a training.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use film_core::health::{Health, Thresholds};
//! use film_core::{KernelFilmConfig, KernelFilmGenerator, init};
//!
//! let vb = init::var_builder(&candle_nn::VarMap::new(), 0, DType::F32, &Device::Cpu);
//! let generator = KernelFilmGenerator::new(&KernelFilmConfig::new(4, 8, 2), vb)?;
//! let conditioning = Tensor::new(&[[1f32, 0., 0., 1.], [0., 1., 1., 0.]], &Device::Cpu)?;
//! let health = Health::new(&generator, &conditioning)?;
//! let findings = health.findings(&Thresholds::default());
//! // Of a generator that starts as the identity there is one thing to say:
//! assert_eq!(findings.len(), 2);
//! assert!(findings[1].to_string().starts_with("layer 1: γ and β do not depend on the conditioning"));
//! # Ok::<(), film_core::Error>(())
//! ```

mod comparison;
mod finding;
mod outputs;
mod weights;

use std::fmt;

use candle_core::Tensor;
use serde::Serialize;

use crate::error::Result;
use crate::generator::KernelFilmGenerator;

pub use comparison::{Comparison, Measure, Outlier};
pub use finding::{Finding, Thresholds};
pub use outputs::{Conditioning, Modulation, Observer, Outputs};
pub use weights::{Distance, NonFinite, Norm, Part, Weights};

/// What is known of a generator's health. As text it is a line for the conditioning and one for each layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// Of what it gave for some conditioning.
    pub outputs: Option<Outputs>,
    /// Of its weights.
    pub weights: Option<Weights>,
}

impl Health {
    /// Of a generator and what it gives for `conditioning`.
    ///
    /// # Shapes
    /// conditioning `[*, cond_dim]`
    ///
    /// # Errors
    /// If the conditioning is of another shape, dtype or device than the generator's.
    pub fn new(generator: &KernelFilmGenerator, conditioning: &Tensor) -> Result<Self> {
        let mut observer = Observer::new(generator.config());
        // Nothing here is to be differentiated.
        let conditioning = conditioning.detach();
        observer.add(&conditioning, &generator.films(&conditioning)?)?;
        Ok(Self { outputs: Some(observer.outputs()), ..Self::of_weights(generator)? })
    }

    /// Of a generator's weights alone.
    ///
    /// # Errors
    /// If they cannot be read back from their device.
    pub fn of_weights(generator: &KernelFilmGenerator) -> Result<Self> {
        Ok(Self { outputs: None, weights: Some(Weights::new(generator)?) })
    }

    /// What is cause for concern: the conditioning's findings first, then the outputs' and the weights', by layer.
    ///
    /// Of negative biases of γ it is said only where γ itself was not measured.
    pub fn findings(&self, thresholds: &Thresholds) -> Vec<Finding> {
        let outputs = self.outputs.iter().flat_map(|outputs| outputs.findings(thresholds));
        let modulations = self.outputs.as_ref().map_or(&[][..], |outputs| &outputs.layers);
        let is_measured =
            |layer: usize| modulations.get(layer).is_some_and(|of| of.gamma.negative.is_some());
        outputs
            .chain(self.weights.iter().flat_map(|weights| weights.findings(thresholds)))
            .filter(|finding| !matches!(finding, Finding::NegativeBias { layer, .. } if is_measured(*layer)))
            .collect()
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        lines.extend(self.outputs.iter().map(|outputs| outputs.conditioning.to_string()));
        let modulations = self.outputs.as_ref().map_or(&[][..], |outputs| &outputs.layers);
        let distances = self.weights.as_ref().map_or(&[][..], |weights| &weights.layers);
        for layer in 0..modulations.len().max(distances.len()) {
            let modulation = modulations.get(layer).map(ToString::to_string);
            let distance = distances.get(layer).map(ToString::to_string);
            let parts: Vec<String> = modulation.into_iter().chain(distance).collect();
            lines.push(format!("layer {layer}: {}", parts.join("; ")));
        }
        f.write_str(&lines.join("\n"))
    }
}

/// The numbers of a tensor, in float64 on the host: one copy.
///
/// # Shapes
/// `[*]` → that many
fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    use candle_core::{DType, Device};
    let flat = tensor.detach().flatten_all()?.to_device(&Device::Cpu)?;
    Ok(flat.to_dtype(DType::F64)?.to_vec1()?)
}

/// Two decimals, or a dash.
fn decimals(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.2}"))
}
